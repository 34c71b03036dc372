"""Credit of recorded rows by the estimators themselves, its parts, and the visits that each row was compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from estimators import Advantages, Estimator, Needs, StepBatch, calibrated, needs
from estimators.algebra.clusters import cluster
from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets
from estimators.algebra.states import visits
from estimators.bipace import Bipace
from estimators.gigpo import Gigpo
from estimators.grpo import Grpo
from estimators.hgpo import Hgpo
from trainer.config.build import ConfigError
from trainer.inspect.records import EstimatorRecord
from trainer.setup.credit import advantages_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowCredit:
    """One estimator on the N rows of an update."""

    advantages: Advantages
    """What the estimator said."""

    episode: Floats | None
    """float64 [N]. The episode term of its credit; None where it states none."""

    critic: Floats | None
    """float64 [N]. What a critic expects before each row, of its tokens before the first; None where it reads none."""

    token_critic: Floats | None
    """float64 [R]. What a critic of tokens expects before each response token; None without one."""

    returns: Floats
    """float64 [N]. Return to go with the estimator's discount and penalties."""

    states: Sets
    """The rows cut into the visits that it compares; without states, into rows of equal text."""

    actions: Sets
    """The same, cut further by action."""


def row_credit(
    estimators: Mapping[str, Estimator], columns: Callable[[Needs], StepBatch]
) -> tuple[dict[str, Estimator], dict[str, RowCredit]]:
    """The estimators, calibrated where they were not, and the credit that they give.

    columns: the rows as an estimator with such needs reads them. Raises ConfigError for rows that one cannot read.
    """
    ready, credit = dict[str, Estimator](), dict[str, RowCredit]()
    for label, estimator in estimators.items():
        try:
            batch = columns(needs(estimator))
            ready[label] = calibrated(estimator, batch)
            credit[label] = credit_of(ready[label], batch)
        except ValueError as error:
            raise ConfigError(f"estimator {label!r}: {error}") from error
    return ready, credit


def credit_of(estimator: Estimator, batch: StepBatch) -> RowCredit:
    """The credit of a batch and its parts."""
    states, advantages = compared(estimator, batch) or batch.anchors, advantages_of(estimator, batch)
    of_tokens = batch.token_values if needs(estimator).critic == "token" else None
    return RowCredit(
        advantages=advantages,
        episode=estimator.episode(batch)[0] if isinstance(estimator, Grpo) and is_split(estimator) else None,
        critic=_critic(estimator, batch),
        token_critic=of_tokens,
        returns=returns_to_go(
            batch,
            gamma_of(estimator),
            getattr(estimator, "penalty", "return"),
            getattr(estimator, "invalid_penalty", 0.0),
        ),
        states=states,
        actions=states.split(batch.keys),
    )


def _critic(estimator: Estimator, batch: StepBatch) -> Floats | None:
    """What a critic expects before each row [N]; None where the estimator reads none."""
    unit = needs(estimator).critic
    if unit == "turn":
        return batch.values
    if unit is None or batch.token_values is None or batch.response_tokens is None:
        return None
    return batch.token_values[np.cumsum(batch.response_tokens) - batch.response_tokens]


def is_split(estimator: Estimator) -> bool:
    """Whether the credit is the episode term of `Grpo`, alone or with a step term of weight omega."""
    return type(estimator) is Grpo or (isinstance(estimator, Grpo) and hasattr(estimator, "omega"))


def gamma_of(estimator: Estimator) -> float:
    """The estimator's discount; 1 for one without, and for one that measures it in each group."""
    gamma = getattr(estimator, "gamma", None)
    return 1.0 if gamma is None else float(gamma)


def compared(estimator: Estimator, batch: StepBatch) -> Sets | None:
    """The rows cut into the visits that the estimator compares with each other; None where it compares no states."""
    if isinstance(estimator, Bipace) and estimator.eps != "auto":
        return cluster(batch, batch.needed("embedding", "bipace"), estimator.eps, estimator.centroid)
    if isinstance(estimator, Gigpo) and estimator.similarity < 1.0:
        return batch.groups.split(batch.needed("similar", "gigpo"))
    if isinstance(estimator, Hgpo):
        return batch.anchors
    state = getattr(estimator, "state", None)
    return None if state is None else visits(batch, state)


def described(label: str, estimator: Estimator) -> EstimatorRecord:
    """What the page says about a calibrated estimator."""
    return EstimatorRecord(
        label=label,
        title=(type(estimator).__doc__ or label).strip().splitlines()[0].rstrip(":").replace("`", ""),
        gamma=gamma_of(estimator),
        states=_states(estimator),
    )


def _states(estimator: Estimator) -> str | None:
    """What the estimator takes for one state, in words."""
    if isinstance(estimator, Bipace):
        return f"hidden states within a cosine distance of {estimator.eps}"
    if isinstance(estimator, Gigpo) and estimator.similarity < 1.0:
        return f"texts alike by {estimator.similarity}"
    if isinstance(estimator, Hgpo):
        return f"equal text; the {estimator.depth} states before it count too"
    state = getattr(estimator, "state", None)
    return {"observation": "equal text", "history": "equal text and an equal past"}.get(state or "")
