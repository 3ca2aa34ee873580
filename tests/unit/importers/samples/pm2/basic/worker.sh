echo worked > worked
exec sleep 1000
