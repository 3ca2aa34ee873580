"""What a service author may import, and that importing it costs nothing until it is used."""

import subprocess
import sys

import pytest

import minikube

PUBLIC = [
    "Address",
    "Change",
    "ChangeKind",
    "CheckState",
    "Instance",
    "MinikubeError",
    "NotFound",
    "Registration",
    "Registry",
    "RemoteError",
    "Unavailable",
    "UsageError",
    "WatchSnapshot",
    "__version__",
    "aio",
    "blocking",
    "discover",
    "open_registry",
    "registered",
    "watch",
]
FACE = [
    "Registry",
    "discover",
    "open_registry",
    "registered",
    "watch",
]


def test_these_are_the_public_names() -> None:
    assert minikube.__all__ == PUBLIC
    assert dir(minikube) == PUBLIC
    assert all(getattr(minikube, name) is not None for name in PUBLIC)


def test_the_three_faces_have_the_same_names() -> None:
    assert minikube.blocking.__all__ == minikube.aio.__all__ == FACE
    for face in (minikube.blocking, minikube.aio):
        assert all(callable(getattr(face, name)) for name in FACE)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        minikube.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("minikube", ["trio", "msgspec", "asyncio", "typing"]),
        ("minikube.blocking", ["trio", "asyncio"]),
        ("minikube.aio", ["trio"]),
        ("minikube.registry.main", ["h11", "redis"]),
    ],
)
def test_what_is_not_used_is_not_loaded(module: str, absent: list[str]) -> None:
    program = f"import sys; before = set(sys.modules); import {module}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(absent) & set(done.stdout.split())
