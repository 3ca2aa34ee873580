"""`completion`: the script that a shell runs to complete minikube's commands; `cli.completion` answers that script."""

import click

from minikube.errors import MinikubeError

FISH_ERASE = 'complete --do-complete "minikube " >/dev/null 2>&1; complete --erase --command minikube\n'
"""fish has completions for Kubernetes' minikube, and loads them late, in addition to ours: load them now, then erase them."""

BASH_WORDS = r"""
_minikube_words() {
    # bash also splits words at these characters, which names such as @tag:setup have, and replaces only what follows them.
    local line=${COMP_LINE:0:COMP_POINT} prefix= mark part
    local -a COMP_WORDS
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *[[:space:]] ]] && COMP_WORDS+=("")
    local COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    local current=${COMP_WORDS[COMP_CWORD]}
    _minikube_completion "$@"
    for mark in @ : =; do
        part=${current%"${current##*"$mark"}"}
        [[ $COMP_WORDBREAKS == *"$mark"* && ${#part} -gt ${#prefix} ]] && prefix=$part
    done
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}

complete -o nosort -F _minikube_words minikube
"""
"""Added to click's script for bash."""


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
    before, after = {"fish": (FISH_ERASE, ""), "bash": ("", BASH_WORDS)}.get(shell, ("", ""))
    click.echo(before + script + after)
