"""The file names under `.minikube/`, as messages name them."""

from minikube.project_dir import log_name


def test_a_log_is_named_as_a_user_finds_it() -> None:
    assert log_name("redis") == ".minikube/logs/redis.log"
