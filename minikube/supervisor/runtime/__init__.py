"""Runtimes: start and stop instances as processes of this machine or as containers, behind one interface.

    interface      the protocols `Runtime` (start an instance) and `Running` (signal, stop, wait), and their values
    port_allocator choose ports for instances, so that no two starting instances take the same one
    exit_status    the exit of a process or container
    failures       classify the errors of a start, and describe them for users
    pipes          read a pipe without blocking
    process/       instances as processes, and the table of all processes of the supervisor
    container/     instances as containers of Docker, Podman or nerdctl

The folder refuses to decide when to start, what an exit means and how long a stop may take: `supervisor.instance` does. A
*helper* is a command that runs beside an instance: a stop command or a command check.
"""
