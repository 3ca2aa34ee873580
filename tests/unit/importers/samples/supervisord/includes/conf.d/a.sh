basename "$FROM" > from
exec sleep 1000
