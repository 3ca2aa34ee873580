echo > ran-$SERVICE_NAME-$1
exec sleep 1000
