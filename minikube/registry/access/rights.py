"""The rights of a token: `read`, `register PATTERN…`, `admin`. Pure.

Consul's words: a token's rights are a set of rules; a name pattern has `*` for any characters, as in `shop-*`.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from msgspec import Struct

MAX_PATTERNS = 64

_PATTERN = re.compile(r"[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?")


class Rights(Struct, frozen=True):
    """What a token allows. Each token may look up."""

    read: bool = False
    """See the output of checks."""
    register: tuple[str, ...] = ()
    """Register under names that match one of these patterns, but not under names of a manifest."""
    admin: bool = False
    """Register under every name, remove and maintain every entry, see outputs, manage tokens."""

    def may_register(self, name: str) -> bool:
        """Return whether the token may register under a name that no manifest reserves."""
        return self.admin or any(fnmatchcase(name, pattern) for pattern in self.register)

    @property
    def may_read_output(self) -> bool:
        """Whether the token may see the output of checks."""
        return self.read or self.admin

    def texts(self) -> list[str]:
        """Return the rights as `parse_rights` takes them."""
        register = [f"register {pattern}" for pattern in self.register]
        return [*(["read"] if self.read else []), *register, *(["admin"] if self.admin else [])]


def parse_rights(texts: Iterable[str]) -> Rights:
    """Return the rights that the texts name: `read`, `admin`, `register PATTERN…`. Raises ValueError."""
    read = admin = False
    patterns: list[str] = []
    for text in texts:
        word, *rest = text.split()[: MAX_PATTERNS + 1] or [""]
        if word == "register" and rest:
            for pattern in rest:
                if not _PATTERN.fullmatch(pattern):
                    raise ValueError(f"expected a name with * for any characters, such as shop-*, got {pattern[:80]!r}")
            patterns += rest
        elif word in ("read", "admin") and not rest:
            read, admin = read or word == "read", admin or word == "admin"
        else:
            raise ValueError(f"expected read, admin or `register PATTERN`, got {text[:80]!r}")
    if not (read or admin or patterns):
        raise ValueError("expected at least one of read, admin, `register PATTERN`")
    if len(patterns) > MAX_PATTERNS:
        raise ValueError(f"expected at most {MAX_PATTERNS} name patterns")
    return Rights(read, tuple(dict.fromkeys(patterns)), admin)
