"""A manifest that is applied, as far as that can be told without a process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from minikube.errors import UsageError
from minikube.manifest import load_manifest
from minikube.supervisor.reconcile.apply import ManifestReconciler


async def test_an_emptied_manifest_is_half_written_unless_somebody_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.x]\ncommand = "run"\n')
    core: Any = SimpleNamespace(manifest=load_manifest(path), asked_to_stop=trio.Event(), roster=())
    path.write_text("")
    async with trio.open_nursery() as nursery:
        applier = ManifestReconciler(core, core, nursery)
        with pytest.raises(UsageError, match="no services any more"):
            await applier.apply(dry_run=True, refuse_empty=True)
        reply = await applier.apply(dry_run=True)
    assert [(one.service, one.change) for one in reply.changes] == [("x", "removed")]


async def test_a_defect_is_told_to_who_asked_and_ends_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.x]\ncommand = "run"\n')
    core: Any = SimpleNamespace(manifest=load_manifest(path), roster=())  # and nothing else that it needs
    path.write_text('[services.x]\ncommand = "walk"\n')
    async with trio.open_nursery() as nursery:
        applier = ManifestReconciler(core, core, nursery)
        with pytest.raises(AttributeError):
            await applier.apply()
        assert (await applier.apply(dry_run=True)).dry_run
