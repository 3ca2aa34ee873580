"""`completion`: the scripts of shells."""

import pytest

from minikube.cli.app import run


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_MINIKUBE_COMPLETE" in capsys.readouterr().out
