"""`apply`: request that the supervisor reads its manifest again, and print the changes."""

import sys
from collections.abc import Iterator

import click

from minikube.cli.common import connect, count_of, manifest_files, other_running_files, print_json, print_message
from minikube.cli.options import existing_manifest_argument, json_option
from minikube.cli.render.colors import GREEN, RED, YELLOW, has_colour, paint
from minikube.control.client.messages import ApplyReply, KeyChange
from minikube.errors import UsageError
from minikube.text import printable

CHANGES = {
    "added": ("+", GREEN, "is added and started"),
    "removed": ("-", RED, "is stopped and removed"),
    "replaced": ("~", YELLOW, "is restarted"),
    "follows": ("~", YELLOW, "is restarted after a task that it depends on"),
    "adjusted": ("=", None, "keeps running, with"),
    "scaled": ("=", None, "is scaled"),
}
"""By kind of change: the sign of its line, the colour, and what happens to the service."""

SECRET = "(secret)"
"""The text that the supervisor sends in place of a secret value."""


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@existing_manifest_argument
@json_option
def apply_command(manifest: tuple[str, ...], dry_run: bool, as_json: bool) -> int:
    """Read the manifest again and apply what has changed; services that have not changed keep their processes.

    A manifest with errors changes nothing, and neither does one with another name, registry, control or redis: these need
    `down` and `up`. The exit code is 1 when a restarted service does not come back. Variables come from the environment
    of `up`, and from .env as it is now.
    """
    if (running := other_running_files(files := manifest_files(manifest))) is not None:
        raise UsageError(f"{files}: is not the manifest that runs here — `minikube apply` applies {running}")
    with connect(manifest) as client:
        reply = client.apply(dry_run=dry_run)
    if as_json:
        print_json(reply)
        return 1 if reply.troubles else 0
    for warning in reply.warnings:
        print_message(f"warning: {warning}")
    for line in difference_lines(reply, has_colour(sys.stdout)):
        click.echo(line)
    for failure in reply.troubles:
        print_message(failure)
    return 1 if reply.troubles else 0


def difference_lines(reply: ApplyReply, colour: bool = False) -> Iterator[str]:
    """Yield a line for each changed service, followed by its changed keys, and a line with the number of unchanged services."""
    for change in reply.changes:
        sign, shade, text = CHANGES[change.change]
        yield paint(f"{sign} {printable(change.service)} {text}", shade, colour)
        if change.change != "added":
            yield from (f"    {printable(_describe_key(key))}" for key in change.keys)
    unchanged = f"{count_of(len(reply.unchanged), 'service')} unchanged"
    if not reply.changes:
        yield f"no changes: {unchanged}"
    elif reply.unchanged or reply.dry_run:
        yield unchanged + (" — nothing was done yet" if reply.dry_run else "")


def _describe_key(key: KeyChange) -> str:
    """Return the values of a changed key before and after as text; for a secret, only that it has changed."""
    if key.before == key.after == SECRET:
        return f"{key.key}: changed (not shown)"
    return f"{key.key}: {key.before or '(none)'} → {key.after or '(none)'}"
