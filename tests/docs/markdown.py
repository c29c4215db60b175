"""The repository's pages, and what can be found in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# bench/README.md is about other people's servers, which take their time to install.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", ROOT / "bench/README.md"]

MARKER = re.compile(r"<!-- not run: (.+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: what is in it, where it stands, and why it is not run, if it isn't."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def where(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    found, opened, before = [], None, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opened is None and line.startswith("```"):
            marker = MARKER.fullmatch(before.strip())
            opened = (number, line[3:].strip(), marker and marker[1], [])
        elif opened is not None and line == "```":
            number, language, not_run, lines = opened
            found.append(Block(page, number, language, "\n".join(lines) + "\n", not_run))
            opened = None
        elif opened is not None:
            opened[3].append(line)
        before = line
    assert opened is None, f"{page.name}: the block of line {opened and opened[0]} is not closed"
    return found


def all_blocks(*languages):
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def the_block(page, language):
    """The only block of that language."""
    fitting = [block for block in blocks(ROOT / page) if block.language == language]
    assert len(fitting) == 1, f"{page} has {len(fitting)} blocks of {language}"
    return fitting[0]


def commands(block):
    """The commands of a block of `sh`, without comments, with continued lines joined."""
    joined = block.text.replace("\\\n", " ")
    lines = [re.sub(r"(^|\s+)#( .*)?$", "", line).strip() for line in joined.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def section(page, heading):
    """What stands under a heading, up to the next one that is not below it."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,6}} |\Z)", text, re.M | re.S)
    assert found, f"{page} has no section {heading!r}"
    return found[2]


def rows(text):
    """The rows of the tables in `text`, cell by cell, without heads and rulers."""
    lines = text.splitlines()
    found = []
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""]):
        is_ruler = re.fullmatch(r"\|[-:| ]+\|", line)
        is_head = re.fullmatch(r"\|[-:| ]+\|", below)
        if line.startswith("|") and not is_ruler and not is_head:
            cells = re.split(r"(?<!\\)\|", line.strip()[1:-1])
            found.append([cell.strip() for cell in cells])
    return found


def codes(text):
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)
