echo "$GREETING: $1" > worked
exec sleep 1000
