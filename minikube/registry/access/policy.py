"""Which caller may register under a name, and which may change an entry. Pure.

A caller has a user (known on loopback only), a token, or both; it may do what either allows. An entry has one owner: the user,
token or instance that registered it. Only the owner, and the supervisor, may replace an entry.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import force_setattr

from minikube.model import Address, normalize_host
from minikube.project.registry_tokens import TokenOwner
from minikube.registry.access.rights import Rights
from minikube.registry.catalog.records import Record

SUPERVISOR = "supervisor"
REGISTRY_TOKEN = "registry.token"


class Credential(Struct, frozen=True):
    """What a connection has presented with `Discovery.Authenticate`: one kind of token."""

    rights: Rights = Rights()
    token: str = ""
    """The name of a token that was made with `registry token create`."""
    instance: TokenOwner | None = None
    is_supervisor: bool = False
    is_registry_token: bool = False


class Caller(Struct, frozen=True):
    """The user and the token of one call."""

    user: int | None = None
    """The user id at the other end; None if unknown: a closed socket, a container, another machine."""
    is_operator: bool = False
    """Whether the user is the one that runs the registry, or root."""
    credential: Credential = Credential()
    owners: frozenset[str] = frozenset()
    """The owners whose entries are the caller's own; made from the other fields."""

    def __post_init__(self) -> None:
        token, owners = self.credential, set()
        if self.user is not None:
            owners.add(f"user {self.user}")
        if token.token:
            owners.add(f"token {token.token}")
        if token.instance:
            owners.add(_instance_owner(token.instance))
        if token.is_registry_token:
            owners.add(REGISTRY_TOKEN)
        force_setattr(self, "owners", frozenset(owners))

    def __str__(self) -> str:
        token = self.credential
        if token.is_supervisor or token.is_registry_token:
            return SUPERVISOR if token.is_supervisor else f"the holder of {REGISTRY_TOKEN}"
        if token.instance:
            return describe_owner(_instance_owner(token.instance))
        if token.token:
            return f"token {token.token}"
        return "a caller whose user is not known" if self.user is None else f"user {self.user}"

    @property
    def is_admin(self) -> bool:
        """Whether the caller may remove and maintain the entries of all owners."""
        return self.credential.rights.admin or self.has_all_rights

    @property
    def has_all_rights(self) -> bool:
        """Whether the caller may replace the entries of all owners: the supervisor, and `registry.token` as before rights."""
        return self.credential.is_supervisor or self.credential.is_registry_token

    @property
    def may_read_output(self) -> bool:
        """Whether the caller sees the output of checks."""
        return self.is_operator or self.is_admin or self.credential.rights.may_read_output

    def owns(self, owner: str) -> bool:
        """Return whether an entry with this owner is the caller's."""
        return owner in self.owners


class ServiceReservation(Struct, frozen=True, rename="pascal"):
    """What the manifest says about one service. `port` is 0 where it gives no fixed port."""

    user: int | None = None
    """The id of the service's `user`; None: that of the registry."""
    host: str = "127.0.0.1"
    port: int = 0
    instances: tuple[str, ...] = ()
    """The ids of the service's instances that the supervisor has now."""

    def has_address(self, address: Address) -> bool:
        """Return whether an instance of the service may have the address, by the manifest."""
        if not self.port:
            return True
        # Not `is_same_host`: ::1 and 127.0.0.1 are two endpoints, at which two programs may listen.
        host, _, zone = self.host.partition("%")
        if host == "0.0.0.0":
            is_host = ":" not in address.IP
        else:
            is_host = host == "::" or (normalize_host(host), zone) == (address.IP, address.Zone)
        return address.Port == self.port and is_host


Reservations = Mapping[str, ServiceReservation]
"""The services of the supervisor's manifest, by name."""


def owner_of(caller: Caller, record: Record) -> str:
    """Return the owner of an entry that the caller registers.

    The supervisor registers on behalf of an instance: the instance owns the entry, so that it can renew it itself.
    """
    token, name, id = caller.credential, record.instance.name, record.id
    if token.is_supervisor:  # also before it has said which names are reserved: a registry may just have been restarted
        return _instance_owner(TokenOwner(name, id))
    if token.instance and token.instance.service == name:
        return _instance_owner(token.instance)
    if token.token and token.rights.may_register(name):
        return f"token {token.token}"
    if caller.user is not None:
        return f"user {caller.user}"
    return REGISTRY_TOKEN if token.is_registry_token else SUPERVISOR


def refuse_registration(caller: Caller, record: Record, reservations: Reservations) -> str:
    """Return why the caller may not register under the record's name; empty if it may."""
    name, token = record.instance.name, caller.credential
    reservation = reservations.get(name)
    if caller.is_admin:
        return ""
    if reservation is None:
        if caller.is_operator or token.rights.may_register(name):
            return ""
        return (
            f"{caller} may not register {name} — run it as the user of the registry,"
            f" or give it a token: minikube registry token create --right 'register {name}'"
        )
    if token.instance and token.instance.service == name:
        return ""
    if caller.user == 0 and not token.instance:
        return ""
    if caller.is_operator or (reservation.user is not None and caller.user == reservation.user):
        if reservation.has_address(record.instance.addr):
            return ""
        return (
            f"{name} is a service of the manifest, which gives it port {reservation.port} on {reservation.host}:"
            f" {caller} may not register it at {record.instance.addr} without the token of an instance"
        )
    return (
        f"{name} is a service of the manifest: {caller} may not register it — its instances have a token"
        " (MINIKUBE_REGISTRY_TOKEN), which Discovery.Authenticate takes"
    )


def refuse_change(caller: Caller, record: Record, *, replaces: bool = False) -> str:
    """Return why the caller may not change or remove an entry; empty if it may. `replaces`: by a registration."""
    if caller.has_all_rights or caller.owns(record.owner) or (caller.is_admin and not replaces):
        return ""
    # An entry that was stored before entries had owners: the users that could change everything then still can.
    if not record.owner and (caller.is_operator or caller.credential.rights.may_register(record.instance.name)):
        return ""
    owner = describe_owner(record.owner) if record.owner else "an earlier version of the registry"
    return (
        f"{record.instance.name} at {record.instance.addr} ({record.id}) belongs to {owner}:"
        f" {caller} may not {'replace' if replaces else 'change'} it"
    )


def describe_owner(owner: str) -> str:
    """Return an entry's owner in words."""
    kind, _, rest = owner.partition(" ")
    return f"instance {rest}" if kind == "instance" else owner


def is_instance_owner(owner: str) -> bool:
    """Return whether an entry's owner is an instance of the supervisor, or a `minikube run` of its services."""
    return owner.startswith("instance ")


def _instance_owner(instance: TokenOwner) -> str:
    return f"instance {instance.id} of {instance.service}"
