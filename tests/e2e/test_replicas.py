"""Replicas of the shop's product come and go while customers buy: nothing is lost, and it is always found."""

import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.running import Answer, http, running
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(180)

STOCK = 100_000


class Shop(running):
    """The sample with as many products as are asked for, on ports of their own."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        super().__init__(directory, extra)
        text = self.manifest.read_text()
        self.manifest.write_text(re.sub(rf"(?m)^port = {self.ports['product']}$", 'port = "auto"', text))

    def products(self) -> list[dict[str, object]]:
        return [row for row in self.status()["instances"] if row["service"] == "product"]

    def wait_products(self, count: int) -> list[dict[str, object]]:
        rows = eventually(
            lambda: len(rows := self.products()) == count and all(row["check"] == "passing" for row in rows) and rows
        )
        assert isinstance(rows, list)
        return rows

    def product(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        address = str(self.products()[0]["address"])
        return http(int(address.rpartition(":")[2]), path, method, body)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Shop(tmp_path) as project:
        yield project  # type: ignore[misc]


@contextmanager
def customers(shop: Shop, counted: Counter[int], missed: list[str]) -> Iterator[None]:
    """Six buy without a pause, one looks the product up without a pause."""
    enough = threading.Event()

    def buy() -> None:
        while not enough.is_set():
            counted[shop.http("order", "/purchase/many", "POST").status] += 1

    def look() -> None:
        while not enough.is_set():
            reply = shop.rpc("Discovery.Get", "product")
            if reply["error"]:
                missed.append(reply["error"])

    with ThreadPoolExecutor(7) as pool:
        done = [pool.submit(one) for one in (*[buy] * 6, look)]
        try:
            yield
        finally:
            enough.set()
        for one in done:
            one.result()


def test_scaling_and_rolling_restarts_lose_no_purchase_and_no_lookup(shop: Shop) -> None:
    shop.product("/product/many", "PUT", b'{"name": "thing", "quantity": %d}' % STOCK)
    counted: Counter[int] = Counter()
    missed: list[str] = []
    with customers(shop, counted, missed):
        shop.run("scale", "product=5")
        rows = shop.wait_products(5)
        assert len({row["address"] for row in rows}) == 5
        shop.run("scale", "product=3")
        before = {row["id"]: row["pid"] for row in shop.wait_products(3)}
        shop.run("restart", "product")
        after = {row["id"]: row["pid"] for row in shop.wait_products(3)}
        assert before.keys() == after.keys()
        assert not set(before.values()) & set(after.values())
        shop.run("scale", "product=1")
        shop.wait_products(1)
    assert set(counted) == {200}, counted
    assert counted[200] > 20
    assert missed == []
    assert shop.product("/product/many").body["quantity"] == STOCK - counted[200]


def test_a_rolling_restart_stops_at_the_first_that_does_not_come_back(tmp_path: Path) -> None:
    """The other replicas are not restarted; the error names the failed replica, the reason and the skipped ones."""
    from tests.e2e.small import Small

    command = 'command = ["sh", "-c", "test ! -f broken && exec sleep 1000; echo no more; exit 3"]'
    settings = "replicas = 3\nrestart = { limit = 1 }\n"
    with Small(tmp_path, f"[services.many]\n{command}\n{settings}") as small:
        small.up()
        before = {name: small.pid(name) for name in ("many-1", "many-2", "many-3")}
        (tmp_path / "broken").touch()
        output = small.run("restart", "many", code=1)
        assert "many-1 did not come back: exit 3: 1 failed starts in a row; many-2, many-3 not restarted" in output
        assert small.pid("many-2") == before["many-2"]
        assert small.pid("many-3") == before["many-3"]


def test_what_is_scaled_away_is_not_brought_back_by_a_rolling_restart(tmp_path: Path) -> None:
    """It takes its time to end, and its turn to be restarted comes meanwhile."""
    from tests.e2e.small import Small

    end = "test -f slow && sleep 3; sleep 0.5; exit"
    command = f"""command = ["sh", "-c", "echo said; trap '{end}' TERM; while :; do sleep 0.02; done"]"""
    with Small(tmp_path, f"[services.many]\n{command}\nreplicas = 2\n") as small:
        small.up("--wait")
        rolling = threading.Thread(target=small.command, args=("restart", "many"))
        rolling.start()
        eventually(lambda: small.states()["many-1"] == "stopping", what="the first one rolls")
        (tmp_path / "slow").touch()
        small.run("scale", "many=1")
        rolling.join()
        assert list(small.states()) == ["many-1"]
        assert small.until("many-1", "running").restarts == 1
        # Its log is not open any more, and can be read.
        supervisor = Path("/proc", (tmp_path / ".minikube" / "lock").read_text().split()[0], "fd")
        open_files = {os.path.basename(os.readlink(path)) for path in supervisor.iterdir() if path.is_symlink()}
        assert "many-1.log" in open_files
        assert "many-2.log" not in open_files
        assert "said" in small.run("logs", "many-2")


def test_a_replica_stopped_during_a_rolling_restart_stays_stopped_and_each_caller_gets_an_answer(
    tmp_path: Path,
) -> None:
    from tests.e2e.small import Small

    command = """command = ["sh", "-c", "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.02; done"]"""
    with Small(tmp_path, f"[services.many]\n{command}\nreplicas = 3\n") as small, ThreadPoolExecutor(2) as pool:
        small.up("--wait")
        rolling = pool.submit(small.command, "restart", "many")
        eventually(lambda: small.states()["many-1"] == "stopping", what="the first one rolls")
        again = pool.submit(small.command, "restart", "many")
        small.until("many-2", "stopping")
        small.run("stop", "many")
        for one in (rolling, again):
            assert (one.result().returncode, one.result().stderr) == (1, "minikube: many: was stopped meanwhile\n")
        assert set(small.states().values()) == {"stopped"}
        assert {row.pid for row in small.status().instances} == {0}


def test_a_restart_that_could_not_come_back_is_refused_and_one_that_does_not_is_no_success(tmp_path: Path) -> None:
    from tests.e2e.small import READY, Small

    front = f'[services.front]\n{READY}depends_on = {{ app = "started" }}\nenv = {{ V = "1" }}\n'
    task = '[services.mig]\ncommand = ["sh", "-c", "test ! -f broken"]\nrestart = "never"\n'
    with Small(tmp_path, f"[services.app]\n{READY}{front}{task}") as small:
        small.up("--wait")
        before = small.pid("front")
        small.run("stop", "app")
        refused = (
            "front: not restarted, because it could not start again: waiting for app to be started: app is stopped"
        )
        assert f"{refused} — `minikube start app`" in small.run("restart", "front", code=1)
        small.edit('V = "1"', 'V = "2"')
        assert refused in small.run("apply", code=1)
        assert "not applied whole: front: not restarted" in str(small.events("apply.failed"))
        assert small.pid("front") == before
        assert "runs as the manifest was before" in small.run("ps")
        small.run("start", "app")
        assert "env.V: 1 → 2" in small.run("apply"), "what was left is done by the next one"
        assert b"\0V=2\0" in Path(f"/proc/{small.pid('front')}/environ").read_bytes()
        assert "no changes" in small.run("apply")
        assert "as the manifest was before" not in small.run("ps")
        small.run("restart", "mig")
        (tmp_path / "broken").touch()
        assert "mig did not come back: exit 1" in small.run("restart", "mig", code=1)
