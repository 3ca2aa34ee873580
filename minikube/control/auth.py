"""Who may use the control API: callers with the bearer token in `.minikube/token`, and no web page.

It refuses to reuse a token file that other users could have read.
"""

import contextlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path

from minikube.control.client.endpoint import read_token
from minikube.errors import MinikubeError
from minikube.net.auth import reject_web_page, require_bearer_token
from minikube.net.http_server import Reply, Request
from minikube.project_dir import TOKEN_FILE

OPEN_PATHS = frozenset({"/health"})
"""Told to anyone on this machine: that something listens, nothing more."""


def authorize(request: Request, hosts: Collection[str], token: str) -> Reply | None:
    """What to answer to a request that may not be heard, or None."""
    refusal = reject_web_page(request, hosts)
    if refusal is not None or request.path in OPEN_PATHS:
        return refusal
    return require_bearer_token(
        request, token, "a bearer token is needed: Authorization: Bearer $(cat .minikube/token)"
    )


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
