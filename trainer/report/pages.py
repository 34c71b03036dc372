"""HTML pages from jinja templates. A template lies beside the code that fills it."""

from pathlib import Path

import jinja2


def templates(*folders: Path) -> jinja2.Environment:
    """The templates in `folders` and those that all pages share. A name without a value is an error, not a blank."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
