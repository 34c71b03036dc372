"""Step rewards from a scorer: `build({"name": "milestones", "weight": 2.0})(Rollouts(...)) -> StepRewards`.

A new scorer is one file beside this one and one entry in `SCORERS`.
"""

from collections.abc import Mapping
from typing import Any

from estimators.options import made, suggestion
from estimators.own import loaded, with_name
from trainer.scorers.base import Checking, Rollouts, Scorer, StepRewards, Twin, layer_read, trains_twin

__all__ = [
    "SCORERS",
    "Checking",
    "Rollouts",
    "Scorer",
    "StepRewards",
    "Twin",
    "build",
    "layer_read",
    "name_of",
    "trains_twin",
]

SCORERS: Mapping[str, str] = {
    "implicit": "trainer.scorers.implicit:ImplicitReward",
    "judge": "trainer.scorers.judge:Judge",
    "milestones": "trainer.scorers.milestones:Milestones",
    "plan": "trainer.scorers.plan:PlanMatch",
    "progress": "trainer.scorers.progress:Progress",
}
"""Where each scorer is, imported when it is asked for: a run without a judge knows no client."""


def name_of(options: Mapping[str, Any]) -> str | None:
    """What the scorer is called: its name, or the last part of its target; None where there is none."""
    settings = {name: value for name, value in options.items() if value is not None}
    return with_name(settings).get("name")


def build(options: Mapping[str, Any]) -> Scorer | None:
    """The scorer of these options; None where they name none.

    options: `name`, a key of `SCORERS`, and the scorer's own. With `_target_` ("package.module:Class") that class is
    built, and the name is only a label.
    Raises ValueError for an unknown name or option, for a value out of range, and for a target that cannot be loaded.
    """
    name = name_of(options)
    own = {option: value for option, value in options.items() if option not in ("name", "_target_")}
    if name is None:
        if own:
            raise ValueError(f"scorer has the options {', '.join(own)} and no name: choose one, such as milestones")
        return None
    target = options.get("_target_") or SCORERS.get(name)
    if target is None:
        raise ValueError(f"scorer {name!r} is unknown: {suggestion(name, SCORERS)}; your own needs scorer._target_=...")
    return made(loaded(target), f"scorer {name}", own)
