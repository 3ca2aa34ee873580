"""The rules of `registry.access`: who may register under a name, who may change an entry, which rights a token has."""

import pytest
from msgspec.structs import replace

from minikube.model import Address, CheckState, Instance
from minikube.project.registry_tokens import TokenOwner, command_token, instance_token, verify_instance_token
from minikube.registry.access.policy import (
    Caller,
    Credential,
    ServiceReservation,
    owner_of,
    refuse_change,
    refuse_registration,
)
from minikube.registry.access.rights import Rights, parse_rights
from minikube.registry.catalog.records import Record
from minikube.registry.validation import as_address

NAMES = {"product": ServiceReservation(user=7, port=7070, instances=("one", "two"))}

UNKNOWN = Caller()
STRANGER = Caller(user=2000)
OPERATOR = Caller(user=1000, is_operator=True)
ROOT = Caller(user=0, is_operator=True)
SERVICE_USER = Caller(user=7)
SUPERVISOR = Caller(1000, True, Credential(Rights(admin=True), is_supervisor=True))
COMMAND = Caller(1000, True, Credential(Rights(admin=True)))
ADMIN = Caller(credential=Credential(Rights(admin=True), "root"))
SHOP = Caller(credential=Credential(Rights(register=("shop-*", "product")), "shop"))
ONE = Caller(credential=Credential(instance=TokenOwner("product", "one")))
TWO = Caller(credential=Credential(instance=TokenOwner("product", "two")))
ORDER = Caller(credential=Credential(instance=TokenOwner("order", "three")))
WHOLE = Caller(credential=Credential(Rights(admin=True), is_registry_token=True))


def record(
    name: str = "product", port: int = 7070, owner: str = "", host: str = "127.0.0.1", id: str = "one"
) -> Record:
    return Record(Instance(id, name, Address(host, port), "ttl:", CheckState.STARTING), owner=owner)


@pytest.mark.parametrize("caller", [OPERATOR, ROOT, SUPERVISOR, COMMAND, ADMIN, WHOLE])
def test_any_name_may_be_registered_by_an_operator(caller: Caller) -> None:
    assert refuse_registration(caller, record("web"), NAMES) == ""


@pytest.mark.parametrize("caller", [UNKNOWN, STRANGER, SERVICE_USER, SHOP, ONE])
def test_a_free_name_may_not_be_registered_by_others(caller: Caller) -> None:
    assert "may not register web" in refuse_registration(caller, record("web"), NAMES)


def test_a_token_registers_under_names_of_its_patterns() -> None:
    assert refuse_registration(SHOP, record("shop-web"), NAMES) == ""
    assert "token shop may not register shop " in refuse_registration(SHOP, record("shop"), NAMES)


@pytest.mark.parametrize("caller", [ROOT, SUPERVISOR, COMMAND, ADMIN, WHOLE, ONE, TWO])
def test_a_reserved_name_may_be_registered_at_any_address(caller: Caller) -> None:
    assert refuse_registration(caller, record(port=6666), NAMES) == ""


@pytest.mark.parametrize("caller", [UNKNOWN, STRANGER, SHOP, ORDER])
def test_a_reserved_name_may_not_be_registered_by_others(caller: Caller) -> None:
    assert "product is a service of the manifest" in refuse_registration(caller, record(), NAMES)


@pytest.mark.parametrize("caller", [OPERATOR, SERVICE_USER])
@pytest.mark.parametrize(
    ("host", "port", "allowed"), [("127.0.0.1", 7070, True), ("127.0.0.1", 6666, False), ("10.0.0.1", 7070, False)]
)
def test_without_a_token_the_address_must_be_the_manifests(caller: Caller, host: str, port: int, allowed: bool) -> None:
    assert (refuse_registration(caller, record(port=port, host=host), NAMES) == "") is allowed
    free = {"product": replace(NAMES["product"], port=0)}
    assert refuse_registration(caller, record(port=port, host=host), free) == ""


@pytest.mark.parametrize(
    ("caller", "name", "owner"),
    [
        (OPERATOR, "web", "user 1000"),
        (COMMAND, "web", "user 1000"),
        (ONE, "product", "instance one of product"),
        (SUPERVISOR, "product", "instance one of product"),
        (SUPERVISOR, "web", "instance one of web"),  # no name is reserved yet
        (SHOP, "shop-web", "token shop"),
        (ADMIN, "web", "token root"),
        (WHOLE, "web", "registry.token"),
    ],
)
def test_the_owner_of_an_entry(caller: Caller, name: str, owner: str) -> None:
    assert owner_of(caller, record(name)) == owner
    made = record(name, owner=owner)
    assert refuse_change(caller, made, replaces=caller is not COMMAND) == ""


@pytest.mark.parametrize("owner", ["user 1000", "instance one of product", "token shop"])
@pytest.mark.parametrize("caller", [UNKNOWN, STRANGER, SERVICE_USER, ROOT, TWO, ORDER])
def test_an_entry_may_not_be_changed_by_others(caller: Caller, owner: str) -> None:
    for replaces in (False, True):
        assert f"belongs to {owner}" in refuse_change(caller, record(owner=owner), replaces=replaces)


@pytest.mark.parametrize("caller", [COMMAND, ADMIN])
def test_an_admin_may_remove_an_entry_and_not_replace_it(caller: Caller) -> None:
    made = record(owner="instance one of product")
    assert refuse_change(caller, made) == ""
    assert "may not replace it" in refuse_change(caller, made, replaces=True)


def test_an_entry_of_an_earlier_version_is_changed_by_those_who_may_register_its_name() -> None:
    assert refuse_change(OPERATOR, record(), replaces=True) == ""
    assert refuse_change(SHOP, record("shop-web"), replaces=True) == ""
    assert "an earlier version of the registry" in refuse_change(STRANGER, record())


def test_who_sees_the_output_of_checks() -> None:
    reader = Caller(credential=Credential(Rights(read=True), "reader"))
    assert all(caller.may_read_output for caller in (OPERATOR, ROOT, SUPERVISOR, ADMIN, WHOLE, reader))
    assert not any(caller.may_read_output for caller in (UNKNOWN, STRANGER, SERVICE_USER, SHOP, ONE))


def test_rights_are_read_as_they_are_written() -> None:
    texts = ["read", "register shop-*", "register job", "admin"]
    assert parse_rights(texts) == Rights(True, ("shop-*", "job"), True)
    assert parse_rights(texts).texts() == texts
    assert parse_rights(["register shop-* job"]) == Rights(register=("shop-*", "job"))


@pytest.mark.parametrize(
    "texts", [[], [""], ["write"], ["register"], ["register Shop"], ["read all"], ["register [a]"]]
)
def test_other_rights_are_an_error(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_rights(texts)


def test_an_instances_token_names_its_instance_and_no_other_secret_makes_it() -> None:
    token = instance_token("secret", "product", "one")
    assert verify_instance_token("secret", token) == TokenOwner("product", "one")
    assert verify_instance_token("other", token) is None
    assert verify_instance_token("", instance_token("", "product", "one")) is None
    assert verify_instance_token("secret", token.replace("one", "two")) is None
    for text in ("", ":", "::", "product:one:", token[:-1], f"{token}0", "\udc80", command_token("secret")):
        assert verify_instance_token("secret", text) is None


@pytest.mark.parametrize(
    ("manifest", "same", "others"),
    [
        ("127.0.0.1", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"], ["::1", "127.0.0.2"]),
        ("localhost", ["127.0.0.1"], ["::1"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1"], ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1", "10.0.0.1"], ["::1"]),
        ("::", ["127.0.0.1", "::1"], []),
    ],
)
def test_an_address_of_the_manifest_is_one_endpoint(manifest: str, same: list[str], others: list[str]) -> None:
    reservation = ServiceReservation(host=manifest, port=7070)
    assert all(reservation.has_address(as_address(Address(host, 7070))) for host in same)
    assert not any(reservation.has_address(as_address(Address(host, 7070))) for host in others)
