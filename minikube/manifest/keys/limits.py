"""The shape of `limits`: what an instance may use (cgroup), and the limits of setrlimit."""

from msgspec import Struct

from minikube.durations import SIZE_FORM
from minikube.manifest import json_schema
from minikube.manifest.diagnostics import KeyPath
from minikube.manifest.json_schema import Schema
from minikube.manifest.shapes import SIZE, Converted, KnownKeys, Number, OneOf, Shape, Text

SIZE_LIMITS = ("memory", "as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack")
COUNT_LIMITS = ("pids", "cpu", "nice", "nofile", "nproc", "rtprio", "sigpending")

LEAST_LIMITS = {**dict.fromkeys(("memory", "as", "data", "stack"), 64 * 1024), "pids": 1, "cpu": 1, "nofile": 3}
"""The kernel kills a process with less at once, or it cannot be executed."""

_ANY_LIMIT = Number(int, 0, 2**62)


class _Limit(Struct, frozen=True):
    """The `Shape` of a resource limit: a number, `"10M"` where the limit is a size, or `"unlimited"` (read as -1)."""

    shape: Shape[int]
    least: int = 0
    """Anything below keeps a process from starting."""

    def read(self, value: object, key: KeyPath) -> int | None:
        text: Shape[int] = Converted(Text(), self._text)
        limit = OneOf[int]({int: _ANY_LIMIT, str: text}, 'an integer or "unlimited"').read(value, key)
        if limit is not None and 0 <= limit < self.least:
            least = f"{self.least // 1024}K" if self.least >= 1024 else str(self.least)
            return key.wrong(f"at least {least}, as no process starts with less", value)
        return limit

    def _text(self, text: str, key: KeyPath) -> int | None:
        return -1 if text == "unlimited" else self.shape.read(text, key)

    def schema(self) -> Schema:
        number = {"type": "integer", "minimum": self.least, "maximum": _ANY_LIMIT.most}
        is_size = self.shape is SIZE
        text = json_schema.string("^unlimited$" + (f"|{SIZE.pattern}" if is_size else ""), self._expected)
        return json_schema.by_type({"integer": number, "string": text}, json_schema.message(self._expected))

    @property
    def _expected(self) -> str:
        return f'{SIZE_FORM}, or "unlimited"' if self.shape is SIZE else 'an integer or "unlimited"'


LIMITS: Shape[dict[str, int | float]] = KnownKeys(
    {
        "cpus": Number(float, 0.01, 4096),
        **{name: _Limit(SIZE, LEAST_LIMITS.get(name, 0)) for name in SIZE_LIMITS},
        **{name: _Limit(_ANY_LIMIT, LEAST_LIMITS.get(name, 0)) for name in COUNT_LIMITS},
    }
)
