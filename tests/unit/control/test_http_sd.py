"""`/v1/sd`: only passing instances are listed, with labels that are valid in Prometheus."""

import json
import re

import msgspec

from minikube.control.http_sd import target_groups
from minikube.model import Address, CheckState, Instance


def made(uuid: str, name: str, state: CheckState = CheckState.PASSING, **more: object) -> Instance:
    address = Address("127.0.0.1", 7000 + int(uuid, 16))
    return msgspec.structs.replace(Instance(uuid, name, address, "ttl:", state), **more)


FOUND = [
    made("2", "product", tags=("v2", "eu")),
    made("1", "product", tags=("v1",), meta={"team.name": "shop", "metrics_path": "/m", "metrics_scheme": "https"}),
    made("3", "product", CheckState.CRITICAL),
    made("4", "product", CheckState.MAINTENANCE),
    made("5", "product", CheckState.STARTING),
    made("6", "order", addr=Address("fe80::1", 1, "eth0")),
]


def test_each_passing_instance_is_a_group_with_its_labels() -> None:
    assert json.loads(msgspec.json.encode(target_groups(FOUND))) == [
        {
            "targets": ["[fe80::1%eth0]:1"],
            "labels": {"service": "order", "instance_id": "6", "__meta_minikube_tags": ""},
        },
        {
            "targets": ["127.0.0.1:7001"],
            "labels": {
                "service": "product",
                "instance_id": "1",
                "__meta_minikube_tags": ",v1,",
                "__meta_minikube_meta_metrics_path": "/m",
                "__meta_minikube_meta_metrics_scheme": "https",
                "__meta_minikube_meta_team_name": "shop",
                "__scheme__": "https",
                "__metrics_path__": "/m",
            },
        },
        {
            "targets": ["127.0.0.1:7002"],
            "labels": {"service": "product", "instance_id": "2", "__meta_minikube_tags": ",v2,eu,"},
        },
    ]


def test_service_and_tag_select_exact_matches() -> None:
    def chosen(service: str = "", tag: str = "") -> list[str]:
        return [group.labels["instance_id"] for group in target_groups(FOUND, service, tag)]

    assert chosen("product") == ["1", "2"]
    assert chosen("produc") == []
    assert chosen(tag="v2") == ["2"]
    assert chosen(tag="v") == []
    assert chosen("order", "v2") == []


def test_label_names_are_valid_in_prometheus() -> None:
    odd = made("7", "x", meta={"a-b c.ü": "1", "": "2"})
    for name in target_groups([odd])[0].labels:
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
