echo x >> "$1"
case "$1" in always | delay) [ "$(wc -l < "$1")" -ge 3 ] && exec sleep 1000 ;; esac
exit "$2"
