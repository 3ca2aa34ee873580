"""The figures: `python -m tests.benchmarks [lookups] [http] [up] [spawns] [exits] [logs] [peers] [--quick]`.

Needs Go (standard library only) and, for the peers that are Python's or Node's, a package index (and npm): they are
installed into a scratch directory. Prints one table: medians, and the ratio to a peer measured in the same run; `peers` prints
its own. `--quick` proves that everything works and measures nothing worth quoting; `--alone` leaves out what has to be
installed; `--first` takes the processors from everybody else, where the machine is not quiet.
"""

import argparse
import os
import platform
from collections.abc import Callable, Sequence

from tests.benchmarks import logs, lookups, peers, projects, requests
from tests.benchmarks.tools import Row, cores, print_table


def parts(quick: bool, alone: bool) -> dict[str, Callable[[], list[Row]]]:
    """What can be measured, by the name on the command line."""
    beside = not alone
    if quick:
        return {
            "lookups": lambda: lookups.run(seconds=0.2, rounds=1, many=100),
            "http": lambda: requests.run(seconds=0.2, rounds=1, peers=beside),
            "up": lambda: projects.measure_up(1),
            "spawns": lambda: projects.measure_spawns(10, 1),
            "exits": lambda: projects.measure_exits(2, 4),
            "logs": lambda: logs.run(lines=10_000, rounds=1, peers=beside),
            "peers": lambda: peers.run(rounds=1, lines=1_000, many=10, idle_s=0.5, settle_s=0.2, peers=beside),
        }
    return {
        "lookups": lambda: lookups.run(seconds=1.0, rounds=5, many=10_000),
        "http": lambda: requests.run(seconds=1.0, rounds=5, peers=beside),
        "up": lambda: projects.measure_up(10),
        "spawns": lambda: projects.measure_spawns(100, 5),
        "exits": lambda: projects.measure_exits(10, 100),
        "logs": lambda: logs.run(lines=1_000_000, rounds=3, peers=beside),
        "peers": lambda: peers.run(rounds=3, lines=1_000_000, many=100, idle_s=5.0, peers=beside),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts(True, True)))
    parser.add_argument("--quick", action="store_true", help="tiny counts")
    parser.add_argument("--alone", action="store_true", help="without the peers that have to be installed")
    parser.add_argument("--first", action="store_true", help="before all else on this machine (real time; needs root)")
    options = parser.parse_args(arguments)
    if options.first:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    known = parts(options.quick, options.alone)
    if wrong := [name for name in options.parts if name not in known]:
        parser.error(f"no such part: {', '.join(wrong)}; there are {', '.join(known)}")
    server, load = cores()
    print(f"Python {platform.python_version()}, server on core {server}, load on core {load}", flush=True)
    rows = []
    for name in options.parts or known:
        rows += known[name]()
        print(f"{name} done", flush=True)
    if rows:
        print()
        print_table(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
