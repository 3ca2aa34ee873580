"""What is reserved in the registry for the services of a manifest."""

from pathlib import Path

import msgspec

from minikube.jsonrpc.lines import MAX_LINE_BYTES
from minikube.manifest import load_manifest
from minikube.supervisor.readiness.reservations import ReservedService, make_reservations, split_reservations


def test_each_service_has_its_user_its_fixed_address_and_its_instances(tmp_path: Path) -> None:
    manifest = tmp_path / "supervisor.toml"
    manifest.write_text(
        '[services.fixed]\ncommand = "x"\nport = 7070\n[services.free]\ncommand = "x"\nport = "auto"\n'
        '[services.none]\ncommand = "x"\n'
    )
    specs = load_manifest(manifest).services
    instances = [(specs["fixed"], "one"), (specs["free"], "two"), (specs["free"], "three")]
    assert make_reservations({name: specs[name] for name in ("fixed", "none")}, instances) == {
        "fixed": ReservedService(None, "127.0.0.1", 7070, ("one",)),
        "free": ReservedService(None, "127.0.0.1", 0, ("two", "three")),  # removed, and still stopping
        "none": ReservedService(None, "127.0.0.1", 0, ()),
    }


def test_reservations_are_sent_in_parts_that_fit_into_a_line() -> None:
    ids = tuple(f"{number:08x}" for number in range(1_000))
    many = {f"service-{number}": ReservedService(None, "127.0.0.1", 0, ids) for number in range(20)}
    parts = list(split_reservations(many))
    assert len(parts) > 1
    assert all(len(msgspec.json.encode(part)) < MAX_LINE_BYTES - 1_000 for part in parts)
    assert {name: reserved for part in parts for name, reserved in part.items()} == many
    assert list(split_reservations({})) == [{}]
