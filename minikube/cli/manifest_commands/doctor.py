"""`minikube doctor` (floor 4): what this machine can do for the project, a line each; exit code 1 when something cannot work."""

import sys

import click

from minikube.cli.common import json_option, manifest_argument, manifest_path, print_json
from minikube.cli.render.colors import GREEN, RED, YELLOW, has_colour, paint
from minikube.text import printable

COLOURS = {"ok": GREEN, "warn": YELLOW, "fail": RED}


@click.command()
@manifest_argument
@json_option
def doctor_command(manifest: str | None, as_json: bool) -> int:
    """Check this machine: Python, Redis, ports and who has them, state, control groups, containers, limits, terminal."""
    from minikube.doctor.checks import run_checks

    findings = []
    for finding in run_checks(manifest_path(manifest)):
        findings.append(finding)
        if not as_json:
            status = paint(f"{finding.status:<4}", COLOURS[finding.status], has_colour(sys.stdout))
            advice = f" — {finding.advice}" if finding.advice else ""
            click.echo(f"{status}  {finding.check:<10}  {printable(finding.found + advice)}")
    if as_json:
        print_json(findings)
    return 1 if any(finding.status == "fail" for finding in findings) else 0
