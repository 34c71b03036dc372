"""The estimators' formulas in plain loops, straight from the sources, for tests to compare with."""

import numpy as np

from estimators import UNPARSED


def rewards(batch, cost=0.1):
    """Reward of each step with the invalid penalty inside (penalty="return")."""
    return batch.reward - cost * batch.invalid


def next_row(batch, i):
    """Row of the next step of the same rollout, None at its end."""
    for j in range(len(batch)):
        if batch.trajectory[j] == batch.trajectory[i] and batch.time[j] == batch.time[i] + 1:
            return j
    return None


def returns(batch, gamma, reward):
    """G of each row."""
    result = np.zeros(len(batch))
    for i in np.argsort(-batch.time, kind="stable"):
        j = next_row(batch, i)
        result[i] = reward[i] + (gamma * result[j] if j is not None else 0.0)
    return result


def outcome(batch, i):
    return batch.reward[batch.trajectory == batch.trajectory[i]].sum()


def visits(batch, i):
    """Rows of the same group and state."""
    return [j for j in range(len(batch)) if batch.group[j] == batch.group[i] and batch.state[j] == batch.state[i]]


def takes(batch, i):
    """Visits with the same action; an unparsed action equals no other."""
    return [j for j in visits(batch, i) if j == i or UNPARSED != batch.action[j] == batch.action[i]]


def flat(values):
    return len(values) == 1 or np.ptp(values) < 1e-6 * max(1.0, abs(np.mean(values)))


def standard(value, values, norm="mean_std", ddof=1):
    """(value - mean) / (std + 1e-6), or without the division; 0 for a set without spread."""
    if flat(values):
        return 0.0
    return (value - np.mean(values)) / (np.std(values, ddof=ddof) + 1e-6 if norm == "mean_std" else 1.0)


def within_visits(batch, values, norm="mean_std", ddof=1):
    return np.array([standard(values[i], values[visits(batch, i)], norm, ddof) for i in range(len(batch))])


def within_group(batch, values, norm="mean_std"):
    """Standardised over all rows of the group; 0 where the group has one rollout."""
    result = np.zeros(len(batch))
    for i in range(len(batch)):
        inside = batch.group == batch.group[i]
        if len(set(batch.trajectory[inside])) > 1:
            result[i] = standard(values[i], values[inside], norm)
    return result


def past(batch, i):
    """All that the rollout of row i saw and did until it took the step; an unparsed action equals no other."""
    mine = {batch.time[j]: j for j in range(len(batch)) if batch.trajectory[j] == batch.trajectory[i]}
    done = [mine[t] for t in range(batch.time[i])]
    acts = [(int(batch.state[j]), ("none", j) if batch.action[j] == UNPARSED else int(batch.action[j])) for j in done]
    return (*acts, int(batch.state[i]))


def success_rate(batch, i, success_reward):
    """Share of the rollouts of row i's group that succeeded."""
    inside = batch.group == batch.group[i]
    wins = {batch.trajectory[j]: outcome(batch, j) >= success_reward * (1 - 1e-9) for j in np.flatnonzero(inside)}
    return float(np.mean(list(wins.values())))
