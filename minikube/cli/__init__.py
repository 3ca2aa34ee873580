"""The command line: reads words, sends requests to the supervisor or a registry, prints answers.

    app                 the group of all commands, errors as one line, exit codes
    commands/           commands that talk to a running project or to a registry
    manifest_commands/  commands that need nothing running
    lifecycle/          start a supervisor, wait for it, and end it
    execute             replace this process by a command of a service: `run`, `exec`, `shell`
    init_process        runs the command line below PID 1, in a container
    options             click options that commands share, and how a command gets them as a struct
    standard_streams    stdout and stderr that any text can be printed to, whatever they are
    completion          shell completion of names
    goals               the goals of `wait`, and which instances have reached them
    common              the manifest's path, the client, output
    templates/          the projects that `init --template` writes
    render/             text and JSON of what commands print
    kept_logs           the log files that `logs` reads and clears
    stdout_watch        notices that the reader of stdout has gone
    exit_codes

It refuses to decide anything about services, and to import the supervisor: only `launch` and what belongs to it. `app`
is all that `minikube --help` imports; a command's module is imported when the command is called.
"""

TYPE_CHECKING = False  # as a constant: importing `typing` would take time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """Run the `minikube` command line of this process and exit with its exit code."""
    # Ctrl-C while modules are still being imported ends the program like any other Ctrl-C: silently, with 130.
    try:
        import gc
        import os

        gc.disable()  # `app` enables it when the command is imported: a collection meanwhile takes time and finds nothing
        if os.getpid() == 1:
            from minikube.cli.init_process import run_below_init

            run_below_init()
        from minikube.cli import app

        app.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
