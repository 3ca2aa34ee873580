"""Rows of the state store by the wall clock as it is now, where it was set since their points in time were taken. Pure.

The supervisor takes points in time from `minikube.clock.steady_time`; users compare what is shown with their own clock.
"""

from msgspec.structs import replace

from minikube.model import InstanceView, PartView


def shift_instance(view: InstanceView, by: float) -> InstanceView:
    """Return the row of an instance with its points in time `by` seconds later; not `next_run`, which is by the wall clock."""
    return replace(
        view,
        check_since=_shifted(view.check_since, by),
        checked=_shifted(view.checked, by),
        started=_shifted(view.started, by),
        since=_shifted(view.since, by),
        next_try=_shifted(view.next_try, by),
    )


def shift_part(part: PartView, by: float) -> PartView:
    """Return the row of Redis or the registry with its points in time `by` seconds later."""
    return replace(part, since=_shifted(part.since, by), check_since=_shifted(part.check_since, by))


def _shifted(moment: float, by: float) -> float:
    return moment + by if moment else 0.0
