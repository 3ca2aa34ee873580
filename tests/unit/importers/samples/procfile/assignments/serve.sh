echo "$NODE_ENV/$TITLE" > out-$SERVICE_NAME
exec sleep 1000
