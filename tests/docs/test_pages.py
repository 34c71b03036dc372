"""Pages for readers: every relative link leads somewhere, no line is too long to read, every page is in the menu."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda page: page.as_posix(),
)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST = 120
UNWRAPPED = {"CHANGELOG.md", "docs/lab.md"}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    """The anchor of a heading, as Python-Markdown and GitHub both make it.

    >>> slug("The `React` prompt (2505.10978)")
    'the-react-prompt-250510978'
    """
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", plain).strip())


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in HEADING.findall(FENCE.sub("", page.read_text()))}


def dead_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        there = page if not target else page.parent / target
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield link


def menu(entry: object) -> Iterator[str]:
    """The pages of a menu, at any depth."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        yield from (page for inner in entry.values() for page in menu(inner))
    elif isinstance(entry, list):
        yield from (page for inner in entry for page in menu(inner))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    assert list(dead_links(page)) == []


@pytest.mark.parametrize("page", [page for page in PAGES if name(page) not in UNWRAPPED], ids=name)
def test_a_line_has_at_most_120_characters_unless_it_is_a_row_of_a_table(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), start=1)
    assert [number for number, line in lines if len(line) > LONGEST and not line.startswith("|")] == []


def test_a_link_to_nowhere_and_to_a_missing_heading_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One two\n[a](page.md#one-two) [b](gone.md) [c](#three) [d](https://example.org)\n")
    assert list(dead_links(page)) == ["gone.md", "#three"]


def test_every_page_of_the_site_is_in_its_menu() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    dated = {page for page in pages if re.match(r"experiments/\d|adr/\d", page)}  # reached from their index
    assert set(menu(settings["nav"])) == pages - dated
