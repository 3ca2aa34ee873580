"""What is installed is what was meant: the locks, and one command for the README and for CI."""

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement

from tests.paths import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
EXTRAS = r"(?:\[[a-z0-9,-]+\])?"


def pins(lock: str) -> dict[str, str]:
    """Name and version of everything a lock pins."""
    return dict(re.findall(rf"^([a-z0-9-]+){EXTRAS}==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_place(lock: str) -> None:
    """Every requirement has a hash; no address, path, option or comment is in the file."""
    text = (ROOT / lock).read_text()
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(rf"[a-z0-9-]+{EXTRAS}==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement
    assert not re.search(r"://|#|/|--(?!hash=sha256:)", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_asked_for_with_extras_is_pinned_with_them(lock: str) -> None:
    """Otherwise pip 23, Python 3.11's own, takes the newest version there is, which has no hash here."""
    text = (ROOT / lock).read_text()
    for name in pins(lock):
        with suppress(PackageNotFoundError):  # of another system or Python
            for line in requires(name) or ():
                wanted = Requirement(line)
                if wanted.extras and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
                    assert f"\n{wanted.name}[{','.join(sorted(wanted.extras))}]==" in text, f"{name} asks for {line}"


def test_the_locks_agree() -> None:
    """What users get is what is tested."""
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_the_lock_has_every_dependency() -> None:
    """What pyproject.toml asks for, and what builds it, is pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0] for line in wanted}
    assert names <= pins("requirements.lock").keys()


def test_the_readme_and_ci_run_the_same_command() -> None:
    """The README's second command is what CI runs."""
    (command,) = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.endswith("-m tests")]
    assert command in (ROOT / "README.md").read_text()
