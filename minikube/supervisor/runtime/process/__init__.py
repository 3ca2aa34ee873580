"""Instances as processes of this machine, and every other child of the supervisor.

    fork_exec        a command, what its process gets, and the errors of a start
    fork_server      the process that starts all others; the code that runs between fork and exec
    fork_client      the supervisor's connection to it
    process          one started command: its pid, exit, signals and output pipes
    process_table    all processes of the supervisor: which instance each belongs to, ending a whole tree, reaping orphans
    runtime          the `Runtime` for services that are processes
    usage            measure CPU and memory of each instance's tree

The folder refuses to restart anything: `supervisor.instance` decides that.
"""
