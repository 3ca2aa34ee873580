echo "$1" > said
exec sleep 1000
