"""A running project of several files: commands, `apply` and `--watch` work with the files that run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small import AUTO, READY, SLEEP, Small
from tests.eventually import eventually

DEV = "dev/dev.toml"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """A project of `supervisor.toml` and `dev/dev.toml`; neither `third.toml` nor `supervisor.override.toml` belongs to it."""
    with Small(tmp_path_factory.mktemp("several"), f'[services.x]\n{READY}env = {{ WHICH = "base" }}\n') as found:
        (found.directory / "dev").mkdir()
        (found.directory / DEV).write_text(f'[services.x.env]\nWHICH = "dev"\n[services.only]\n{READY}')
        (found.directory / "third.toml").write_text("services.x.env.WHICH = 'third'\n")
        (found.directory / "supervisor.override.toml").write_text("services.x.env.WHICH = 'override'\n")
        found.up("--wait", "-f", "supervisor.toml", "--file", DEV)
        yield found


@pytest.mark.parametrize("manifest", ["", "-m supervisor.toml", "-m ."])
def test_commands_work_with_the_files_that_run(small: Small, manifest: str) -> None:
    words = manifest.split()
    assert "only" in small.run("ps", *words)
    assert small.run("restart", "only", *words) == "only restarted\n"
    if manifest != "-m supervisor.toml":
        assert small.run("exec", *words, "x", "--", "sh", "-c", "echo $WHICH") == "dev\n"
        assert small.run("validate", *words).endswith(f"supervisor.toml + {DEV}: good, 2 services\n")


@pytest.mark.parametrize(
    ("command", "manifest"),
    [
        ("apply", "-m supervisor.toml"),
        ("apply", "-m supervisor.toml -m third.toml"),
        ("exec only -- true", "-m supervisor.toml"),
        ("exec only -- true", "-m third.toml"),
    ],
)
def test_nothing_is_changed_with_other_files_than_those_that_run(small: Small, command: str, manifest: str) -> None:
    name, *words = command.split()
    text = small.run(name, *manifest.split(), *words, code=2)
    assert "is not the manifest that runs here" in text
    assert f"supervisor.toml + {DEV}" in text


def test_an_edited_file_is_applied_and_a_missing_or_wrong_one_changes_nothing(small: Small) -> None:
    dev, pid = small.directory / DEV, small.pid("only")
    text = dev.read_text()
    try:
        dev.write_text(text.replace('"dev"', '"edited"'))
        assert "env.WHICH: dev → edited" in small.run("apply")
        dev.write_text(text + "prot = 1\n")
        assert f"{dev}:6:1: services.only.prot: unknown key" in small.run("apply", code=2)
        dev.unlink()
        assert f"{dev}: no such file" in small.run("apply", code=2)
        assert small.pid("only") == pid
    finally:
        dev.write_text(text)
        small.run("apply")
    assert small.run("exec", "x", "--", "sh", "-c", "echo $WHICH") == "dev\n"


def test_a_second_up_names_the_files_that_it_was_given(small: Small) -> None:
    text = small.run("up", "-d", "-f", "supervisor.toml", "-f", "third.toml", code=1)
    assert "supervisor.toml + third.toml: is running already" in text


def test_watch_applies_an_override_that_appears_changes_and_vanishes(tmp_path: Path) -> None:
    with Small(tmp_path, f'[services.x]\n{SLEEP}env = {{ WHICH = "base" }}\n') as small:
        override = tmp_path / "supervisor.override.toml"
        small.up("--wait", "--watch")
        first = small.pid("x")
        assert "no changes" in small.run("apply", "-m", "supervisor.toml")

        def until_replaced(before: int) -> int:
            found = eventually(lambda: (pid := small.pid("x")) != before and pid, what="a new process")
            assert isinstance(found, int)
            return found

        fresh = tmp_path / "fresh"
        fresh.write_text('[services.x.env]\nWHICH = "override"\n')
        fresh.replace(override)
        second = until_replaced(first)
        assert "WHICH=override" in Path(f"/proc/{second}/environ").read_text()
        assert small.run("validate") == "supervisor.toml + supervisor.override.toml: good, 1 service\n"
        assert "applies supervisor.toml + supervisor.override.toml" in small.run(
            "apply", "-m", "supervisor.toml", code=2
        )
        override.write_text('[services.x.env]\nWHICH = "hal')
        eventually(lambda: any("not TOML" in text for text in small.events("apply.failed")), what="the problem")
        override.write_text("")
        eventually(lambda: any("is empty" in text for text in small.events("apply.failed")), what="the empty file")
        assert small.pid("x") == second
        override.unlink()
        third = until_replaced(second)
        assert "WHICH=base" in Path(f"/proc/{third}/environ").read_text()
        (tmp_path / ".env").write_text("A=1\n")
        small.write(f'[services.x]\n{SLEEP}env = {{ WHICH = "${{A}}" }}\n')
        fourth = until_replaced(third)
        assert "WHICH=1" in Path(f"/proc/{fourth}/environ").read_text()
    assert AUTO in small.path.read_text()
