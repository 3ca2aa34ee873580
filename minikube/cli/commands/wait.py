"""`wait`: until instances have reached a goal (see `cli.goals`)."""

from __future__ import annotations

from dataclasses import dataclass

import click

from minikube.cli.goals import GOALS
from minikube.cli.lifecycle.goal_wait import wait_for_goal
from minikube.cli.options import json_option, manifest_option, names_argument, pass_options, timeout_option


@dataclass(frozen=True)
class WaitOptions:
    """The arguments and options of `wait`."""

    names: tuple[str, ...]
    """Empty: all services that `up` starts."""
    goal: str
    """A key of `GOALS`."""
    timeout: float
    """In seconds."""
    manifest: tuple[str, ...]
    as_json: bool


# \b keeps click from wrapping the lines of the list into one paragraph.
GOALS_HELP = "\b\nGoals:\n" + "\n".join(f"  {goal:<10} {meaning}" for goal, meaning in GOALS.items())


@click.command(epilog=GOALS_HELP)
@names_argument(required=False)
@click.option(
    "--for",
    "goal",
    type=click.Choice(list(GOALS)),
    default="ready",
    show_default=True,
    help="What to wait for: see below.",
)
@timeout_option(default="60s", help="Stop waiting after this time, with exit code 124.")
@manifest_option
@json_option
@pass_options(WaitOptions)
def wait_command(options: WaitOptions) -> int:
    """Wait until all instances of NAMES, or of all services, are ready or have reached another goal.

    NAMES are services, instances or ids. When an instance cannot reach the goal any more (it is fatal, or a task has
    failed), the command fails at once, with exit code 1.
    """
    return wait_for_goal(options.names, options.goal, options.timeout, options.manifest, options.as_json)
