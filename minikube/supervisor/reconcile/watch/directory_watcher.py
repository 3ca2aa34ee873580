"""Watches directories with the library watchfiles, in a thread, and reports changed paths in the trio thread.

It refuses to filter paths: `watcher` does.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

STEP_MS = 50
"""How often the thread checks whether it is to stop, and whether a burst of changes is over."""

BURST_MS = 1_000
"""How long a burst of changes is collected at most."""

TIMEOUT_MS = 100
"""How long watchfiles waits for changes before it yields an empty result."""

OnChange = Callable[[frozenset[Path]], object]


class DirectoryWatcher:
    """Watches directories, not their subdirectories, for changes from its creation until `close`, in a thread.

    `on_change` is called in the trio thread with the paths that were created, changed or removed.
    """

    def __init__(self, directories: Iterable[Path], on_change: OnChange) -> None:
        self.started = trio.Event()
        """Set once the directories are watched, or cannot be: then `error` is the reason."""
        self.error = ""
        self._paths = sorted(map(str, directories))
        self._on_change = on_change
        self._stop = threading.Event()
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._run, name="directory-watcher", daemon=True).start()

    def close(self) -> None:
        """Stop watching. Return immediately; the thread ends a moment later."""
        self._stop.set()

    def _run(self) -> None:
        """Watch until `close` is called or watching fails. Runs in the thread."""
        # Here: the import costs 100 ms and 8 MB, which only a project that watches files should pay.
        from watchfiles import watch

        changes = watch(
            *self._paths,
            watch_filter=None,
            debounce=BURST_MS,
            step=STEP_MS,
            stop_event=self._stop,
            rust_timeout=TIMEOUT_MS,
            # The first result, an empty one included, is the only sign that the directories are being watched.
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        try:
            for found in changes:
                self._call(self.started.set)
                if found:
                    self._call(self._on_change, frozenset(Path(path) for _, path in found))
        except (OSError, RuntimeError) as error:
            self._call(self._fail, str(error))

    def _fail(self, error: str) -> None:
        self.error = error
        self.started.set()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the trio thread, without waiting for it."""
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *arguments)
