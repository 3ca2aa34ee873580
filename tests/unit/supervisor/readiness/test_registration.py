"""The check of an instance as it is made and as users see it."""

from pathlib import Path
from typing import Any

import pytest

from minikube.manifest import HealthSpec, ServiceSpec
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.readiness.registration import InstanceDescription


def described(health: HealthSpec, **fields: Any) -> InstanceDescription:
    spec = ServiceSpec("web", Path("/"), ("run",), health=health, env={"DB_PASSWORD": "pa$$word"})
    return InstanceDescription("0badcafe", "web-2", spec, "127.0.0.1", InstancePorts(80), **fields)


def test_a_checks_url_knows_the_instance() -> None:
    health = HealthSpec("http", http="/${SERVICE_NAME}/${REPLICA}/${INSTANCE_ID}?at=${HOST}:${PORT}&$$1")
    assert described(health, replica=2).check_url == "http://127.0.0.1:80/web/2/0badcafe?at=127.0.0.1:80&$1"


@pytest.mark.parametrize(
    ("health", "text"),
    [
        (HealthSpec("command", command=("sh", "-c", "echo $$HOME ${PORT}")), "sh -c echo $HOME ${PORT}"),
        (HealthSpec("command", shell="test -e $$X | cat"), "test -e $X | cat"),
        (HealthSpec("command", command=("ask", "--token", "abcd", "pa$$word")), "ask --token *** ***"),
        (HealthSpec("http", http="http://me:abcd@h/?token=x"), "http://me:***@h/?token=***"),
        (HealthSpec("log", log="a$"), "log 'a$'"),
    ],
)
def test_a_check_is_shown_as_users_mean_it(health: HealthSpec, text: str) -> None:
    assert described(health).check_text == text
