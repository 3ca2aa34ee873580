"""The bearer token of the control API (floor 3): 256 random bits in `.minikube/token`, mode 0600.

It refuses to reuse a token that others could have read.
"""

import contextlib
import os
import secrets
from pathlib import Path

from minikube.control.client.endpoint import TOKEN_FILE, read_token
from minikube.errors import MinikubeError

__all__ = ["ensure_token", "read_token"]


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
