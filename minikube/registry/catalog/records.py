"""The registry's records, change log entries and snapshots. Pure data; their stored form is in `registry/redis/codec`."""

from msgspec import Struct, field
from msgspec.json import Encoder

from minikube.health.state import ProbeSettings
from minikube.model import ChangeKind, CheckState, Instance

_encode = Encoder().encode


class Record(Struct, frozen=True):
    """One registration: the instance as clients see it, and its check's thresholds."""

    # The registry stores this struct as JSON in Redis: the encoded names are part of the stored form.
    instance: Instance
    settings: ProbeSettings = ProbeSettings()
    state_after_maintenance: CheckState = field(name="resumed", default=CheckState.STARTING)
    """While the instance is in maintenance: the state of its checks, which it returns to."""
    owner: str = ""
    """The user, token or instance that registered it, in words; empty in records of versions without owners."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.instance.uuid

    @property
    def revision(self) -> int:
        """The revision of the record's last change."""
        return self.instance.revision

    @property
    def address_key(self) -> str:
        """`NAME ADDR`: two records with the same name and address are the same instance."""
        return f"{self.instance.name} {self.instance.addr}"

    @property
    def is_discoverable(self) -> bool:
        """Whether `Discovery.Get` returns the instance: it is `passing`."""
        return self.instance.state is CheckState.PASSING

    @property
    def check_state(self) -> CheckState:
        """The state that the checks found, also while maintenance hides it."""
        if self.instance.state is CheckState.MAINTENANCE:
            return self.state_after_maintenance
        return self.instance.state

    @property
    def is_ttl(self) -> bool:
        """Whether the instance has a `ttl:` check: it is not probed but renews a lease."""
        return self.instance.health_check == "ttl:"


class Entry(Struct, frozen=True):
    """One entry of the change log: `record` as it is after a `put`, as it was before a `gone`."""

    revision: int
    kind: ChangeKind
    record: Record
    nonce: str = ""
    """A random mark of the write: the same revision of another history has another one."""


class Epoch(Struct, frozen=True, order=True):
    """One history of revisions. When Redis lost data, a registry restores it and starts a new epoch, greater in `number`.

    A write of an older epoch is refused, as by the epochs of Redis Sentinel.
    """

    number: int = 0
    id: str = ""
    parent_revision: int = 0
    """The last revision of the parent epoch that the registry which started this one knew."""

    def __bool__(self) -> bool:
        return self.number > 0


class StoreSnapshot(Struct, frozen=True):
    """Everything stored in Redis at one moment."""

    epoch: Epoch
    revision: int
    nonce: str
    """The nonce of the entry at `revision`; empty if unknown."""
    records: tuple[Record, ...]
    log: tuple[Entry, ...]
    """The latest entries, oldest first: all after revision `compacted`."""
    compacted: int


def json_size(record: Record) -> int:
    """Return the record's size as JSON in bytes: about what it takes in memory and in Redis."""
    return len(_encode(record))
