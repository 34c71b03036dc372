"""GiGPO: rollouts compared with rollouts, and steps with steps from the same state (2505.10978)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Interval

from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets, moments, relative, size_report
from estimators.algebra.states import States, visits
from estimators.base import Advantages, Needs, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Gigpo(Grpo):
    """GiGPO (2505.10978 eq. 3, 5-8):

        A   = A_E + omega * A_S
        A_S = (G - mean) / F

        A_E   the episode term of `Grpo`
        G     discounted return to go of the step
        mean  of G over the anchor group: the rows of one group with equal state
        F     standard deviation of G over the anchor group with norm="mean_std", 1 with "mean"

    Limiting cases:
        omega = 0: GRPO.
        no repeated states: GRPO, since a row alone in its state has A_S = 0.
    Assumes that equal text is equal state, and that the return to go measures the action rather than luck.
    We differ: with a `similarity` below 1 the anchor groups are those of the column `similar`, as in the public code.
    Diagnostics: `flat_group_share`, and the sizes of the anchor groups (`size_report`).
    Raises ValueError for an option out of range, and for a similarity below 1 on a batch without `similar`.
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    similarity: Annotated[float, Interval(ge=0, le=1)] = 1.0
    """Ratio of two texts from which they count as one state; 1 compares them for equality."""
    state: States = "observation"
    """What counts as one state: an equal observation, or an equal history of observations and actions."""

    def __post_init__(self) -> None:
        Grpo.__post_init__(self)  # not super(): a slotted dataclass is another class than the one its body saw
        if self.similarity < 1.0 and self.state == "history":
            raise ValueError(
                f"similarity={self.similarity} with state='history', which compares texts for equality: set "
                "similarity=1 or state='observation'"
            )

    @property
    def needs(self) -> Needs:
        columns = frozenset[str]() if self.similarity == 1.0 else frozenset({"similar"})
        return Needs(columns=columns, similarity=self.similarity, group_based=True)

    def __call__(self, batch: StepBatch, /) -> Advantages:
        episode, diagnostics = self.episode(batch)
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        anchors = self._anchors(batch)
        step = relative(returns, anchors.label, moments(anchors, returns, self.norm))
        return Advantages(
            value=episode + self.omega * step,
            diagnostics={**diagnostics, **size_report(anchors, batch.groups)},
        )

    def _anchors(self, batch: StepBatch) -> Sets:
        if self.similarity == 1.0:
            return visits(batch, self.state)
        return batch.groups.split(batch.needed("similar", f"gigpo with similarity={self.similarity}"))
