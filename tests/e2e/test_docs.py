"""The documentation is true: its commands run, its manifests are valid, its programs and outputs are real, its links lead
somewhere. `tests.documents` lists the classes of blocks.
"""

import inspect
import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import minikube
from minikube.cli.app import COMMANDS
from minikube.sdk.methods import AsyncMethods
from tests.documents import CLASSES, PAGES, PROGRAMS, ROOT, Block, blocks, find, read, section
from tests.e2e.running import MINIKUBE, Project, running
from tui.screens.help import KEYS

ENTRIES = "\n# entries of the page\n"
"""In the manifest of the running shop: what follows comes from the page that is being followed."""


def test_each_block_has_a_class() -> None:
    for page in PAGES:
        found = blocks(page)
        assert read(page).count("\n```") == 2 * len(found), f"{page} has a fence that is not closed"
        for block in found:
            if block.language in PROGRAMS:
                assert "." in block.kind, f"{block.place}: name the file after the language"
            else:
                assert f"{block.language} {block.kind}" in CLASSES, f"{block.place}: no such class"


def test_each_page_of_the_reference_begins_with_an_example() -> None:
    """A block stands before the second heading."""
    for page in PAGES:
        if page.startswith("docs/"):
            assert "\n```" in read(page).partition("\n## ")[0], page


def test_the_second_command_is_what_ci_runs() -> None:
    _first, second = (block.text.strip() for block in find("sh", "install"))
    assert second in (ROOT / ".ci" / "run").read_text()


def test_the_two_commands_of_the_readme_differ_only_in_the_lock_and_the_last_word() -> None:
    first, second = (block.text.strip().split(" && ") for block in find("sh", "install"))
    assert [word.replace("-dev.lock", ".lock") for word in second[:-1]] == first[:-1]
    assert first[-1] == ".venv/bin/minikube up supervisor.toml"


# ---------------------------------------------------------------- links


def anchors(page: str) -> set[str]:
    """Return the names by which links reach the headings of a page, as GitHub makes them."""
    text = re.sub(r"(?ms)^```.*?^```$", "", read(page))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.*)$", text)
    }


@pytest.mark.parametrize("page", PAGES)
def test_each_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", read(page)):
        file, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(str(path.relative_to(ROOT))), f"{page}: {target}"


def test_the_readme_leads_to_each_page() -> None:
    for page in PAGES[1:]:
        assert f"]({page})" in read("README.md"), page


# ---------------------------------------------------------------- manifests, exports, examples


def places(found: list[Block]) -> list[Any]:
    return [pytest.param(block, id=block.place) for block in found]


@pytest.mark.parametrize("block", places(find("toml", "manifest")))
def test_each_manifest_is_valid(block: Block, tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text(block.text)
    done = subprocess.run([MINIKUBE, "validate"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("block", places(find("toml", "override")))
def test_each_further_file_makes_a_valid_manifest(block: Block, tmp_path: Path) -> None:
    (before,) = [one for one in blocks(block.page) if one.kind in ("manifest", "imported") and one.line < block.line][
        -1:
    ]
    (tmp_path / "supervisor.toml").write_text(before.text)
    (tmp_path / "supervisor.override.toml").write_text(block.text)
    done = subprocess.run([MINIKUBE, "validate"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "supervisor.toml + supervisor.override.toml: good, 2 services\n"), (
        done.stderr
    )


def test_each_key_of_the_manifest_is_documented() -> None:
    """Every name in the manifest's JSON Schema stands on its page, as a key or in backticks."""
    schema = json.loads(subprocess.run([MINIKUBE, "schema"], check=True, capture_output=True, timeout=60).stdout)
    page = read("docs/manifest.md")
    for name in sorted(names_in(schema)):
        assert re.search(rf"(?m)(^|[`{{,.\[# ]){re.escape(name)}( =|[`.\]])", page), f"docs/manifest.md lacks {name}"


def names_in(schema: Any) -> set[str]:
    """Return the names of all properties of a JSON Schema."""
    if isinstance(schema, list):
        return set().union(*map(names_in, schema))
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(names_in, schema.values()))


@pytest.mark.parametrize("line", "".join(block.text for block in find("sh", "export")).splitlines())
def test_each_export_is_written(line: str, tmp_path: Path) -> None:
    """The files are where the command says, made from the sample manifest."""
    target = re.search(r"/tmp/shop\S*", line)
    assert target is not None
    command = line.replace("minikube", MINIKUBE, 1).replace("/tmp/shop", str(tmp_path))
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert Path(target[0].replace("/tmp/shop", str(tmp_path))).exists()


@pytest.mark.parametrize("block", places(find("sh", "example")))
def test_each_example_names_commands_options_and_files_that_exist(block: Block) -> None:
    for line in block.text.splitlines():
        for name, options in re.findall(r"\bminikube ([a-z]+)((?: [^;&|]*)?)", line):
            if name in COMMANDS:
                text = subprocess.run([MINIKUBE, name, "--help"], capture_output=True, text=True, timeout=60).stdout
                for option in re.findall(r"--[a-z-]+", options):
                    assert option in text, line
        for file in re.findall(r"(?<![\w/$.])(?:tests|\.venv/bin|services)/[\w/.-]+\.py|[\w-]+\.lock", line):
            assert (ROOT / file).exists(), f"{block.place}: {file}"
        for target in re.findall(r"--target (\w+)", line):
            assert f" AS {target}\n" in (ROOT / "Dockerfile").read_text(), line


def test_each_command_is_documented() -> None:
    """Each command begins a row of a table in docs/cli.md."""
    rows = "".join(re.findall(r"(?m)^\| `.*? \|", read("docs/cli.md")))
    assert set(COMMANDS) <= set(re.findall(r"`([a-z]+)", rows))


def test_each_method_of_the_sdk_is_documented() -> None:
    """The page of the registry has a row with the signature of each public method of `Registry`, except `send` and what the SDK
    uses itself, and a row for each field of `Registration`."""
    page = read("docs/registry.md")
    methods = {name for name in vars(AsyncMethods) if not name.startswith("_")} - {"send"} | {"watch"}
    for name in methods:
        parameters = inspect.signature(getattr(minikube.Registry, name)).parameters.values()
        shown = ", ".join(
            parameter.name + ("" if parameter.default is parameter.empty else f"={parameter.default!r}")
            for parameter in parameters
            if parameter.name != "self"
        )
        row = f"| `{name}({shown})` |".replace("'", '"')
        assert row in page, row
    table = section("docs/registry.md", "## The methods of an open registry").partition("field of `Registration`")[2]
    fields = {name for row in re.findall(r"(?m)^\| (`.*?) \|", table) for name in re.findall(r"`(\w+)`", row)}
    assert fields == set(minikube.Registration.__struct_fields__)


def test_each_key_of_the_dashboard_is_documented() -> None:
    """The page lists the keys that the dashboard's help shows, and no others."""
    shown = {key for _, lines in KEYS for keys, _ in lines for key in keys.split() if key != "mouse"}
    rows = re.findall(r"(?m)^\| (`.*?) \| ", read("docs/dashboard.md"))
    assert {key for row in rows for key in re.findall(r"`([^`]+)`", row)} == shown


# ---------------------------------------------------------------- what is typed while the shop runs


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The running sample shop in a directory of its own."""
    with running(tmp_path_factory.mktemp("shop")) as project:
        yield project


@pytest.fixture
def place(shop: Project) -> Iterator[Project]:
    """The shop as `up` started it; what a page adds is taken out at its end."""
    before = shop.manifest.read_text()
    files = set(shop.directory.iterdir())
    shop.run("wait")
    yield shop
    shop.manifest.write_text(before)
    shop.run("apply")
    for path in set(shop.directory.iterdir()) - files:
        path.rmdir() if path.is_dir() else path.unlink()


def type_line(shop: Project, line: str) -> str:
    """Run a line in the shop's directory as an activated environment would; return what it prints."""
    command = shop.translate(line).replace(".venv/bin/", f"{Path(MINIKUBE).parent}/")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'PATH="{Path(MINIKUBE).parent}:$PATH"\n{command}'],
        cwd=shop.directory,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    return done.stdout


def shape(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run: numbers, ids, times, the width of columns."""
    lines = (re.sub(r"[\w.]*\d[\w.:%]*|(?<!\S)-(?!\S)", "#", line) for line in text.splitlines())
    return [re.sub(r"#(?: #)+", "#", " ".join(line.split())) for line in lines if line.strip()]


PAGES_IN_THE_SHOP = [page for page in PAGES if any(block.kind == "shop" for block in blocks(page))]
TOOLS = ("go", "node", "nc", "redis-cli", "curl")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES_IN_THE_SHOP)
def test_a_page_can_be_followed_line_by_line(page: str, place: Project, need: Callable[[str], str]) -> None:
    """Entries go into the manifest, programs beside it; each command succeeds and prints what the page shows."""
    steps = blocks(page)
    for tool in TOOLS:
        if any(re.search(rf"\b{tool}\b", block.text) for block in steps if block.kind in ("shop", "entry")):
            need(tool)
    printed = ""
    for number, block in enumerate(steps):
        following = steps[number + 1] if number + 1 < len(steps) else None
        if block.kind == "entry":
            place.manifest.write_text(place.manifest.read_text() + ENTRIES + place.translate(block.text))
        elif block.language in PROGRAMS:
            (place.directory / block.kind).write_text(place.translate(block.text))
        elif block.kind == "shop":
            printed = "".join(said_by(place, block, following))
        elif block.kind == "output":
            remaining = iter(shape(printed))
            for line in shape(place.translate(block.text)):
                assert line in remaining, f"{block.place}: {line!r} is not printed (in this order):\n{printed}"


def said_by(shop: Project, block: Block, following: Block | None) -> Iterator[str]:
    """Run the lines of a block, each of which has to print something, and no error of the registry."""
    for line in block.text.splitlines():
        output = type_line(shop, line)
        assert output.strip() or re.search(r" wait |>", line), f"{block.place}: {line} prints nothing"
        if following is None or following.kind != "output":
            assert '"error":"' not in output, f"{block.place}: {line}: {output}"
        yield output.rstrip("\n") + "\n"


# ---------------------------------------------------------------- the registry's protocol


def keys(value: Any) -> Any:
    """Return the shape of a JSON value: the keys of objects, without the values."""
    return {key: keys(inner) for key, inner in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("block", places(find("json", "dialogue")))
def test_each_dialogue_is_what_the_registry_replies(block: Block, shop: Project) -> None:
    """Replies and notifications have the keys that the page shows; what the page shows empty may have more."""
    with socket.create_connection(("127.0.0.1", shop.ports["registry"]), 30) as sock, sock.makefile("rb") as replies:
        for line in block.text.splitlines():
            message = json.loads(line)
            if "id" in message and "method" in message:
                sock.sendall(line.encode() + b"\n")
                continue
            if "method" in message:
                shop.rpc(
                    "Discovery.Register",
                    {"Name": "product", "Addr": "127.0.0.1:9", "HealthCheck": "ttl:", "Uuid": "d0c5"},
                )
                shop.rpc("Discovery.Deregister", "d0c5")
            assert has(keys(json.loads(replies.readline())), keys(message)), f"{block.place}: {line}"


def has(actual: Any, shown: Any) -> bool:
    """Whether `actual` has exactly the keys shown, at every level that is not shown empty."""
    if not shown:
        return True
    return (
        isinstance(actual, dict)
        and actual.keys() == shown.keys()
        and all(has(actual[key], shown[key]) for key in shown)
    )


# ---------------------------------------------------------------- Prometheus


@pytest.mark.parametrize("block", places(find("yaml", "prometheus")))
def test_each_address_for_prometheus_answers(block: Block, shop: Project) -> None:
    token = (shop.directory / ".minikube" / "token").read_text().strip()
    for job in yaml.safe_load(shop.translate(block.text))["scrape_configs"]:
        for config in job.get("static_configs", []):
            metrics = ask(f"http://{config['targets'][0]}/metrics", token)
            assert b"instance=" not in metrics, "Prometheus sets this label itself"
        for config in job.get("http_sd_configs", []):
            for group in json.loads(ask(config["url"], token)):
                for target in group["targets"]:
                    ask(f"http://{target}/metrics", token)


def ask(url: str, token: str) -> bytes:
    """Return the body of a page of the control API; raise where it does not answer 200."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        body: bytes = reply.read()
    return body
