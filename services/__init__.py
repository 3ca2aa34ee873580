"""The sample shop: two services to copy from when you write your own, with the public names of `minikube` only.

`product.py` and `order.py` are the services: start there. `scripts.py` is what they do in Redis. Both share `app.py`
(settings, registration, the graceful stop), `web.py` (the HTTP server) and `store.py` (the connection to Redis).
"""
