"""Settings that follow from other settings. `build` fills them in.

A command's config lists its own in the class attribute `derived`: dotted name -> rule. A rule may read what a rule
before it filled in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

WORKERS_PER_GPU, MOST_WORKERS = 2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """A setting that takes its value from another setting."""

    source: str
    """The dotted name of the other setting."""

    by: Callable[..., Any] | None = None
    """Computes the value from the source's; None copies it."""

    also: str | None = None
    """The dotted name of one more setting, whose value `by` takes after the source's."""

    free: bool = False
    """True: only null follows the source, any other value stays. False: nobody may set it by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """A setting of a shared group that one command does not use."""

    value: Any
    """The value that the config of this command holds."""

    reason: str
    """Why the command does not use it; ends the message to a user who sets it."""


Rule = Follows | Unused


def one_per_gpu(gpus: int) -> int:
    """Ranks: one for each GPU, one on a machine without GPU."""
    return max(gpus, 1)


def engines_on(gpus: int, tensor_parallel: int) -> int:
    """Engines that fit on the GPUs, each spanning `tensor_parallel` of them; one on a machine without GPU."""
    return max(gpus // tensor_parallel, 1)


def env_workers(gpus: int) -> int:
    """Processes for environments: two for each GPU, at least two and at most eight."""
    return min(WORKERS_PER_GPU * max(gpus, 1), MOST_WORKERS)


CLUSTER: Mapping[str, Rule] = {
    "cluster.engines": Follows(source="cluster.gpus", by=one_per_gpu, free=True),
    "cluster.ranks": Follows(source="cluster.gpus", by=one_per_gpu, free=True),
    "cluster.env_workers": Follows(source="cluster.gpus", by=env_workers, free=True),
}
ENGINE: Mapping[str, Rule] = {
    "engine.device": Follows(source="cluster.device"),
    "engine.dtype": Follows(source="cluster.dtype"),
    "cluster.engines": Follows(source="cluster.gpus", also="engine.tensor_parallel", by=engines_on, free=True),
    "engine.count": Follows(source="cluster.engines"),
    "engine.threads": Follows(source="cluster.threads"),
    "engine.sleep": Follows(source="cluster.sleep", by=bool),
}
LEARNER: Mapping[str, Rule] = {
    "learner.device": Follows(source="cluster.device"),
    "learner.dtype": Follows(source="cluster.dtype"),
    "learner.world_size": Follows(source="cluster.ranks"),
    "learner.threads": Follows(source="cluster.threads"),
}
PLAY: Mapping[str, Rule] = {
    "rollout.history": Follows(source="env.history"),
    "sampling.max_tokens": Follows(source="model.response_tokens", free=True),
}
