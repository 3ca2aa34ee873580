echo x >> "$1"
[ "$(wc -l < "$1")" -ge 3 ] && [ "$2" = 0 ] && exec sleep 1000
exit "$2"
