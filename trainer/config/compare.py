"""The config of `stepcredit compare`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Len, doc


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Finished evaluations of one panel, side by side."""

    folders: Annotated[tuple[str, ...], Len(2), doc("two folders or more")]
    """Output folders of `stepcredit evaluate`. The first is the one that the others are compared with."""

    kinds: bool = False
    """Whether each kind of task is compared too."""

    format: Literal["table", "markdown", "csv", "json"] = "table"
    """What is printed; `--markdown`, `--csv` and `--json` are the same."""
