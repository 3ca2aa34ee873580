"""Several ports by name, optional dependencies and groups, in a project that runs."""

import json
from pathlib import Path

from tests.e2e.small import SLEEP, Small
from tests.eventually import eventually

PRINT = 'echo "$1 ${REPLICA} ${PORT} ${PORT_DEBUG} $PORT_DNS"'
SERVICES = f"""
[env]
SHARED = "shared by ${{REPLICA}}"

[services.seed]
shell = "exit 3"
restart = "never"

[services.cache]
command = "/no/such"
tags = ["extra"]

[services.web]
shell = '''
set -- start; {PRINT} "$SHARED"
exec sleep 1000
'''
port = "auto"
register = "none"
replicas = 2
groups = ["front"]
ports = {{ debug = "auto", dns = {{ port = "26100-26199", protocol = "udp" }} }}
stop = {{ shell = '''set -- stop; {PRINT}''' }}
depends_on = {{ seed = "exited", cache = {{ condition = "started", required = false }} }}

[services.unneeded]
{SLEEP}
"""


def test_each_instance_has_ports_of_its_own_and_keeps_them(tmp_path: Path) -> None:
    """Its hooks, `exec` and `ps` know them; what it depends on optionally has failed, and what it waits for, too."""
    with Small(tmp_path, SERVICES) as small:
        small.up("@front", "@tag:extra")
        eventually(lambda: len(small.lines("web")) == 2, what="both have printed their ports")
        lines = {line.split()[1]: line.split() for line in small.lines("web")}
        first, second = lines["1"], lines["2"]
        assert first[-3:] == ["shared", "by", "1"]
        numbers = [*first[2:4], *second[2:4]]
        assert len({*numbers}) == 4
        assert {first[4], second[4]} <= {str(port) for port in range(26100, 26200)}
        assert first[4] != second[4]
        rows = {row["name"]: row for row in json.loads(small.run("ps", "--json", "@front"))}
        assert rows["web-1"]["ports"] == {"debug": int(first[3]), "dns": int(first[4])}
        assert small.run("exec", "web-2", "--", "sh", "-c", "echo $PORT_DEBUG $SHARED") == f"{second[3]} shared by 2\n"
        assert small.states()["unneeded"] == "stopped"
        assert any(text.startswith("web-1 starts without cache: ") for text in small.events("instance.dependency"))

        small.run("stop", "@front")
        small.run("start", "@front")
        eventually(lambda: len(small.lines("web")) == 6, what="both have stopped and started")
        again = [line.removeprefix("stop command: ").split() for line in small.lines("web")][2:]
        for before in (first, second):
            assert sorted(words[:5] for words in again if words[1] == before[1]) == [
                ["start", *before[1:5]],
                ["stop", *before[1:5]],
            ]
