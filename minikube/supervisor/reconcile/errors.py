"""Errors of a roll-out or a stop. The message names the instance, the reason, and what to do next."""

from minikube.errors import MinikubeError


class RolloutFailed(MinikubeError):
    """An instance did not start again; the instances after it were not restarted."""


class Superseded(RolloutFailed):
    """A later request (a stop, the end of the project) has overtaken the restart."""


class StopTimeout(MinikubeError):
    """An instance is still alive although its time to stop is over."""
