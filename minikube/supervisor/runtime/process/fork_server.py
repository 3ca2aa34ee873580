"""The fork server: a process with one thread that starts the supervisor's children.

    supervisor ── requests, with the pipes' ends ──► fork server ── spawn ──► new process
         ▲                                                │ exit                  │
         │                                                ▼                       │
         │            standby, which is the fork server from now on               │
         └──────────── as the nearest subreaper, the parent from now on ──────────┘

The supervisor has threads and raises its own limits. This process is forked before all that: it has the limits of the shell
that ran `up`, one thread, the default action for every signal, and no descriptor but its socket, and so has what it starts.
It serves the requests that have arrived and exits: then the kernel makes the supervisor the parent of its children, which
sees their exits itself. A standby, forked before the requests, goes on; it also does where the fork server is killed.
While nothing is to be started, the fork server joins the control group of the next start, as that takes the kernel some time.
`fork_client` is the other end. Standard library only. It refuses to remember its children and to wait for them.
"""

import array
import contextlib
import errno
import gc
import marshal
import os
import posix
import resource
import select
import socket
import sys
import traceback
from typing import NoReturn

from minikube.linux.cgroup import find_hierarchies
from minikube.linux.clone import fork_into_cgroup
from minikube.linux.commands import spawn
from minikube.linux.exec_context import (
    ExecContext,
    ExecFailure,
    enter_directory,
    enter_session,
    exec_failure,
    execute,
    find_program,
    open_silent_stdin,
    set_attributes,
)
from minikube.linux.signal_actions import reset_signals

MOST_DESCRIPTORS = 4

MOST_REQUESTS = 64
"""How many requests one fork server serves before it exits. The exits of what it has started are seen only then."""

FORKED_REQUESTS = 8
"""How many of them are forked into their control group, where no other one waits: see `linux.clone`. For many, moving this
process into each group takes less time."""

LINGER_MS = 2
"""How long it waits for another request before it exits."""

MESSAGE_BYTES = 65_536
"""The longest request that is sent as it is."""

IN_FILE = b"\0"
"""The text of a longer request, whose `ExecContext` is in a file."""

JOIN = b"\1"
"""Before the path of a control group, which the process that serves joins while nothing is to be started: a request without
descriptors. Its next start is in this group, and its last."""

PID = "pid"
"""The first message on the status pipe of a start: `(PID, pid, "")`. The others are the fields of an `ExecFailure`."""

NOT_EXECUTED = 127

HOME_GROUP = os.fsencode(find_hierarchies()[0] or b"")
"""The v2 control group of this process, to which it returns after it has started a process in another one."""


def serve(sock: socket.socket) -> NoReturn:
    """Start a process for each request on `sock` until the supervisor closes its end; then exit.

    A request is a marshalled `ExecContext`, or nothing where it is in a file, and descriptors: the status pipe, then stdout
    and stderr, or one terminal; and that file at the end.
    """
    os.setsid()  # `ForkServer.kill` ends all processes of this group
    os.chdir("/")
    reset_signals()
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    # Memory that nothing writes to stays shared with the standby, so that forking it is faster.
    gc.disable()
    gc.freeze()
    while not _is_closed(sock):
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            os.close(write_end)
            os.read(read_end, 1)  # its end is the end of the process that serves
            os.close(read_end)
            continue
        os.close(read_end)
        _warm_up()
        _serve_requests(sock, write_end)
        break
    # Not os._exit, which a measurement of coverage wraps to save what it has found: it would do so at the end of each start.
    posix._exit(0)


def _warm_up() -> None:
    """Handle a request that fails, so that the first real one takes half the time.

    After a fork, the kernel copies each page when it is written to for the first time.
    """
    read_end, write_end = os.pipe()
    context = ExecContext((b"true",), os.environb, b"/dev/null")
    _start(marshal.dumps((context.argv, dict(context.env), *context[2:])), [write_end] * 3, -1, is_alone=False)
    os.close(read_end)
    os.close(write_end)


def _is_closed(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _serve_requests(sock: socket.socket, serving: int) -> None:
    """Serve the first request and those that follow immediately. `serving` is open as long as this process serves."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    joined, served = b"", 0
    # The group that was joined belongs to one start. This process exits, as leaving the group may take 15 ms.
    while served < (1 if joined else MOST_REQUESTS):
        poll.poll(LINGER_MS if served else None)
        # Not socket.recv_fds(), which ignores its flags: without CLOEXEC every program would inherit the descriptors.
        space = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
        try:
            flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            body, messages, _, _ = sock.recvmsg(MESSAGE_BYTES, space, flags)
        except BlockingIOError:
            return
        descriptors = [number for _, _, content in messages for number in array.array("i", content)]
        if not body:
            return
        if body.startswith(JOIN):
            joined = body.removeprefix(JOIN)
            _join_group(joined)
            continue
        is_alone = served < FORKED_REQUESTS and not poll.poll(0)
        _start(body, descriptors, serving, is_alone=is_alone, joined=joined)
        served += 1
        for descriptor in descriptors:
            os.close(descriptor)


def _start(body: bytes, descriptors: list[int], serving: int, is_alone: bool, joined: bytes = b"") -> None:
    """Start one process, and tell the supervisor its pid or the failure.

    `is_alone`: few others are started with it. `joined` is the control group that this process has joined for it.
    """
    if not descriptors:
        return  # no descriptor was left for them: the supervisor sees the end of the status pipe
    status, *streams = descriptors
    try:
        if body == IN_FILE:
            with open(streams.pop(), "rb", closefd=False) as file:
                body = file.read()
        context = ExecContext(*marshal.loads(body))
        if len(streams) != (1 if context.tty else 2):
            raise ExecFailure("descriptors", errno.EMFILE)
        if joined and not context.cgroup:
            _join_group(HOME_GROUP)
        if context.is_plain and (context.cgroup == joined or not is_alone):
            _tell(status, PID, _spawn(context, streams, joined))
        elif _fork(context.cgroup) == 0:
            os.close(serving)
            _run_child(context, status, streams)
    except ExecFailure as failure:
        _tell(status, failure.stage, failure.errno, failure.path)
    except OSError as error:
        _tell(status, "fork", error.errno or errno.EIO)
    except Exception:
        # A request that no code here expects must not end this process, as it would end the next one, too.
        traceback.print_exc()
        _tell(status, "fork", errno.EINVAL)


def _spawn(context: ExecContext, streams: list[int], joined: bytes) -> int:
    """Start a process that can inherit its attributes from this one; return its pid. Raises `ExecFailure` and OSError."""
    stdin, moves = open_silent_stdin(), context.cgroup != joined
    try:
        if moves:
            _join_group(context.cgroup)
        enter_directory(context.cwd)
        program = find_program(context.argv[0], context.env)
        try:
            process = spawn(
                context.argv,
                context.env,
                (stdin, streams[0], streams[1]),
                program=program,
                umask=context.umask,
                close_descriptors=False,
            )
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOMEM):
                raise
            raise exec_failure(program, error) from None
        process.returncode = 0  # its exit is the supervisor's affair
        return process.pid
    finally:
        os.close(stdin)
        os.chdir("/")
        if moves:  # before the answer: from then on the whole group may be killed
            _join_group(HOME_GROUP)


def _fork(group: bytes) -> int:
    """Fork into a control group; return the pid, or 0 in the new process. Raises OSError."""
    if group:
        try:
            return fork_into_cgroup(group)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ENOMEM):
                raise
    pid = os.fork()
    if pid == 0:
        _join_group(group)
    return pid


def _run_child(context: ExecContext, status: int, streams: list[int]) -> NoReturn:
    """Set up this new process and execute its program. Every descriptor but the first three is closed at exec."""
    try:
        _tell(status, PID, os.getpid())
        for group in context.legacy_cgroups:
            _join_group(group)
        os.dup2(streams[0] if context.tty else open_silent_stdin(), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[-1], 2)
        enter_session(context.tty)
        set_attributes(context, (0, 1, 2))
        execute(context.argv, context.env)
    except ExecFailure as failure:
        _tell(status, failure.stage, failure.errno, failure.path)
    except OSError as error:
        _tell(status, "descriptors", error.errno or errno.EIO)
    except BaseException:
        traceback.print_exc()
        _tell(status, "fork", errno.EINVAL)  # in any case: the end of the status pipe alone means success
    finally:
        posix._exit(NOT_EXECUTED)


def _join_group(group: bytes) -> None:
    """Move this process into a control group; does nothing for an empty path.

    Where that fails, the tree is still found by a walk through `/proc`; if it has limits, `Group.add` makes a warning.
    """
    if group:
        with contextlib.suppress(OSError):
            descriptor = os.open(group + b"/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"0")
            finally:
                os.close(descriptor)


def _tell(status: int, stage: str, number: int, path: str = "") -> None:
    os.write(status, marshal.dumps((stage, number, os.fsencode(path))))


def main(arguments: list[str]) -> NoReturn:
    """Serve on an inherited socket: `main([descriptor, soft limit])`. Used where an earlier fork server has ended.

    The soft limit on descriptors is the one with which `up` was called; the supervisor, which executes this, has a higher one.
    """
    descriptor, soft = map(int, arguments)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    serve(sock)


if __name__ == "__main__":
    main(sys.argv[1:])
