"""The README is true: every command in it runs, every manifest in it is valid, every block says what it is.

The word after a block's language is its class. `sh install`: one of the two commands that everything else rests on;
`sh build`: run by test_install and test_binary; `sh export`: needs nothing that runs; `sh shop`: typed while the shop
runs, in order; `sh docker`: run by test_containers, with the images that it has built. `sh example`: for a place that a
test has not (other machines, an image registry, a relock), so only the options are looked at. `toml manifest`: a whole
manifest.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.running import MINIKUBE, ROOT, running

README = (ROOT / "README.md").read_text()
CLASSES = {
    ("sh", "install"),
    ("sh", "build"),
    ("sh", "export"),
    ("sh", "shop"),
    ("sh", "example"),
    ("sh", "docker"),
    ("toml", "manifest"),
    ("python", ""),
    ("js", ""),
    ("go", ""),
    ("json", ""),
    ("yaml", ""),
}


class Block(NamedTuple):
    """A fenced block: language, class, text."""

    language: str
    kind: str
    text: str


BLOCKS = [
    Block(*(match[1].strip().partition(" ")[::2]), match[2])  # type: ignore[call-arg]
    for match in re.finditer(r"(?ms)^```([^\n]*)\n(.*?)^```$", README)
]


def texts(language: str, kind: str) -> list[str]:
    return [block.text for block in BLOCKS if (block.language, block.kind) == (language, kind)]


def test_every_block_says_what_it_is() -> None:
    assert BLOCKS
    assert README.count("\n```") == 2 * len(BLOCKS)
    assert {(block.language, block.kind) for block in BLOCKS} <= CLASSES


def test_the_second_command_is_what_ci_runs() -> None:
    _first, second = (text.strip() for text in texts("sh", "install"))
    assert second in (ROOT / ".ci" / "run").read_text()


def test_the_first_command_differs_only_in_the_lock_and_the_last_word() -> None:
    first, second = (text.strip().split(" && ") for text in texts("sh", "install"))
    assert [word.replace("-dev.lock", ".lock") for word in second[:-1]] == first[:-1]
    assert first[-1] == ".venv/bin/minikube up supervisor.toml"


@pytest.mark.parametrize("manifest", texts("toml", "manifest"))
def test_every_manifest_is_valid(manifest: str, tmp_path: Path) -> None:
    (tmp_path / "supervisor.toml").write_text(manifest)
    done = subprocess.run([MINIKUBE, "validate"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program", texts("python", ""))
def test_every_python_program_compiles_and_names_what_exists(program: str) -> None:
    compile(program, "README.md", "exec")
    names = re.findall(r"\b(minikube|blocking|aio)\.(\w+)", program)
    check = "\n".join(
        ["import minikube", "from minikube import aio, blocking", *(f"{module}.{name}" for module, name in names)]
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


@pytest.mark.parametrize("line", "".join(texts("sh", "export")).splitlines())
def test_every_export_is_written(line: str, tmp_path: Path) -> None:
    """Where it says, from the sample manifest."""
    target = re.search(r"/tmp/shop\S*", line)
    assert target is not None
    command = line.replace(".venv/bin/minikube", MINIKUBE).replace("/tmp/shop", str(tmp_path))
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert Path(target[0].replace("/tmp/shop", str(tmp_path))).exists()


def test_every_option_in_an_example_exists() -> None:
    for line in "".join(texts("sh", "example")).splitlines():
        if found := re.search(r"\bminikube (\w+)((?: .*)?)$", line):
            text = subprocess.run([MINIKUBE, found[1], "--help"], capture_output=True, text=True, timeout=60).stdout
            for option in re.findall(r"--[a-z-]+", found[2]):
                assert option in text, line


@pytest.mark.timeout(300)
def test_every_command_runs_while_the_shop_runs(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        for line in "".join(texts("sh", "shop")).splitlines():
            command = shop.translate(line).replace(".venv/bin/minikube", MINIKUBE)
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
            assert done.stdout.strip() or " wait " in line, f"{line} prints nothing"
            assert '"error":"' not in done.stdout, f"{line}: {done.stdout}"
