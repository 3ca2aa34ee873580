"""Programs by which services show that they reach each other. They need Python's standard library only."""

SERVE = """
import os, socket, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["INSTANCE_ID"].encode())

    def log_message(self, *_):
        pass

def echo(sock):
    while True:
        data, peer = sock.recvfrom(100)
        sock.sendto(data, peer)

host, *ports = sys.argv[1:]
for port in ports:
    threading.Thread(target=ThreadingHTTPServer((host, int(port)), Handler).serve_forever).start()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, int(port)))
    threading.Thread(target=echo, args=(sock,)).start()
"""
"""Answers HTTP with the instance's id, and UDP with what comes."""

LOOK = """
import json, os, socket, sys, urllib.request
from urllib.parse import urlsplit

def visit(address):
    try:
        return urllib.request.urlopen(f"http://{address}/", timeout=10).read().decode()
    except OSError as error:
        return f"{address}: {error}"

def send(address, *lines):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock, sock.makefile("rb") as file:
        for line in lines:
            sock.sendall(line.encode() + b"\\r\\n")
            reply = file.readline().decode().strip()
    return reply

def call(method, *params, token=""):
    calls = [("Authenticate", (token,))] if token else []
    lines = [
        json.dumps({"method": f"Discovery.{name}", "params": list(values), "id": 1})
        for name, values in [*calls, (method, params)]
    ]
    reply = json.loads(send(os.environ["MINIKUBE_REGISTRY"], *lines))
    return reply["error"] or reply["result"]

def get(name):
    found = call("Get", name)
    return visit(f"{found['IP']}:{found['Port']}") if isinstance(found, dict) else found

addresses, names = json.loads(sys.argv[1]), json.loads(sys.argv[2])
own, token = os.environ["INSTANCE_ID"], os.environ["MINIKUBE_REGISTRY_TOKEN"]
redis = urlsplit(os.environ["MINIKUBE_REDIS_URL"]).netloc
print(json.dumps({
    "visited": {address: visit(address) for address in addresses},
    "got": {name: get(name) for name in names},
    "forbidden": call("Maintenance", own, True, "x"),
    "allowed": call("Maintenance", own, False, "x", token=token),
    "redis": send(redis, "PING"),
}))
"""
"""Prints what is found at addresses, and by `Get`; what the registry lets this instance do; what Redis answers."""
