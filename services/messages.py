"""What handlers and the server share: requests, replies, errors as JSON, and routing. Pure.

An error is raised as `HttpError` and becomes `{"error": …}` with its status; a 503 always says when to come back.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

RETRY_AFTER_S = 1


class Request(NamedTuple):
    """One whole request. `path` has no query; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first value of `name` (lower case) as Latin-1 text, as HTTP has it."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


class Reply(NamedTuple):
    """A status, a JSON body already encoded, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class HttpError(Exception):
    """What a handler raises to answer an error: a status, one line, and headers such as `Retry-After`."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.reply = Reply(status, msgspec.json.encode({"error": message}), headers)


def unavailable(message: str, after: int = RETRY_AFTER_S) -> HttpError:
    """503 with `Retry-After`: nothing was done, trying again later is safe."""
    return HttpError(503, message, (("retry-after", str(after)),))


Handler = Callable[[Request, str], Awaitable[Reply]]
"""Called with the request and what stood for `{}` in its route ("" where there is none)."""

Routes = Mapping[str, Mapping[str, Handler]]
"""`{"/product/{}": {"GET": handler}}`; `{}` may stand for the last segment only."""


def find_route(routes: Routes, method: str, path: str) -> tuple[Handler, str]:
    """The handler of `method` and `path`, and its parameter; HttpError 404, 405 or 400."""
    parameter = ""
    methods = routes.get(path)
    if methods is None:
        prefix, _, parameter = path.rpartition("/")
        methods = routes.get(f"{prefix}/{{}}")
        if methods is None or not parameter:
            raise HttpError(404, f"no such path: {path}")
        if "%" in parameter:
            try:
                parameter = unquote_to_bytes(parameter).decode()
            except UnicodeDecodeError:
                raise HttpError(400, "the path is not UTF-8") from None
    handler = methods.get(method)
    if handler is None:
        allow = ", ".join(methods)
        raise HttpError(405, f"{method} is not allowed here; allowed: {allow}", (("allow", allow),))
    return handler, parameter
