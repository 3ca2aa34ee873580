"""What `--json` prints where the control API has no shape for it (floor 4): frozen structs, the source of the README's table.

Everything else is the API's and the registry's own: `minikube.model`, `minikube.client.messages`. It refuses to be made
from anything but what commands know already.
"""

from msgspec import Struct

from minikube.model import InstanceView


class InstanceRow(InstanceView, frozen=True):
    """`ps`: an instance on the board, and what else its line tells. `why` is empty while it is ready or was stopped on
    purpose; `cpu` is per cent of a core, `memory` bytes, of the whole process tree, null until they are known."""

    ready: bool = False
    why: str = ""
    cpu: float | None = None
    memory: int | None = None


class Validation(Struct, frozen=True):
    """`validate`. `problems` are lines that name the file and the key."""

    valid: bool
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """`version`: ours and Python's."""

    version: str
    python: str
