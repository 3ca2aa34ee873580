"""The user and groups that an instance runs as: the manifest's `user` and `group` → ids, checked before the start.

It reads the user database only. It refuses to change the ids of this process: `subprocess` sets them in the child.
"""

import grp
import os
import pwd

from msgspec import Struct

from minikube.errors import StartError
from minikube.manifest.diagnostics import did_you_mean


class Credentials(Struct, frozen=True):
    """User id, group id and supplementary groups of a process. None: those of the supervisor."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    """Supplementary groups, as a login of the user has them."""


def find_credentials(service: str, user: str, group: str) -> Credentials:
    """Return the ids of `user` (a name or a number, also `user:group`) and `group`; both empty: no change.

    Raises `StartError` for a name that does not exist, and for a change that only root may make.
    """
    user, _, after = user.partition(":")
    group = group or after
    if not user and not group:
        return Credentials()
    entry = _find_user(service, user) if user else None
    uid = entry.pw_uid if entry else int(user) if user else None
    gid = _find_group(service, group) if group else entry.pw_gid if entry else None
    if uid is not None and gid is None:
        raise StartError(f"{service}: user {user} is not known here and has no group — set services.{service}.group")
    # Without root the child keeps the supervisor's ids: setting even the same groups would need root.
    if os.geteuid() != 0:
        _require_own(service, uid, user, gid, group)
        return Credentials()
    return Credentials(uid, gid, _groups(entry, gid) if uid is not None else None)


def login_environment(user: str) -> dict[str, str]:
    """Return HOME, USER, LOGNAME and SHELL of a user, as systemd's `User=` sets them.

    Empty for no user, and for a number that has no entry in the user database.
    """
    name = user.partition(":")[0]
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return {}
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}


def _find_user(service: str, user: str) -> "pwd.struct_passwd | None":
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if user.isdecimal():
            return None  # a number without an entry is valid: containers and file servers use such ids
    hint = did_you_mean(user, [entry.pw_name for entry in pwd.getpwall()])
    raise StartError(f"{service}: there is no user {user} here{hint} — set services.{service}.user")


def _find_group(service: str, group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        hint = did_you_mean(group, [entry.gr_name for entry in grp.getgrall()])
        raise StartError(f"{service}: there is no group {group} here{hint} — set services.{service}.group") from None


def _groups(entry: "pwd.struct_passwd | None", gid: int | None) -> tuple[int, ...]:
    return tuple(os.getgrouplist(entry.pw_name, gid)) if entry is not None and gid is not None else ()


def _require_own(service: str, uid: int | None, user: str, gid: int | None, group: str) -> None:
    """Raise `StartError` where an id differs from that of this process, which is not root."""
    own = os.geteuid()
    if uid is not None and uid != own:
        key, wanted, actual = "user", user, pwd.getpwuid(own).pw_name if _has_entry(own) else str(own)
    elif group and gid != os.getegid():
        key, wanted, actual = "group", group, str(os.getegid())
    else:
        return
    raise StartError(
        f"{service}: only root may run it as {key} {wanted}, this is {key} {actual}"
        f" — start minikube as root (sudo), or remove services.{service}.{key}"
    )


def _has_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
