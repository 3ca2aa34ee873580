echo > e
exec sleep 1000
