"""The shared structs on the wire: what Go's client decodes, and that a stream's reader distinguishes its messages."""

import msgspec
import pytest

from minikube.model import Address, CheckState, Delta, Instance, Registration, Snapshot


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("127.0.0.1", 7070), "127.0.0.1:7070"),
        (Address("::1", 7070), "[::1]:7070"),
        (Address("fe80::1", 7070, "eth0"), "[fe80::1%eth0]:7070"),
        (Address("product", 7070), "product:7070"),
    ],
)
def test_an_address_reads_as_one_writes_it(address: Address, text: str) -> None:
    """An IPv6 address stands in brackets, its zone behind it."""
    assert str(address) == text


def test_an_address_is_what_go_decodes() -> None:
    """Exactly IP, Port and Zone."""
    assert msgspec.json.encode(Address("127.0.0.1", 7070)) == b'{"IP":"127.0.0.1","Port":7070,"Zone":""}'


def test_the_rpc_speaks_pascal_case() -> None:
    """Names on the wire are Go's."""
    wire = msgspec.to_builtins(Instance("0123abcd", "product", Address("127.0.0.1", 1), "ttl:", CheckState.PASSING))
    assert wire.keys() >= {"Uuid", "Name", "Addr", "HealthCheck", "State", "Since", "Incarnation"}
    assert wire["State"] == "passing"


def test_an_unknown_key_of_a_registration_is_refused() -> None:
    """A misspelt option is an error."""
    with pytest.raises(msgspec.ValidationError, match="Intervall"):
        msgspec.convert({"Name": "a", "Addr": "h:1", "HealthCheck": "ttl:", "Intervall": 1}, Registration)


def test_the_stream_marks_snapshots_and_deltas() -> None:
    """One union decodes both."""
    snapshot = Snapshot("shop", 1, 0.0, 0.0, "0.1.0", 1)
    delta = Delta(2, 1, 0.0)
    for update in (snapshot, delta):
        assert msgspec.json.decode(msgspec.json.encode(update), type=Snapshot | Delta) == update
