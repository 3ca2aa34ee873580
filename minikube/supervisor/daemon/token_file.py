"""The file `.minikube/token`: the secret of a project, from which its other tokens are derived.

It refuses to use a token file that other users could have read.
"""

# Without trio: the supervisor's launcher makes the token before it imports trio.

import contextlib
import os
import secrets
from pathlib import Path

from minikube.control.client.endpoint import read_token
from minikube.errors import MinikubeError
from minikube.project_dir import TOKEN_FILE


def ensure_token(directory: Path) -> str:
    """Return the bearer token in `directory`, a project's `.minikube`.

    Write a new token if the file is missing or unsafe (see `read_token`). Make the directory with mode 0700 if it is missing.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(MinikubeError):
        return read_token(directory)
    token = secrets.token_hex(32)
    write_token(directory, token)
    return token


def write_token(directory: Path, token: str) -> None:
    """Replace the token file in `directory` in one step. Raises OSError."""
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
