"""Worlds small enough to be solved exactly: the policy's true values, its true gradient, and rollouts in bulk."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimators import StepBatch
from trainer.lab.worlds.goals import Goals
from trainer.lab.worlds.vectors import Vectors, with_noise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUCCESS_REWARD = 10.0
"""Reward of a rollout that solves its task, the most that a rollout can be paid: the papers' setting."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tabular:
    """A world as a table, with one fixed policy. Raises ValueError where probabilities do not sum to 1.

    S is the number of states, A of action slots in a state, K of outcomes of an action, T of tasks, H of turns.
    """

    name: str
    """Also seeds the rollouts drawn from this world."""

    successor: Ints
    """int64 [S, A, K]. The state that each outcome leads to; S is success and S + 1 failure, which end the episode."""

    chance: Floats
    """float64 [S, A, K]. Probability of each outcome."""

    policy: Floats
    """float64 [S, A]. Probability of each action; a slot with probability 0 is no action."""

    keys: Ints
    """int64 [S, A]. The action's text as a code: equal texts have equal codes in every state."""

    starts: Ints
    """int64 [T]. The state in which each task begins."""

    horizon: int
    """H. After so many turns the episode ends unsolved."""

    vectors: Vectors
    """float32 [S, D]. Stands for the hidden state that a model would have in each state."""

    reward: Floats | None = None
    """float64 [S, A, K]. What each outcome pays; None pays SUCCESS_REWARD for success and nothing else."""

    looks: Ints | None = None
    """int64 [S]. Code of what each state looks like; None where every state looks different."""

    texts: int = 1
    """Texts that describe one look; each visit shows one of them at random."""

    noise: float = 0.0
    """Length of the random vector that each visit adds to the state's own."""

    milestones: Ints | None = None
    """int64 [S, A]. The milestone, from 1, that each action reaches, 0 for none. None: success is the only one, which
    worlds of `sketch` do not have: they end in a payment."""

    names: tuple[str, ...] = ()
    """What each state is called; empty where they have numbers only."""

    acts: tuple[str, ...] = ()
    """The text of each action's code; empty where they have numbers only."""

    paid: Floats = field(init=False, repr=False)
    """float64 [S, A, K]. What each outcome pays."""

    shown: Ints = field(init=False, repr=False)
    """int64 [S]. Code of what each state looks like, 0 to the number of looks - 1."""

    quality: Floats = field(init=False, repr=False)
    """float64 [H, S, A]. Q_t(s, a)."""

    advantage: Floats = field(init=False, repr=False)
    """float64 [H, S, A]. The true advantage, Q_t(s, a) - V_t(s)."""

    def __post_init__(self) -> None:
        for name in ("chance", "policy"):
            total = getattr(self, name).sum(-1)
            used = total > 0 if name == "chance" else np.ones_like(total, bool)
            if not np.allclose(total[used], 1.0):
                raise ValueError(f"{self.name}: {name} of a state sums to {total[used].min()}, not to 1")
        states = len(self.policy)
        paid = np.where(self.successor == states, SUCCESS_REWARD, 0.0) if self.reward is None else self.reward
        looks = np.arange(states) if self.looks is None else np.unique(self.looks, return_inverse=True)[1]
        object.__setattr__(self, "paid", paid)
        object.__setattr__(self, "shown", looks)
        quality = action_values(self)
        value = (self.policy * quality).sum(-1, keepdims=True)
        object.__setattr__(self, "quality", quality)
        object.__setattr__(self, "advantage", quality - value)

    @property
    def score(self) -> Floats:
        """Expected reward [T] of each task, as a share of SUCCESS_REWARD: its success rate where only success pays."""
        return (self.policy * self.quality[0]).sum(-1)[self.starts] / SUCCESS_REWARD


def action_values(world: Tabular) -> Floats:
    """Q [H, S, A]: the expected undiscounted reward from an action on, by backward induction over the turns.

        Q_t(s, a) = sum over outcomes s' of chance(s' | s, a) (reward(s, a, s') + V_{t+1}(s'))
        V_t(s)    = sum over actions a of policy(a | s) Q_t(s, a)
        V_t(success) = V_t(failure) = V_H(s) = 0

    The turn is part of the state, because what can still be reached depends on the turns left. Nothing is
    discounted, because a policy is trained for its success rate.
    """
    states = len(world.policy)
    quality = np.zeros((world.horizon, *world.policy.shape))
    value = np.zeros(states + 2)  # of every successor: the states, success, failure
    for t in reversed(range(world.horizon)):
        quality[t] = (world.chance * (world.paid + value[world.successor])).sum(-1)
        value[:states] = (world.policy * quality[t]).sum(-1)
    return quality


def best_actions(world: Tabular) -> Ints:
    """The most valuable action [H, S] where all later ones are the most valuable too, by backward induction."""
    states = len(world.policy)
    best = np.zeros((world.horizon, states), np.int64)
    value = np.zeros(states + 2)
    for t in reversed(range(world.horizon)):
        quality = (world.chance * (world.paid + value[world.successor])).sum(-1)
        quality = np.where(world.policy > 0, quality, -np.inf)  # the other slots are no actions
        best[t] = quality.argmax(-1)
        value[:states] = quality.max(-1)
    return best


def occupancy(world: Tabular) -> Floats:
    """Probability [T, H, S] that a rollout of each task takes its turn t in state s."""
    states = len(world.policy)
    visits = np.zeros((len(world.starts), world.horizon, states))
    flow = (world.policy[..., None] * world.chance).reshape(-1)  # [S * A * K]
    target = world.successor.reshape(-1)
    source = np.repeat(np.arange(states), flow.size // states)
    for task, start in enumerate(world.starts):
        visits[task, 0, start] = 1.0
        for t in range(1, world.horizon):
            arrived = np.bincount(target, visits[task, t - 1, source] * flow, states + 2)
            visits[task, t] = arrived[:states]
    return visits


def true_gradient(world: Tabular) -> Floats:
    """Gradient [T, S, A] of each task's expected reward in the logits of a softmax policy.

    The policy gradient theorem gives it exactly, for one task:

        dJ / dlogit(s, a) = sum over t of occupancy_t(s) policy(a | s) (Q_t(s, a) - V_t(s))
    """
    return np.einsum("ths,sa,hsa->tsa", occupancy(world), world.policy, world.advantage, optimize=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """N rows drawn from a world, as an estimator sees them and as they are."""

    batch: StepBatch
    """What an estimator sees."""

    task: Ints
    """int64 [N]."""

    turn: Ints
    """int64 [N], from 0."""

    state: Ints
    """int64 [N]."""

    action: Ints
    """int64 [N]. The action's slot."""

    truth: Floats
    """float64 [N]. The true advantage Q - V of each row."""


def sample(world: Tabular, *, groups: int, size: int, rng: np.random.Generator) -> Sample:
    """Draw `groups` groups of `size` rollouts. The tasks take turns; all rollouts take each step together."""
    states = len(world.policy)
    rollouts = groups * size
    task = np.arange(rollouts) // size % len(world.starts)
    state = world.starts[task]
    alive = np.arange(rollouts)
    policy, chance = np.cumsum(world.policy, -1), np.cumsum(world.chance, -1)
    goals = Goals(world.milestones, success=states, rollouts=rollouts)
    turns: list[tuple[NDArray[Any], ...]] = []
    for t in range(world.horizon):
        action = draw(policy[state[alive]], rng)
        before = state[alive]
        outcome = draw(chance[before, action], rng)
        state[alive] = world.successor[before, action, outcome]
        paid, progress = world.paid[before, action, outcome], goals.after(alive, before, action, state[alive])
        turns.append((alive, np.full(len(alive), t), before, action, paid, *progress))
        alive = alive[state[alive] < states]
    columns = (np.concatenate(column) for column in zip(*turns, strict=True))
    rollout, turn, visited, action, reward, milestone, begins = columns
    text = world.shown[visited] * world.texts + rng.integers(0, world.texts, len(visited))
    batch = StepBatch(
        group=rollout // size,
        trajectory=rollout,
        time=turn,
        reward=reward,
        invalid=np.zeros(len(rollout), np.bool_),
        state=text,
        action=world.keys[visited, action],
        embedding=with_noise(world.vectors[visited], world.noise, rng),
        values=(world.policy[visited] * world.quality[turn, visited]).sum(-1),
        milestone=milestone,
        switch=begins,
    )
    truth = world.advantage[turn, visited, action]
    return Sample(batch=batch, task=task[rollout], turn=turn, state=visited, action=action, truth=truth)


def draw(cumulative: Floats, rng: np.random.Generator) -> Ints:
    """One index for each row of cumulative probabilities [N, K]; never an index with probability 0."""
    point = rng.random(len(cumulative))[:, None] * cumulative[:, -1:]
    return (cumulative <= point).sum(-1)
