"""What a connection of the RPC server answers besides results (floor 2, pure): errors by their type, and whole batches."""

import logging
from collections.abc import Sequence

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.jsonrpc import messages as jsonrpc
from minikube.jsonrpc.messages import Request, RpcError

LOGGER = logging.getLogger("minikube.rpc")


def error_line(request: Request, error: Exception) -> bytes:
    """The answer for what a method raised; only an error of ours that nobody foresaw is logged, and not told."""
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


def batch_line(answers: Sequence[bytes], most: int) -> bytes:
    """A batch's whole line, at most so many bytes; empty where nothing is to be answered. Empty answers are none."""
    filled = [answer for answer in answers if answer]
    size = sum(map(len, filled))
    if size > most:
        return refuse_batch(size, most)
    return jsonrpc.join_batch(filled) if filled else b""


def refuse_batch(size: int, most: int) -> bytes:
    """The answer instead of one with so many bytes (or more: it was not made to its end)."""
    text = f"the answer to the batch has {size} bytes; ask for less than {most} at once"
    return jsonrpc.encode_error(None, jsonrpc.REFUSED, text)
