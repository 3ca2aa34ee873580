"""The group of commands (floor 4): their names and first lines without importing them, errors to one line.

It refuses to show a traceback: an error that is nobody's on purpose is one line too, and MINIKUBE_DEBUG=1 shows where.
"""

import importlib
import os
import sys
from typing import NoReturn

import click

from minikube.errors import MinikubeError

INTERRUPTED = 130
"""What a shell reports for a program ended by Ctrl-C."""

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Project": {
        "init": ("manifest_commands.project", "Write a first manifest with services that run."),
        "up": ("commands.up", "Start everything in a manifest and show it live."),
        "build": ("manifest_commands.build", "Build the images of services."),
        "down": ("commands.down", "Stop everything and wait until nothing is left."),
        "apply": ("commands.apply", "Read the manifest again and change what differs."),
        "validate": ("manifest_commands.project", "Check a manifest, all problems at once."),
        "config": ("manifest_commands.config", "Print the manifest resolved, secrets masked."),
        "graph": ("manifest_commands.graph", "Draw which service depends on which."),
        "export": ("manifest_commands.export", "Write the manifest as files for Compose or Kubernetes."),
        "schema": ("manifest_commands.project", "Print the manifest's JSON Schema, for editors."),
    },
    "Look": {
        "dashboard": ("commands.observe", "Open the dashboard of what is running."),
        "ps": ("commands.ps", "List instances: state, health, address, usage, why."),
        "status": ("commands.ps", "Tell in a few lines how the project is."),
        "logs": ("commands.logs", "Show what services print; -f goes on."),
        "events": ("commands.observe", "Show what happened; -f goes on."),
        "describe": ("commands.observe", "Tell everything about one service or instance."),
        "wait": ("commands.wait", "Wait until services pass (or are stopped)."),
    },
    "Act": {
        "start": ("commands.start_stop", "Start stopped services or instances."),
        "stop": ("commands.start_stop", "Stop services or instances; they stay stopped."),
        "restart": ("commands.start_stop", "Stop and start services or instances."),
        "scale": ("commands.start_stop", "Set how many replicas a service has."),
        "kill": ("commands.start_stop", "Send a signal (KILL) to services or instances."),
        "maintenance": ("commands.start_stop", "Take instances out of discovery, or back in."),
    },
    "By hand": {
        "run": ("commands.run", "Run a command once as a service would be run."),
        "exec": ("commands.run", "Run a command beside a running instance."),
        "shell": ("commands.run", "Open a shell with a service's environment."),
    },
    "Discovery": {
        "get": ("commands.registry", "Print the address of one passing instance."),
        "instances": ("commands.registry", "List what is registered, healthy or not."),
        "register": ("commands.registry", "Register an instance by hand."),
        "deregister": ("commands.registry", "Remove an instance from the registry."),
        "registry": ("commands.registry", "Run a registry alone, beside any Redis."),
    },
    "This program": {
        "doctor": ("manifest_commands.doctor", "Check what this machine can do for a project."),
        "completion": ("manifest_commands.project", "Print the completion script for a shell."),
        "version": ("manifest_commands.project", "Print the version."),
    },
}

COMMANDS = {name: found for section in SECTIONS.values() for name, found in section.items()}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"minikube.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            found = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {found[0]}?" if found else "`minikube --help` lists them"
            raise click.UsageError(f"no command {args[0]!r} — {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()], col_max=14)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or bad manifest, 3 nothing is running, 4 not found, 124 timed out.",
)
def cli() -> None:
    """Run a team's services from one manifest, tell them where each other are, and watch their health."""


def show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from minikube import __version__

        click.echo(f"minikube {__version__}")
        context.exit()


cli.params.append(
    click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show_version, help="Print the version."
    )
)


def main() -> NoReturn:
    """The entry point of the `minikube` command."""
    if "_MINIKUBE_COMPLETE" in os.environ:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # whatever is wrong: nothing may be written into somebody's prompt
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line and gives its exit code; errors are on stderr, a line each."""
    try:
        code = cli.main(arguments, prog_name="minikube", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except MinikubeError as error:
        _complain(str(error) or type(error).__name__)
        return error.exit_code
    except click.ClickException as error:
        message = error.format_message().strip().removesuffix(".")
        _complain(message[:1].lower() + message[1:] + _where_to_look(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) has gone: nothing is wrong, and the interpreter must not try to flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _complain(f"{what}{(error.strerror or str(error)).lower()}")
        return 1
    except Exception as error:
        if os.environ.get("MINIKUBE_DEBUG"):
            raise
        _complain(f"internal error: {type(error).__name__}: {error} — MINIKUBE_DEBUG=1 shows where")
        return 1


def _where_to_look(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" — see `{context.command_path} --help`" if context and context.parent else ""


def _complain(text: str) -> None:
    from minikube.text import printable

    for line in text.splitlines() or [""]:
        print(f"minikube: {printable(line)}", file=sys.stderr)
