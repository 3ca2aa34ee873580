"""The shop, run by the real command: what the project promises, from outside."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.golang import build
from tests.e2e.running import Project, running, stopped
from tests.eventually import eventually
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(180)

OTHERS = """
[services.files]
command = ["${MINIKUBE_PYTHON}", "-S", "-m", "http.server", "${PORT}", "--bind", "127.0.0.1"]
port = "auto"
health = "/"
"""

NODE = """
const server = require("node:http").createServer((request, response) => response.end("hello"));
server.listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => process.exit(0));
"""

GO = """package main
import ("net/http"; "os")
func main() {
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) })
	panic(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), nil))
}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running]:
    with running(tmp_path_factory.mktemp("shop")) as project:
        yield project


@pytest.fixture
def shop(shared: running) -> running:
    """The shop that other tests have used, reset: both services pass, ten apples."""
    shared.wait_passing("product", "order")
    assert shared.http("product", "/product/aaa", "PUT", b'{"name": "apple", "quantity": 10}').status in (200, 201)
    return shared


def test_up_ends_with_both_services_passing_and_log_lines(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        rows = {row["service"]: row for row in shop.status()["instances"]}
        assert {rows[name]["check"] for name in ("product", "order")} == {"passing"}
        eventually(lambda: "listening on" in shop.output.read_text(), what="log lines")
        assert "product" in shop.run("ps")
        assert shop.run("get", "product").strip() == f"127.0.0.1:{shop.ports['product']}"
        assert shop.http("product", "/product/aaa").body == {"id": "aaa", "name": "apple", "quantity": 10}
        assert shop.stop() == 0
        assert shop.processes() == []
        shop.run("ps", code=3)


def test_ten_apples_are_sold_and_the_eleventh_is_409(shop: running) -> None:
    before = len(shop.http("order", "/orders").body)
    answers = [shop.http("order", "/purchase/aaa") for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [409]
    assert [answer.body["remaining"] for answer in answers[:10]] == list(range(9, -1, -1))
    assert len({answer.body["order_id"] for answer in answers[:10]}) == 10
    assert shop.http("product", "/product/aaa").body == {"id": "aaa", "name": "apple", "quantity": 0}
    assert len(shop.http("order", "/orders").body) == before + 10


def test_redis_shows_every_instance_with_name_address_and_health(shop: running) -> None:
    with shop.redis() as client:
        for name in ("product", "order"):
            (key,) = client.keys(f"{{minikube}}:instance:{name}:*")
            row = client.hgetall(key)
            assert (row["name"], row["addr"]) == (name, f"127.0.0.1:{shop.ports[name]}")
            assert row["health"].endswith("/health")
            assert key.endswith(row["uuid"])


def test_a_killed_product_is_gone_at_once_and_back_by_itself(shop: running) -> None:
    """Watchers get the removal before the next probe and the next start; the 100 ms are measured in tests/benchmarks."""
    before = shop.instance("product")
    change = shop.kill_and_watch("product")
    assert (change.kind, change.instance.uuid) == ("gone", before["id"])
    with shop.redis() as client:
        rows = [client.hgetall(key) for key in client.keys("{minikube}:instance:product:*")]
        assert all(int(row["incarnation"]) > change.instance.incarnation for row in rows)
    eventually(lambda: shop.instance("product")["pid"] != before["pid"], what="its end on the board")
    shop.wait_passing("product")
    row = shop.instance("product")
    assert row["pid"] != before["pid"]
    assert row["restarts"] == before["restarts"] + 1
    eventually(lambda: shop.http("order", "/purchase/aaa").status == 200)


def test_without_product_a_purchase_is_503_with_retry_after(shop: running) -> None:
    restarts = shop.instance("order")["restarts"]
    shop.run("stop", "product")
    eventually(lambda: not shop.found("product"))
    began = time.monotonic()
    answer = shop.http("order", "/purchase/aaa")
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - began < 5.5, "it does not look for one until a purchase's time is over"
    shop.run("start", "product")
    shop.wait_passing("product")
    assert shop.http("order", "/purchase/aaa").status == 200
    assert shop.instance("order")["restarts"] == restarts


def test_parallel_purchases_while_product_is_killed_sell_exactly_what_there_is(shop: running) -> None:
    shop.http("product", "/product/many", "PUT", b'{"name": "thing", "quantity": 60}')
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(shop.buy, ["many"] * 80)
        eventually(lambda: shop.http("product", "/product/many").body["quantity"] < 50)
        os.kill(shop.instance("product")["pid"], signal.SIGKILL)
        counted = list(answers)
    shop.wait_passing("product")
    shop.assert_sold("many", 60, counted)


def test_a_hanging_product_is_removed_and_comes_back_without_a_restart(shop: running) -> None:
    before = shop.instance("product")
    with stopped(before["pid"]):
        eventually(lambda: not shop.found("product"))
        eventually(lambda: shop.http("order", "/purchase/aaa").status == 503, what="the order service was told, too")
    eventually(lambda: shop.found("product"))
    row = shop.instance("product")
    assert (row["pid"], row["restarts"]) == (before["pid"], before["restarts"])


def test_programs_of_other_languages_join_by_manifest_alone(tmp_path: Path, need: Callable[[str], str]) -> None:
    go, node = need("go"), need("node")
    (tmp_path / "hello.go").write_text(GO)
    program = tmp_path / "hello"
    build(go, tmp_path, program, "hello.go")
    extra = OTHERS + f'\n[services.gopher]\ncommand = ["{program}"]\nport = "auto"\nhealth = "/health"\n'
    (tmp_path / "web.js").write_text(NODE)
    extra += f'\n[services.web]\ncommand = ["{node}", "web.js"]\nport = "auto"\nhealth = "/"\n'
    names = ("files", "gopher", "web")
    with running(tmp_path, extra) as project:
        project.wait_passing(*names)
        for name in names:
            assert project.found(name)


def test_a_program_joins_by_rpc_alone(shop: running, need: Callable[[str], str]) -> None:
    """`nc` is enough; the registry probes it from then on."""
    (port,) = free_ports(1)
    command = ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    program = subprocess.Popen(command, cwd=shop.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        line = (
            f'{{"method":"Discovery.Register","params":[{{"Name":"by-hand","Addr":"127.0.0.1:{port}",'
            f'"HealthCheck":"http://127.0.0.1:{port}/"}}],"id":1}}\n'
        )
        nc = [need("nc"), "-N", "127.0.0.1", str(shop.ports["registry"])]
        reply = subprocess.run(nc, input=line, capture_output=True, text=True, timeout=30).stdout
        assert '"error":null' in reply
        eventually(lambda: shop.found("by-hand"))
        assert shop.rpc("Discovery.Get", "by-hand")["result"]["Port"] == port
    finally:
        program.kill()
        program.wait()
    eventually(lambda: not shop.found("by-hand"))


def test_kill_9_of_the_supervisor_leaves_nothing_and_the_next_up_starts_clean(tmp_path: Path) -> None:
    with running(tmp_path) as shop:
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 9
        os.kill(shop.status()["pid"], signal.SIGKILL)
        assert shop.up is not None
        assert shop.up.wait(timeout=30) != 0
        eventually(lambda: shop.processes() == [], what="nothing is alive")
        shop.start()
        shop.wait_passing("product", "order")
        assert shop.http("product", "/product/aaa").body["quantity"] == 9
        assert shop.http("order", "/purchase/aaa").body["remaining"] == 8


def test_a_second_up_of_the_same_project_is_refused(shop: running) -> None:
    shop.run("up", "--plain", code=1)
    assert shop.passes("product", "order")


def test_two_checkouts_never_meet(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with running(one) as first, running(two) as second:
        assert first.http("order", "/purchase/aaa").body["remaining"] == 9
        assert second.http("order", "/purchase/aaa").body["remaining"] == 9
        assert isinstance(first, Project)
