"""The project's processes: births that services report, the parts' pids, deaths by pidfd, and what is left at the end."""

import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import trio

from minikube.linux.processes import read_stat, scan_processes
from tests.chaos.model import Process
from tests.chaos.run_context import RunContext

MESSAGE_BYTES = 4_096


def open_births(path: Path) -> socket.socket:
    """Return the socket to which services report."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.setblocking(False)
    return sock


async def receive_births(run: RunContext, sock: socket.socket) -> None:
    """Take the pidfds that services send, and follow each process until it ends."""
    while True:
        await trio.lowlevel.wait_readable(sock)
        with suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(sock, MESSAGE_BYTES, 1)
                _on_birth(run, json.loads(data), descriptors[0])


def _on_birth(run: RunContext, message: dict[str, object], descriptor: int) -> None:
    process = Process(
        str(message["service"]),
        str(message["instance"]),
        _read_pid(descriptor) or int(str(message["pid"])),
        int(str(message["port"])),
        float(str(message["at"])),
        str(message["role"]),
    )
    follow(run, process, descriptor)


def _read_pid(descriptor: int) -> int:
    """Return the pid here of a process that may know another one of itself, as in a container; 0 for one that has ended."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    found = next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
    return max(found, 0)


def follow(run: RunContext, process: Process, descriptor: int) -> None:
    """Add a process to the history, and note its end when the kernel tells it. Takes the pidfd."""
    run.history.processes.append(process)
    run.log.write("birth", service=process.service, pid=process.pid, role=process.role, port=process.port)
    run.nursery.start_soon(_wait_end, run, process, descriptor)


async def _wait_end(run: RunContext, process: Process, descriptor: int) -> None:
    try:
        await trio.lowlevel.wait_readable(descriptor)
        run.history.ended(process, run.now())
        run.log.write("end", service=process.service, pid=process.pid, role=process.role)
    finally:
        os.close(descriptor)


def follow_parts(run: RunContext) -> None:
    """Follow the processes of supervisor, guardian, Redis and registry that are not known yet."""
    pids: dict[str, int] = {}
    if (record := run.project.record()) is not None:
        pids = {"supervisor": record.pid, "guardian": record.guardian_pid}
    if run.snapshot is not None:
        pids |= {part.name: part.pid for part in run.snapshot.parts}
    for name, pid in pids.items():
        known = run.parts.get(name)
        if pid <= 0 or (known is not None and known.pid == pid):
            continue
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            run.parts[name] = Process(name, name, pid, 0, run.now(), name)
            follow(run, run.parts[name], descriptor)


def send_signal(run: RunContext, process: Process, number: signal.Signals) -> None:
    """Send a signal, and write it down; KILL makes the end an expected one."""
    if number is signal.SIGKILL:
        run.history.kills[id(process)] = run.now()
    run.log.write("signal", signal=number.name, service=process.service, role=process.role, pid=process.pid)
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


def strangers(run: RunContext) -> list[str]:
    """Return pid and command line of all live processes in this pid namespace that are not this program's or the engine's."""
    found = []
    own_children = {os.getpid(), run.engine.pid if run.engine is not None else 0}
    for stat in scan_processes():
        if stat.pid in run.own or not stat.is_alive or stat.parent in own_children:
            continue
        command = b""
        with suppress(OSError):
            command = Path(f"/proc/{stat.pid}/cmdline").read_bytes()
        if read_stat(stat.pid) is not None:
            found.append(f"{stat.pid} {command.replace(bytes(1), b' ').decode('utf-8', 'replace').strip()[:120]}")
    return found
