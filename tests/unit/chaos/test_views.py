"""Whether all views of the project say the same."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as with_fields

from minikube.model import Address, CheckState, Instance, InstanceView, PartView, ProcessState
from tests.chaos.model import Process
from tests.chaos.views import Views, differences

HTTP = Process("http", "a1", 41, 5001, 0)
GUEST = Process("guest-0", "g1", 0, 9100, 0, "guest")


def entry(uuid: str, name: str, port: int, state: CheckState = CheckState.PASSING) -> Instance:
    return Instance(uuid, name, Address("127.0.0.1", port), "", state)


ROW = InstanceView("a1", "http", "http", ProcessState.RUNNING, CheckState.PASSING, pid=41)
ENTRIES = {"a1": entry("a1", "http", 5001), "g1": entry("g1", "guest-0", 9100)}
HASHES = {
    "k1": {"name": "http", "addr": "127.0.0.1:5001", "uuid": "a1"},
    "k2": {"name": "guest-0", "addr": "127.0.0.1:9100", "uuid": "g1"},
}
WELL = Views(
    replicas={"http": 1, "migrate": 1},
    rows=(ROW, InstanceView("m", "migrate", "migrate", ProcessState.EXITED)),
    parts=(PartView("redis", ProcessState.RUNNING),),
    registered=tuple(ENTRIES.values()),
    watched=ENTRIES,
    hashes=HASHES,
    processes=(HTTP,),
    guests=(GUEST,),
)


def test_nothing_differs_where_all_is_well() -> None:
    assert differences(WELL) == []


WRONG: dict[str, dict[str, Any]] = {
    "1 processes live, 2 are wanted": {"replicas": {"http": 2}},
    "redis is shown as backoff": {"parts": (PartView("redis", ProcessState.BACKOFF),)},
    "http is running, its check critical": {"rows": (with_fields(ROW, check=CheckState.CRITICAL),)},
    "shown with pid 40, which is dead": {"rows": (with_fields(ROW, pid=40),)},
    "old is shown and does not live": {"rows": (ROW, with_fields(ROW, id="o", service="old", name="old"))},
    "guest-0 g1 is not registered": {"registered": (ENTRIES["a1"],)},
    "registered as http at port 5002, not 5001": {"registered": (entry("a1", "http", 5002), ENTRIES["g1"])},
    "http a1 is critical in the registry": {
        "registered": (entry("a1", "http", 5001, CheckState.CRITICAL), ENTRIES["g1"])
    },
    "dead d1 is registered and does not live": {"registered": (*ENTRIES.values(), entry("d1", "dead", 1))},
    "g1: the registry has passing 127.0.0.1:9100, the watch nothing": {"watched": {"a1": ENTRIES["a1"]}},
    "g1: no hash in Redis": {"hashes": {"k1": HASHES["k1"]}},
    "d1: a hash in Redis, and it does not pass": {"hashes": {**HASHES, "k3": {"uuid": "d1"}}},
    "g1: Redis has guest-0 127.0.0.1:9": {"hashes": {**HASHES, "k2": {**HASHES["k2"], "addr": "127.0.0.1:9"}}},
}


@pytest.mark.parametrize("text", WRONG)
def test_each_difference_is_named(text: str) -> None:
    found = differences(replace(WELL, **WRONG[text]))
    assert any(text in one for one in found), found
