"""A thread that hears what changes in directories (floor 3): watchfiles' notifier, told to trio.

It knows no meaning of anything, and forgets nothing: filters are the listener's.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

STEP_MS = 50
"""How often the notifier's thread looks whether it is to stop, and whether a burst of changes is over."""

BURST_MS = 1_000
TIMEOUT_MS = 3_600_000
POLL_MS = 300

Heard = Callable[[frozenset[Path]], object]


class DirectoryWatcher:
    """Hears from its making to `close`. `heard` is called in the trio thread with paths that were made, changed or removed.

    `listening` is set when it hears, or cannot: then `failed` says why. Not recursive: each directory is named.
    """

    def __init__(self, directories: Iterable[Path], heard: Heard) -> None:
        self.listening = trio.Event()
        self.failed = ""
        self._paths = sorted(map(str, directories))
        self._heard = heard
        self._stop = threading.Event()
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._run, name="ear", daemon=True).start()

    def close(self) -> None:
        """Returns at once; the thread ends within a step."""
        self._stop.set()

    def _run(self) -> None:
        from watchfiles._rust_notify import RustNotify  # costs 100 ms and 8 MB: only where something is watched

        polling = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower() not in ("", "false", "disable", "disabled")
        try:
            with RustNotify(self._paths, False, polling, POLL_MS, False, True) as notifier:
                self._call(self.listening.set)
                while not self._stop.is_set():
                    found = notifier.watch(BURST_MS, STEP_MS, TIMEOUT_MS, self._stop)
                    if isinstance(found, set):
                        self._call(self._heard, frozenset(Path(path) for _, path in found))
        except (OSError, RuntimeError) as error:
            self._call(self._fail, str(error))

    def _fail(self, why: str) -> None:
        self.failed = why
        self.listening.set()

    def _call(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(what, *arguments)
