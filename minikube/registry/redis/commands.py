"""The commands that the registry sends on one connection to Redis, and how their replies are read.

Blocking, for a worker thread: every reply comes within the connection's time-out or raises redis-py's errors. A reply that is
not what its command returns, of a damaged Redis or of another program, raises redis-py's ConnectionError. It decides nothing.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from minikube.model import ChangeKind
from minikube.registry.catalog.change_log import MAX_ENTRIES, StreamTrimmer
from minikube.registry.catalog.records import Entry, Epoch, Record, StoreSnapshot
from minikube.registry.redis import scripts
from minikube.registry.redis.codec import (
    Keys,
    decode_entry,
    decode_registration,
    encode_instance_hash,
    encode_record,
    expected_instance_hash,
)
from minikube.registry.redis.connect import RedisConnection, unreadable_as_lost
from minikube.registry.redis.types import Heartbeat, Write

REVISION_LEAP = 1_000_000
"""What the revision jumps by when Redis lost data: more than any other registry can have been ahead."""

_SCRIPTS = (
    *(scripts.COMMIT, scripts.HEARTBEAT, scripts.RENEW, scripts.RESTORE),
    *(scripts.SNAPSHOT, scripts.AUDIT, scripts.REPAIR),
)
_COMMIT, _HEARTBEAT, _RENEW, _RESTORE, _SNAPSHOT, _AUDIT, _REPAIR = (
    sha1(text.encode()).hexdigest() for text in _SCRIPTS
)

AUDIT_CHUNK = 500
"""Records in one call of the audit script: it keeps Redis busy for some milliseconds."""

MAX_REVISION_DIGITS = 15
"""Lua's numbers are exact below 2^53."""

Command = Sequence[Any]
StreamEntry = tuple[int, dict[bytes, bytes]]
"""A revision and the fields of its entry in the stream of changes."""


class RedisCommands:
    """The commands on one connection, for the keys of one prefix."""

    def __init__(self, connection: RedisConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._trimmer = StreamTrimmer()

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    @unreadable_as_lost
    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands, then read all replies; a reply that is an error is returned as ResponseError.

        It exists for speed: hundreds of waiting writes take one round trip instead of one each.
        """
        # redis-py's Pipeline is no way: it puts each command with its arguments (whole registrations, here) in front of the
        # error's text, which users read, and turns replies into other types by the name of the command.
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        return [self._read_reply() for _ in commands]

    def execute(self, *command: Any) -> Any:
        """Send one command and return its reply; raise a reply that is an error."""
        (reply,) = self.pipeline([command])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def _read_reply(self) -> Any:
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def load_scripts(self) -> None:
        """Load all Lua scripts into Redis."""
        for reply in self.pipeline([("SCRIPT", "LOAD", text) for text in _SCRIPTS]):
            if isinstance(reply, ResponseError):
                raise reply

    def commit_command(self, write: Write, epoch: str, known: int, deadline: float, nonce: str) -> Command:
        """Return the command of one write. It is refused in another epoch, and where Redis is behind revision `known`.

        `deadline` is by Redis' own clock (Unix seconds): a write that was reported as failed must not be done later.
        """
        keys, record, old = self._keys, write.record, write.old or write.record
        fields = encode_instance_hash(record) if write.kind is ChangeKind.PUT else []
        data = encode_record(record)
        return (
            *("EVALSHA", _COMMIT, 8),
            *(keys.registrations, keys.addresses, keys.revision, keys.changes, keys.epoch),
            *(keys.instance(record), keys.instance(old), keys.leases),
            *(epoch, known, f"{deadline * 1e6:.0f}", write.kind.value, record.id, write.expected, write.incarnation),
            *(data, record.address_key, old.address_key if write.expected else ""),
            *(nonce, self._trimmer.max_length(len(data)), *fields),
        )

    def renewal_command(self, id_: str) -> Command:
        """Return the command that announces a lease renewal to the other registries."""
        return ("EVALSHA", _RENEW, 2, self._keys.registrations, self._keys.leases, id_)

    def revision_command(self) -> Command:
        """Return the command that reads the revision of the last write."""
        return ("GET", self._keys.revision)

    @unreadable_as_lost
    def heartbeat(self, node_id: str, known: int, *, with_renewals: bool) -> Heartbeat:
        """Count a heartbeat of this node; return the state of Redis, with the nonce of the entry at revision `known`."""
        keys = self._keys
        names = (keys.nodes, keys.epoch, keys.revision, keys.changes, keys.registrations, keys.leases)
        command = ("EVALSHA", _HEARTBEAT, 6, *names, node_id, known, "leases" if with_renewals else "")
        seconds, micros, epoch, revision, nonce, registrations, nodes, renewals = self._run_script(command)
        return Heartbeat(
            int(seconds) + int(micros) / 1e6,
            _text(epoch),
            _as_int(revision, keys.revision),
            _text(nonce),
            int(registrations),
            _counters(nodes),
            _counters(renewals) if with_renewals else None,
        )

    @unreadable_as_lost
    def read_snapshot(self) -> tuple[StoreSnapshot, list[str]]:
        """Return all that is stored, at one moment, and a description of each value that cannot be read and is left out."""
        keys = self._keys
        # One script, so that registrations and change log are of the same revision. No MULTI: a Redis that is out of memory
        # refuses reads inside it, and reports the reason of any refusal only as a discarded transaction.
        names = (keys.epoch, keys.revision, keys.registrations, keys.changes)
        reply = self._run_script(("EVALSHA", _SNAPSHOT, 4, *names, MAX_ENTRIES))
        (number, id_, parent_revision), last_revision, values, stream = reply
        epoch = _epoch(number or b"", id_ or b"", parent_revision or b"")
        unreadable: list[str] = []
        records = []
        for value in values:
            try:
                records.append(decode_registration(value))
            except ValueError as error:
                unreadable.append(f"registration {value[:60]!r}: {error}")
        log, nonce = _decode_log(reversed([_stream_entry(item) for item in stream]), unreadable)
        revision = _as_int(last_revision or 0, keys.revision)
        if stream and _stream_entry(stream[0])[0] > revision:
            # An entry of another program: Redis refuses each later one. A new epoch starts beyond it.
            epoch = Epoch(0, epoch.id)
        compacted = log[0].revision - 1 if log else revision
        return StoreSnapshot(epoch, revision, nonce, tuple(records), tuple(log), compacted), unreadable

    @unreadable_as_lost
    def restore(self, seen: Epoch, new: Epoch, records: Sequence[Record], tombstones: Sequence[Entry]) -> bool:
        """Put all records back into a Redis that lost them, and start epoch `new`.

        Return False if Redis is not in epoch `seen` any more: another registry was first.
        """
        keys = self._keys
        arguments: list[Any] = [seen.id, new.number, new.id, new.parent_revision, REVISION_LEAP, len(tombstones)]
        for entry in tombstones:
            arguments += [entry.record.id, entry.revision, keys.instance(entry.record)]
        for record in records:
            fields = encode_instance_hash(record)
            arguments += [record.id, record.revision, record.instance.incarnation, encode_record(record)]
            arguments += [record.address_key, keys.instance(record), len(fields), *fields]
        names = (keys.registrations, keys.addresses, keys.revision, keys.changes, keys.epoch, keys.leases)
        return bool(self._run_script(("EVALSHA", _RESTORE, 6, *names, *arguments))[0] == b"ok")

    @unreadable_as_lost
    def audit(self, epoch: str, records: Sequence[Record]) -> list[Record]:
        """Return the records of which Redis lost something: the hash, the registration, or the address."""
        keys = self._keys
        commands: list[Command] = []
        for start in range(0, len(records), AUDIT_CHUNK):
            arguments: list[Any] = [epoch]
            for record in records[start : start + AUDIT_CHUNK]:
                arguments += (record.id, record.revision, record.address_key, keys.instance(record))
                arguments.append(expected_instance_hash(record))
            commands.append(("EVALSHA", _AUDIT, 3, keys.registrations, keys.addresses, keys.epoch, *arguments))
        lost: list[Record] = []
        for number, command in enumerate(commands):
            lost += [records[number * AUDIT_CHUNK + index] for index in self._run_script(command)]
        return lost

    def repair(self, epoch: str, known: int, record: Record) -> bool:
        """Write again what Redis lost of a record; return False where another registry has changed it since.

        `known` is the revision of the catalog that has the record.
        """
        keys, instance = self._keys, record.instance
        names = (keys.registrations, keys.addresses, keys.epoch, keys.revision, keys.instance(record))
        values = (epoch, known, record.id, record.revision, instance.incarnation, encode_record(record))
        fields = encode_instance_hash(record)
        return bool(self._run_script(("EVALSHA", _REPAIR, 5, *names, *values, record.address_key, *fields)))

    @unreadable_as_lost
    def read_changes(self, after: int, block_ms: int) -> list[StreamEntry]:
        """Return the entries of the change log after a revision; wait up to `block_ms` for the first."""
        command = ("XREAD", "BLOCK", block_ms, "COUNT", 256, "STREAMS", self._keys.changes, f"{after}-0")
        reply = self.execute(*command)
        if not reply:
            return []
        ((_, entries),) = reply
        return [_stream_entry(item) for item in entries]

    @unreadable_as_lost
    def required_replicas(self) -> int:
        """Return how many replicas must have a write before it is durable (`min-replicas-to-write` of this master)."""
        try:
            reply = self.execute("CONFIG", "GET", "min-replicas-to-write")
            return int(reply[1]) if reply else 0
        except (ResponseError, ValueError):
            pass
        try:
            # Managed Redis forbids CONFIG. INFO has this line only where `min-replicas-to-write` is set: assume one replica.
            return int(b"min_slaves_good_slaves" in self.execute("INFO", "replication"))
        except NoPermissionError:
            # A user with `+@all -@dangerous` may read neither. The documentation says to allow INFO where it matters.
            return 0

    @unreadable_as_lost
    def find_foreign_key(self) -> str:
        """Return which of the registry's keys holds another program's value, and what to do; empty if none does."""
        keys = self._keys
        types = {
            **dict.fromkeys((keys.registrations, keys.addresses, keys.epoch, keys.nodes, keys.leases), b"hash"),
            keys.revision: b"string",
            keys.changes: b"stream",
        }
        *replies, revision = self.pipeline([*(("TYPE", key) for key in types), ("GET", keys.revision)])
        for (key, expected), found in zip(types.items(), replies, strict=True):
            if isinstance(found, bytes) and found not in (expected, b"none"):
                return f"{key} is a {found.decode()} of another program — delete it, or set another redis.prefix"
        if isinstance(revision, bytes) and not _is_number(revision):
            return f"{keys.revision} is no number — delete it, or set another redis.prefix"
        return ""

    def remove_nodes(self, nodes: Sequence[str]) -> None:
        """Remove registry nodes from the table of heartbeats."""
        self.execute("HDEL", self._keys.nodes, *nodes)

    def _run_script(self, command: Command) -> Any:
        try:
            return self.execute(*command)
        except NoScriptError:  # Redis was restarted, or a failover made another one the master
            self.load_scripts()
            return self.execute(*command)


def _decode_log(stream: Iterable[StreamEntry], unreadable: list[str]) -> tuple[list[Entry], str]:
    """Return the entries of the current epoch that follow each other without a gap, and the nonce of the last one."""
    log: list[Entry] = []
    nonce, is_whole = "", True
    for revision, fields in stream:
        try:
            entry = decode_entry(revision, fields)
        except (ValueError, KeyError) as error:
            unreadable.append(f"change {revision}: {error}")
            log.clear()
            is_whole = False
            continue
        if entry is None:
            log.clear()  # what is before the mark of an epoch belongs to another history
        else:
            log.append(entry)
        nonce = _text(fields.get(b"nonce", b""))
    return log, nonce if is_whole else ""


def _stream_entry(item: Any) -> StreamEntry:
    number, flat = item
    return int(number.partition(b"-")[0]), dict(_pairs(flat))


def _epoch(number: bytes, id_: bytes, parent_revision: bytes) -> Epoch:
    """Return the stored epoch. A damaged one is as none: the catalog restores Redis then, and starts a new one."""
    if not id_.isalnum():
        return Epoch()
    parent = int(parent_revision) if _is_number(parent_revision) else 0
    return Epoch(int(number) if _is_number(number) else 0, id_.decode("ascii"), parent)


def _counters(flat: Sequence[bytes]) -> dict[str, int]:
    """Return the counters of a hash by field, without damaged ones."""
    return {_text(name): int(value) for name, value in _pairs(flat) if _is_number(value)}


def _is_number(value: bytes) -> bool:
    return value.isdigit() and len(value) <= MAX_REVISION_DIGITS


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _as_int(value: bytes | int, key: str) -> int:
    """Return the number. Raises ResponseError for another program's value: the writer reports it as Redis' refusal."""
    try:
        return int(value)
    except ValueError:
        raise ResponseError(f"{key} is no number") from None


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
