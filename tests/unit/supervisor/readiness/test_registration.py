"""The check of an instance as it is made and as users see it."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from minikube.manifest import HealthSpec, ServiceSpec
from minikube.project.instance_ports import InstancePorts
from minikube.supervisor.readiness.registration import InstanceDescription


def described(health: HealthSpec, **fields: Any) -> InstanceDescription:
    spec = ServiceSpec("web", Path("/"), ("run",), health=health, env={"DB_PASSWORD": "pa$$word"})
    return InstanceDescription("0badcafe", "web-2", spec, "127.0.0.1", InstancePorts(80), **fields)


def test_a_checks_url_knows_the_instance() -> None:
    health = HealthSpec("http", http="/${SERVICE_NAME}/${REPLICA}/${INSTANCE_ID}?at=${HOST}:${PORT}&$$1")
    assert described(health, replica=2).check_url == "http://127.0.0.1:80/web/2/0badcafe?at=127.0.0.1:80&$1"


def test_a_container_is_checked_and_registered_at_its_own_address_and_ports() -> None:
    health = HealthSpec("http", http="/?at=${HOST}:${PORT}:${PORT_ADMIN}")
    reached = InstancePorts(8000, {"admin": 9230})
    instance = replace(described(health, reached_ports=reached), host="172.18.0.2")
    assert instance.check_url == "http://172.18.0.2:8000/?at=172.18.0.2:8000:9230"
    assert instance.registration is not None
    assert str(instance.registration.addr) == "172.18.0.2:8000"
    assert instance.published == "127.0.0.1:80"


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
