"""Disturb a running project in every way that the contract names, and see that every promise is kept.

    python -m tests.chaos                                  one minute, seed 1
    python -m tests.chaos --seed 7 --minutes 10
    python -m tests.chaos --ops kill=3,redis.flushall=1    only these, the first three times as often
    python -m tests.chaos --replay FILE                    the steps of a log again
    python -m tests.chaos --shrink FILE                    the shortest script that fails as the log's did

Takes root. Prints a table and one line of JSON; exits with 1 when a promise was broken, with 2 for wrong options.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from tests.chaos import namespaces
from tests.chaos.log import RunLog, read_findings, read_steps, step_record
from tests.chaos.operations import WEIGHTS
from tests.chaos.report import Result, json_line, table
from tests.chaos.runner import Plan, run_plan
from tests.chaos.script import SETTLE, Step, draw, weigh
from tests.chaos.shrink import shrink

REPLAY_MINUTES = 60.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options. Exits with 2 for wrong ones."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1, help="what the script is drawn from [1]")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long steps are done [1]")
    parser.add_argument("--ops", default="", metavar="NAME=WEIGHT,…", help="which operations, how often [all]")
    parser.add_argument("--patience", type=float, default=2.0, help="what the contract's times are multiplied by [2]")
    parser.add_argument("--log", type=Path, help="where to write the log [in the temporary directory]")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="do the steps of this log")
    parser.add_argument("--shrink", type=Path, metavar="FILE", help="find the shortest script that still fails")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        options.weights = weigh(options.ops, WEIGHTS)
    except ValueError as error:
        parser.error(f"--ops: {error}")
    options.log = (options.log or Path(tempfile.gettempdir(), f"minikube-chaos-{options.seed}.jsonl")).absolute()
    return options


def run_inside(options: argparse.Namespace) -> int:
    """Run in the namespaces that the caller made."""
    header = {"seed": options.seed, "minutes": options.minutes, "ops": options.ops, "patience": options.patience}
    if options.replay:
        _, steps = read_steps(options.replay)
        plan = Plan(options.inside, steps, REPLAY_MINUTES * 60, options.patience)
    else:
        plan = Plan(options.inside, draw(options.seed, options.weights), options.minutes * 60, options.patience)
    log = RunLog(options.log, header)
    result: Result = trio.run(run_plan, plan, log)
    line = json_line(result, **header, log=str(options.log))
    log.write("result", **json.loads(line))
    log.close()
    if not result.passed:
        shutil.copytree(options.inside / "project/.minikube/logs", f"{options.log}.logs", dirs_exist_ok=True)
    print(table(result))
    print(line, flush=True)
    return 0 if result.passed else 1


def run_outside(arguments: Sequence[str]) -> int:
    """Make namespaces and a directory, and run in them."""
    with tempfile.TemporaryDirectory(prefix="minikube-chaos-") as directory:
        return namespaces.run_inside(Path(directory), arguments)


def run_shrink(options: argparse.Namespace) -> int:
    """Run shorter and shorter scripts, and write the shortest that breaks a promise of the same kind beside the log."""
    header, steps = read_steps(options.shrink)
    kinds = read_findings(options.shrink)
    target = options.shrink.with_suffix(".shortest.jsonl")
    with tempfile.TemporaryDirectory(prefix="minikube-chaos-shrink-") as place:
        path, log = Path(place, "script.jsonl"), Path(place, "log.jsonl")

        def fails(script: Sequence[Step]) -> bool:
            lines = [header, *({"record": "step", "step": step_record(step)} for step in script)]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            arguments = ["--replay", str(path), "--log", str(log), "--patience", str(header["patience"])]
            subprocess.run([sys.executable, "-m", "tests.chaos", *arguments], stdout=subprocess.DEVNULL)
            found = read_findings(log)
            print(f"{len(script)} steps: {', '.join(sorted(found)) or 'nothing broken'}", flush=True)
            if failed := bool(found & kinds):
                shutil.copy(log, target)
            return failed

        if not fails(steps):
            print(f"{options.shrink}: nothing of {', '.join(sorted(kinds)) or 'nothing'} is broken in a replay")
            return 0
        found = shrink([step for step in steps if step.op != SETTLE], fails)
    print(f"{len(found)} of {len(steps)} steps: {', '.join(step.op for step in found)}\n{target}")
    return 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)
    if options.inside:
        return run_inside(options)
    if problem := namespaces.available():
        print(f"python -m tests.chaos: {problem}", file=sys.stderr)
        return 2
    return run_shrink(options) if options.shrink else run_outside(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
