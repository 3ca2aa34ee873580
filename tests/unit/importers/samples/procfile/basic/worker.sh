echo "$GREETING from $1 and $2" > worked
exec sleep 1000
