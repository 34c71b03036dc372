"""BiPACE: states grouped by the policy's hidden states, and actions compared inside each group (2606.25556)."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from estimators.algebra.clusters import Centroid, calibrate, cluster
from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets, moments, size_report
from estimators.base import UNPARSED, Advantages, Needs, StepBatch
from estimators.grpo import Grpo

Variant = Literal["q", "action_tag", "first_token", "state_only"]
NoContrast = Literal["leave_one_out", "zero"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bipace(Grpo):
    """BiPACE (2606.25556): the credit PACE over the clusters BiGPO (`cluster`):

        A   = A_E + omega * A_S
        A_S = (mean_{C=} G - mean_C G) / F       variant="q"
        A_S = (G_i - mean_{Cx} G) / F            variant="action_tag", "first_token"
        A_S = (G_i - mean_C G) / F               variant="state_only"

        A_E  the episode term of `Grpo`
        G    discounted return to go of the step
        C    the n rows of row i's cluster
        C=   the m rows of C with row i's action key
        Cx   the other rows of C
        F    standard deviation of G over C with norm="mean_std", 1 with "mean"

    Without a contrast (Cx is empty, n > 1), outside of "state_only":

        A_S = (G_i - mean of the others' G) / F  no_contrast="leave_one_out"
        A_S = 0                                  no_contrast="zero"

    With a contrast "q" may shrink its mean over C= (2606.05885); kappa = 0 is BiPACE:

        Q = (m * mean_{C=} G + kappa * mean_C G) / (m + kappa)

    Limiting cases:
        omega = 0: GRPO.
        n = 1: A_S = 0.
        state_only with one-hot states and eps = 0: GiGPO.
    Assumes that states which the policy holds for similar have similar values.
    Reading: leave-one-out without a contrast, since the paper's shares of the branches fit this trigger. Division by
        the cluster's standard deviation, since with eps = 0 on codes of states this is GiGPO. An invalid response has
        an action key of its own, whatever the world made of it: rows of the right form do not share its penalty.
    Diagnostics: `flat_group_share`; the clusters' sizes (`size_report`); shares of rows by branch `share_singleton`,
        `share_contrast`, `share_no_contrast`; `keys_per_cluster`, the action keys in a cluster; `parse_rate`, the
        share of valid responses that name an action; `eps`.
    Raises ValueError for an option out of range, for a kappa that the variant ignores, for a batch without
        embeddings, and while eps is still "auto".
    """

    gamma: Annotated[float, Interval(ge=0, le=1)] = 0.95
    """Discount of the return to go."""
    omega: Annotated[float, Ge(0)] = 1.0
    """Weight of the step term."""
    eps: Annotated[float, Interval(ge=0, le=1)] | Literal["auto"] = 0.10  # beyond a right angle a mean may vanish
    """Largest cosine distance inside a cluster: 0.10 for 7B, 0.05 for 1.5B; "auto" measures it at the first update."""
    layer: int = -8
    """Index into the tuple of hidden states that the embedding is read from: -8 for 7B, -12 for 1.5B."""
    variant: Variant = "q"
    """What a row is compared with; "first_token" takes the first 8 response tokens for the action."""
    no_contrast: NoContrast = "leave_one_out"
    """What a row gets whose cluster saw one action only."""
    centroid: Centroid = "mean"
    """Centre of a cluster: the mean of its members, or its first member."""
    kappa: Annotated[float, Ge(0)] = 0.0
    """Shrinks the value of rare actions towards the cluster's mean; "q" only."""

    def __post_init__(self) -> None:
        Grpo.__post_init__(self)  # not super(): a slotted dataclass is another class than the one its body saw
        if self.kappa and self.variant != "q":
            raise ValueError(
                f"kappa={self.kappa} has no effect on variant={self.variant!r}: set kappa=0 or variant='q'"
            )

    @property
    def needs(self) -> Needs:
        return Needs(
            columns=frozenset({"embedding"}),
            layer=self.layer,
            action_key="first_token" if self.variant == "first_token" else "action",
            group_based=True,
        )

    def calibrated(self, batch: StepBatch) -> "Bipace":
        """The same estimator, with eps="auto" replaced by the eps that suits `batch` (`calibrate`)."""
        if self.eps != "auto":
            return self
        return replace(self, eps=calibrate(batch, batch.needed("embedding", "bipace"), self.centroid))

    def __call__(self, batch: StepBatch, /) -> Advantages:
        if self.eps == "auto":
            raise ValueError(
                "eps='auto' is not measured yet: use calibrated(batch) once, at the first update, or a number"
            )
        episode, diagnostics = self.episode(batch)
        clusters = cluster(batch, batch.needed("embedding", "bipace"), self.eps, self.centroid)
        step, branches = self._step(batch, clusters)
        sizes = size_report(clusters, batch.groups)
        return Advantages(
            value=episode + self.omega * step,
            diagnostics={**diagnostics, **sizes, **branches, "eps": float(self.eps)},
        )

    def _step(self, batch: StepBatch, clusters: Sets) -> tuple[NDArray[np.float64], dict[str, float]]:
        """A_S [N] and the shares of its branches."""
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        stats = moments(clusters, returns, self.norm)
        label = clusters.label
        deviation = returns - stats.mean[label]  # G_i - mean_C G
        single = clusters.size[label] == 1
        report = {"share_singleton": float(single.mean())}
        if self.variant != "state_only":
            deviation, contrasted, keys = self._contrast(batch, clusters, returns, deviation)
            report["share_contrast"] = float(contrasted.mean())
            report["share_no_contrast"] = float((~contrasted & ~single).mean())
            report |= keys
        return np.where(stats.signal[label], deviation / stats.scale[label], 0.0), report

    def _contrast(
        self, batch: StepBatch, clusters: Sets, returns: NDArray[np.float64], deviation: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, float]]:
        """A_S * F of each row [N], whether its cluster has another action [N], and diagnostics of the action keys."""
        alike = clusters.split(batch.keys)
        n, m = clusters.size[clusters.label], alike.size[alike.label]
        same = alike.sum(returns)[alike.label]
        total = clusters.sum(returns)[clusters.label]
        if self.variant == "q":
            against = (same / m - total / n) * (m / (m + self.kappa))  # Q - V = (mean_{C=} - V) m / (m + kappa)
        else:
            against = returns - (total - same) / np.maximum(n - m, 1)
        leave_one_out = deviation * (n / np.maximum(n - 1, 1))
        fallback = leave_one_out if self.no_contrast == "leave_one_out" else np.zeros(len(batch))
        report = {
            "keys_per_cluster": len(alike.size) / len(clusters.size),
            "parse_rate": float((~batch.invalid & (batch.action != UNPARSED)).mean()),
        }
        return np.where(n > m, against, fallback), n > m, report
