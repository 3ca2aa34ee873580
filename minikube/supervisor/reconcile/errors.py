"""Errors of a roll-out or a stop. The message names the instance, the reason, and what to do next."""

from minikube.errors import MinikubeError


class RolloutFailed(MinikubeError):
    """A restarted instance did not become ready; the replicas after it were not restarted."""


class Superseded(RolloutFailed):
    """A restart was given up because the instance or the whole project was stopped meanwhile."""


class StopTimeout(MinikubeError):
    """An instance still has a process after the time allowed for its stop."""
