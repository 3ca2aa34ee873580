"""What is said to Redis on one connection (floor 3, for one worker thread): scripts, the snapshot, the restoring.

Blocking; every answer comes within the connection's time-out or raises redis-py's errors. Decides nothing.
"""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from minikube.model import ChangeKind
from minikube.registry.catalog.catalog import Snapshot
from minikube.registry.catalog.change_log import LOG_LENGTH, Mean
from minikube.registry.catalog.records import (
    Entry,
    Epoch,
    Keys,
    Record,
    address_field,
    dump,
    hash_fields,
    load_entry,
    load_registration,
)
from minikube.registry.redis import scripts
from minikube.registry.redis.connect import RedisConnection
from minikube.registry.redis.types import Heartbeat, Write

LEAP = 1_000_000
"""What the revision jumps by when a lost history is replaced: more than anyone can have been ahead of us."""

_SCRIPTS = (scripts.COMMIT, scripts.TICK, scripts.RENEW, scripts.RESTORE)
_COMMIT, _TICK, _RENEW, _RESTORE = (sha1(text.encode()).hexdigest() for text in _SCRIPTS)

Command = Sequence[Any]


class RedisCommands:
    """One connection and the keys it speaks of."""

    def __init__(self, wire: RedisConnection, keys: Keys) -> None:
        self._wire = wire
        self._keys = keys
        self._mean = Mean()

    def close(self) -> None:
        self._wire.disconnect()

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Send all, then read all; an answer that is an error is returned as ResponseError."""
        self._wire.send_packed_command(self._wire.pack_commands(commands), check_health=False)
        return [self._read() for _ in commands]

    def ask_one(self, *command: Any) -> Any:
        """One command; its error is raised."""
        (answer,) = self.ask([command])
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    def _read(self) -> Any:
        try:
            return self._wire.read_response()
        except ResponseError as error:
            return error

    def load_scripts(self) -> None:
        for answer in self.ask([("SCRIPT", "LOAD", text) for text in _SCRIPTS]):
            if isinstance(answer, ResponseError):
                raise answer

    def commit_command(self, op: Write, epoch: str, known: int, deadline: float, nonce: str) -> Command:
        """`deadline` is by Redis's own clock (Unix seconds): a write told to have failed must not happen later."""
        keys, record, old = self._keys, op.record, op.old or op.record
        fields = hash_fields(record) if op.kind is ChangeKind.PUT else []
        data = dump(record)
        return (
            *("EVALSHA", _COMMIT, 8),
            *(keys.registrations, keys.addresses, keys.revision, keys.changes, keys.epoch),
            *(keys.instance(record), keys.instance(old), keys.leases),
            *(epoch, known, f"{deadline * 1e6:.0f}", op.kind.value, record.id, op.expected, op.incarnation),
            *(data, address_field(record), address_field(old) if op.expected else ""),
            *(nonce, self._mean.length_with(len(data)), *fields),
        )

    def tick(self, node: str, known: int, *, leases: bool) -> Heartbeat:
        keys = self._keys
        names = (keys.nodes, keys.epoch, keys.revision, keys.changes, keys.registrations, keys.leases)
        command = ("EVALSHA", _TICK, 6, *names, node, known, "leases" if leases else "")
        seconds, micros, epoch, revision, nonce, count, nodes, renewed = self._scripted(command)
        return Heartbeat(
            int(seconds) + int(micros) / 1e6,
            epoch.decode(),
            _number(revision, keys.revision),
            nonce.decode(),
            count,
            {name.decode(): int(value) for name, value in _pairs(nodes)},
            {name.decode(): int(value) for name, value in _pairs(renewed)} if leases else None,
        )

    def load(self, broken: list[str]) -> Snapshot:
        """All that is stored, at one moment. What cannot be read is left out and noted in `broken`."""
        keys = self._keys
        self.ask_one("MULTI")
        reads: list[Command] = [
            ("HMGET", keys.epoch, "n", "id", "floor"),
            ("GET", keys.revision),
            ("HVALS", keys.registrations),
            ("XREVRANGE", keys.changes, "+", "-", "COUNT", LOG_LENGTH),
        ]
        *_, answer = self.ask([*reads, ("EXEC",)])
        for one in [answer] if isinstance(answer, ResponseError) else answer:
            if isinstance(one, ResponseError):
                raise one
        (n, id_, floor), top, values, stream = answer
        epoch = Epoch()
        if id_ and n:
            epoch = Epoch(_number(n, keys.epoch), id_.decode("utf-8", "replace"), _number(floor or 0, keys.epoch))
        records = []
        for value in values:
            try:
                records.append(load_registration(value))
            except ValueError as error:
                broken.append(f"registration {value[:60]!r}: {error}")
        log: list[Entry] = []
        nonce, whole = "", True
        for number, raw in reversed(stream):
            fields = dict(zip(raw[::2], raw[1::2], strict=True))
            revision = int(number.partition(b"-")[0])
            try:
                entry = load_entry(revision, fields)
            except (ValueError, KeyError) as error:
                broken.append(f"change {revision}: {error}")
                log.clear()
                whole = False
                continue
            if entry is None:
                log.clear()  # what is before the mark of an epoch is another line of history
            else:
                log.append(entry)
            nonce = fields.get(b"nonce", b"").decode()
        revision = _number(top or 0, keys.revision)
        floor_known = log[0].revision - 1 if log else revision
        if not log and not stream and revision == 0:
            floor_known = 0
        if not whole:
            nonce = ""
        return Snapshot(epoch, revision, nonce, tuple(records), tuple(log), floor_known)

    def restore(self, seen: Epoch, new: Epoch, records: Sequence[Record], tombs: Sequence[Entry]) -> bool:
        """Put all of ours back into a Redis that lost it, as the begin of epoch `new`. False: another was first."""
        keys = self._keys
        arguments: list[Any] = [seen.id, new.n, new.id, new.floor, LEAP, len(tombs)]
        for tomb in tombs:
            arguments += [tomb.record.id, tomb.revision, keys.instance(tomb.record)]
        for record in records:
            fields = hash_fields(record)
            arguments += [record.id, record.revision, record.instance.incarnation, dump(record)]
            arguments += [address_field(record), keys.instance(record), len(fields), *fields]
        names = (keys.registrations, keys.addresses, keys.revision, keys.changes, keys.epoch, keys.leases)
        return bool(self._scripted(("EVALSHA", _RESTORE, 6, *names, *arguments))[0] == b"ok")

    def follow(self, after: int, wait_ms: int) -> list[tuple[int, dict[bytes, bytes]]]:
        """The log's entries after a revision; waits for the first up to `wait_ms`."""
        command = ("XREAD", "BLOCK", wait_ms, "COUNT", 256, "STREAMS", self._keys.changes, f"{after}-0")
        answer = self.ask_one(*command)
        if not answer:
            return []
        ((_, entries),) = answer
        return [
            (int(number.partition(b"-")[0]), dict(zip(raw[::2], raw[1::2], strict=True))) for number, raw in entries
        ]

    def confirmations(self) -> int:
        """How many replicas this master wants (`min-replicas-to-write`); a write is durable when so many have it."""
        try:
            answer = self.ask_one("CONFIG", "GET", "min-replicas-to-write")
            return int(answer[1]) if answer else 0
        except (ResponseError, ValueError):  # managed Redis forbids CONFIG
            return int(b"min_slaves_good_slaves" in self.ask_one("INFO", "replication"))

    def misplaced(self) -> str:
        """Which of our keys holds a value that is not ours, for people; empty where none does."""
        keys = self._keys
        kinds = {
            **dict.fromkeys((keys.registrations, keys.addresses, keys.epoch, keys.nodes, keys.leases), b"hash"),
            keys.revision: b"string",
            keys.changes: b"stream",
        }
        *answers, revision = self.ask([*(("TYPE", key) for key in kinds), ("GET", keys.revision)])
        for (key, kind), found in zip(kinds.items(), answers, strict=True):
            if isinstance(found, bytes) and found not in (kind, b"none"):
                return f"{key} is a {found.decode()} of somebody else's — delete it, or set another redis.prefix"
        if isinstance(revision, bytes) and not revision.isdigit():
            return f"{keys.revision} is no number — delete it, or set another redis.prefix"
        return ""

    def forget_nodes(self, nodes: Sequence[str]) -> None:
        self.ask_one("HDEL", self._keys.nodes, *nodes)

    def renewed(self, id_: str) -> Command:
        return ("EVALSHA", _RENEW, 2, self._keys.registrations, self._keys.leases, id_)

    def revision_command(self) -> Command:
        return ("GET", self._keys.revision)

    def _scripted(self, command: Command) -> Any:
        try:
            return self.ask_one(*command)
        except NoScriptError:
            self.load_scripts()
            return self.ask_one(*command)


def _number(value: bytes | int, key: str) -> int:
    """What somebody else wrote under our key is a refusal like Redis' own: told, and not fallen over."""
    try:
        return int(value)
    except ValueError:
        raise ResponseError(f"{key} is no number") from None


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
