"""The tests' own Redis is durable: an acknowledged write survives a kill."""

from tests.redis_server import RedisServer


def test_what_was_written_survives_a_kill(redis_server: RedisServer) -> None:
    """A killed server comes back on the same socket with its data."""
    with redis_server.client() as client:
        client.set("fruit", "apple")
    redis_server.kill()
    redis_server.start()
    with redis_server.client() as client:
        assert client.get("fruit") == "apple"
