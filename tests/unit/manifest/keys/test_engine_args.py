"""`engine_args`: options of the engine pass, those that would break the supervision of a container are refused by name."""

import pytest

from minikube.manifest.keys.engine_args import find_problems
from tests.unit.manifest.test_parser import build

OWN = "which the supervisor sets itself"


def problems(words: list[str]) -> list[str]:
    return build({"services": {"x": {"image": "i", "engine_args": words}}})[1]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--privileged"],
        ["--cap-add", "NET_ADMIN", "--cap-add=SYS_TIME", "--shm-size", "256m"],
        ["--gpus", "all", "--read-only", "--tmpfs", "/tmp"],
        ["--label", "team=web", "-l", "a=b", "-lc=d"],
        ["--network-alias", "database", "--dns", "10.0.0.2"],
        ["--mount", "type=tmpfs,target=/x", "-v", "/a:/b:shared"],
        ["--volume=shop_data:/var/lib/data", "-v", "shop_data:/x:ro,nocopy"],
        ["--oom-score-adj", "-1"],
    ],
)
def test_options_of_the_engine_pass(words: list[str]) -> None:
    assert find_problems(words) == []
    assert problems(words) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name", "web"], f"[0]: expected no --name, {OWN}"),
        (["--privileged", "--name=web"], f"[1]: expected no --name, {OWN}"),
        (["--rm"], f"[0]: expected no --rm, {OWN}"),
        (["-d"], f"[0]: expected no -d, {OWN}"),
        (["-td"], f"[0]: expected no -d, {OWN}"),
        (["-it"], f"[0]: expected no -i, {OWN}"),
        (["--cidfile", "/tmp/x"], f"[0]: expected no --cidfile, {OWN}"),
        (["--label", "mini-kube-discovery.mark=x"], f"[0]: expected no label mini-kube-discovery.…, {OWN}"),
        (["-lmini-kube-discovery.mark=x"], f"[0]: expected no label mini-kube-discovery.…, {OWN}"),
        (["--net", "host"], "[0]: expected no --net — set network in its place"),
        (["--restart=always"], "[0]: expected no --restart — set restart in its place"),
        (
            ["-e", "TOKEN=abc"],
            "[0]: expected no -e — set env or env_file in its place, which put no value on a command",
        ),
        (["-eTOKEN=abc"], "[0]: expected no -e — set env or env_file"),
        (["-u0"], "[0]: expected no -u — set user in its place"),
        (["--health-cmd", "true"], "[0]: expected no --health-cmd — set health in its place"),
        (["-p", "9000:9000/udp"], "[0]: expected no -p — set port or ports in its place"),
        (["-tP"], "[0]: expected no -P — set port or ports in its place"),
        (["--volume", "./a:/b:ro"], "[0]: expected no --volume with a path — set volumes in its place"),
        (["-v/cache"], "[0]: expected no -v with a path — set volumes in its place"),
        (["alpine"], '[0]: expected an option that begins with -, got "alpine", which would be taken for the image'),
        (["--privileged", "x"], '[1]: expected an option that begins with -, got "x"'),
        (["--cap-add", "A", "B"], '[2]: expected an option that begins with -, got "B"'),
        (["--cap-add=A", "B"], '[1]: expected an option that begins with -, got "B"'),
        (["--privileged", "--"], "[1]: expected no --, after which words would be taken for the image"),
    ],
)
def test_an_option_that_breaks_something_is_refused_with_the_way_out(words: list[str], text: str) -> None:
    (problem,) = problems(words)
    assert f"services.x.engine_args{text}" in problem
    assert "abc" not in problem


@pytest.mark.parametrize(
    ("words", "indexes"),
    [
        (["--name", "web", "--privileged", "-e", "A=b", "alpine"], [0, 3, 5]),
        (["--rm", "--net=host", "--", "x"], [0, 1, 2]),
        (["-p=1:1", "--cap-add", "A", "B", "--mount", "type=tmpfs,target=/x", "--user=0"], [0, 3, 6]),
    ],
)
def test_all_wrong_words_are_reported_at_once(words: list[str], indexes: list[int]) -> None:
    found = problems(words)
    assert len(found) == len(indexes)
    for problem, index in zip(found, indexes, strict=True):
        assert f"services.x.engine_args[{index}]: " in problem


def test_letters_of_options_without_a_value_are_looked_at_one_by_one() -> None:
    assert problems(["-q"]) == []
    (problem,) = problems(["-qp", "80:80"])
    assert "expected no -p" in problem
