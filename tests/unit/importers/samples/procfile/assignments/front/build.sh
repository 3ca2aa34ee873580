echo "$1" > built
exec sleep 1000
