"""Applying an edited manifest, as far as that needs no process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from minikube.errors import UsageError
from minikube.manifest import load_manifest
from minikube.supervisor.launch_options import LaunchOptions
from minikube.supervisor.reconcile.apply.manifest_reconciler import ManifestReconciler

TABLE = SimpleNamespace(current_path=lambda path: path, relocations=())
CONTEXT = SimpleNamespace(options=LaunchOptions(), process_table=TABLE)


async def test_an_emptied_manifest_is_refused_on_save_and_applied_on_request(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.x]\ncommand = "run"\n')
    reconciler: Any = SimpleNamespace(started=True, manifest=load_manifest(path), replicas=(), context=CONTEXT)
    path.write_text("")
    async with trio.open_nursery() as nursery:
        unused: Any = None
        apply = ManifestReconciler(reconciler, unused, unused, nursery).apply
        with pytest.raises(UsageError, match="no services any more"):
            await apply(dry_run=True, refuse_empty=True)
        reply = await apply(dry_run=True)
    assert [(one.service, one.change) for one in reply.changes] == [("x", "removed")]


async def test_a_defect_is_raised_to_the_caller_and_ends_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.x]\ncommand = "run"\n')
    reconciler: Any = SimpleNamespace(
        started=True, manifest=load_manifest(path), replicas=(), context=CONTEXT
    )  # all else is missing
    path.write_text('[services.x]\ncommand = "walk"\n')
    async with trio.open_nursery() as nursery:
        unused: Any = None
        apply = ManifestReconciler(reconciler, unused, unused, nursery).apply
        with pytest.raises(AttributeError):
            await apply()
        assert (await apply(dry_run=True)).dry_run


async def test_an_apply_before_the_services_have_been_created_is_refused(tmp_path: Path) -> None:
    reconciler: Any = SimpleNamespace(started=False)
    unused: Any = None
    async with trio.open_nursery() as nursery:
        with pytest.raises(UsageError, match="the project is starting; nothing was changed"):
            await ManifestReconciler(reconciler, unused, unused, nursery).apply()


async def test_an_edit_that_needs_a_service_of_an_inactive_profile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.x]\ncommand = "run"\n[services.y]\ncommand = "run"\nprofiles = ["dev"]\n')
    reconciler: Any = SimpleNamespace(started=True, manifest=load_manifest(path), replicas=(), context=CONTEXT)
    path.write_text(path.read_text().replace("[services.y]", 'depends_on = { y = "started" }\n[services.y]'))
    unused: Any = None
    async with trio.open_nursery() as nursery:
        with pytest.raises(UsageError, match="x: depends on y, which is only in the profile dev"):
            await ManifestReconciler(reconciler, unused, unused, nursery).apply()
