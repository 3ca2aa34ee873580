"""Keys that become words for the engine's `create`, and keys that are left out, each with its reason."""

from collections.abc import Mapping

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing

VALUES: Mapping[str, str] = {
    "hostname": "--hostname",
    "domainname": "--domainname",
    "platform": "--platform",
    "shm_size": "--shm-size",
    "ipc": "--ipc",
    "pid": "--pid",
    "uts": "--uts",
    "userns_mode": "--userns",
    "cgroup": "--cgroupns",
    "cgroup_parent": "--cgroup-parent",
    "runtime": "--runtime",
    "mac_address": "--mac-address",
    "mem_reservation": "--memory-reservation",
    "memswap_limit": "--memory-swap",
    "mem_swappiness": "--memory-swappiness",
    "oom_score_adj": "--oom-score-adj",
    "cpu_shares": "--cpu-shares",
    "cpu_quota": "--cpu-quota",
    "cpu_period": "--cpu-period",
    "cpuset": "--cpuset-cpus",
}
"""Keys with one value, and the engine's option."""

FLAGS: Mapping[str, str] = {
    "privileged": "--privileged",
    "read_only": "--read-only",
    "oom_kill_disable": "--oom-kill-disable",
}
"""Keys that are true or false."""

LISTS: Mapping[str, str] = {
    "cap_add": "--cap-add",
    "cap_drop": "--cap-drop",
    "devices": "--device",
    "device_cgroup_rules": "--device-cgroup-rule",
    "dns": "--dns",
    "dns_search": "--dns-search",
    "dns_opt": "--dns-option",
    "group_add": "--group-add",
    "security_opt": "--security-opt",
}
"""Keys with several values: the option is given for each of them."""

PAIRS: Mapping[str, str] = {
    "labels": "--label",
    "annotations": "--annotation",
    "sysctls": "--sysctl",
    "storage_opt": "--storage-opt",
}
"""Tables: the option is given with each `name=value`."""

NO_TERMINAL = "services have no terminal — `minikube exec` and `minikube shell` open one"

REFUSED: Mapping[str, str] = {
    "external_links": "containers of other projects are not reached — publish their ports",
    "credential_spec": "is for Windows",
    "isolation": "is for Windows",
    "blkio_config": "add the engine's --blkio-weight or --device-read-bps to engine_args",
    "label_file": "write its labels as --label=… into engine_args",
    "provider": "only containers are run",
    "models": "no models are run — name their endpoint in env",
    "post_start": "a command after the start is a service of its own with depends_on",
    "use_api_socket": "mount /var/run/docker.sock in volumes",
}
"""Keys without a counterpart, and what to do."""


def read_value(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Read a key of `VALUES`."""
    if text := draft.text(entry.value, key, "engine_args"):
        draft.add_engine_args(entry.span, key, f"{VALUES[key]}={text}")


def read_flag(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Read a key of `FLAGS`."""
    if draft.flag(entry, key):
        draft.add_engine_args(entry.span, key, FLAGS[key])


def read_list(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Read a key of `LISTS`."""
    for text in draft.texts(entry.value, key, "engine_args") or ():
        if text:
            draft.add_engine_args(entry.span, key, f"{LISTS[key]}={text}")


def read_pairs(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Read a key of `PAIRS`, a table after `normalize_service`."""
    for name, item in draft.entries(entry, key).items():
        value = "" if is_nothing(item.value) else draft.text(item.value, f"{key}.{name}", "engine_args")
        if value is not None and name and "\0" not in name:
            name = name.replace("$", "$$")  # Compose fills in no variables of keys
            draft.add_engine_args(item.span, key, f"{PAIRS[key]}={name}" + (f"={value}" if value else ""))


def read_files(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Leave out `secrets` and `configs`, each with the mount that takes its place."""
    for item in entry.value.items if isinstance(entry.value, Items) else ():
        name, target = _file_names(item, key)
        section = draft.names.sections[key].get(name)
        file = section.value.get("file") if section and isinstance(section.value, Table) else None
        if isinstance(file, Scalar) and name:
            path = draft.file_path(file.text, file.span, key)
            path = path if path.startswith(("/", ".", "~", "${")) else f"./{path}"
            draft.refuse(item.span, f"{key}.{name}", f'a file is a mount here — add "{path}:{target}:ro" to volumes')
        else:
            draft.refuse(
                item.span, f"{key}.{name}", "only files can be mounted — write one, and add it to volumes, or use env"
            )


def _file_names(item: Node, key: str) -> tuple[str, str]:
    """Return the name of a secret or config, and the path of its file in the container."""
    table = item.entries if isinstance(item, Table) else {}
    source = table["source"].value if "source" in table else item
    name = source.text if isinstance(source, Scalar) else ""
    given = table["target"].value if "target" in table else None
    target = given.text if isinstance(given, Scalar) else name
    base = "/run/secrets/" if key == "secrets" else "/"
    return name, target if target.startswith("/") else f"{base}{target}"


def read_gpus(draft: ServiceDraft, entry: Entry) -> None:
    """Read `gpus`: all of them."""
    text = draft.text(entry.value, "gpus", "engine_args")
    if text == "all":
        draft.add_engine_args(entry.span, "gpus", "--gpus=all")
    elif text is not None:
        draft.refuse(entry.span, "gpus", "expected all — add the engine's --gpus=… to engine_args")


def read_stdin_open(draft: ServiceDraft, entry: Entry) -> None:
    """Read `stdin_open`, which says what is so without it: stdin of every service is open."""
    draft.flag(entry, "stdin_open")


def read_tty(draft: ServiceDraft, entry: Entry) -> None:
    """Read `tty`."""
    if draft.flag(entry, "tty"):
        draft.refuse(entry.span, "tty", NO_TERMINAL)


def read_attach(draft: ServiceDraft, entry: Entry) -> None:
    """Read `attach`, which says whose output `docker compose up` shows."""
    if not draft.flag(entry, "attach"):
        draft.refuse(entry.span, "attach", "output is always kept — `minikube logs NAME` shows what is asked for")


def read_refused(draft: ServiceDraft, entry: Entry, key: str) -> None:
    """Add a note for a key of `REFUSED`, or for one that is not known."""
    reason = REFUSED.get(key, "is no key of a Compose service that is known here")
    draft.refuse(entry.span, key, reason)
