"""Bytes of a terminal as keys, whatever they are, and text for terminals that lack its characters."""

import asyncio
import os

import pytest
from rich.cells import cell_len
from textual import events

from minikube.text import ASCII_SUBSTITUTES
from tests.e2e.key_fuzz import HOSTILE
from tests.paths import ROOT
from tui.terminal_driver import KeyDecoder, TerminalDriver, encodable


def keys(decoder: KeyDecoder, data: bytes) -> list[str]:
    return [message.key for message in decoder.feed(data) if isinstance(message, events.Key)]


@pytest.mark.parametrize("data", HOSTILE)
def test_a_key_after_any_bytes_is_read(data: bytes) -> None:
    decoder = KeyDecoder(False, "utf-8")
    decoder.feed(data)
    decoder.feed(b"\x1b[201~\x1b\x1b")  # ends a paste and an escape sequence
    decoder.feed(b"x" * 40)  # more than the longest sequence
    assert keys(decoder, b"q") == ["q"]


def test_bytes_that_are_no_text_are_no_keys() -> None:
    assert keys(KeyDecoder(False, "utf-8"), b"\xe9a\xff\xfeb") == ["a", "b"]


def test_keys_are_read_in_the_encoding_of_the_terminal() -> None:
    assert keys(KeyDecoder(False, "latin-1"), b"\xe9") == ["é"]
    assert keys(KeyDecoder(False, "utf-8"), "é".encode()) == ["é"]


def test_a_character_that_arrives_in_two_reads_is_one_key() -> None:
    decoder = KeyDecoder(False, "utf-8")
    assert [*keys(decoder, b"\xc3"), *keys(decoder, b"\xa9")] == ["é"]


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "● é 你"), ("latin-1", "* é ??"), ("ascii", "* ? ??")])
def test_what_the_encoding_lacks_is_shown_in_the_same_width(encoding: str, shown: str) -> None:
    assert encodable("● é 你", encoding) == shown
    assert cell_len(shown) == cell_len("● é 你")


def test_the_substitutes_of_symbols_are_as_wide_as_the_symbols() -> None:
    assert [chr(symbol) for symbol, sign in ASCII_SUBSTITUTES.items() if cell_len(chr(symbol)) != cell_len(sign)] == []


def test_each_symbol_that_the_program_prints_has_a_substitute() -> None:
    """A tree, a table or a message is readable in any encoding, also with a symbol that is used for the first time."""
    sources = [path.read_text() for path in (*ROOT.glob("minikube/**/*.py"), *ROOT.glob("tui/**/*.py"))]
    symbols = {symbol for source in sources for symbol in set(source) if not symbol.isascii()}
    assert {symbol for symbol in symbols if ord(symbol) not in ASCII_SUBSTITUTES} == set()


def test_stop_and_continue_are_handled_in_the_event_loop_and_not_within_the_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within the signal's handler, the main thread may hold the lock that a write to the terminal needs."""
    done: list[str] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append("stop"))

    class Driver(TerminalDriver):
        def __init__(self) -> None:
            self._loop = asyncio.get_running_loop()
            self._auto_restart = True

        def suspend_application_mode(self) -> None:
            done.append("leave")

        def resume_application_mode(self) -> None:
            done.append("take over")

    async def signals() -> None:
        driver = Driver()
        driver._sigtstp_application()
        driver._sigcont_application()
        assert done == []
        await asyncio.sleep(0)
        assert done == ["leave", "stop", "take over"]

    asyncio.run(signals())
