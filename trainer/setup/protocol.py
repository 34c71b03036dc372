"""Where a run is not the published protocol that its config names: found by comparison, so none can be forgotten."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from trainer.config.build import ConfigError
from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.config.continuing import flat, plain
from trainer.config.protocol import ProtocolConfig
from trainer.scorers import name_of
from trainer.setup.credit import estimator_of
from trainer.setup.world import World

OF_EVALUATION = {
    "tasks": "validation.tasks",
    "sampling.temperature": "validation.temperature",
    "sampling.top_p": "sampling.top_p",
    "sampling.max_tokens": "sampling.max_tokens",
}
"""Settings of an evaluation, by what a training run calls what its validations play by."""
SHARED = ("env.", "model.")
"""Groups that both have, and that decide what is measured."""
MEASURED = ("model.source", "env.examples")
"""What an evaluation measures: no part of how."""
NOT_SET = object()


def deviations(config: TrainConfig | EvaluateConfig, world: World) -> tuple[str, ...]:
    """A sentence for each difference from the published protocol; none where the config names no protocol."""
    protocol = config.protocol
    if protocol is None:
        return ()
    compared = _trained(config, protocol) if isinstance(config, TrainConfig) else _evaluated(config, protocol)
    counts = (
        ("train", protocol.train_tasks, len(world.train)),
        ("validation", protocol.validation_tasks, len(world.validation)),
    )
    sizes = [
        f"env.{name}_split={getattr(config.env, f'{name}_split')} has {count} tasks, published: {theirs}"
        for name, theirs, count in counts
        if theirs not in (None, count)
    ]
    always = list(protocol.always)
    if isinstance(config, TrainConfig):
        always += [*protocol.training, *protocol.of(config.estimator["name"]).training]
    return (*compared, *sizes, *always)


def _trained(config: TrainConfig, protocol: ProtocolConfig) -> Iterator[str]:
    """How a training run differs, in the papers' settings first. What its estimator's own entry names goes before."""
    alone = protocol.of(config.estimator["name"])
    own = flat(plain(config)) | _options(config)
    published, code = flat(_plain(alone.settings)), flat(_plain(alone.public_code))
    named = {*published, *code}
    published |= {name: value for name, value in flat(_plain(protocol.settings)).items() if name not in named}
    code |= {name: value for name, value in flat(_plain(protocol.public_code)).items() if name not in named}
    for theirs, who in ((published, "published"), (code, "public code")):
        yield from filter(None, (_sentence(name, own.get(name, NOT_SET), theirs[name], who) for name in theirs))


def _evaluated(config: EvaluateConfig, protocol: ProtocolConfig) -> Iterator[str]:
    own, published = flat(plain(config)), flat(_plain(protocol.settings))
    names = {name: name for name in published if name.startswith(SHARED) and name not in MEASURED}
    names |= {name: theirs for name, theirs in OF_EVALUATION.items() if theirs in published}
    for name, theirs in names.items():
        if sentence := _sentence(name, own.get(name, NOT_SET), published[theirs], "published"):
            yield sentence


def _options(config: TrainConfig) -> dict[str, Any]:
    """All options of the estimator by dotted name, its defaults too, and the scorer's name; None without a scorer.

    None of an estimator's that cannot be built.
    """
    scorer = {"scorer.name": name_of(config.scorer)}
    try:
        estimator = estimator_of(config)
    except ConfigError:  # told where the run is checked
        return scorer
    options = asdict(estimator) if is_dataclass(estimator) and not isinstance(estimator, type) else {}
    return scorer | {f"estimator.{name}": value for name, value in _plain(options).items()}


def _sentence(name: str, value: Any, published: Any, who: str) -> str | None:
    """How a setting differs; None where it does not, and for an option that this estimator does not have."""
    choices = published if isinstance(published, list) else [published]
    if value in choices or (value is NOT_SET and name.startswith("estimator.")):
        return None
    shown = "not set" if value is NOT_SET else json.dumps(value)
    return f"{name} is {shown}, {who}: {' or '.join(map(json.dumps, choices))}"


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as plain JSON values: tuples become lists."""
    return json.loads(json.dumps(settings, default=str))
