echo > a
exec sleep 1000
