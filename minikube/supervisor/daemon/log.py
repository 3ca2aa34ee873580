"""The supervisor's own log, `.minikube/logs/minikube.supervisor.log`: its format and its levels.

Modules log with `logging.getLogger(__name__)`. The records go to stderr, which the guardian has redirected to the file: so the
output of a crashing interpreter stands there in order with the records. It refuses to log services: `minikube.logs` does.
"""

import logging
import time
from collections.abc import Mapping

DEBUG_ENV = "MINIKUBE_DEBUG"
"""Where this variable is set, records of level DEBUG are written too."""

ACCEPT_LOGGER = "trio.serve_listeners"
"""Where trio logs that it has no descriptor or memory for a connection."""
ACCEPT_ERRORS_EVERY_S = 60.0

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


class AcceptErrorFilter(logging.Filter):
    """Keeps a record of `ACCEPT_LOGGER` each `ACCEPT_ERRORS_EVERY_S`, without its traceback: without a free descriptor trio logs
    ten a second, and each one says the same."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to keep the record, and take its traceback away."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + ACCEPT_ERRORS_EVERY_S
        record.exc_info = record.exc_text = None
        return True


def configure_logging(environ: Mapping[str, str]) -> None:
    """Write log records to stderr: INFO and above, with `DEBUG_ENV` in `environ` DEBUG too; of libraries WARNING and above."""
    formatter = logging.Formatter(FORMAT, TIME_FORMAT)
    formatter.converter = time.gmtime  # UTC, so that records of a machine that changes its time zone stay in order
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(ACCEPT_LOGGER).filters[:] = [AcceptErrorFilter()]
    logging.getLogger("minikube").setLevel(logging.DEBUG if environ.get(DEBUG_ENV) else logging.INFO)
