"""The bearer token of the control API (floor 3): 256 random bits in `.minikube/token`, mode 0600.

It refuses to reuse a token that others could have read, and to compare in a time that tells how much was right.
"""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

from minikube.client.endpoint import TOKEN_FILE, read_token
from minikube.errors import MinikubeError

__all__ = ["ensure_token", "is_token", "read_token"]


def ensure_token(directory: Path) -> str:
    """The state directory's token; made, with the directory (0700), where there is none or an unsafe one."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(MinikubeError):
        return read_token(directory)
    token = secrets.token_hex(32)
    fresh = directory / f".{TOKEN_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, token.encode("ascii"))
        os.fsync(descriptor)
        os.replace(fresh, directory / TOKEN_FILE)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return token


def is_token(given: str, token: str) -> bool:
    """Whether a caller's token is right, compared in constant time; never with an empty one."""
    return bool(token) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode("ascii"))
