"""Several trees as one: later keys win, tables merge, lists replace. Pure.

What says the same in two ways is told apart by `Rules`: `health = "/"` is short for a table, and a later `shell` takes the place
of a `command`. The keys that this needs stand here; `parser` has all of them.

It refuses to check values: `parser` does, after the merge.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from minikube.manifest.keys.containers import CONTAINER_KEYS
from minikube.manifest.keys.health import HEALTH_KINDS
from minikube.manifest.tree.node import Node

COMMAND_KEYS = ("command", "shell")
IMAGE_KEYS = ("image", "build")
RUN_KEYS = (*COMMAND_KEYS, *IMAGE_KEYS)
"""The keys that say what a service runs."""

Table = Mapping[str, Node]


def _kept(base: Table, over: Table) -> Table:
    return base


class Rules(Struct, frozen=True):
    """How the tables at one place are merged."""

    keep: Callable[[Table, Table], Table] = _kept
    """Return the part of the earlier table that the later one leaves."""
    expand: Callable[[Node], "dict[str, Node] | None"] = lambda node: None
    """Return the table that a value is short for; None where it is not."""
    keys: Mapping[str, "Rules"] = {}
    each: "Rules | None" = None
    """For keys that are not in `keys`."""
    is_at_first: bool = False
    """Whether the merged table stands where the earlier one does: there it was defined, and the later one adds to it."""

    def of(self, key: str) -> "Rules":
        """Return the rules of the value of a key."""
        return self.keys.get(key) or self.each or PLAIN


PLAIN = Rules()


def merge(base: Node, over: Node, rules: Rules = PLAIN) -> Node:
    """Return the two nodes as one: a table has the keys of both, anything else is the later one, `over`."""
    if not isinstance(base.value, dict) and not isinstance(over.value, dict):
        return over
    earlier = base.value if isinstance(base.value, dict) else rules.expand(base)
    later = over.value if isinstance(over.value, dict) else rules.expand(over)
    if earlier is None or later is None or isinstance(over.value, list):
        return over
    merged = dict(rules.keep(earlier, later))
    for key, node in later.items():
        merged[key] = merge(merged[key], node, rules.of(key)) if key in merged else node
    return (base if rules.is_at_first else over).with_value(merged)


def is_container(table: Table) -> bool:
    """Return whether a service with these keys runs in a container."""
    if runtime := table.get("runtime"):
        return bool(runtime.value == "container")
    return not table.keys().isdisjoint(IMAGE_KEYS)


def find_replaced_image(base: Node, over: Node) -> Node | None:
    """Return the node of the later command that makes a process of the earlier container; None where there is none.

    Where the later table has a `runtime`, what it says is meant.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict) or not is_container(base.value):
        return None
    if not over.value.keys().isdisjoint((*IMAGE_KEYS, "runtime")):
        return None
    return next((over.value[key] for key in COMMAND_KEYS if key in over.value), None)


def _keep_of_service(base: Table, over: Table) -> Table:
    """Return the keys of a service that hold beside later ones.

    A later command, shell, image or build replaces the one before, with its args. A later image or build in place of another
    leaves command, args and entrypoint: they belong to the container. So does a later command where `runtime` says that it does.
    """
    given = over.keys() & {*RUN_KEYS}
    if not given or base.keys().isdisjoint(RUN_KEYS):
        return base
    stays_container = is_container(base) and (
        given <= {*IMAGE_KEYS} or ("runtime" in over and over["runtime"].value == "container")
    )
    replaced = {*RUN_KEYS, "args", "runtime"}
    if stays_container:
        replaced = {*IMAGE_KEYS} if given <= {*IMAGE_KEYS} else {*COMMAND_KEYS, "args"}
    kept = {key: node for key, node in base.items() if key not in replaced or key in over}
    if is_container(base) == is_container({**kept, **over}):
        return kept
    # A process has no volumes, and its directory is none of the container's.
    return {key: node for key, node in kept.items() if key not in (*CONTAINER_KEYS, "cwd") or key in over}


def _only_one_of(*names: str) -> Callable[[Table, Table], Table]:
    """Return a `Rules.keep` for a table in which one of these keys takes the place of the others."""

    def keep(base: Table, over: Table) -> Table:
        if over.keys().isdisjoint(names):
            return base
        return {key: node for key, node in base.items() if key not in names or key in over}

    return keep


def _short_for(name: str) -> Callable[[Node], dict[str, Node] | None]:
    """Return a `Rules.expand` for strings and numbers that are short for a table with this key."""
    return lambda node: {name: node} if isinstance(node.value, str | int) else None


def _expand_health(node: Node) -> dict[str, Node] | None:
    if not isinstance(node.value, str):
        return None
    return {"tcp": node.with_value(True)} if node.value == "tcp" else {"http": node}


def _expand_dependencies(node: Node) -> dict[str, Node] | None:
    if not isinstance(node.value, list):
        return None
    return {item.value: item.with_value("healthy") for item in node.value if isinstance(item.value, str)}


SERVICE = Rules(
    keep=_keep_of_service,
    keys={
        "health": Rules(keep=_only_one_of(*HEALTH_KINDS), expand=_expand_health),
        "restart": Rules(expand=_short_for("policy")),
        "build": Rules(expand=_short_for("context")),
        "stop": Rules(keep=_only_one_of("command", "shell")),
        "depends_on": Rules(expand=_expand_dependencies, each=Rules(expand=_short_for("condition"))),
        "ports": Rules(each=Rules(expand=_short_for("port"))),
        "env_file": Rules(keep=lambda base, over: {}),
    },
)
"""How the tables of a service are merged."""

MANIFEST = Rules(keys={"services": Rules(each=replace(SERVICE, is_at_first=True)), "defaults": SERVICE})
"""How whole manifests are merged."""
