"""The group of all commands: their names and summaries, known without importing them; errors as lines on stderr.

It refuses to show a traceback, also for an error that no code expects; MINIKUBE_DEBUG=1 shows it.
"""

import gc
import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from minikube.cli.exit_codes import INTERRUPTED, OUTPUT_CLOSED
from minikube.cli.standard_streams import output_failure, prepare_streams, use_utf8
from minikube.errors import MinikubeError, UsageError

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Project": {
        "init": ("manifest_commands.init", "Write a first manifest with two services that run."),
        "up": ("commands.up", "Start the services of a manifest and show them live."),
        "build": ("manifest_commands.build", "Build the container images of services."),
        "down": ("commands.down", "Stop the whole project and wait until it has ended."),
        "apply": ("commands.apply", "Apply the edited manifest to the running project."),
        "validate": ("manifest_commands.validate", "Check the manifest and report all mistakes."),
        "config": ("manifest_commands.config", "Print the manifest with variables filled in, secrets masked."),
        "graph": ("manifest_commands.graph", "Draw which service depends on which."),
        "import": ("manifest_commands.import_", "Write a manifest from a Compose file, a Procfile or the like."),
        "export": ("manifest_commands.export", "Write the manifest as files for Compose or Kubernetes."),
        "schema": ("manifest_commands.schema", "Print the manifest's JSON Schema, for editors."),
    },
    "See what runs": {
        "dashboard": ("commands.dashboard", "Open the dashboard of the running project."),
        "ps": ("commands.ps", "List instances: state, health, address, usage, reason."),
        "status": ("commands.ps", "Summarize the running project in a few lines."),
        "logs": ("commands.logs", "Print the output of services; -f follows it."),
        "events": ("commands.events", "Print starts, exits and changes of health; -f follows them."),
        "describe": ("commands.describe", "Show all details of services or instances."),
        "wait": ("commands.wait", "Wait until services are ready, or stopped."),
    },
    "Change what runs": {
        "start": ("commands.start_stop", "Start stopped services or instances."),
        "stop": ("commands.start_stop", "Stop services or instances; they stay stopped."),
        "restart": ("commands.start_stop", "Stop and start services or instances."),
        "scale": ("commands.start_stop", "Set the number of replicas of services."),
        "kill": ("commands.start_stop", "Send a signal, by default KILL, to services or instances."),
        "maintenance": ("commands.start_stop", "Hide instances from service discovery, or show them again."),
    },
    "Run a command": {
        "run": ("commands.run", "Run a command once with the environment of a service."),
        "exec": ("commands.run", "Run a command beside a running instance."),
        "shell": ("commands.run", "Open a shell with the environment of a service."),
    },
    "Service discovery": {
        "get": ("commands.discovery", "Print the address of one passing instance."),
        "instances": ("commands.discovery", "List registered instances, passing or not."),
        "register": ("commands.discovery", "Register an instance by hand."),
        "deregister": ("commands.discovery", "Remove an instance from the registry."),
        "registry": ("commands.registry", "Run a registry without a project, on any Redis."),
    },
    "This program": {
        "doctor": ("manifest_commands.doctor", "Check what this machine offers to a project."),
        "completion": ("manifest_commands.completion_script", "Print the completion script of a shell."),
        "version": ("manifest_commands.version", "Print the version."),
    },
}
"""By section of `--help`, by command: its module and its summary."""

COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}
"""By command: its module and its summary."""

ACTS = {"up", "down", "apply", *SECTIONS["Change what runs"]}
"""The commands that go on, and succeed, although their output cannot be printed."""


class OutputClosed(Exception):
    """The reader of stdout, such as `head`, has ended. No OSError, as click would exit with 1 for it."""


class LazyGroup(click.Group):
    """A click group that lists its commands by name, and imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"minikube.cli.{COMMANDS[cmd_name][0]}")
        if not gc.isenabled():  # see `cli.main`
            gc.freeze()
            gc.enable()
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            matches = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {matches[0]}?" if matches else "`minikube --help` lists all commands"
            raise click.UsageError(f"no command {args[0]!r} — {hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise OutputClosed from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()], col_max=14)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or manifest error, 3 nothing is running, 4 not found, 124 timed out, 130 Ctrl-C.",
)
def cli() -> None:
    """Run a team's services from one manifest, register their addresses, and check their health."""


def print_version(context: click.Context, _: click.Parameter, enabled: bool) -> None:
    """Print the version of minikube and exit: the callback of `--version`."""
    if enabled and not context.resilient_parsing:
        from minikube import __version__

        click.echo(f"minikube {__version__}")
        context.exit()


cli.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=print_version,
        help="Print the version.",
    )
)


def main() -> NoReturn:
    """Run the command line of this process and exit with its exit code."""
    use_utf8()
    if "_MINIKUBE_COMPLETE" in os.environ:
        # While a shell completes words, an error message would be printed into the prompt.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    prepare_streams(drop_output=sys.argv[1:2] != [] and sys.argv[1] in ACTS)
    code = run(sys.argv[1:])
    # There is nothing left to interrupt: Ctrl-C while the interpreter exits would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command line `arguments` and return its exit code. Errors are printed to stderr, not raised."""
    try:
        result = cli.main(arguments, prog_name="minikube", standalone_mode=False)
        sys.stdout.flush()
        failure = output_failure()
        if failure and not isinstance(failure, BrokenPipeError):
            _print_error(f"stdout: {_describe(failure)} — what was printed is incomplete")
        return result if isinstance(result, int) else 0
    except MinikubeError as error:
        _print_error(str(error) or type(error).__name__)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        # click lists the choices of an argument on lines of their own.
        message = " ".join(error.format_message().split()).removesuffix(".")
        _print_error(message[:1].lower() + message[1:] + _help_hint(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (BrokenPipeError, OutputClosed):
        # Without this, the interpreter would try to flush stdout again and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except OSError as error:
        from minikube.cli.common import working_directory_problem

        if not error.filename and (problem := working_directory_problem()):
            _print_error(problem)
            return UsageError.exit_code
        file = "stdout" if error is output_failure() else error.filename
        _print_error(f"{file}: {_describe(error)}" if file else _describe(error))
        return 1
    except Exception as error:
        if os.environ.get("MINIKUBE_DEBUG"):
            raise
        _print_error(f"internal error: {type(error).__name__}: {error} — MINIKUBE_DEBUG=1 shows the traceback")
        return 1


def _describe(error: OSError) -> str:
    """Return what the system says about an error."""
    return (error.strerror or str(error)).lower()


def _help_hint(error: click.ClickException) -> str:
    """Return a text that names the `--help` of the command with the usage error; empty where no command is known."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" — see `{context.command_path} --help`" if context and context.parent else ""


def _print_error(text: str) -> None:
    """Print a message to stderr, with `minikube: ` before each of its lines."""
    from minikube.text import printable

    for line in text.splitlines() or [""]:
        print(f"minikube: {printable(line)}", file=sys.stderr)
