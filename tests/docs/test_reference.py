"""The generated reference pages say what the code says."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge, Interval

from scripts import reference
from trainer.report.meanings import MEANINGS


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A group of settings."""

    rate: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """How fast,
    per hour."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Settings of an imaginary command.

    A second paragraph, which the page leaves out.
    """

    name: str
    count: Annotated[int, Ge(1)] | None = None
    """How many | at most."""
    inner: Inner


@pytest.mark.parametrize("page", ["settings", "metrics"])
def test_the_page_on_disk_is_what_the_code_says(page: str) -> None:
    fresh = {"settings": reference.settings_page, "metrics": reference.metrics_page}[page]()
    assert (reference.PAGES / f"{page}.md").read_text() == fresh, "stale: run python -m scripts.reference"


def test_a_row_holds_the_type_the_default_the_range_and_the_docstring_under_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reference, "COMMANDS", {"imagine": Outer})
    monkeypatch.setattr(reference, "ESTIMATORS", {})
    monkeypatch.setattr(reference, "SCORERS", {})
    page = reference.settings_page().partition("## stepcredit imagine\n")[2]
    assert page.splitlines() == [
        "",
        "Settings of an imaginary command.",
        "",
        "Groups:",
        "[`inner`](#inner).",
        "",
        "| setting | type | default | range | meaning |",
        "|---|---|---|---|---|",
        "| `name` | str | required |  |  |",
        "| `count` | int or `null` | `null` | 1 or more | How many \\| at most. |",
        "",
        "## inner",
        "",
        "A group of settings.",
        "",
        "Used by `imagine`.",
        "",
        "| setting | type | default | range | meaning |",
        "|---|---|---|---|---|",
        "| `inner.rate` | float | `0.5` | a value in (0, 1) | How fast, per hour. |",
    ]


def test_every_logged_number_is_on_the_page_with_its_meaning() -> None:
    page = reference.metrics_page()
    for name, metric in MEANINGS.items():
        meaning = metric.meaning.replace("|", "\\|")
        assert f"| `{name}` | {metric.unit} | {metric.range} | {meaning} |" in page
