"""`doctor`: check this machine for the project and print a line for each finding; `minikube.doctor` has the checks."""

import sys

import click

from minikube.cli.common import manifest_files, print_json
from minikube.cli.options import json_option, manifest_argument
from minikube.cli.render.colors import GREEN, RED, YELLOW, has_colour, paint
from minikube.text import printable

COLOURS = {"ok": GREEN, "warn": YELLOW, "fail": RED}


@click.command()
@manifest_argument
@json_option
def doctor_command(manifest: tuple[str, ...], as_json: bool) -> int:
    """Check this machine for the project: Python, Redis, ports and their owners, disk, control groups, containers, limits.

    The exit code is 1 when something in the manifest cannot run here.
    """
    from minikube.doctor.checks import run_checks

    findings = []
    for finding in run_checks(manifest_files(manifest)):
        findings.append(finding)
        if not as_json:
            status = paint(f"{finding.status:<4}", COLOURS[finding.status], has_colour(sys.stdout))
            advice = f" — {finding.advice}" if finding.advice else ""
            click.echo(f"{status}  {finding.check:<10}  {printable(finding.found + advice)}")
    if as_json:
        print_json(findings)
    return 1 if any(finding.status == "fail" for finding in findings) else 0
