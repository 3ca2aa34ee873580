"""Edit, damage and remove the manifest."""

from tests.chaos.model import Allowance, Kind
from tests.chaos.operations.table import choose, operation, sleep_held
from tests.chaos.run_context import RunContext
from tests.chaos.script import Step

BROKEN = ("half", "syntax", "key", "type", "bytes", "empty")
EDITED = ("http", "tcp", "tree", "blocking", "ttl")


def damage(text: str, way: str) -> bytes:
    """Return the manifest with a mistake of this kind in it."""
    damaged = {
        "half": text[: len(text) * 2 // 3] + '\n[services.http\ncommand = ["',
        "syntax": text + "\n[[services\n",
        "key": text.replace("replicas =", "replcas =", 1),
        "type": text.replace("replicas = 1", 'replicas = "one"', 1),
        "bytes": text,
        "empty": "",
    }[way]
    return damaged.encode() + (b"\xff\xfe\x00" if way == "bytes" else b"")


@operation("manifest.broken", weight=2)
async def broken(run: RunContext, step: Step) -> str:
    """Save a manifest with a mistake: `apply` refuses it, and nothing changes."""
    way = choose(step, BROKEN)
    run.project.manifest.write_bytes(damage(run.project.text(), way))
    try:
        await run.project.run("apply", codes=(2,))
        await sleep_held(step, 0.0, 1.0)
    finally:
        run.project.write()
    return way


@operation("manifest.removed")
async def removed(run: RunContext, step: Step) -> str:
    """Delete the manifest for a while: commands still find the project."""
    run.project.manifest.unlink()
    try:
        await sleep_held(step, 0.0, 1.0)
        await run.project.run("ps", "--json")
    finally:
        run.project.write()
    return "supervisor.toml"


@operation("manifest.edited", weight=2)
async def edited(run: RunContext, step: Step) -> str:
    """Change the environment of one service: it alone is restarted."""
    name = choose(step, EDITED)
    run.project.edits[name] = run.project.edits.get(name, 0) + 1
    run.project.write()
    before = {process.pid for process in run.history.alive("main") if process.service == name}
    with run.allow(name, Allowance.END, Allowance.REMOVAL):
        await run.project.run("apply")
    if before & {process.pid for process in run.history.alive("main")}:
        run.find(Kind.FAILED, f"`apply` did not restart {name}, whose environment had changed")
    return name
