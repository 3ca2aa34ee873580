"""What is asked of the Linux kernel: processes, control groups, limits, users, sockets and ports.

    processes      process trees, as `/proc` shows them; signals; orphans
    exec_context   what a process has from its first instruction; its application between fork and exec
    commands       commands of other programs: start them, read their output, end them at a time-out
    program_file   why the kernel refused to execute a file
    signal_actions the default action for every signal
    clone          fork into a control group
    proc_mount     a `/proc` that shows this pid namespace
    cgroup         control groups: whole trees by name, and limits on them
    rlimits        limits of one process (setrlimit)
    credentials    the manifest's `user` and `group` → ids
    socket_owner   the user at the other end of a loopback connection
    inotify        changes in directories, and the limits of watching them
    ports          free ports, and the process that has a port

All but `commands` returns immediately, and nothing imports trio. `processes`, `commands`, `exec_context`, `signal_actions`,
`cgroup` and `rlimits` are standard library only, because the guardian, the fork server and the short commands import them. The
folder refuses to know instances and policies; of a service it takes the name and the settings that are read from the kernel.
"""
