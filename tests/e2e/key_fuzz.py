"""Random keys, bytes, mouse reports and window sizes for the dashboard: `python -m tests.e2e.key_fuzz [SECONDS] [SEED]`.

It runs `minikube dashboard` on a pseudo-terminal beside a running project, and prints a line for each crash: the seed of that
dashboard, and the report. A dashboard that a random key quits is started again. Exit code 1: there was a crash.
"""

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.pty_screen import Screen
from tests.e2e.running import MINIKUBE
from tests.ports import free_ports
from tests.untraced import untraced

SIZES = ((80, 24), (160, 50), (10, 3), (20, 5), (300, 8), (1, 1))

KEYS = (
    *("\r", "\x1b", "\t", "\x1b[Z", "\x7f", " ", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[F"),
    *("\x10", "\x1a", "\x04", "\x15", "\x06", "\x02", "\x1bOP", "\x1b[1;5C", "\x1b[1;2B", "\x1b[3~", "\x00", "\x0c"),
    *"jkgGdlaenNfvwtozcrsSKyd/[]:?hl",
    *("yyy", "jjjj", "\x1b\x1b\x1b", "/x", "/[", "/*", "r\ry", "K\x1b", "s\ts", ":\x1b[5~", "\x10st\r", "??", "\x10\r\r",
    "\x10Theme\r\r"),
)  # fmt: skip
"""Keys and short runs of keys; `q`, Ctrl-C and Ctrl-Q are sent less often, as they end the dashboard."""

HOSTILE = (
    b"\xe9", b"\xff\xfe", b"\xc3", b"\xf0\x9f", b"\x1b[M\xe0\xf0\xff", b"\x1b[M !!", b"\x1b[99999999999u", b"\x1b[1114112u",
    b"\x1b[1;99999u", b"\x1b[97;5;1114112u", b"\x1b[<0;99999;99999M", b"\x1b[<-1;-1;-1M", b"\x1b[<64;5;5M", b"\x1b[<;;M",
    b"\x1b[48;0;0;0;0t", b"\x1b[48;5;5;0;0t", b"\x1b[?2048;1$y", b"\x1b[?2026;2$y", b"\x1b[200~", b"\x1b[200~ab\n\x1b[201~",
    b"\x1b[999;999R", b"\x1b[I", b"\x1b[O", b"\x1b]0;t\x07", b"\x1bP", b"\x1b[1;1;1;1;1;1;1;1;1;1;1;1m", b"\x9b2J",
    "\U0001f600é\u202e".encode(), b"\xed\xa0\x80",
)  # fmt: skip
"""Input that is no key: broken text, reports out of range, answers that no question was asked for, half sequences."""


def play(screen: Screen, dice: random.Random, end: float) -> None:
    """Send random input until the dashboard exits or `end` (monotonic seconds)."""
    while screen.process.poll() is None and time.monotonic() < end:
        kind = dice.random()
        if kind < 0.72:
            screen.send("".join(dice.choices(KEYS, k=dice.randint(1, 4))).encode())
        elif kind < 0.82:
            screen.send(dice.choice(HOSTILE))
        elif kind < 0.92:
            button = dice.choice((0, 0, 1, 2, 32, 35, 64, 65))
            screen.send(f"\x1b[<{button};{dice.randint(1, 160)};{dice.randint(1, 50)}{dice.choice('Mm')}".encode())
        elif kind < 0.985:
            screen.resize(*dice.choice(SIZES))
        else:
            screen.send(dice.choice((b"q", b"\x03", b"\x11")))
        screen.read(dice.choice((0.0, 0.0, 0.01, 0.05)))


def fuzz(directory: Path, seconds: float, seed: int) -> Iterator[str]:
    """Run dashboards of the project in `directory` with random input; yield a report for each crash or hang."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        dice = random.Random(seed)
        screen = Screen(["dashboard"], directory)
        try:
            screen.wait_for("live")
            play(screen, dice, min(end, time.monotonic() + 40))
            if screen.process.poll() is None:
                screen.resize(80, 24)
                screen.send(b"\x1b[201~")  # a paste may be open
                screen.read(0.5)
                screen.send(b"\x03")
                screen.wait_exit()
            code = screen.process.poll()
            if code not in (0, 130):
                text = screen.output[-1500:].decode("utf-8", "replace")
                yield f"seed {seed}: exit {code}: {text[text.rfind('minikube:') :]!r}"
        finally:
            screen.close()
        seed += 1


@contextlib.contextmanager
def project(directory: Path) -> Iterator[Path]:
    """Run a small project in `directory` until the `with` block ends."""
    registry, control = free_ports(2)
    ticker = "import time\\nfor n in range(99999): print('INFO tick', n); time.sleep(0.2)"
    (directory / "supervisor.toml").write_text(
        f'name = "fuzz"\n[registry]\nlisten = "127.0.0.1:{registry}"\n[control]\nlisten = "127.0.0.1:{control}"\n'
        f'[services.ticker]\ncommand = ["{sys.executable}", "-uc", "{ticker}"]\n'
        '[services.helper]\ncommand = ["sleep", "1000"]\nreplicas = 3\ndepends_on = { ticker = "started" }\n'
        '[services.crash]\ncommand = ["false"]\nrestart = { delay = "0.2s", max_delay = "1s", limit = 1000 }\n'
    )
    try:
        subprocess.run([MINIKUBE, "up", "-d"], cwd=directory, env=untraced(), check=True, timeout=60)
        yield directory
    finally:
        subprocess.run([MINIKUBE, "down", "--now"], cwd=directory, env=untraced(), timeout=60)


def main() -> int:
    """Run the fuzz as the arguments say; return the exit code."""
    seconds, seed = [*map(float, sys.argv[1:]), *(60.0, 1.0)[len(sys.argv) - 1 :]][:2]
    crashes = 0
    with tempfile.TemporaryDirectory() as directory, project(Path(directory)):
        for report in fuzz(Path(directory), seconds, int(seed)):
            crashes += 1
            print(report, flush=True)
        log = Path(directory, ".minikube/logs/minikube.dashboard.log")
        if log.exists():
            print(log.read_text())
    print(f"{seconds:g} s from seed {seed:g}: {crashes} crashes")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
