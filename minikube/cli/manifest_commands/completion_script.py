"""`completion`: the script that a shell runs to complete minikube's commands; `cli.completion` answers that script."""

import click

from minikube.errors import MinikubeError

FISH_ERASE = 'complete --do-complete "minikube " >/dev/null 2>&1; complete --erase --command minikube\n'
"""fish has completions for Kubernetes' minikube, and loads them late, in addition to ours: load them now, then erase them."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put this line into ~/.bashrc: eval "$(minikube completion bash)".
    """
    from click.shell_completion import get_completion_class

    script_class = get_completion_class(shell)
    assert script_class is not None
    root = click.get_current_context().find_root().command
    try:
        script = script_class(root, {}, "minikube", "_MINIKUBE_COMPLETE").source()
    except RuntimeError as error:
        raise MinikubeError(f"completion: {error}") from None
    click.echo(FISH_ERASE + script if shell == "fish" else script)
