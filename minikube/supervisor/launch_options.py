"""How `minikube up` was called, passed from the command line through the guardian to the supervisor.

Standard library only: the guardian imports it before anything heavy, because it forks from there.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LaunchOptions:
    """The options of one call of `minikube up` that the supervisor needs."""

    detach: bool = False
    """Return to the shell once the project runs."""
    services: tuple[str, ...] = ()
    """Start these services and what they depend on. Empty: the services without a profile and those of `profiles`."""
    profiles: tuple[str, ...] = ()
    """Active profiles of the manifest."""
    watch: bool = False
    """Apply the manifest whenever it is saved."""
    exit_with: str = ""
    """Stop the project when this service exits, and pass its exit code on."""
    abort_on_failure: bool = False
    """Stop the project when a service fails for good, and pass its exit code on."""
    prints_events: bool = False
    """`up` prints events and log lines: it is to have printed them when the project ends by itself."""
    unbuilt: tuple[str, ...] = ()
    """Services whose image could not be built just now. An older image of theirs is not used."""
