"""Reply lines of the RPC server that carry an error, and replies to batches. Pure functions."""

import logging
from collections.abc import Sequence

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.messages import Request, RpcError

LOGGER = logging.getLogger("minikube.rpc")


def error_line(request: Request, error: Exception) -> bytes:
    """Return the reply line for an exception that a method raised.

    Only an unexpected exception is logged; the client learns nothing about it but "internal error".
    """
    match error:
        case RpcError():
            return jsonrpc.encode_error(request, error.code, error.message, error.data)
        case RemoteError():
            return jsonrpc.encode_error(request, error.code, error.message)
        case NotFound():
            code = jsonrpc.NOT_FOUND
        case Unavailable():
            code = jsonrpc.STORE_UNAVAILABLE
        case UsageError():
            code = jsonrpc.INVALID_PARAMS
        case MinikubeError():
            code = jsonrpc.REFUSED
        case _:
            LOGGER.error("%s failed", request.method, exc_info=error)
            return jsonrpc.encode_error(request, jsonrpc.INTERNAL_ERROR, "internal error")
    return jsonrpc.encode_error(request, code, str(error))


def batch_line(replies: Sequence[bytes], limit: int) -> bytes:
    """Return the reply line to a batch, or an error line if the replies have more than `limit` bytes.

    Empty replies (to notifications) are left out. The result is empty if no reply is left.
    """
    not_empty = [reply for reply in replies if reply]
    size = sum(map(len, not_empty))
    if size > limit:
        return batch_error_line(size, limit)
    return jsonrpc.join_batch(not_empty) if not_empty else b""


def batch_error_line(size: int, limit: int) -> bytes:
    """Return the error line to a batch whose replies have `size` bytes, or more if not all of its calls were handled."""
    text = f"the answer to the batch has {size} bytes; ask for less than {limit} at once"
    return jsonrpc.encode_error(None, jsonrpc.REFUSED, text)
