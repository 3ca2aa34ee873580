"""Redis URLs: their parts, and that malformed ones are refused with one line that shows no secret."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.redis_url import RedisUrl, parse_redis_url
from minikube.registry.redis.connect import RedisConnector


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://localhost", RedisUrl("redis", (("localhost", 6379),))),
        ("redis:///2", RedisUrl("redis", (("localhost", 6379),), db=2)),
        ("redis://h/", RedisUrl("redis", (("h", 6379),))),
        ("redis://[::1]:6380/1", RedisUrl("redis", (("::1", 6380),), db=1)),
        ("redis://[fe80::1%25eth0]", RedisUrl("redis", (("fe80::1%eth0", 6379),))),
        ("redis://u:p%2F%40@h:1?db=3", RedisUrl("redis", (("h", 1),), "", "", 3, "u", "p/@", {"db": "3"})),
        ("redis://:p@ss@h", RedisUrl("redis", (("h", 6379),), password="p@ss")),
        ("rediss://me@h:1", RedisUrl("rediss", (("h", 1),), username="me")),
        ("unix:///run/r%20.sock?db=1", RedisUrl("unix", path="/run/r .sock", db=1, options={"db": "1"})),
        ("unix://u:p@/r.sock", RedisUrl("unix", path="/r.sock", username="u", password="p")),
        (
            "redis+sentinel://pw@[::1]:26379,[::2],b:1/main/3?sentinel_password=x",
            RedisUrl(
                "redis+sentinel",
                (("::1", 26379), ("::2", 26379), ("b", 1)),
                service="main",
                db=3,
                password="pw",
                options={"sentinel_password": "x"},
            ),
        ),
    ],
)
def test_the_parts_of_a_url(url: str, parts: RedisUrl) -> None:
    assert parse_redis_url(url) == parts
    RedisConnector(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://[::1:6379/0", "an IPv6 address in brackets"),
        ("redis://::1]:6379/0", "a port of 1 to 65535"),
        ("redis://[::1]6379/0", "an IPv6 address in brackets"),
        ("redis://[s3cret]:1", "an IPv6 address in brackets"),
        ("redis://::1:6379", "a port"),
        ("redis://h/s3cret", "the number of a database"),
        ("redis://h/0/1", "the number of a database"),
        ("redis://h/-1", "the number of a database"),
        ("redis://h/0?db=s3cret", "the number of a database"),
        ("redis://h:s3cret/0", "a port"),
        ("redis://h:0/0", "a port"),
        ("redis://h:65536", "a port"),
        ("redis://h:", "a port"),
        ("redis://:s3/cret@h:1/0", "a port of 1 to 65535 after the host (in a password, / is %2F)"),
        ("redis://:s3#cret@h", "expected no #, which is %23 in a password"),
        ("redis://:s3?cret@h:1/0", "a host before the ? (in a password, ? is %3F)"),
        ("redis://:s3?cret&cret=1@h", "a host before the ? (in a password, ? is %3F)"),
        ("redis+sentinel://:s3?cret@h:1/main", "a host before the ? (in a password, ? is %3F)"),
        ("redis://a,b:1/0", "a host name or an address"),
        ("redis+sentinel://[::1:26379,[::1]:26380/main", "an IPv6 address in brackets"),
        ("redis+sentinel://a:1,/main/s3cret", "the number of a database"),
        ("redis+sentinel://a:1", "redis+sentinel://host:port,host:port/service/db"),
        ("redis+sentinel:///main", "redis+sentinel://host:port,host:port/service/db"),
        ("unix://run/r.sock", "the path of a socket"),
        ("unix://", "expected redis://host:port/db"),
        ("unix:///", "the path of a socket"),
        ("redis:h:1", "expected redis://host:port/db"),
        ("redis://h /0", "expected redis://host:port/db"),
        ("redis://h?timeout=1", "unknown parameter 'timeout'"),
    ],
)
def test_a_malformed_url_is_refused_without_a_word_of_it(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_redis_url(url)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)
    with pytest.raises(UsageError):
        RedisConnector(url)


PIECES = st.lists(st.sampled_from([*"[]:/@?#,%=&0a ", "::1", "db=", "redis", "unix://", "://", "+sentinel"])).map(
    "".join
)


@given(st.sampled_from(["redis://", "rediss://", "unix://", "redis+sentinel://", ""]), PIECES)
@example("redis://", "[")
@example("redis://", "[@")
@example("unix://", "]:x@/a")
@example("redis+sentinel://", "[::1],[::1]/a")
def test_any_url_is_refused_or_can_be_used(scheme: str, rest: str) -> None:
    try:
        parse_redis_url(scheme + rest)
    except ValueError:
        return
    RedisConnector(scheme + rest)
