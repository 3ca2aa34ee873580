"""Secrets in output: masked whole, however they overlap, are cut or coloured."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.logs.writing.masking import SecretMask


@pytest.mark.parametrize(
    ("secrets", "text", "masked"),
    [
        (["hunter2", "hunter22"], "is hunter22!", "is ***!"),  # the shorter one would leave the last character
        (["22hunter", "hunter33"], "22hunter33", "***"),  # each alone would leave a part of the other
        (["ababa"], "abababa", "***"),
        (["hunter2"], "hunter2hunter2 hunter2", "*** ***"),
        (["hunter2"], "\x1b[1mhun\x1b[31mter2\x1b[0m!", "\x1b[1m***\x1b[31m\x1b[0m!"),
        (["hunter2"], "h\x1b[Kunter\x1b[38;2;1;2;3m2x", "***\x1b[K\x1b[38;2;1;2;3mx"),
        (["one of\nseveral lines"], "several lines", "***"),
        (["päss\udcff"], "päss\udcff", "***"),
        (["1234"], "1234", "1234"),  # too short to be told from other text
        ([], "nothing", "nothing"),
    ],
)
def test_what_is_masked(secrets: list[str], text: str, masked: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    assert SecretMask(secrets).apply(data).decode("utf-8", "surrogateescape") == masked


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"it is hunt", 6),
        (b"it is hunt!", 11),
        (b"it is h", 6),
        (b"hunter2!", 8),
        (b"22hunter2", 0),  # complete, but its end may be the beginning of the third
        (b"it is hu\x1b[31mnt", 6),
        (b"it is hu\x1b[3", 6),
        (b"colour \x1b[3", 7),
        (b"", 0),
    ],
)
def test_a_cut_is_before_what_may_become_a_secret(text: bytes, end: int) -> None:
    assert SecretMask(["hunter2", "22hunter2", "er2x5"]).safe_end(text) == end


SECRETS = ["abab", "ababc", "cabba", "bcbcbc", "aaaaa", "abcabcabc"]


@given(
    pieces=st.lists(st.sampled_from(["a", "b", "c", "ab", "\x1b[31m", "\x1b[0m", *SECRETS]), max_size=30),
    cut=st.integers(0, 200),
)
def test_no_part_of_a_secret_is_left_wherever_the_text_is_cut(pieces: list[str], cut: int) -> None:
    """Compared with a mark on each character that belongs to a secret: those that are left are in none of them."""
    mask = SecretMask(SECRETS)
    text = "".join(pieces)
    plain = re.sub("\x1b\\[[0-9]*m", "", text)
    secret = [False] * len(plain)
    for value in SECRETS:
        for at in range(len(plain)):
            if len(value) >= 5 and plain.startswith(value, at):
                secret[at : at + len(value)] = [True] * len(value)
    expected = "".join(character for character, hidden in zip(plain, secret, strict=True) if not hidden)
    data = text.encode()
    whole = mask.apply(data)
    assert re.sub(rb"\x1b\[[0-9]*m|\*\*\*", b"", whole).decode() == expected
    assert re.findall(rb"\x1b\[[0-9]*m", whole) == re.findall(rb"\x1b\[[0-9]*m", data), "no colour is lost"
    # A first part that is cut off where it is safe, and what comes after it.
    end = mask.safe_end(data[:cut])
    parts = mask.apply(data[:end]) + mask.apply(data[end:])
    assert re.sub(rb"\x1b\[[0-9]*m|\*\*\*", b"", parts).decode() == expected
