"""JSON-RPC over TCP, both sides (floor 2): the names to use.

The work is in `rpc_server`, `rpc_peer` and `rpc_client`.
"""

from minikube.jsonrpc.messages import Request, RpcError, encode_error, encode_reply, splice_reply
from minikube.net.rpc.client import RpcConnection, open_rpc
from minikube.net.rpc.connection import Peer
from minikube.net.rpc.server import serve_rpc
from minikube.net.rpc.types import Limits, Methods

__all__ = [
    "Limits",
    "Methods",
    "Peer",
    "Request",
    "RpcConnection",
    "RpcError",
    "encode_error",
    "encode_reply",
    "open_rpc",
    "serve_rpc",
    "splice_reply",
]
