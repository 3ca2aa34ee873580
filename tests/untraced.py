"""Programs that run without coverage, where it would find nothing new or could not be kept.

A process that is killed saves no coverage, and to import the tracer takes longer than most commands of ours run.
"""

import os

TRACED = "COVERAGE_"
"""What the names begin with by which a process learns that its coverage is asked for."""

UNTRACED = {"COVERAGE_PROCESS_CONFIG": ""}
"""What turns coverage off when it is added to an environment."""


def untraced() -> dict[str, str]:
    """Return this process' environment without what turns coverage on."""
    return {name: value for name, value in os.environ.items() if not name.startswith(TRACED)}
