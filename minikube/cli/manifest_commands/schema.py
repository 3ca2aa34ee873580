"""`schema`: the JSON Schema of the manifest, or of a command's `--json`."""

import click

from minikube.cli.common import print_json
from minikube.errors import UsageError


def complete_commands(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return completions: the commands with `--json` that begin with `incomplete`."""
    from minikube.cli.render.schemas import OUTPUTS

    return [name for name in OUTPUTS if name.startswith(incomplete)]


@click.command()
@click.argument("command", required=False, shell_complete=complete_commands)
def schema_command(command: str | None) -> None:
    """Print the JSON Schema of the manifest, or of what COMMAND --json prints.

    To let an editor check supervisor.toml, save the schema to a file and write as the first line: `#:schema PATH`.
    """
    if command is None:
        from minikube.manifest.schema.document import schema_json

        click.echo(schema_json())
        return
    from minikube.cli.render.schemas import OUTPUTS, output_schema

    if command not in OUTPUTS:
        raise UsageError(f"{command}: expected a command that has --json: {', '.join(OUTPUTS)}")
    print_json(output_schema(command))
