"""The reader of process-compose's files.

    project    `read`: a file with what it extends and overrides, and the keys that hold for all processes
    service    one process: what it runs, where, with which variables, and what it waits for
    lifecycle  when a process is restarted and stopped, its schedule, watched files and logs
    probes     its probes as `health`
    text       variables, dollars and templates in its strings

It refuses to start anything, and to read the values of variables: templates get those of `vars`, which stand in the file.
"""
