"""Where a run is not the published protocol that its config names: found by comparison, so none can be forgotten."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.continuing import flat
from trainer.setup.world import World

OF_EVALUATION = {"tasks": "validation.tasks", "sampling.temperature": "validation.temperature"}
"""Settings of an evaluation that a training run keeps under another name."""
SHARED = ("env.", "model.")
"""Groups that both have, and that decide what is measured."""
MEASURED = "model.source"
"""What an evaluation measures: no part of how."""
NOT_SET = object()


def deviations(config: TrainConfig | EvaluateConfig, world: World) -> tuple[str, ...]:
    """A sentence for each difference from the published protocol; none where the config names no protocol."""
    protocol = config.protocol
    if protocol is None:
        return ()
    own, published = flat(_plain(asdict(config))), flat(_plain(protocol.settings))
    if isinstance(config, EvaluateConfig):
        names = {name: name for name in published if name.startswith(SHARED) and name != MEASURED}
        names |= {name: theirs for name, theirs in OF_EVALUATION.items() if theirs in published}
    else:
        names = {name: name for name in published}
    sentences = [_sentence(name, own.get(name, NOT_SET), published[theirs]) for name, theirs in names.items()]
    counts = (
        ("train", protocol.train_tasks, len(world.train)),
        ("validation", protocol.validation_tasks, len(world.validation)),
    )
    sentences += [
        f"env.{name}_split={getattr(config.env, f'{name}_split')} has {count} tasks, published: {theirs}"
        for name, theirs, count in counts
        if theirs not in (None, count)
    ]
    return (*filter(None, sentences), *protocol.always)


def _sentence(name: str, value: Any, published: Any) -> str | None:
    """How a setting differs; None where it does not, and for an option that this estimator does not have."""
    choices = published if isinstance(published, list) else [published]
    if value in choices or (value is NOT_SET and name.startswith("estimator.")):
        return None
    shown = "not set" if value is NOT_SET else json.dumps(value)
    return f"{name} is {shown}, published: {' or '.join(map(json.dumps, choices))}"


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain JSON values: tuples become lists."""
    return json.loads(json.dumps(settings, default=str))
