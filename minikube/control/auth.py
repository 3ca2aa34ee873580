"""Access to the control API: the bearer token in `.minikube/token`, made here and demanded from every client.

It refuses to use a token file that other users could have read.
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
"""Paths that need no token. They show any user of this machine that a server listens, nothing more."""


def authorize(request: Request, hosts: Collection[str], token: str) -> Reply | None:
    """Return the error reply to a request that is not allowed, else None.

    `hosts` are the names that the Host header may have (`net.auth.allowed_hosts`), `token` is the bearer token.
    """
    denied = reject_web_page(request, hosts)
    if denied is not None or request.path in OPEN_PATHS:
        return denied
    return require_bearer_token(
        request, token, "a bearer token is needed: Authorization: Bearer $(cat .minikube/token)"
    )


def ensure_token(directory: Path) -> str:
    """Return the bearer token in `directory`, a project's `.minikube`.

    Write a new token if the file is missing or unsafe (see `read_token`). Make the directory with mode 0700 if it is missing.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(MinikubeError):
        return read_token(directory)
    token = secrets.token_hex(32)
    temporary = directory / f".{TOKEN_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, token.encode("ascii"))
        os.fsync(descriptor)
        os.replace(temporary, directory / TOKEN_FILE)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return token
