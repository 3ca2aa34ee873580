"""Redis URLs: which are accepted, and that every other one is refused before a connection is opened."""

import pytest

from minikube.errors import UsageError
from minikube.registry.redis.connect import RedisConnector

ACCEPTED = [
    "redis://localhost",
    "redis://user:p%40ss@10.0.0.5:6379/3",
    "redis://10.0.0.5?db=3&username=u&password=p",
    "unix:///run/redis.sock?db=0",
    "unix://user:pass@/run/redis.sock",
    "rediss://h:6380/0?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false",
    "redis+sentinel://u:p@a:26379,[::1]:26379/shop/0?sentinel_username=x&sentinel_password=y",
    "redis+sentinel://a,b/shop",
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_an_accepted_url(url: str) -> None:
    RedisConnector(url)


REFUSED = [
    ("redis://h?foo=bar", "'foo'"),
    ("redis://h?socket_timeout=30", "'socket_timeout'"),
    ("redis://h/0?db=1&decode_responses=true", "'decode_responses'"),
    ("redis://h?protocol=3", "'protocol'"),
    ("redis://h?retry=", "'retry'"),
    ("rediss://h?ssl_min_version=TLSv1_2", "'ssl_min_version'"),
    ("rediss://h?ssl_cert_reqs=sometimes", "ssl_cert_reqs"),
    ("redis://h?ssl_ca_certs=/ca.pem", "rediss://"),
    ("unix:///run/redis.sock?ssl_ca_certs=/ca.pem", "rediss://"),
    ("redis://h?db=first", "number of a database"),
    ("redis://h:port", "[Pp]ort"),
    ("http://h", "expected redis://"),
    ("redis+sentinel://a/shop/0?db=1", "'db'"),
    ("redis+sentinel://a", "service/db"),
    ("redis+sentinel://a:b/shop", "expected a port"),
]


@pytest.mark.parametrize(("url", "word"), REFUSED)
def test_a_refused_url_is_explained(url: str, word: str) -> None:
    with pytest.raises(UsageError, match=f"^redis url: .*{word}"):
        RedisConnector(url)
