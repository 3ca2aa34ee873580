"""Redis for a trio program: redis-py's blocking connection in one thread of its own, everything waiting sent at once.

Commands that arrive while a round trip is under way go out together in the next one, so a thousand waiting
callers cost two round trips, and trio never blocks. redis-py is imported in the thread too, when it is first
needed or a moment after the start: the program answers before that is done (it takes as long as everything else together).

Every command given to a store must be safe to repeat: after a broken connection it is sent once more on a new
one. What fails is one of two: `StoreAway` (it was not done) or `StoreSilent` (it may have been done).
The thread is a daemon and is never waited for without a bound.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import trio

if TYPE_CHECKING:
    from redis import ConnectionPool

CONNECT_AFTER_S = 0.15
"""From the start to the first connection, where nobody asks sooner: to be found comes first."""

CONNECT_TIMEOUT_S = 1.0
REPLY_TIMEOUT_S = 2.0
BATCH = 512
WAITING_MAX = 8192
SENTINEL_PORT = 26379

Word = str | bytes | int
Command = tuple[Word, ...]
Place = tuple[str, int]


class StoreAway(Exception):
    """Redis could not be reached or refused: nothing was done."""


class StoreSilent(Exception):
    """Redis was asked and no answer came: it may have been done. Ask again with the same key."""


class _Call:
    """One command on its way, and the tasks that wait for its reply (several, where a read is shared)."""

    __slots__ = ("command", "reply", "sent", "tasks")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.reply: Any = None
        self.tasks: list[trio.lowlevel.Task] = []
        self.sent = False


class Store:
    """A Redis at `url`. `scripts` are Lua sources by name; `greeting` is sent on every new connection."""

    def __init__(
        self,
        url: str,
        scripts: Mapping[str, str],
        greeting: Callable[["Store"], Sequence[Command]] | None = None,
    ) -> None:
        self.url = url
        self.scripts = scripts
        self.greeting = greeting
        self.shas: dict[str, str] = {}
        self.trouble = "not connected yet"
        """Why the store cannot be used, one line; empty while it can."""
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._reads: dict[Command, _Call] = {}
        self._waiting = 0
        self._token: trio.lowlevel.TrioToken | None = None

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Own the thread until cancelled. Commands may be given from `started` on, connected or not."""
        self.shas = {name: _sha1(source) for name, source in self.scripts.items()}
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._work, args=(self._token,), name="redis", daemon=True).start()
        task_status.started()
        try:
            await trio.sleep(CONNECT_AFTER_S)
            self._submit(_Call(("PING",)))  # connect: the first stock is written, `trouble` tells
            await trio.sleep_forever()
        finally:
            self._queue.put(None)
        raise AssertionError("unreachable")

    async def read(self, *command: Word) -> Any:
        """Run a command that changes nothing. Equal reads that are not sent yet share one."""
        call = self._reads.get(command)
        if call is None or call.sent:
            call = _Call(command)
            self._submit(call)
            self._reads[command] = call  # after it was taken: nobody may join one that is never sent
        return await self._wait(call)

    async def script(self, name: str, keys: Sequence[str], args: Sequence[Word] = ()) -> Any:
        """Run one of the scripts. StoreAway, StoreSilent."""
        call = _Call(self.script_command(name, keys, args))
        self._submit(call)
        return await self._wait(call)

    def script_command(self, name: str, keys: Sequence[str], args: Sequence[Word] = ()) -> Command:
        return ("EVALSHA", self.shas[name], len(keys), *keys, *args)

    def _submit(self, call: _Call) -> None:
        if self._waiting >= WAITING_MAX:
            raise StoreAway(f"{WAITING_MAX} commands are waiting for Redis already")
        self._waiting += 1
        self._queue.put(call)

    async def _wait(self, call: _Call) -> Any:
        task = trio.lowlevel.current_task()
        call.tasks.append(task)

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            call.tasks.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if isinstance(call.reply, Exception):
            raise call.reply
        return call.reply

    def _deliver(self, calls: Sequence[_Call], replies: Sequence[Any], trouble: str) -> None:
        """In trio's thread: hand every reply, or the exception in its place, to who waits for it."""
        self.trouble = trouble
        self._waiting -= len(calls)
        for call, reply in zip(calls, replies, strict=True):
            if self._reads.get(call.command) is call:
                del self._reads[call.command]
            call.reply = reply
            for task in call.tasks:
                trio.lowlevel.reschedule(task)
            call.tasks.clear()

    # ------------------------------------------------------------ below: in the thread

    def _work(self, token: "trio.lowlevel.TrioToken") -> None:
        link = _Link(self)
        while calls := self._take():
            try:
                replies, trouble = link.exchange([call.command for call in calls])
            except Exception as error:  # a defect must not end the thread: whoever waits would wait for ever
                link.close()
                trouble = f"{type(error).__name__}: {_one_line(error)}"
                replies = [StoreSilent(trouble) for _ in calls]
            try:
                token.run_sync_soon(self._deliver, calls, replies, trouble)
            except trio.RunFinishedError:
                break
        link.close()

    def _take(self) -> list[_Call]:
        """Everything that waits, at least one; empty when it is over."""
        calls: list[_Call] = []
        call = self._queue.get()
        while call is not None:
            call.sent = True
            calls.append(call)
            if len(calls) == BATCH or self._queue.empty():
                return calls
            call = self._queue.get()
        return []


class _Link:
    """The thread's one connection: made when needed, dropped when in doubt."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.pool: ConnectionPool | None = None
        self.connection: Any = None  # redis-py's connection; most of its methods carry no types

    def exchange(self, commands: Sequence[Command]) -> tuple[list[Any], str]:
        """A reply or an exception for every command, in order, and the trouble there is (empty: none)."""
        import redis

        replies: list[Any] = []
        trouble = ""
        asked = 0
        for attempt in (1, 2):
            try:
                connection = self.connection or self._connect()
            except (redis.RedisError, OSError, ValueError) as error:
                self.close()
                trouble = _one_line(error)
                break
            try:
                asked = len(commands)
                self._ask(connection, commands, replies)
                return self._judge(replies), ""
            except (redis.TimeoutError, TimeoutError) as error:
                self.close()
                trouble = f"no answer from Redis within {REPLY_TIMEOUT_S:g} s ({_one_line(error)})"
                break
            except (redis.RedisError, OSError) as error:
                self.close()
                trouble = _one_line(error)
                if attempt == 1:
                    continue
        failure = StoreSilent if asked else StoreAway
        replies = self._judge(replies)
        return replies + [failure(trouble) for _ in commands[len(replies) :]], trouble

    def close(self) -> None:
        if self.connection is not None:
            self.connection.disconnect()
        self.connection = None

    def _connect(self) -> Any:
        if self.pool is None:
            self.pool = open_pool(self.store.url)
        connection: Any = self.pool.make_connection()
        connection.connect()
        self.connection = connection
        loads: list[Command] = [("SCRIPT", "LOAD", source) for source in self.store.scripts.values()]
        greeting = self.store.greeting(self.store) if self.store.greeting else ()
        self._ask(connection, [*loads, *greeting], [])
        return connection

    def _ask(self, connection: Any, commands: Sequence[Command], replies: list[Any]) -> None:
        """Send what has no reply yet, all at once, and append the replies as they come."""
        import redis

        connection.send_packed_command(connection.pack_commands(commands[len(replies) :]))
        while len(replies) < len(commands):
            try:
                reply = connection.read_response()
            except redis.ResponseError as error:
                reply = error
            replies.append(reply)

    def _judge(self, replies: list[Any]) -> list[Any]:
        """What Redis refused was not done. It also means: make a new connection (failed over, flushed, logged out)."""
        if any(isinstance(reply, Exception) for reply in replies):
            self.close()
        return [StoreAway(_one_line(reply)) if isinstance(reply, Exception) else reply for reply in replies]


def open_pool(url: str) -> "ConnectionPool":
    """redis-py's pool for `redis://`, `rediss://`, `unix://`, or `redis+sentinel://host:port,…/service/db?sentinel_password=…`.

    ValueError for what is none.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    bounds: dict[str, Any] = {
        "socket_timeout": REPLY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("redis+sentinel://"):
        return redis.ConnectionPool.from_url(url, **bounds)
    import redis.sentinel

    sentinel: Any = redis.sentinel  # without types

    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    if not colon:
        user, password = "", login
    service, _, db = parts.path.removeprefix("/").partition("/")
    asked = dict(parse_qsl(parts.query))
    sentinel_login = {key: asked[f"sentinel_{key}"] for key in ("username", "password") if f"sentinel_{key}" in asked}
    manager = sentinel.Sentinel(
        [_sentinel_place(host) for host in hosts.split(",")], sentinel_kwargs={**bounds, **sentinel_login}
    )
    login_words = {"username": unquote(user) or None, "password": unquote(password) or None}
    pool: ConnectionPool = sentinel.SentinelConnectionPool(
        unquote(service) or "mymaster", manager, db=int(db.strip("/") or 0), **login_words, **bounds
    )
    return pool


def _sentinel_place(text: str) -> Place:
    """`host`, `host:port` or `[v6]:port`. ValueError."""
    one = urlsplit(f"//{text}")
    return one.hostname or "127.0.0.1", one.port or SENTINEL_PORT


def _sha1(source: str) -> str:
    from hashlib import sha1

    return sha1(source.encode(), usedforsecurity=False).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
