"""The supervisor's own log: its format, and which levels it has."""

import errno
import logging
import re
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from minikube.supervisor.daemon.log import ACCEPT_LOGGER, DEBUG_ENV, configure_logging


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Restore the loggers that `configure_logging` changes."""
    root, own = logging.getLogger(), logging.getLogger("minikube")
    accept = logging.getLogger(ACCEPT_LOGGER)
    filters = accept.filters[:]
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    own.setLevel(own_level)
    accept.filters[:] = filters


@pytest.mark.parametrize(
    ("environ", "levels"),
    [({}, ["INFO", "WARNING", "ERROR"]), ({DEBUG_ENV: "1"}, ["DEBUG", "INFO", "WARNING", "ERROR"])],
)
def test_debug_records_are_written_only_on_request(
    capsys: pytest.CaptureFixture[str], environ: dict[str, str], levels: list[str]
) -> None:
    configure_logging(environ)
    logger = logging.getLogger("minikube.supervisor.something")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, "text")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == levels


def test_records_of_libraries_are_written_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({DEBUG_ENV: "1"})
    logging.getLogger("trio").info("text")
    assert capsys.readouterr().err == ""
    logging.getLogger("trio").warning("text")
    assert "WARNING trio: text" in capsys.readouterr().err


class NoDescriptors(trio.abc.Listener[trio.SocketStream]):
    """A listener that has no descriptor for any connection, and counts the tries."""

    tries = 0

    async def accept(self) -> trio.SocketStream:
        self.tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def refuse(stream: trio.SocketStream) -> None:
    raise AssertionError("there is no connection")


def test_connections_without_a_descriptor_are_one_line_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    listener = NoDescriptors()

    async def serve() -> None:
        with trio.move_on_after(30):
            await trio.serve_listeners(refuse, [listener])

    trio.run(serve, clock=trio.testing.MockClock(autojump_threshold=0))
    assert listener.tries > 100
    (line,) = capsys.readouterr().err.splitlines()
    assert "EMFILE" in line


def test_a_record_has_time_level_module_and_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging({})
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("minikube.a.b").exception("%s failed", "it")
    first, *rest = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR   minikube\.a\.b: it failed", first)
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "KeyError: 'x'")
