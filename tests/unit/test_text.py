"""Strangers' characters become visible, secrets are masked."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.text import looks_secret, mask_env, mask_url, mask_words, printable, printable_line, secrets_in

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("größe 🍎 日本", "größe 🍎 日本"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("del\x7f", "del\\x7f"),
        ("two\nlines\r", "two\\x0alines\\x0d"),
        ("a\tb", "a b"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("line\u2028sep", "line\\u2028sep"),
        ("lone \udc9b", "lone \\udc9b"),
        ("pay\u200bpal pay\u200dpal pay\ufe0fpal", "pay\\u200bpal pay\\u200dpal pay\\ufe0fpal"),
        ("soft\xadhyphen \u2060\ufeff\u3164", "soft\\xadhyphen \\u2060\\ufeff\\u3164"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\u2714\ufe0f\U000e0101\ufe0f\ufe0f", "\u2714\ufe0f\\U000e0101\ufe0f\\ufe0f"),
        (
            "👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 \u0915\u094d\u200d\u0937",
            "👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 \u0915\u094d\u200d\u0937",
        ),
        ("👨\u200d\u200d👩 👨\u200d", "👨\u200d\\u200d👩 👨\\u200d"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(raw: str, shown: str) -> None:
    assert printable(raw) == shown


def test_a_line_of_output_loses_its_colours_and_keeps_its_tabs() -> None:
    assert printable_line("\x1b[1;31mred\x1b[0m\tand \x1b[2Jgone") == "red\tand \\x1b[2Jgone"
    assert printable_line("as it is") == "as it is"


@given(st.text())
def test_printable_text_has_no_control_or_bidirectional_character(text: str) -> None:
    for shown in (printable(text), printable_line(text).replace("\t", "")):
        assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI for char in shown)
        shown.encode()


@pytest.mark.parametrize("url", ["redis://" + "a" * 65_000, "a" * 65_000, "x://" * 16_000, "a://" + ":@" * 30_000])
def test_a_long_word_is_searched_for_urls_in_a_moment(url: str) -> None:
    """The square of its length would be half a minute."""
    began = time.process_time()
    mask_url(url)
    list(secrets_in({"URL": f"redis://:secret@{url}"}))
    assert time.process_time() - began < 2.0


@given(st.text())
def test_printable_is_the_same_twice(text: str) -> None:
    assert printable(printable(text)) == printable(text)


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASSWORD",
        "PGPASSWORD",
        "passwd",
        "SECRET",
        "AUTH_TOKEN",
        "GITHUB_TOKEN",
        "API_KEY",
        "APIKEY",
        "aws_access_key_id",
        "PRIVATE_PEM",
        "SENTRY_DSN",
        "SESSION_COOKIE",
        "MYSQL_PWD",
        "CREDENTIALS",
        "DEPLOY_KEY",
        "KEY",
        "REDIS_AUTH",
    ],
)
def test_names_that_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["PATH", "PORT", "KEYBOARD", "MONKEY", "AUTHOR", "HOST", "COMPASS", "REDIS_URL"])
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("redis://me:secret@host:1/0", "redis://me:***@host:1/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("see http://a:b@c/ and http://d:e@f/", "see http://a:***@c/ and http://d:***@f/"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://a:p@ss@host", "redis://a:***@host"),
        ("http://host/a:b@c", "http://host/a:b@c"),
        ("no url: a:b@c", "no url: a:b@c"),
        ("redis+sentinel://u:p@a:1,b:2/s/0", "redis+sentinel://u:***@a:1,b:2/s/0"),
        ("redis+sentinel://secret@a:1/s", "redis+sentinel://***@a:1/s"),
        ("redis://se@cret@a:1/0", "redis://***@a:1/0"),
        ("http://me@host/", "http://me@host/"),
        ("redis://a:1/0?password=x&db=2", "redis://a:1/0?password=***&db=2"),
        ("redis+sentinel://a/s?sentinel_%70assword=x#y", "redis+sentinel://a/s?sentinel_%70assword=***"),
        ("unix:///s?db=1&password=a;b?c=d", "unix:///s?db=1&password=***"),
        ("see http://h/?api_key=x or http://i/?q=y", "see http://h/?api_key=*** or http://i/?q=y"),
        ("http://h/?token=", "http://h/?token="),
        ("no url: ?password=x", "no url: ?password=x"),
    ],
)
def test_passwords_in_urls_are_masked(raw: str, shown: str) -> None:
    assert mask_url(raw) == shown
    assert mask_url(shown) == shown


def test_an_environment_is_shown_without_its_secrets() -> None:
    env = {"PASSWORD": "x", "EMPTY_TOKEN": "", "PLAIN": "1", "URL": "redis://a:b@c", "FROM_FILE": "y"}
    shown = {"PASSWORD": "***", "EMPTY_TOKEN": "", "PLAIN": "1", "URL": "redis://a:***@c", "FROM_FILE": "***"}
    assert mask_env(env, {"FROM_FILE"}) == shown
    assert env["PASSWORD"] == "x"


def test_secrets_are_found_by_name_and_in_urls() -> None:
    env = {
        "PWD": "/srv/shop",
        "AUTH_ENABLED": "false",
        "PLAIN": "redis://localhost:6379",
        "DB_PASSWORD": "hunter2",
        "REDIS_URL": "redis://:p%40ss@localhost:6379/0",
        "STORE_DSN": "postgres://me:hunter3@db",
        "CACHE": "redis+sentinel://hunter4@a/s?sentinel_password=hunter5&db=1",
        "STORE": "redis://default@localhost/0",
    }
    assert set(secrets_in(env)) == {
        "hunter2",
        "p%40ss",
        "p@ss",
        "postgres://me:hunter3@db",
        "hunter3",
        "hunter4",
        "hunter5",
    }


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65_536 + "://",
        "a" * 65_536 + "://u:p@h",
        "://" * 20_000,
        "a://:" * 13_000,
        "a://x?" + "&" * 65_536,
        "a://x?" + "?a" * 32_768,
        "redis://" * 8_000,
        "redis://" + ":" * 65_536,
        "redis://" + "@" * 65_536 + " ",
    ],
    ids=lambda text: text[:12],
)
def test_masking_a_long_line_takes_milliseconds(text: str) -> None:
    began = time.process_time()
    mask_url(text)
    list(secrets_in({"A": text}))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("before", ["x=", "-", "1", "a.b-c+", "'", "("])
def test_a_password_is_masked_whatever_stands_before_the_scheme(before: str) -> None:
    for scheme in ("http", "s3", "x-"):
        assert mask_url(f"{before}{scheme}://u:hunter2@h") == f"{before}{scheme}://u:***@h"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["run", "--password=hunter22", "--port=80"], "run --password=*** --port=80"),
        (["run", "--db-password", "hun ter", "-v"], "run --db-password *** -v"),
        (["run", "--token", "-v", "--api-key", "$KEY"], "run --token -v --api-key $KEY"),
        (["run", "--token-file", "/run/token", "--no-auth", "x"], "run --token-file /run/token --no-auth x"),
        (["x https://me:hunter22@host/p?token=abc&b=1"], "x https://me:***@host/p?token=***&b=1"),
        (["TOKEN=abc run --password 'a b' --name b && echo"], "TOKEN=*** run --password *** --name b && echo"),
        (['run --auth-token=${TOKEN} --secret "x y" z'], "run --auth-token=${TOKEN} --secret *** z"),
        (["connect", "literal-value/1"], "connect ***/1"),
        (["run --verbose --token abc -- x"], "run --verbose --token *** -- x"),
        (["python", "-m", "keyring", "tokens"], "python -m keyring tokens"),
    ],
)
def test_secrets_in_a_command_are_masked_and_all_else_is_shown(words: list[str], shown: str) -> None:
    assert " ".join(mask_words(words, ["literal-value", "1"])) == shown
