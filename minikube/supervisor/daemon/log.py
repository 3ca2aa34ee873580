"""The supervisor's own log, `.minikube/logs/supervisor.log`: its format and its levels.

Modules log with `logging.getLogger(__name__)`. The records go to stderr, which the guardian has redirected to the file: so the
output of a crashing interpreter stands there in order with the records. It refuses to log services: `minikube.logs` does.
"""

import logging
import time
from collections.abc import Mapping

DEBUG_ENV = "MINIKUBE_DEBUG"
"""Where this variable is set, records of level DEBUG are written too."""

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"


def configure_logging(environ: Mapping[str, str]) -> None:
    """Write log records to stderr: INFO and above, with `DEBUG_ENV` in `environ` DEBUG too; of libraries WARNING and above."""
    formatter = logging.Formatter(FORMAT, TIME_FORMAT)
    formatter.converter = time.gmtime  # UTC, so that records of a machine that changes its time zone stay in order
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("minikube").setLevel(logging.DEBUG if environ.get(DEBUG_ENV) else logging.INFO)
