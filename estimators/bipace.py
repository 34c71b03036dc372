"""BiPACE: states grouped by the policy's own hidden states, and inside a group actions against actions (2606.25556)."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from estimators.algebra.clusters import Centroid, calibrate, cluster
from estimators.algebra.returns import returns_to_go
from estimators.algebra.sets import Sets, moments, size_report
from estimators.base import UNPARSED, Advantages, StepBatch
from estimators.grpo import Grpo

Variant = Literal["q", "action_tag", "first_token", "state_only"]
NoContrast = Literal["leave_one_out", "zero"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bipace(Grpo):
    """A = A_E + omega * A_S (2606.25556). A_E as `Grpo`; A_S is PACE over the clusters of BiGPO (`cluster`).

    In a cluster C of n rows, C= the m rows with i's action key, Cx the others, G the return to go:
    "q" mean_{C=} G - mean_C G; "action_tag", "first_token" G_i - mean_{Cx} G; "state_only" G_i - mean_C G.
    n = 1 gives 0. Cx empty: G_i - mean of the others (reading: the paper's branch shares fit this trigger), or 0 with
    `no_contrast="zero"`. "mean_std" divides by the cluster's std (reading: with eps 0 on state codes this is GiGPO).
    `kappa` shrinks Q to (m Q + kappa V) / (m + kappa) in the branch with a contrast (2606.05885; 0 is the paper).

    eps, layer: 0.10, -8 for 7B; 0.05, -12 for 1.5B. `eps="auto"` is measured once by `calibrated` and then fixed;
    `layer` is read by the learner's scoring pass. `action` codes are of the first 8 tokens for "first_token".
    Raises ValueError without embeddings, and while eps is still "auto".
    """

    gamma: float = 0.95
    omega: float = 1.0
    eps: float | Literal["auto"] = 0.10
    layer: int = -8
    variant: Variant = "q"
    no_contrast: NoContrast = "leave_one_out"
    centroid: Centroid = "mean"
    kappa: float = 0.0

    def __post_init__(self) -> None:
        Grpo.__post_init__(self)  # not super(): a slotted dataclass is another class than its body saw
        if self.kappa and self.variant != "q":
            raise ValueError(
                f"kappa={self.kappa} has no effect on variant={self.variant!r}: set kappa=0 or variant='q'"
            )

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({"embedding"})

    @property
    def action_key(self) -> str:
        return "first_token" if self.variant == "first_token" else "action"

    def calibrated(self, batch: StepBatch) -> "Bipace":
        """Itself, with "auto" replaced by the eps that suits `batch` (`calibrate`)."""
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
        step, contrast_report = self._step(batch, clusters)
        sizes = size_report(clusters, batch.groups)
        return Advantages(
            value=episode + self.omega * step,
            diagnostics={**diagnostics, **sizes, **contrast_report, "eps": float(self.eps)},
        )

    def _step(self, batch: StepBatch, clusters: Sets) -> tuple[NDArray[np.float64], dict[str, float]]:
        """A_S [N] and the shares of its branches."""
        returns = returns_to_go(batch, self.gamma, self.penalty, self.invalid_penalty)
        stats = moments(clusters, returns, self.norm)
        label = clusters.label
        deviation = returns - stats.mean[label]  # G_i - mean_C G
        alone = clusters.size[label] == 1
        report = {"share_singleton": float(alone.mean())}
        if self.variant != "state_only":
            deviation, contrasted, report_keys = self._contrast(batch, clusters, returns, deviation)
            report["share_contrast"] = float(contrasted.mean())
            report["share_no_contrast"] = float((~contrasted & ~alone).mean())
            report |= report_keys
        return np.where(stats.signal[label], deviation / stats.scale[label], 0.0), report

    def _contrast(
        self, batch: StepBatch, clusters: Sets, returns: NDArray[np.float64], deviation: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, float]]:
        """Each row's action against the cluster's others [N], where it has others [N], and what the keys look like."""
        alike = clusters.split(batch.keys)
        n, m = clusters.size[clusters.label], alike.size[alike.label]
        same = alike.sum(returns)[alike.label]
        total = clusters.sum(returns)[clusters.label]
        if self.variant == "q":
            against = (same / m - total / n) * (m / (m + self.kappa))  # V + (Q - V) m / (m + kappa), less V
        else:
            against = returns - (total - same) / np.maximum(n - m, 1)
        leave_one_out = deviation * (n / np.maximum(n - 1, 1))
        fallback = leave_one_out if self.no_contrast == "leave_one_out" else np.zeros(len(batch))
        report = {
            "keys_per_cluster": len(alike.size) / len(clusters.size),
            "parse_rate": float((~batch.invalid & (batch.action != UNPARSED)).mean()),
        }
        return np.where(n > m, against, fallback), n > m, report
