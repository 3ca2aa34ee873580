"""How the SDK finds the registry, completes a registration, and keeps it: decided without a clock or a socket."""

from typing import Any, cast

import pytest
from msgspec.structs import replace

from minikube.errors import MinikubeError, NotFound, RemoteError, Unavailable, UsageError
from minikube.model import Address, CheckState, Instance, Registration
from minikube.registry.validation import as_address
from minikube.sdk import requests
from minikube.sdk.registration import RegisterOptions, RegistrationKeeper, make_registration
from minikube.sdk.requests import Call
from minikube.sdk.session import Backoff, RegistryAddress, find_registry

# ---------------------------------------------------------------- where the registry is


def test_the_address_is_given_or_from_the_environment_or_the_default() -> None:
    assert find_registry("a:1", None, {"MINIKUBE_REGISTRY": "b:2"}) == RegistryAddress("a", 1)
    assert find_registry(None, None, {"MINIKUBE_REGISTRY": "b:2", "MINIKUBE_REGISTRY_TOKEN": "t"}) == RegistryAddress(
        "b", 2, "t", is_token_optional=True
    )
    assert find_registry("b:2", "t", {"MINIKUBE_REGISTRY_TOKEN": "u"}) == RegistryAddress("b", 2, "t")
    assert find_registry(None, "", {"MINIKUBE_REGISTRY_TOKEN": "t"}) == RegistryAddress("127.0.0.1", 5555)
    environ = {f"MINIKUBE_REGISTRY_{what}": what for what in ("CA", "CERT", "KEY")}
    assert find_registry(None, None, environ) == RegistryAddress("127.0.0.1", 5555, "", "CA", "CERT", "KEY")


def test_an_ipv6_address_has_brackets() -> None:
    assert find_registry("[::1]:5", None, {}) == RegistryAddress("::1", 5)
    assert str(RegistryAddress("::1", 5)) == "[::1]:5"
    assert str(RegistryAddress("a", 5)) == "a:5"


@pytest.mark.parametrize(
    "text", ["nowhere", ":5555", "a:", "a:0", "a:70000", "a:x", "a:999999999999", "a:0000800000", "[::1:5", "a:²"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected host:port"):
        find_registry(text, None, {})


def test_retries_begin_quickly_and_slow_down_to_a_second() -> None:
    backoff = Backoff()
    waits = [backoff.next() for _ in range(8)]
    assert waits == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    backoff.reset()
    assert backoff.next() == 0.02


# ---------------------------------------------------------------- what to register

ENVIRON = {"SERVICE_NAME": "web", "PORT": "8080", "HOST": "10.0.0.5", "INSTANCE_ID": "0badcafe"}


def test_under_a_supervisor_the_environment_replaces_all_arguments() -> None:
    registration = make_registration(None, None, {}, ENVIRON)
    assert registration == Registration("web", Address("10.0.0.5", 8080), "/health", "0badcafe")


def test_what_is_given_wins() -> None:
    options: RegisterOptions = {
        "host": "fe80::1%eth0",
        "health": "tcp",
        "tags": ["a"],
        "meta": {"k": "v"},
        "instance_id": "id",
        "lease": 9.0,
        "interval": None,
    }
    assert make_registration("api", 1, options, ENVIRON) == Registration(
        "api", Address("fe80::1", 1, "eth0"), "tcp", "id", tags=("a",), meta={"k": "v"}, lease=9.0
    )


# ---------------------------------------------------------------- under a service of another name


@pytest.mark.parametrize("port", [8080, None])
def test_the_instances_own_port_is_registered_as_its_service(
    port: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that names itself, run under a service of another name: what waits for the service must find it."""
    assert make_registration("page", port, {}, ENVIRON) == make_registration(None, None, {}, ENVIRON)
    (record,) = caplog.records
    assert record.getMessage() == (
        "registered('page'): port 8080 is that of service 'web' in the manifest, and is registered as 'web' —"
        " leave the name out, or rename the service to 'page'"
    )


def test_another_port_under_another_name_is_a_second_entry(caplog: pytest.LogCaptureFixture) -> None:
    assert make_registration("page", 9000, {}, ENVIRON) == Registration("page", Address("10.0.0.5", 9000), "/health")
    (record,) = caplog.records
    assert (
        "registered('page', 9000) adds an entry beside service 'web' of this instance (port 8080)"
        in record.getMessage()
    )
    assert "call registered() without a name" in record.getMessage()


def test_the_services_own_name_and_none_at_all_are_no_reason_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    make_registration("web", 8080, {}, ENVIRON)
    make_registration(None, None, {}, ENVIRON)
    make_registration("page", 8080, {}, {})
    assert caplog.records == []


def test_a_second_service_of_the_same_process_does_not_take_the_firsts_id() -> None:
    assert make_registration("other", 1, {}, ENVIRON).uuid == ""


@pytest.mark.parametrize(
    ("name", "port", "environ", "words"),
    [
        (None, 1, {}, "no name"),
        ("a", None, {}, "no port"),
        ("a", None, {"PORT": "x"}, "PORT is 'x'"),
        ("a", 0, {}, "1 to 65535"),
        ("a", 65536, {}, "1 to 65535"),
    ],
)
def test_missing_arguments_are_reported(
    name: str | None, port: int | None, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make_registration(name, port, {}, environ)


# ---------------------------------------------------------------- staying registered


def keeper(**options: Any) -> RegistrationKeeper:
    return RegistrationKeeper(make_registration("web", 80, cast(RegisterOptions, options), {}))


def call(step: Any) -> Call[Any]:
    assert isinstance(step, Call)
    return step


def instance(id_: str = "id", port: int = 80, incarnation: int = 7) -> Instance:
    return Instance(id_, "web", Address("127.0.0.1", port), "", CheckState.PASSING, incarnation=incarnation)


def registered(keep: RegistrationKeeper, now: float = 0.0) -> None:
    keep.succeeded(now, call(keep.next_step(now)), "id")
    keep.succeeded(now, call(keep.next_step(now)), [instance("other", 81), instance()])


@pytest.mark.parametrize(
    ("health", "check"),
    [
        ("/health", "http://127.0.0.1:80/health"),
        ("tcp", "tcp://127.0.0.1:80"),
        ("ttl", "ttl:"),
        ("https://127.0.0.1:81/x", "https://127.0.0.1:81/x"),
    ],
)
def test_the_check_is_completed(health: str, check: str) -> None:
    (registration,) = call(keeper(health=health).next_step(0)).params
    assert registration.health_check == check


def test_it_registers_then_renews_every_five_seconds() -> None:
    keep = keeper()
    assert (keep.name, keep.id, keep.registered) == ("web", "", False)
    registered(keep, 10.0)
    assert (keep.id, keep.registered, keep.problem) == ("id", True, "")
    assert keep.next_step(10.0) == 5.0
    assert keep.next_step(12.0) == 3.0
    assert keep.next_step(15.0) == requests.renew("id", incarnation=7)
    keep.succeeded(15.1, requests.renew("id", incarnation=7), True)
    assert keep.next_step(15.1) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("lease", "sent", "every"),
    [
        (3.0, 3.0, 1.0),
        (3, 3.0, 1.0),
        ("3s", 3.0, 1.0),
        ("600ms", 0.6, 0.2),
        ("1m30s", 90.0, 5.0),
        (0.3, 0.3, 0.1),
        (None, None, 5.0),
    ],
)
def test_a_lease_is_renewed_at_a_third_of_it_and_every_five_seconds_at_least(
    lease: object, sent: float | None, every: float
) -> None:
    keep = keeper(health="ttl", lease=lease)
    assert call(keep.next_step(0.0)).params[0].lease == sent
    registered(keep)
    assert keep.next_step(0.0) == pytest.approx(every)


def test_a_lease_may_stand_in_the_registration_as_in_a_manifest() -> None:
    keep = RegistrationKeeper(Registration("web", Address("127.0.0.1", 80), "ttl", lease="3s"))
    registered(keep)
    assert keep.next_step(0.0) == 1.0


@pytest.mark.parametrize("key", ["lease", "interval", "timeout", "forget_after"])
@pytest.mark.parametrize("value", ["soon", "2", "-2s", "", "0s", 0, -1.0, float("nan"), float("inf"), True, [2]])
def test_a_duration_that_is_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(UsageError) as caught:
        keeper(**{key: value})
    assert str(caught.value).startswith(f"registered('web'): {key}: expected ")
    assert str(caught.value).endswith(f"got {value!r}")


def test_it_registers_again_with_its_id_when_the_registry_forgot() -> None:
    keep = keeper()
    registered(keep)
    renew = call(keep.next_step(5.0))
    keep.failed(5.0, renew, NotFound("unknown"))
    assert not keep.registered
    keep.succeeded(5.0, call(keep.next_step(5.0)), [instance("other", 81)])
    again = call(keep.next_step(5.0))
    assert again.method == "Discovery.Register"
    assert again.params[0].uuid == "id"


@pytest.mark.parametrize("code", [-32602, -32001, -32009])
def test_only_the_first_registration_is_given_up_when_it_is_refused(code: int) -> None:
    """A program that serves does not end because its token was revoked, or because another one has taken its id."""
    keep, refusal = keeper(), RemoteError(code, "no")
    assert keep.failed(0.0, call(keep.next_step(0.0)), refusal) == ""
    assert keep.refusal is refusal
    assert keep.next_step(9.0) is None
    keep = keeper()
    registered(keep)
    keep.failed(5.0, call(keep.next_step(5.0)), NotFound("unknown"))
    keep.succeeded(5.0, call(keep.next_step(5.0)), [])
    assert "trying again" in keep.failed(5.0, call(keep.next_step(5.0)), refusal)
    assert keep.refusal is None
    assert call(keep.next_step(9.0)).method == "Discovery.Register"


@pytest.mark.parametrize("error", [Unavailable("away"), RemoteError(-32029, "full"), RemoteError(-32000, "busy")])
def test_a_registration_that_a_later_try_may_mend_is_repeated(error: MinikubeError) -> None:
    keep = keeper()
    assert "trying again" in keep.failed(0.0, call(keep.next_step(0.0)), error)
    assert call(keep.next_step(9.0)).method == "Discovery.Register"


def test_a_registry_that_is_away_is_tried_again_and_the_reason_kept() -> None:
    keep = keeper()
    keep.failed(1.0, call(keep.next_step(1.0)), Unavailable("away"))
    assert keep.problem == "away"
    wait = keep.next_step(1.0)
    assert wait == pytest.approx(0.02)
    keep.failed(2.0, call(keep.next_step(2.0)), Unavailable("away"))
    assert keep.next_step(2.0) == pytest.approx(0.04)
    registered(keep, 3.0)
    assert keep.problem == ""


def test_a_lost_connection_is_a_reason_to_renew_soon() -> None:
    keep = keeper()
    registered(keep)
    keep.connection_lost(1.0)
    assert keep.next_step(1.0) == pytest.approx(0.02)
    assert call(keep.next_step(1.1)).method == "Discovery.Renew"


# ---------------------------------------------------------------- an entry that is not the keeper's any more


def lost(keep: RegistrationKeeper, found: list[Instance], now: float = 5.0) -> None:
    """The registry answers a renewal that the entry was lost or replaced, then which instances there are."""
    renew = call(keep.next_step(now))
    assert renew == requests.renew("id", incarnation=7)
    assert keep.failed(now, renew, NotFound("replaced")) == ""
    assert not keep.registered
    assert keep.next_step(now) == requests.instances("web")
    keep.succeeded(now, requests.instances("web"), found)


CHECK = "http://127.0.0.1:80/health"


@pytest.mark.parametrize(
    "found",
    [
        [],
        [replace(instance(incarnation=8), health_check="http://127.0.0.1:80/nope")],
        [replace(instance(port=6666, incarnation=8), health_check=CHECK)],
        [replace(instance(incarnation=8), health_check=CHECK, tags=("evil",))],
        [replace(instance(incarnation=8), health_check=CHECK, meta={"evil": "1"})],
        [replace(instance(incarnation=8), health_check=CHECK, name="other")],
    ],
)
def test_an_entry_that_was_replaced_is_put_right_at_the_next_renewal(found: list[Instance]) -> None:
    keep = keeper()
    registered(keep)
    lost(keep, found)
    again = call(keep.next_step(5.0))
    assert (again.method, again.params[0].uuid) == ("Discovery.Register", "id")


def test_two_processes_with_the_same_registration_do_not_replace_each_other_for_ever() -> None:
    """Workers of one web server register the same; the one that registered last deregisters."""
    keep = keeper()
    registered(keep)
    lost(keep, [replace(instance(incarnation=8), health_check=CHECK)])
    assert keep.registered
    assert keep.next_step(5.0) == requests.renew("id", incarnation=8)
    keep.leave()
    assert keep.next_step(5.0) is None, "the entry is the other process's"


def test_a_registry_that_does_not_answer_which_instances_there_are_gets_the_registration() -> None:
    keep = keeper()
    registered(keep)
    keep.failed(5.0, call(keep.next_step(5.0)), NotFound("replaced"))
    keep.failed(5.0, call(keep.next_step(5.0)), Unavailable("away"))
    assert call(keep.next_step(5.0)).method == "Discovery.Register"


def test_a_registry_that_does_not_know_incarnations_is_asked_without_one() -> None:
    keep = keeper()
    registered(keep)
    refusal = RemoteError(-32602, "invalid params: expected at most 3 (Id, State, Output), got 4")
    assert keep.failed(5.0, call(keep.next_step(5.0)), refusal) == ""
    assert keep.registered
    assert keep.next_step(5.0) == requests.renew("id")
    keep.succeeded(5.0, requests.renew("id"), True)
    assert keep.next_step(10.0) == requests.renew("id")
    keep.failed(10.0, requests.renew("id"), NotFound("unknown"))
    assert call(keep.next_step(10.0)).method == "Discovery.Register"


def test_a_new_connection_may_lead_to_a_registry_that_knows_incarnations() -> None:
    keep = keeper()
    registered(keep)
    keep.failed(5.0, call(keep.next_step(5.0)), RemoteError(-32602, "invalid params: expected at most 3"))
    keep.connection_lost(6.0)
    assert keep.next_step(7.0) == requests.renew("id", incarnation=7)


def test_other_refusals_of_a_renewal_are_logged() -> None:
    keep = keeper()
    registered(keep)
    assert "not yours" in keep.failed(5.0, call(keep.next_step(5.0)), RemoteError(-32009, "not yours"))


def test_leaving_names_the_incarnation() -> None:
    keep = keeper()
    registered(keep)
    keep.leave()
    assert keep.next_step(0.0) == requests.deregister("id", 7)
    keep.succeeded(0.0, requests.deregister("id", 7), True)
    assert keep.next_step(0.0) is None


def test_leaving_before_the_answer_came_finds_its_entry_by_address() -> None:
    keep = keeper()
    keep.next_step(0.0)
    keep.leave()
    assert keep.next_step(0.0) == requests.instances("web")
    keep.succeeded(0.0, requests.instances("web"), [instance("other", 81), instance("mine")])
    assert keep.next_step(0.0) == requests.deregister("mine", 7)


def test_leaving_without_having_asked_or_found_anything_is_done_at_once() -> None:
    keep = keeper()
    keep.leave()
    assert keep.next_step(0.0) is None
    keep = keeper()
    keep.next_step(0.0)
    keep.leave()
    keep.succeeded(0.0, call(keep.next_step(0.0)), [])
    assert keep.next_step(0.0) is None


def test_leaving_does_not_insist() -> None:
    keep = keeper()
    registered(keep)
    keep.leave()
    keep.failed(0.0, call(keep.next_step(0.0)), Unavailable("away"))
    assert keep.next_step(0.0) is None


def test_without_the_incarnation_the_id_has_to_do() -> None:
    keep = keeper()
    keep.succeeded(0.0, call(keep.next_step(0.0)), "id")
    keep.failed(0.0, call(keep.next_step(0.0)), Unavailable("away"))
    keep.leave()
    assert keep.next_step(0.0) == requests.deregister("id")


def test_a_wildcard_host_becomes_the_address_that_the_registry_sees() -> None:
    keep = keeper(host="0.0.0.0")
    assert keep.needs_local_host
    keep.set_local_host(("10.1.2.3", 40_000))
    assert not keep.needs_local_host
    (registration,) = call(keep.next_step(0.0)).params
    assert registration.addr == Address("10.1.2.3", 80)
    assert registration.health_check == "http://10.1.2.3:80/health"


@pytest.mark.parametrize(
    ("host", "known_as"),
    [("localhost", "127.0.0.1"), ("Web.Example", "web.example"), ("2001:DB8:0::1", "2001:db8::1"), ("::1", "::1")],
)
def test_an_instance_recognizes_its_address_in_the_registrys_spelling(host: str, known_as: str) -> None:
    keep = keeper(host=host)
    keep.succeeded(0.0, call(keep.next_step(0.0)), "id")
    own = Instance("id", "web", as_address(Address(host, 80)), "", CheckState.PASSING, incarnation=7)
    assert known_as == own.addr.IP
    keep.succeeded(0.0, call(keep.next_step(0.0)), [own])
    keep.leave()
    assert keep.next_step(0.0) == requests.deregister("id", 7)


def test_an_id_that_another_program_has_taken_is_not_deregistered() -> None:
    keep = keeper()
    keep.succeeded(0.0, call(keep.next_step(0.0)), "id")
    keep.succeeded(0.0, call(keep.next_step(0.0)), [instance("id", 81)])
    assert "another service is registered with the id id: web at 127.0.0.1:81" in keep.problem
    keep.leave()
    assert keep.next_step(0.0) is None


def test_an_id_that_somebody_else_took_is_registered_again_at_the_next_renewal() -> None:
    keep = keeper()
    keep.succeeded(0.0, call(keep.next_step(0.0)), "id")
    keep.succeeded(0.0, call(keep.next_step(0.0)), [instance("id", 81)])
    assert keep.next_step(0.0) == 5.0
    assert call(keep.next_step(5.0)).method == "Discovery.Register"
