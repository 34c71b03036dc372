"""Marks on the fields of a config: what may differ between a run and another that goes on from its checkpoint.

A mark is the `metadata` of a field. A field without one has the mark of the group that it stands in. A field without
any changes what is learned: `resume=auto` keeps it, `stepcredit fork` may change it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, cast

Mark = Literal["harmless", "binding", "fixed"]
KEY = "continuation"

HARMLESS: Mapping[str, Mark] = MappingProxyType({KEY: "harmless"})
"""Where the run computes, what it leaves behind, when it gives up: a resumed run may change it."""

BINDING: Mapping[str, Mark] = MappingProxyType({KEY: "binding"})
"""As a field without a mark, inside a group that is harmless."""

FIXED: Mapping[str, Mark] = MappingProxyType({KEY: "fixed"})
"""A checkpoint fits no other value, so a fork keeps it too."""


def mark_in(metadata: Mapping[str, object], inherited: Mark) -> Mark:
    """The mark of a field. inherited: that of its group."""
    return cast(Mark, metadata.get(KEY, inherited))
