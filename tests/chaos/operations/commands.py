"""What users do: restart, stop and start, scale, maintain, stop and start everything."""

from tests.chaos.lifecycle import end_of_run
from tests.chaos.model import Allowance, Kind
from tests.chaos.operations.table import choose, operation, sleep_held
from tests.chaos.project import CONTAINERS, SERVICES
from tests.chaos.run_context import RunContext, until
from tests.chaos.script import Step

STEADY = tuple(service.name for service in SERVICES if not service.is_task)
REGISTERED = tuple(service.name for service in SERVICES if service.is_registered)
SCALED = tuple(service.name for service in SERVICES if service.port == '"auto"' and not service.depends_on)
EXECUTED = ("http", "tcp", "tree", *CONTAINERS)
REPLICAS_MOST = 5
COMMANDED = (Allowance.END, Allowance.REMOVAL)


@operation("command.restart", weight=2)
async def restart(run: RunContext, step: Step) -> str:
    """Restart a service."""
    name = choose(step, STEADY)
    with run.allow(name, *COMMANDED):
        await run.project.run("restart", name)
    return name


@operation("command.stop")
async def stop(run: RunContext, step: Step) -> str:
    """Stop a service, and start it again: meanwhile none of its addresses is found."""
    name = choose(step, STEADY)
    with run.allow(name, *COMMANDED):
        await run.project.run("stop", name)
        if left := [process.pid for process in run.history.alive("main") if process.service == name]:
            gone = await until(lambda: all(one.pid not in left for one in run.history.alive("main")), 1)
            if not gone:
                run.find(Kind.SURVIVOR, f"{name}: pids {left} live after `stop`")
        await run.project.run("start", name)
    return name


@operation("command.scale", weight=2)
async def scale(run: RunContext, step: Step) -> str:
    """Set a service's number of replicas."""
    name = choose(step, SCALED)
    replicas = 1 + step.choice // len(SCALED) % REPLICAS_MOST
    with run.allow(name, *COMMANDED):
        await run.project.run("scale", f"{name}={replicas}")
        run.project.replicas[name] = replicas
        run.project.write()
    return f"{name}={replicas}"


@operation("command.maintenance")
async def maintenance(run: RunContext, step: Step) -> str:
    """Hide a service for a while: none of its instances passes meanwhile."""
    name = choose(step, REGISTERED)
    with run.allow(name, Allowance.REMOVAL):
        await run.project.run("maintenance", name)
        await sleep_held(step, 0.2, 4)
        passing = [key for key, one in run.entries.items() if one.instance.name == name and one.passing_since]
        await run.project.run("maintenance", "--off", name)
        if passing:
            run.find(Kind.DISAGREEMENT, f"{name} is in maintenance and passes: {', '.join(passing)}")
        own = [process.instance for process in run.history.alive("main") if process.service == name]
        await until(lambda: all(map(run.passes, own)), run.bounds["settle"])
    return name


@operation("command.exec")
async def execute(run: RunContext, step: Step) -> str:
    """Run a command beside an instance, and, but for containers, one with the environment of a service."""
    name = choose(step, EXECUTED)
    for command in ("exec",) if name in CONTAINERS else ("exec", "run"):
        text = await run.project.run(command, name, "--", "sh", "-c", "echo $SERVICE_NAME")
        if text != name:
            run.find(Kind.FAILED, f"`{command} {name}` printed {text!r}")
    return name


@operation("command.down")
async def down(run: RunContext, step: Step) -> str:
    """Stop everything in order, and start it again."""
    await end_of_run(run, None, run.bounds["survive"])
    return "all"
