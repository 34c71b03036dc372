"""Softmax policies in a world of known truth: many at once, their exact scores, and the best score there is."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from estimators import StepBatch
from trainer.lab.worlds.goals import Goals
from trainer.lab.worlds.tabular import SUCCESS_REWARD, Floats, Ints, Tabular, draw, occupancy
from trainer.lab.worlds.vectors import with_noise

NEVER = -1e9
"""The logit of an action that a state does not have."""
NEARLY_ALWAYS = 4.0
"""What is added to the logit of a slot so that a policy nearly always takes it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """What an update needs of its N rows besides the batch."""

    batch: StepBatch
    """What an estimator sees."""

    owner: Ints
    """int64 [N]. The policy that took the row."""

    state: Ints
    """int64 [N]."""

    text: Ints
    """int64 [N]. Which of the state's texts was shown."""

    action: Ints
    """int64 [N]. The action's slot."""


class School:
    """A world and R policies in it, each a softmax over what a state looks like and which text describes it.

    Logits are [R, L, X, A]: policies, looks, texts, action slots. A state without an action gives it no probability.
    """

    def __init__(self, world: Tabular, kernel: Floats | None = None) -> None:
        """kernel: float64 [L * X, L * X], the products of features that looks and texts share; None for a table."""
        self.world, self._kernel = world, kernel
        states, slots = world.policy.shape
        self.looks = int(world.shown.max()) + 1
        self._closed = np.where(world.policy > 0, 0.0, NEVER)[:, None]  # [S, 1, A]
        outcomes = world.successor.reshape(states * slots, -1)
        row = np.repeat(np.arange(states * slots), outcomes.shape[1])
        shape = (states * slots, states + 2)
        self._moves = csr_matrix((world.chance.reshape(-1), (row, outcomes.reshape(-1))), shape=shape)
        self._pays = (world.chance * world.paid).sum(-1).reshape(-1, 1)  # [S * A, 1]

    def start(self, policies: int) -> Floats:
        """Logits that give the world's own policy; of states that look alike, the one with most actions counts."""
        logits = np.zeros((self.looks, self.world.policy.shape[1]))
        for state in np.argsort((self.world.policy > 0).sum(-1), kind="stable"):
            own = self.world.policy[state]
            logits[self.world.shown[state]] = np.log(own, out=np.zeros_like(own), where=own > 0)
        tiled = np.broadcast_to(logits[None, :, None], (policies, self.looks, self.world.texts, logits.shape[1]))
        return tiled.copy()

    def chances(self, logits: Floats) -> Floats:
        """Probabilities [R, S, X, A]."""
        masked = logits[:, self.world.shown] + self._closed
        weight = np.exp(masked - masked.max(-1, keepdims=True))
        return weight / weight.sum(-1, keepdims=True)

    def values(self, chances: Floats) -> Floats:
        """The exact value [H, S, R] of each state at each turn, as `tabular.action_values` computes it."""
        states, slots = self.world.policy.shape
        policy = np.ascontiguousarray(chances.mean(2).transpose(1, 2, 0))  # [S, A, R]
        value = np.zeros((self.world.horizon, states, policy.shape[2]))
        after = np.zeros((states + 2, policy.shape[2]))
        for t in reversed(range(self.world.horizon)):
            quality = self._pays + self._moves @ after
            value[t] = after[:states] = (policy * quality.reshape(states, slots, -1)).sum(1)
        return value

    def scores(self, values: Floats) -> Floats:
        """Expected reward [R] as a share of SUCCESS_REWARD, mean over tasks, from the exact values [H, S, R]."""
        return values[0, self.world.starts].mean(0) / SUCCESS_REWARD

    def play(
        self,
        chances: Floats,
        values: Floats,
        *,
        groups: int,
        size: int,
        first: int,
        rng: np.random.Generator,
        hidden: bool = True,
    ) -> Rows:
        """`groups` groups of `size` rollouts by each policy; the tasks take turns from number `first` on.

        values: exact, [H, S, R]. hidden: whether the rows get hidden states, most of the work where they do.
        """
        world, states = self.world, len(self.world.policy)
        policies = len(chances)
        rollouts = policies * groups * size
        owner = np.arange(rollouts) // (groups * size)
        state = world.starts[(first + np.arange(rollouts) // size % groups) % len(world.starts)]
        alive = np.arange(rollouts)
        policy, chance = np.cumsum(chances, -1), np.cumsum(world.chance, -1)
        goals = Goals(world.milestones, success=states, rollouts=rollouts)
        turns: list[tuple[NDArray[Any], ...]] = []
        for t in range(world.horizon):
            before, text = state[alive], rng.integers(0, world.texts, len(alive))
            action = draw(policy[owner[alive], before, text], rng)
            outcome = draw(chance[before, action], rng)
            state[alive] = world.successor[before, action, outcome]
            paid, progress = world.paid[before, action, outcome], goals.after(alive, before, action, state[alive])
            turns.append((alive, np.full(len(alive), t), before, text, action, paid, *progress))
            alive = alive[state[alive] < states]
        columns = (np.concatenate(column) for column in zip(*turns, strict=True))
        rollout, turn, visited, text, action, reward, milestone, begins = columns
        batch = StepBatch(
            group=rollout // size,
            trajectory=rollout,
            time=turn,
            reward=reward,
            invalid=np.zeros(len(rollout), np.bool_),
            state=world.shown[visited] * world.texts + text,
            action=world.keys[visited, action],
            embedding=with_noise(world.vectors[visited], world.noise, rng) if hidden else None,
            values=values[turn, visited, owner[rollout]],
            milestone=milestone,
            switch=begins,
        )
        return Rows(batch=batch, owner=owner[rollout], state=visited, text=text, action=action)

    def gradient(self, rows: Rows, credit: Floats, chances: Floats) -> Floats:
        """Sum over rows of credit (1{a = b} - policy(b)) in the logits [R, L, X, A], through the shared features."""
        index = np.ravel_multi_index((rows.owner, rows.state, rows.text, rows.action), chances.shape)
        summed = np.bincount(index, credit, chances.size).reshape(chances.shape)
        summed -= summed.sum(-1, keepdims=True) * chances
        logits = np.zeros((self.looks, *summed.shape[:1], *summed.shape[2:]))
        np.add.at(logits, self.world.shown, summed.transpose(1, 0, 2, 3))
        gradient = logits.transpose(1, 0, 2, 3)
        if self._kernel is None:
            return gradient
        flat = gradient.reshape(len(gradient), -1, gradient.shape[-1])
        return (self._kernel @ flat).reshape(gradient.shape)


def shared_features(world: Tabular, rng: np.random.Generator) -> Floats:
    """Products of features [L * X, L * X]: half as many random features as there are looks and texts, length 1."""
    views = (int(world.shown.max()) + 1) * world.texts
    features = rng.standard_normal((views, max(2, views // 2)))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features @ features.T


def best_score(world: Tabular, steps: int = 150) -> float:
    """The score that a table reaches by exact natural gradients: what learning can come to.

    It climbs from the world's own policy and, as a score may have several tops, from policies that nearly always take
    the same slot.
    """
    world = replace(world, texts=1)
    school, slots = School(world), world.policy.shape[1]
    logits, best = school.start(1 + slots), 0.0
    logits[1 + np.arange(slots), :, :, np.arange(slots)] += NEARLY_ALWAYS
    for step in range(steps):
        chances = school.chances(logits)
        best = max(best, float(school.scores(school.values(chances)).max()))
        for number, policy in enumerate(chances[:, :, 0]):
            logits[number, :, 0] += _ascent(replace(world, policy=policy)) / (1.0 + step / 100.0)
    return best


def _ascent(world: Tabular) -> Floats:
    """2 A / max |A| for the logits [L, A], with A the true advantage of look and action, mean over its visits."""
    visits = occupancy(world).mean(0)  # [H, S]
    total, count = np.zeros((int(world.shown.max()) + 1, world.policy.shape[1])), np.zeros(int(world.shown.max()) + 1)
    np.add.at(total, world.shown, np.einsum("hs,hsa->sa", visits, world.advantage))
    np.add.at(count, world.shown, visits.sum(0))
    mean = total / np.maximum(count, 1e-12)[:, None]
    return 2.0 * mean / max(float(np.abs(mean).max()), 1e-12)
