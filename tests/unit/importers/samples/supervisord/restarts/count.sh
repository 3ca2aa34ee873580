echo x >> "$1"
[ "$1" = always ] && [ "$(wc -l < always)" -ge 2 ] && exec sleep 1000
exit "$2"
