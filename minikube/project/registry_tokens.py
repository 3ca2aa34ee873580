"""The tokens that need no storage: the supervisor's, and one for each instance, derived from the project's secret.

`.minikube/token` ──► supervisor token ──► token of each instance

A registry that was given the supervisor token verifies an instance's token by calculation. So the tokens are valid at once
after a restart of the registry, and when Redis is down. It refuses to decide what a token may do: `registry.access` does.
"""

import hmac
from hashlib import sha256
from typing import NamedTuple

RUN_PREFIX = "run."
"""Marks the id in the token of a command that `minikube run` started: the supervisor has no instance with this id. The id of the
command's process and its start time follow."""


class TokenOwner(NamedTuple):
    """The instance that a token was made for."""

    service: str
    id: str

    @property
    def is_run(self) -> bool:
        """Whether the token was made for `minikube run`."""
        return self.id.startswith(RUN_PREFIX)

    @property
    def run_process(self) -> tuple[int, int]:
        """The id of the process that `minikube run` became, and its start time; zeros where the token names none."""
        pid, _, rest = self.id.removeprefix(RUN_PREFIX).partition(".")
        start_time = rest.partition(".")[0]
        if not (self.is_run and pid.isdecimal() and start_time.isdecimal()):
            return 0, 0
        return int(pid), int(start_time)


def run_token_id(pid: int, start_time: int, id: str) -> str:
    """Return the id for the token of a command that `minikube run` started as process `pid`."""
    return f"{RUN_PREFIX}{pid}.{start_time}.{id}"


def supervisor_token(control_token: str) -> str:
    """Return the token with which the supervisor calls the project's registry.

    `control_token` is the content of `.minikube/token`: a user who can read that file may do everything already.
    """
    return _digest(control_token, "registry supervisor")


def command_token(secret: str) -> str:
    """Return the token of minikube's own commands; `secret` is the supervisor token.

    It has the right `admin`. Unlike the supervisor, a command must not replace the entry of another owner.
    """
    return _digest(secret, "command line")


def instance_token(secret: str, service: str, id: str) -> str:
    """Return the token of an instance; `secret` is the supervisor token. It is the same at each start of the instance."""
    return f"{service}:{id}:{_digest(secret, f'instance {service} {id}')}"


def verify_instance_token(secret: str, token: str) -> TokenOwner | None:
    """Return the instance that the token was made for; None if `secret` did not make it."""
    service, _, rest = token.partition(":")
    id, separator, _ = rest.rpartition(":")
    if not secret or not separator or not token.isascii():
        return None
    return TokenOwner(service, id) if hmac.compare_digest(token, instance_token(secret, service, id)) else None


def _digest(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), sha256).hexdigest()
