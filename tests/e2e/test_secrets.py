"""Secrets: on no command line, in no listing, event or log of ours; hostile characters reach no terminal raw."""

from collections.abc import Iterator

import pytest

from tests.e2e.running import Project, running
from tests.eventually import eventually
from tests.redis_server import RedisServer

SECRETS = {
    "env": "hunter2-of-env",
    "file": "hunter2-of-env-file",
    "redis": "hunter2-of-redis",
    "registry": "hunter2-of-registry",
    "inherited": "hunter2-of-parent",
}
HOSTILE = "\x1b]0;owned\x07 \u202egnp.exe \x9b31m"

EXTRA = f"""
[services.secretive]
command = [
    "${{MINIKUBE_PYTHON}}", "-u", "-c",
    "import sys, time; print(sys.argv[1].encode().decode('unicode_escape')); time.sleep(600)",
]
args = ['{HOSTILE.encode("unicode_escape").decode()}']
env = {{ DB_PASSWORD = "{SECRETS["env"]}", PLAIN = "shown" }}
env_file = ["secret.env"]
health = {{ command = ["false"] }}

[services.talkative]
command = ["sh", "-c", "env; echo told; exec sleep 600"]
env = {{ DB_PASSWORD = "{SECRETS["env"]}" }}
env_file = ["secret.env"]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The sample shop with a password in every place that takes one, and a service that prints its whole environment."""
    tmp_path = tmp_path_factory.mktemp("project")
    data = tmp_path / "redis"
    data.mkdir()
    options = ("--requirepass", SECRETS["redis"])
    with RedisServer(data, options=options, user=f":{SECRETS['redis']}") as server:
        made = running(tmp_path, EXTRA)
        text = made.manifest.read_text()
        text = text.replace("[registry]", '[registry]\ntoken = "${REGISTRY_TOKEN}"')
        text = text.replace("[redis]", '[redis]\nurl = "${STORE_URL}"')
        made.manifest.write_text(text)
        (tmp_path / ".env").write_text(f"REGISTRY_TOKEN={SECRETS['registry']}\nSTORE_URL={server.url}\n")
        (tmp_path / "secret.env").write_text(f"API_KEY={SECRETS['file']}\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CI_JOB_TOKEN", SECRETS["inherited"])
            with made:
                yield made


def test_secrets_are_seen_nowhere(project: Project) -> None:
    eventually(lambda: project.instance("secretive").get("pid"))
    shown = [project.run(*words.split()) for words in ("ps", "ps --json", "describe secretive", "events", "config")]
    shown += [project.run("describe", "product"), project.run("instances", "--json"), str(project.status())]
    eventually(lambda: "owned" in project.run("logs", "secretive"))
    eventually(lambda: "told" in project.run("logs", "talkative"))
    shown.append(project.run("logs"))
    logs = [path.read_text(errors="replace") for path in (project.directory / ".minikube" / "logs").rglob("*.*")]
    processes = project.processes()
    assert len(processes) >= 5
    lines = [" ".join(process.cmdline()) for process in processes]
    for place, texts in (("listings", shown), ("logs", [*logs, project.output.read_text()]), ("commands", lines)):
        for text in texts:
            for secret in SECRETS.values():
                assert secret not in text, f"{secret} in {place}: {text[:2000]}"
    assert "shown" in project.run("config"), "what is no secret is not hidden"
    state = project.directory / ".minikube"
    assert (state.stat().st_mode & 0o777, (state / "token").stat().st_mode & 0o777) == (0o700, 0o600)


def test_hostile_output_is_made_visible(project: Project) -> None:
    eventually(lambda: "owned" in project.run("logs", "secretive"))
    for text in (project.run("logs", "secretive"), project.output.read_text()):
        (line,) = [line for line in text.splitlines() if "owned" in line]
        assert not any(character in line for character in "\x1b\x07\u202e\x9b"), ascii(line)


def test_the_shop_works_behind_its_token(project: Project) -> None:
    assert project.http("order", "/purchase/aaa").status == 200
    assert "unauthorized" in project.rpc("Discovery.Get", "product")["error"]
