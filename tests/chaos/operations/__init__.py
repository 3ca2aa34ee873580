"""The operations of a chaos run: each does one thing to a live project, and says what to excuse meanwhile.

    table      their names, and how an operation picks its target
    processes  kill and stop instances, their children and the parts
    containers end and pause containers, take their network, kill and stop the engine
    store      what Redis holds, its memory, its disk
    commands   what users do: restart, stop, scale, maintenance, down
    manifest   edited, damaged, removed
    files      what is removed under `.minikube/`
    data       the data directory of Redis removed, replaced and unwritable; logs that cannot be written
    entries    entries of services that another user replaces or removes
    load       floods, and descriptors that run out
    viewers    the dashboard
    clock      the clock of the project's processes

An operation writes down what it is about to allow before it acts, and returns the name of its target; it raises `NoTarget` where
there is none. What must be true all the same is decided by `tests.chaos.model`, not here.
"""

from tests.chaos.operations import (
    clock,
    commands,
    containers,
    data,
    entries,
    files,
    load,
    manifest,
    processes,
    store,
    viewers,
)
from tests.chaos.operations.table import OPERATIONS, WEIGHTS, NoTarget, Operation

__all__ = [
    "OPERATIONS",
    "WEIGHTS",
    "NoTarget",
    "Operation",
    "clock",
    "commands",
    "containers",
    "data",
    "entries",
    "files",
    "load",
    "manifest",
    "processes",
    "store",
    "viewers",
]
