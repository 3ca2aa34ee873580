"""The project's documentation as data for tests: its pages, their fenced blocks, and the sections of a page.

The first word after a block's language is its class, or the name of the file that the block is:

    sh install         the two commands of the README that install the project
    sh build           builds a wheel, a source archive or the single binary
    sh export          runs without a running project
    sh shop            runs line by line while the sample shop runs, in the order of the page
    sh docker          runs with the images that test_containers has built
    sh example         needs something that a test does not have (a package index, an image registry, a second machine):
                       only its subcommands, options and files are checked
    text output        what the lines of the `sh shop` block before it print
    toml manifest      a whole manifest
    toml override      a further file for the manifest before it, or for the imported one
    toml entry         services that are added to the manifest of the sample shop
    json dialogue      requests to the registry, each with its reply, and notifications
    yaml prometheus    a configuration of Prometheus
    yaml compose.yaml  a file of another tool; so are `yaml process-compose.yaml`, `text Procfile`, `ini supervisord.conf` and
                       `json pm2.json`
    toml imported      what `minikube import` makes of the file before it
    text summary       the last line of `minikube import`
    python|js|go FILE  a whole program, written to FILE beside the manifest of the sample shop
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    *("README.md", "CONTRIBUTING.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
SOURCES = ("yaml compose.yaml", "yaml process-compose.yaml", "text Procfile", "ini supervisord.conf", "json pm2.json")
"""Files of other tools."""

CLASSES = {
    *("sh install", "sh build", "sh export", "sh shop", "sh docker", "sh example"),
    *("text output", "toml manifest", "toml override", "toml entry", "json dialogue", "yaml prometheus"),
    *("toml imported", "text summary", *SOURCES),
}
PROGRAMS = ("python", "js", "go")


class Block(NamedTuple):
    """A fenced block: its page, the line on which it begins, its language, its class or file, its text."""

    page: str
    line: int
    language: str
    kind: str
    text: str

    @property
    def place(self) -> str:
        """`docs/cli.md:12`, for messages."""
        return f"{self.page}:{self.line}"


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text()


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = read(page)
    found = []
    for match in re.finditer(r"(?ms)^```([^\n]*)\n(.*?)^```$", text):
        language, _, kind = match[1].strip().partition(" ")
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, kind, match[2]))
    return found


def find(language: str, kind: str) -> list[Block]:
    """Return the blocks of all pages with this language and class (or file)."""
    return [block for page in PAGES for block in blocks(page) if (block.language, block.kind) == (language, kind)]


def program(file: str) -> str:
    """Return the text of the program FILE, which has to stand on one page only."""
    (found,) = [block for language in PROGRAMS for block in find(language, file)]
    return found.text


def section(page: str, heading: str) -> str:
    """Return what stands between a heading and the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = read(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no heading {heading!r}"
    return re.split(rf"(?m)^#{{2,{level}}} ", rest)[0]
