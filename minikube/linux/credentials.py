"""Whose rights an instance has (floor 3): `user` and `group` of the manifest → ids, checked before anything is started.

Looks into the user database only. It refuses to change the identity of this process: who starts the child does that.
"""

import grp
import os
import pwd

from msgspec import Struct

from minikube.errors import StartError
from minikube.manifest.diagnostics import did_you_mean


class Rights(Struct, frozen=True):
    """What to become. None: what we are."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None
    """Supplementary ones, as a login of the user has them."""


def rights_of(service: str, user: str, group: str) -> Rights:
    """The ids of `user` (a name or number, also `user:group`) and `group`; both empty: nobody changes.

    Raises `StartError` for names that do not exist, and for rights that we do not have, with the way out.
    """
    user, _, after = user.partition(":")
    group = group or after
    if not user and not group:
        return Rights()
    entry = _find_user(service, user) if user else None
    uid = entry.pw_uid if entry else int(user) if user else None
    gid = _find_group(service, group) if group else entry.pw_gid if entry else None
    if uid is not None and gid is None:
        raise StartError(f"{service}: user {user} is not known here and has no group — set services.{service}.group")
    if os.geteuid() != 0:
        _refuse_others(service, uid, user, gid, group)
        return Rights()
    return Rights(uid, gid, _groups(entry, gid) if uid is not None else None)


def login_environment(user: str) -> dict[str, str]:
    """HOME, USER, LOGNAME and SHELL of `user` (as `User=` of systemd sets them); nothing for none, and for a bare number
    without a name."""
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
            return None  # a bare number may well have no name
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


def _refuse_others(service: str, uid: int | None, user: str, gid: int | None, group: str) -> None:
    me = os.geteuid()
    if uid is not None and uid != me:
        key, wanted, ours = "user", user, pwd.getpwuid(me).pw_name if _known(me) else str(me)
    elif group and gid != os.getegid():
        key, wanted, ours = "group", group, str(os.getegid())
    else:
        return
    raise StartError(
        f"{service}: only root may run it as {key} {wanted}, this is {key} {ours}"
        f" — start minikube as root (sudo), or remove services.{service}.{key}"
    )


def _known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
