"""Who there is (floor 3): the runners of every service, by name and id, those that are still leaving included.

It refuses to start or stop any of them, and to wait.
"""

from collections.abc import Iterator

from minikube.supervisor.instance.conditions import DependencyStatus
from minikube.supervisor.instance.controller import InstanceController


class ReplicaSet:
    """Belongs to the trio thread."""

    def __init__(self) -> None:
        self._services: dict[str, list[InstanceController]] = {}
        self.by_id: dict[str, InstanceController] = {}
        """Those that are still leaving, too."""
        self.all: set[InstanceController] = set()
        """The same, and one that is still leaving while the next one of its id waits for its end."""

    def __contains__(self, service: object) -> bool:
        return service in self._services

    def __iter__(self) -> Iterator[InstanceController]:
        """Of all services, without those that are leaving."""
        for runners in self._services.values():
            yield from runners

    def of(self, service: str) -> list[InstanceController]:
        return list(self._services.get(service, ()))

    def find(self, name: str) -> list[InstanceController]:
        """A service's, or the one instance of that name or id; none where it is neither."""
        if name in self._services:
            return self.of(name)
        return [one for one in self if name in (one.name, one.id)][:1]

    def alive(self, name: str) -> list[InstanceController]:
        """As `find`, and those of that name that are still leaving: nobody is out of reach before he has gone."""
        found = self.find(name)
        leaving = (one for one in self.all if one not in found and name in (one.spec.name, one.name, one.id))
        return [*found, *leaving]

    def open(self, service: str) -> None:
        self._services[service] = []

    def close(self, service: str) -> None:
        del self._services[service]

    def enter(self, runner: InstanceController) -> InstanceController | None:
        """Who is still leaving under the same id."""
        previous = self.by_id.get(runner.id)
        self._services[runner.spec.name].append(runner)
        self.by_id[runner.id] = runner
        self.all.add(runner)
        return previous

    def cut(self, service: str, replicas: int) -> list[InstanceController]:
        """The last ones are no replicas of it any more."""
        runners = self._services[service]
        leaving = runners[replicas:]
        del runners[replicas:]
        return leaving

    def leave(self, runner: InstanceController) -> bool:
        """It has finished. False: another one has its id already."""
        self.all.discard(runner)
        if self.by_id.get(runner.id) is not runner:
            return False
        del self.by_id[runner.id]
        return True

    def standings(self, service: str) -> list[DependencyStatus]:
        return [runner.standing for runner in self.of(service)]

    def ports_of_others(self, id: str) -> frozenset[int]:
        """Whether they listen already or not."""
        return frozenset(one.port for one in self if one.id != id and one.port)
