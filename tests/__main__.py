"""All checks in one command, the same that CI runs: `python -m tests`.

    python -m tests                  everything
    python -m tests --quick          everything but the tests
    python -m tests -k registry      what follows goes to pytest

Each step's time is shown; pytest's own closing line is the last one. Exits with 1 when any step failed.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHOLE = ",".join(
    f"minikube/{name}"
    for name in (
        *("jsonrpc/*", "manifest/*", "model.py", "errors.py", "durations.py", "addresses.py", "text.py"),
        *("logs/levels.py", "metrics/*", "defaults.py", "patterns.py", "project_dir.py"),
    )
)
"""Floors 0 and 1: every branch is tested."""


@dataclass(frozen=True)
class Step:
    """One check: a command of this environment, run from the project's root."""

    name: str
    command: str
    arguments: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """The command line: the programs beside this interpreter, whatever the PATH says."""
        return [str(Path(sys.executable).parent / self.command), *self.arguments]


STATIC = (
    Step("format", "ruff", ("format", "--check", ".")),
    Step("lint", "ruff", ("check", ".")),
    Step("types", "mypy"),
    Step("import contracts", "lint-imports"),
)


def run_step(step: Step) -> bool:
    """Run a static check; show its output only when it failed."""
    started = time.monotonic()
    done = subprocess.run(step.argv, cwd=ROOT, capture_output=True, text=True)
    failed = done.returncode != 0
    report(step.name, not failed, time.monotonic() - started)
    if failed:
        print(done.stdout + done.stderr, flush=True)
    return not failed


def report(name: str, passed: bool, seconds: float) -> None:
    """One line of the overview."""
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.1f} s)", flush=True)


def run_tests(arguments: list[str]) -> tuple[bool, str]:
    """Run pytest under coverage, its output as it comes; returns whether it passed, and its closing line."""
    started = time.monotonic()
    cores = () if arguments else ("--numprocesses=logical", "--dist=loadfile", "--no-loadscope-reorder")
    command = [sys.executable, "-m", "pytest", "--cov", "--cov-report=", "--durations=25", *cores, *arguments]
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, bufsize=1
    ) as pytest:
        assert pytest.stdout is not None
        for line in pytest.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    report("tests", pytest.returncode == 0, time.monotonic() - started)
    return pytest.returncode == 0, last


def main(arguments: list[str]) -> int:
    """Run every step, also after a failed one, and print the result of each."""
    passed = [run_step(step) for step in STATIC]
    if arguments == ["--quick"]:
        return 0 if all(passed) else 1
    tests_passed, closing = run_tests(arguments)
    passed.append(tests_passed)
    if not arguments:
        passed.append(run_step(Step("coverage", "coverage", ("report",))))
        passed.append(
            run_step(
                Step("coverage of floors 0 and 1", "coverage", ("report", f"--include={WHOLE}", "--fail-under=100"))
            )
        )
    print(closing, flush=True)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
