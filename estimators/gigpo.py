"""GiGPO: GRPO between rollouts, and again between the steps that stood in the same state (2505.10978)."""

from dataclasses import dataclass

from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets, moments, relative, size_report
from estimators.base import Advantages, StepBatch
from estimators.grpo import Grpo


@dataclass(frozen=True, slots=True, kw_only=True)
class Gigpo(Grpo):
    """A = A_E + omega * A_S (2505.10978 eq. 3, 5-8).

    A_E as `Grpo`. Rows with equal (group, state) form an anchor group; A_S = (G - mean) / F over it, G the return to
    go, F the std or 1. Alone in its state a row has A_S = 0, so without repeated states this is GRPO. With
    `similarity` below 1 the anchor groups are those of the `similar` column: texts whose ratio is at least that.
    Diagnostics: `flat_group_share` and the anchor groups' sizes (`size_report`).
    Raises ValueError for a similarity below 1 on a batch without `similar`.
    """

    gamma: float = 0.95
    omega: float = 1.0
    similarity: float = 1.0

    @property
    def requires(self) -> frozenset[str]:
        return frozenset() if self.similarity == 1.0 else frozenset({"similar"})

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
            return batch.anchors
        return batch.groups.split(batch.needed("similar", f"gigpo with similarity={self.similarity}"))
