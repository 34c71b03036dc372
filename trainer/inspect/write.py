"""The page as one file: style, scripts and records inlined, so that it opens from the disk without a network."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.durable import write_whole
from trainer.inspect.records import GroupRecord, PageRecord
from trainer.report import charts
from trainer.report.pages import templates

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("data", "shapes", "rollouts", "why", "graph", "hidden", "tokens", "compare", "follow", "main")
"""The scripts of the page, in the order in which they are run."""


class PageFile:
    """A page that is being gathered, one update after another."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._groups: dict[str, str] = {}

    def add(self, update: int, groups: Sequence[GroupRecord]) -> None:
        """The groups of an update. Each is parsed by the browser when it is chosen, and not before."""
        for number, group in enumerate(groups):
            self._groups[f"group-{update}-{number}"] = as_json(asdict(group))

    def write(self, record: PageRecord) -> None:
        """Write the page with all that was gathered."""
        text = (
            templates(PAGE)
            .get_template("inspect.html.j2")
            .render(
                title=f"Credit: {Path(record.run).name}",
                style=(PAGE / "inspect.css").read_text(),
                scripts=[(PAGE / f"{name}.js").read_text() for name in SCRIPTS],
                record=as_json(asdict(record)),
                groups=self._groups,
                light=charts.LIGHT,
                dark=charts.DARK,
            )
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, text)


def as_json(value: Any) -> str:
    """JSON that may stand in a script element: no text inside it can end the element."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
