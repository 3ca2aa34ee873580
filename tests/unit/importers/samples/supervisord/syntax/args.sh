printf "%s\n" "$*" > args
exec sleep 1000
