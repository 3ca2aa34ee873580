"""JSON-RPC over TCP, both sides (floor 2): the names to use.

The work is in `rpc_server`, `rpc_peer` and `rpc_client`.
"""

from minikube.net.rpc_client import RpcConnection, open_rpc
from minikube.net.rpc_peer import Peer
from minikube.net.rpc_server import serve_rpc
from minikube.net.rpc_types import Limits, Methods
from minikube.protocol.jsonrpc import Request, RpcError, encode_error, encode_reply, splice_reply

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
