"""Good and bad values for every key of a manifest, as JSON-like data: the parser and the schema are held to the same.

`(path, value, field, meaning)`: what the value at `path` must become; `(path, value, expected)`: what is refused, with
what the message says. A path starts at the manifest, or with `.` at `services.x`.
"""

from pathlib import Path
from typing import Any

from minikube.manifest import (
    BuildSpec,
    HealthSpec,
    HostPort,
    LogSpec,
    RestartSpec,
    StopSpec,
    TlsSettings,
    VolumeSpec,
)

ROOT = Path("/project")

GOOD: list[tuple[str, Any, Any]] = [
    ("name", "shop-2", "shop-2"),
    ("registry.listen", "localhost:0", HostPort("localhost", 0)),
    ("registry.listen", "[::1]:5555", HostPort("::1", 5555)),
    ("registry.token", "t0ken", "t0ken"),
    ("registry.tls", {"cert": "c.pem", "key": "/k.pem"}, TlsSettings(ROOT / "c.pem", Path("/k.pem"))),
    ("registry.tls", {"cert": "c", "key": "k", "ca": "a"}, TlsSettings(ROOT / "c", ROOT / "k", ROOT / "a")),
    ("registry.allow_checks", ["10.0.0.0/8", "*"], ("10.0.0.0/8", "*")),
    ("registry.advertise", "10.0.0.1:5555", "10.0.0.1:5555"),
    ("control.listen", "127.0.0.1:1", HostPort("127.0.0.1", 1)),
    ("redis.url", "redis://me:pw@h:1/2", "redis://me:pw@h:1/2"),
    ("redis.url", "unix:///run/r.sock", "unix:///run/r.sock"),
    ("redis.url", "redis+sentinel://a:1,b:2/main/0", "redis+sentinel://a:1,b:2/main/0"),
    ("redis.prefix", "{a}", "{a}"),
    ("containers.engine", "podman", "podman"),
    (".command", ["a", "", "b c"], ("a", "", "b c")),
    (".command", "a 'b c' \"d\"", ("a", "b c", "d")),
    (".args", [], ("run",)),
    (".args", ["-v", ""], ("run", "-v", "")),
    (".port", 7070, 7070),
    (".port", "8080", 8080),
    (".host", "0.0.0.0", "0.0.0.0"),
    (".host", "::1", "::1"),
    (".cwd", "sub/../other", ROOT / "other"),
    (".cwd", "/tmp", Path("/tmp")),
    (".env", {"A": "1", "B": 2, "C": 1.5, "D": ""}, {"A": "1", "B": "2", "C": "1.5", "D": ""}),
    (".user", "nobody", "nobody"),
    (".replicas", 3, 3),
    (".replicas", 0, 0),
    (".profiles", ["debug"], ("debug",)),
    (".tags", ["v1", "blue"], ("v1", "blue")),
    (".meta", {"team": "a"}, {"team": "a"}),
    (".watch", ["src/**/*.py"], ("src/**/*.py",)),
    (".register", "self", "self"),
    (".register", "none", "none"),
    (".depends_on", ["y"], {"y": "healthy"}),
    (".depends_on", [], {}),
    (".depends_on", {"y": "started", "z": "completed"}, {"y": "started", "z": "completed"}),
    (".health", "/health?x=1", HealthSpec("http", http="/health?x=1")),
    (".health", "https://h:1/x", HealthSpec("http", http="https://h:1/x")),
    (".health", "tcp", HealthSpec("tcp")),
    (".health", {"tcp": True}, HealthSpec("tcp")),
    (".health", {"http": "/h", "interval": "250ms"}, HealthSpec("http", http="/h", interval=0.25)),
    (".health", {"command": "check -x"}, HealthSpec("command", command=("check", "-x"))),
    (".health", {"command": ["check"], "timeout": "1m"}, HealthSpec("command", command=("check",), timeout=60.0)),
    (".health", {"log": "ready in [0-9]+"}, HealthSpec("log", log="ready in [0-9]+")),
    (
        ".health",
        {"tcp": True, "failures": 2, "timeouts": 3, "successes": 4, "start_period": "0s", "restart_after": 5},
        HealthSpec("tcp", failures=2, timeouts=3, successes=4, start_period=0.0, restart_after=5),
    ),
    (".restart", "on-failure", RestartSpec("on-failure")),
    (".restart", {}, RestartSpec()),
    (
        ".restart",
        {"policy": "never", "delay": "1s", "max_delay": "1s", "limit": 1},
        RestartSpec("never", delay=1.0, max_delay=1.0, limit=1),
    ),
    (".stop", {"signal": "INT"}, StopSpec("INT")),
    (".stop", {"signal": "sigquit", "timeout": "0"}, StopSpec("QUIT", timeout=0.0)),
    (".stop", {"signal": "2", "command": ["bye"]}, StopSpec("INT", command=("bye",))),
    (".stop", {"command": "bye now"}, StopSpec(command=("bye", "now"))),
    (".limits", {"memory": "64M", "cpus": 1.5, "pids": 10}, {"memory": 67108864, "cpus": 1.5, "pids": 10}),
    (".limits", {"nofile": 256, "core": "unlimited", "as": "1G"}, {"nofile": 256, "core": -1, "as": 1 << 30}),
    (".limits", {"cpus": 2, "memory": 1024}, {"cpus": 2.0, "memory": 1024}),
    (".logs", {"max_size": "1K", "keep": 0, "format": "json"}, LogSpec(1024, 0, "json")),
]

CONTAINERS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"image": "nginx:1"}, {"image": "nginx:1", "command": ()}),
    ({"image": "nginx:1", "args": ["-v"]}, {"command": ("-v",)}),
    ({"build": "docker"}, {"build": BuildSpec(ROOT / "docker")}),
    (
        {"image": "mine", "build": {"context": ".", "dockerfile": "D", "target": "t", "args": {"A": 1}}},
        {"image": "mine", "build": BuildSpec(ROOT, "D", "t", {"A": "1"})},
    ),
    ({"image": "i", "command": ["run"], "runtime": "container"}, {"runtime": "container", "command": ("run",)}),
    ({"image": "i", "command": ["run"], "runtime": "process"}, {"runtime": "process", "command": ("run",)}),
    ({"image": "i", "cwd": "/srv"}, {"runtime": "container", "workdir": "/srv"}),
    ({"image": "i", "network": "project", "port": 80, "replicas": 3}, {"network": "project", "port": 80}),
    ({"image": "i", "port": "auto", "container_port": 80}, {"container_port": 80, "auto_port": True}),
    ({"image": "i", "init": True, "pull": "always"}, {"init": True, "pull": "always"}),
    (
        {"image": "i", "volumes": ["./data:/data", "/etc/ssl:/ssl:ro", "cache:/var/cache"]},
        {
            "volumes": (
                VolumeSpec("/project/data", "/data"),
                VolumeSpec("/etc/ssl", "/ssl", read_only=True),
                VolumeSpec("cache", "/var/cache"),
            )
        },
    ),
]

BAD: list[tuple[str, Any, str]] = [
    ("name", "Shop", 'name: expected a DNS label: a-z, 0-9 and -, 1 to 63 characters, got "Shop"'),
    ("name", 3, "name: expected a DNS label: a-z, 0-9 and -, 1 to 63 characters, got 3"),
    ("registry", "x", 'registry: expected a table, got "x"'),
    (
        "registry.listen",
        "5555",
        'registry.listen: expected host:port, such as "127.0.0.1:5555" or "[::1]:5555", got "5555"',
    ),
    ("registry.listen", 5555, 'registry.listen: expected host:port, such as "127.0.0.1:5555", got 5555'),
    ("registry.listen", "a:99999", "registry.listen: expected host:port"),
    ("registry.listen", "::1:5555", "registry.listen: expected host:port"),
    ("registry.listen", "[zz]:1", "registry.listen: expected host:port"),
    ("registry.token", 1234, "registry.token: expected a string, got something else"),
    ("registry.tls", {"cert": "c"}, "registry.tls.key: expected it to be set, [registry.tls] needs cert and key"),
    ("registry.tls", {"cert": 1, "key": "k"}, "registry.tls.cert: expected a non-empty string, got 1"),
    ("registry.allow_checks", "*", 'registry.allow_checks: expected a list of strings, got "*"'),
    ("control.listn", "x", "control.listn: unknown key, expected a key of [control] (did you mean listen?)"),
    ("redis.url", "localhost:6379", "redis.url: expected redis://host:port/db"),
    ("redis.url", "http://h", "redis.url: expected redis://host:port/db"),
    ("redis.url", "${A:?no}", "redis.url: A is not set: no"),
    ("redis.prefix", "", 'redis.prefix: expected a non-empty string, got ""'),
    ("regsitry", {}, "regsitry: unknown key, expected a key of the manifest (did you mean registry?)"),
    ("services", [], "services: expected a table of services, got an empty list"),
    ("services.Ab", {"command": "x"}, "services.Ab: expected a DNS label"),
    (
        "services.y.comand",
        "x",
        "services.y.comand: unknown key, expected a key of [services.y] (did you mean command?)",
    ),
    ("services.y", "run", 'services.y: expected a table, got "run"'),
    ("containers.engine", "dockr", '"docker", "podman" or "nerdctl", got "dockr" (did you mean docker?)'),
    (".command", [], "services.x.command: expected a list of strings, got an empty list"),
    (".command", [""], "services.x.command[0]: expected a command, got an empty string"),
    (".command", "", "services.x.command: expected a command, got an empty string"),
    (".command", "a 'b", "services.x.command: expected a command line that a shell could split (no closing quotation)"),
    (".command", ["a", 1], "services.x.command[1]: expected a string, got 1"),
    (".command", 1, "services.x.command: expected a list of strings, or a string, got 1"),
    (".command", ["a\0"], "services.x.command[0]: expected no NUL character"),
    (".args", "-v", 'services.x.args: expected a list of strings, got "-v"'),
    (".port", 0, "services.x.port: expected an integer from 1 to 65535, got 0"),
    (".port", 70700, "services.x.port: expected an integer from 1 to 65535, got 70700"),
    (".port", "http", 'services.x.port: expected a port from 1 to 65535, or "auto", got "http"'),
    (".port", True, 'services.x.port: expected a port from 1 to 65535, or "auto", got true'),
    (".port", 1.5, 'services.x.port: expected a port from 1 to 65535, or "auto", got 1.5'),
    (".host", "a b", 'services.x.host: expected an address or host name, got "a b"'),
    (".cwd", "", 'services.x.cwd: expected a non-empty string, got ""'),
    (".env", {"A": True}, "services.x.env.A: expected a string or a number, got true"),
    (".env", {"A": ["x"]}, "services.x.env.A: expected a string or a number, got a list"),
    (".env", {"A B": "x"}, 'services.x.env."A B": expected a variable\'s name as the key'),
    (".env", ["A=1"], "services.x.env: expected a table of strings, got a list"),
    (".replicas", -1, "services.x.replicas: expected an integer from 0 to 1000, got -1"),
    (".replicas", "2", 'services.x.replicas: expected an integer from 0 to 1000, got "2"'),
    (".tags", [""], 'services.x.tags[0]: expected a non-empty string, got ""'),
    (".meta", {"a": 1}, "services.x.meta.a: expected a string, got 1"),
    (".register", "supervisr", '"self" or "none", got "supervisr" (did you mean supervisor?)'),
    (".register", False, 'services.x.register: expected "supervisor", "self" or "none", got false'),
    (".depends_on", "y", "services.x.depends_on: expected a list of service names, or a table such as"),
    (
        ".depends_on",
        {"y": "helthy"},
        'services.x.depends_on.y: expected "started", "healthy" or "completed", got "helthy"',
    ),
    (".depends_on", [1], "services.x.depends_on[0]: expected a non-empty string, got 1"),
    (".health", "health", 'services.x.health: expected a path such as "/health" or an http(s):// URL, got "health"'),
    (".health", False, 'services.x.health: expected a path such as "/health", "tcp", or a table, got false'),
    (".health", {}, "services.x.health: expected exactly one of http, tcp, command or log, got none"),
    (".health", {"http": "/", "tcp": True}, "expected exactly one of http, tcp, command or log, got http and tcp"),
    (".health", {"tcp": False}, "services.x.health.tcp: expected true, got false"),
    (".health", {"http": "/ x"}, "services.x.health.http: expected a path"),
    (".health", {"log": "("}, "services.x.health.log: expected a regular expression"),
    (".health", {"log": 1}, "services.x.health.log: expected a regular expression, got 1"),
    (".health", {"tcp": True, "interval": 5}, 'services.x.health.interval: expected a duration such as "250ms", "5s"'),
    (".health", {"tcp": True, "interval": "0s"}, "services.x.health.interval: expected a duration above 0"),
    (
        ".health",
        {"tcp": True, "failures": 0},
        "services.x.health.failures: expected an integer from 1 to 1000000, got 0",
    ),
    (".health", {"tcp": True, "intervall": "5s"}, "services.x.health.intervall: unknown key"),
    (".restart", "allways", '"on-failure" or "never", got "allways" (did you mean always?)'),
    (".restart", {"delay": "2s", "max_delay": "1s"}, "services.x.restart.max_delay: expected at least restart.delay"),
    (".restart", {"limit": 0}, "services.x.restart.limit: expected an integer from 1 to 1000000, got 0"),
    (".restart", True, 'services.x.restart: expected "always", "on-failure", "never" or a table, got true'),
    (
        ".stop",
        {"signal": "TREM"},
        "services.x.stop.signal: expected a signal such as TERM, INT or QUIT (did you mean TERM?)",
    ),
    (".stop", {"timeout": "soon"}, "services.x.stop.timeout: expected a duration"),
    (".stop", {"command": [1]}, "services.x.stop.command[0]: expected a string, got 1"),
    (
        ".limits",
        {"memory": "lots"},
        'services.x.limits.memory: expected a size such as "512K", "10M" or "2G", got "lots"',
    ),
    (".limits", {"nofile": "10K"}, "services.x.limits.nofile: expected an integer"),
    (".limits", {"cpus": 0}, "services.x.limits.cpus: expected a number from 0.01 to 4096, got 0"),
    (
        ".limits",
        {"mem": "1G"},
        "services.x.limits.mem: unknown key, expected a key of [services.x.limits] (did you mean memory?)",
    ),
    (".limits", {"nofile": True}, 'services.x.limits.nofile: expected an integer or "unlimited", got true'),
    (".logs", {"max_size": 10}, 'services.x.logs.max_size: expected a size such as "512K", "10M" or "2G", got 10'),
    (".logs", {"format": "xml"}, 'services.x.logs.format: expected "plain" or "json", got "xml"'),
    (
        ".logs",
        {"rotate": 1},
        "services.x.logs.rotate: unknown key, expected a key of [services.x.logs] (known: max_size, keep",
    ),
    (".env_file", 3, "services.x.env_file: expected a list of files, got 3"),
]

PARSER_ONLY = {
    "registry.listen: expected host:port, such",
    "registry.listen: expected host:port",
    "redis.url: ",
    "expected a command line",
    "expected a command, got",
    "expected no NUL",
    "health.interval: expected a duration above 0",
    "expected a regular expression",
    "max_delay: expected at least",
    "stop.signal: expected a signal",
    "expected a path such as",
    "services.x.health.http: expected a path",
    'port: expected a port from 1 to 65535, or "auto", got "http"',
    "limits",
}
"""Messages whose rule is finer than an editor's schema: that may take what the parser refuses, never the reverse."""


def manifest_with(path: str, value: Any) -> dict[str, Any]:
    """The smallest manifest around one value; `x` needs a command and a port, `y` and `z` are there to depend on."""
    raw: dict[str, Any] = {
        "name": "test",
        "services": {
            "x": {"command": "run", "port": 1000},
            "y": {"command": "run", "port": 1001},
            "z": {"command": "run", "restart": "on-failure"},
        },
    }
    if path == ".replicas":
        raw["services"]["x"]["port"] = "auto"
    at = raw
    *parents, last = (f"services.x{path}" if path.startswith(".") else path).split(".")
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    return raw
