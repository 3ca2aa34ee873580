"""What a roll-out or a stop fails with. The message says which instance, why, and what to do next."""

from minikube.errors import MinikubeError


class RolloutFailed(MinikubeError):
    """A restarted instance did not become ready; the replicas after it were not restarted."""


class Superseded(RolloutFailed):
    """A restart was given up because the instance or the whole project was stopped meanwhile."""


class StopTimeout(MinikubeError):
    """An instance still has a process after the time allowed for its stop."""
