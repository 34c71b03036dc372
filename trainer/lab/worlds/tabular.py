"""Worlds small enough to be solved exactly: the policy's true values, its true gradient, and rollouts in bulk."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from estimators import StepBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUCCESS_REWARD = 10.0  # what a success pays: the papers' setting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tabular:
    """S states, A action slots, K outcomes of each, a policy, and K' tasks that differ in where they start.

    successor: int64 [S, A, K], the states an action may lead to; S stands for success and S + 1 for failure, where
    the episode ends. chance: float64 [S, A, K], how likely each is. policy: float64 [S, A]; a slot of probability 0
    is no action. keys: int64 [S, A], the action's text as a code: equal text, equal code in any state.
    starts: int64 [T], where each task begins. horizon: turns until the episode ends unsolved.

    What an estimator sees of a state: one of `texts` codes at random, and looks [S, D] plus noise. noise: length of
    what is added to a unit vector.
    Raises ValueError where probabilities do not sum to 1.
    """

    name: str
    successor: Ints
    chance: Floats
    policy: Floats
    keys: Ints
    starts: Ints
    horizon: int
    looks: NDArray[np.float32]
    texts: int = 1
    noise: float = 0.0
    quality: Floats = field(init=False, repr=False)  # Q_t(s, a) [H, S, A]
    advantage: Floats = field(init=False, repr=False)  # Q_t(s, a) - V_t(s) [H, S, A]

    def __post_init__(self) -> None:
        for name in ("chance", "policy"):
            total = getattr(self, name).sum(-1)
            live = total > 0 if name == "chance" else np.ones_like(total, bool)
            if not np.allclose(total[live], 1.0):
                raise ValueError(f"{self.name}: {name} of a state sums to {total[live].min()}, not to 1")
        quality = action_values(self)
        value = (self.policy * quality).sum(-1, keepdims=True)
        object.__setattr__(self, "quality", quality)
        object.__setattr__(self, "advantage", quality - value)

    @property
    def success_rate(self) -> Floats:
        """Of each task [T], under the policy."""
        return (self.policy * self.quality[0]).sum(-1)[self.starts] / SUCCESS_REWARD


def action_values(world: Tabular) -> Floats:
    """Q_t(s, a) [H, S, A]: the expected reward from the action on, undiscounted, by backward induction.

    The turn is part of the state: what is still possible depends on how many turns are left. Undiscounted, because
    the success rate is what a policy is trained for.
    """
    states = len(world.policy)
    quality = np.zeros((world.horizon, *world.policy.shape))
    value = np.zeros(states + 2)  # of every successor, the two ends included
    value[states] = SUCCESS_REWARD
    for t in reversed(range(world.horizon)):
        quality[t] = (world.chance * value[world.successor]).sum(-1)
        value[:states] = (world.policy * quality[t]).sum(-1)
    return quality


def occupancy(world: Tabular) -> Floats:
    """Probability [T, H, S] that a rollout of each task takes its turn t in state s."""
    states = len(world.policy)
    reached = np.zeros((len(world.starts), world.horizon, states))
    flow = (world.policy[..., None] * world.chance).reshape(-1)  # [S * A * K]
    target = world.successor.reshape(-1)
    source = np.repeat(np.arange(states), flow.size // states)
    for task, start in enumerate(world.starts):
        reached[task, 0, start] = 1.0
        for t in range(1, world.horizon):
            arrived = np.bincount(target, reached[task, t - 1, source] * flow, states + 2)
            reached[task, t] = arrived[:states]
    return reached


def true_gradient(world: Tabular) -> Floats:
    """Gradient [T, S, A] of each task's expected reward in the logits of a softmax policy.

    The policy gradient theorem, exactly: sum over turns of occupancy times pi(a|s) A_t(s, a).
    """
    return np.einsum("ths,sa,hsa->tsa", occupancy(world), world.policy, world.advantage, optimize=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Rollouts of groups side by side. task, state, action, turn: int64 [N]; truth: float64 [N], Q - V of each row."""

    batch: StepBatch
    task: Ints
    turn: Ints
    state: Ints
    action: Ints
    truth: Floats


def sample(world: Tabular, *, groups: int, size: int, rng: np.random.Generator) -> Sample:
    """`groups` groups of `size` rollouts, the tasks in turn, all rollouts one step at a time together."""
    states = len(world.policy)
    rollouts = groups * size
    task = np.arange(rollouts) // size % len(world.starts)
    state = world.starts[task]
    alive = np.arange(rollouts)
    choices, outcomes = np.cumsum(world.policy, -1), np.cumsum(world.chance, -1)
    seen: list[tuple[Ints, ...]] = []
    for t in range(world.horizon):
        action = _drawn(choices[state[alive]], rng)
        now = state[alive]
        state[alive] = world.successor[now, action, _drawn(outcomes[now, action], rng)]
        seen.append((alive, np.full(len(alive), t), now, action, state[alive]))
        alive = alive[state[alive] < states]
    who, turn, at, action, reached = (np.concatenate(column) for column in zip(*seen, strict=True))
    text = at * world.texts + rng.integers(0, world.texts, len(at))
    batch = StepBatch(
        group=who // size,
        trajectory=who,
        time=turn,
        reward=np.where(reached == states, SUCCESS_REWARD, 0.0),
        invalid=np.zeros(len(who), np.bool_),
        state=text,
        action=world.keys[at, action],
        embedding=_seen(world, at, rng),
    )
    truth = world.advantage[turn, at, action]
    return Sample(batch=batch, task=task[who], turn=turn, state=at, action=action, truth=truth)


def _drawn(cumulative: Floats, rng: np.random.Generator) -> Ints:
    """One index per row of cumulative probabilities [N, K]; never one of probability 0."""
    point = rng.random(len(cumulative))[:, None] * cumulative[:, -1:]
    return (cumulative <= point).sum(-1)


def _seen(world: Tabular, state: Ints, rng: np.random.Generator) -> NDArray[np.float32]:
    """The state's look and, where it is noisy, a vector of that length in a random direction. [N, D]"""
    looks = world.looks[state]
    if world.noise == 0.0:
        return looks
    off = rng.standard_normal(looks.shape, dtype=np.float32)
    off *= np.float32(world.noise) / np.linalg.norm(off, axis=1, keepdims=True)
    return looks + off
