"""The formulas of the estimators in plain loops over dicts and lists, to compare their speed with."""

import math
from collections import defaultdict, deque
from collections.abc import Hashable

import numpy as np


class Loops:
    """One public method per estimator, named like it: its credit [N] with the paper's options.

    A method of `ESTIMATORS` without a loop here is timed alone. Rewards include the invalid penalty.
    """

    def __init__(self, batch):
        self.n = range(len(batch))
        column = {name: getattr(batch, name).tolist() for name in ("group", "trajectory", "time", "state", "action")}
        self.group, self.trajectory, self.state = column["group"], column["trajectory"], column["state"]
        self.time, self.milestone = column["time"], batch.milestone.tolist()
        self.env_reward = batch.reward.tolist()
        self.reward = [r - 0.1 * bad for r, bad in zip(self.env_reward, batch.invalid.tolist(), strict=True)]
        place = {
            (rollout, step): i for i, (rollout, step) in enumerate(zip(self.trajectory, column["time"], strict=True))
        }
        self.next = [place.get((w, t + 1)) for w, t in zip(self.trajectory, column["time"], strict=True)]
        self.before = [place.get((w, t - 1)) for w, t in zip(self.trajectory, column["time"], strict=True)]
        self.backwards = sorted(self.n, key=column["time"].__getitem__, reverse=True)
        self.node = list(zip(self.group, self.state, strict=True))
        self.act = list(zip(self.node, column["action"], strict=True))
        self.whole = self._total(self.reward)
        self.outcome = self._total(self.env_reward)
        self.values = batch.values.tolist()
        self.step_reward = [0.0] * len(batch) if batch.step_reward is None else batch.step_reward.tolist()

    def _total(self, value):
        sums = defaultdict(float)
        for i in self.n:
            sums[self.trajectory[i]] += value[i]
        return [sums[rollout] for rollout in self.trajectory]

    def _future(self, value, gamma):
        result = [0.0] * len(value)
        for i in self.backwards:
            j = self.next[i]
            result[i] = value[i] + (gamma * result[j] if j is not None else 0.0)
        return result

    def _mean(self, value, key):
        sets = defaultdict(list)
        for i in self.n:
            sets[key[i]].append(value[i])
        means = {k: sum(v) / len(v) for k, v in sets.items()}
        return [means[k] for k in key]

    def _standard(self, value, key, ddof=1, once=None):
        """(value - mean) / std in sets of equal key; rows of equal `once` count once in the statistics."""
        sets = defaultdict(dict)
        for i in self.n:
            sets[key[i]][i if once is None else once[i]] = value[i]
        stats = {}
        for k, values in sets.items():
            v = list(values.values())
            mean = sum(v) / len(v)
            if len(v) == 1 or max(v) - min(v) < 1e-6 * max(1.0, abs(mean)):
                stats[k] = (mean, None)
            else:
                stats[k] = (mean, (sum((x - mean) ** 2 for x in v) / (len(v) - ddof)) ** 0.5 + 1e-6)
        return [
            0.0 if stats[k][1] is None else (x - stats[k][0]) / stats[k][1] for x, k in zip(value, key, strict=True)
        ]

    def grpo(self):
        return np.array(self._standard(self.whole, self.group, once=self.trajectory))

    def rloo(self):
        others = defaultdict(dict)
        for i in self.n:
            others[self.group[i]][self.trajectory[i]] = self.whole[i]
        return np.array([r - (sum(others[g].values()) - r) / 7 for r, g in zip(self.whole, self.group, strict=True)])

    def reinforce_pp(self):
        return np.array(self._standard(self.whole, [0] * len(self.whole), once=self.trajectory))

    def gigpo(self):
        return self.grpo() + self._standard(self._future(self.reward, 0.95), self.node)

    def hgpo(self):
        future, context, result = self._future(self.reward, 0.95), list(self.node), np.zeros(len(self.n))
        for k in range(3):
            result += (k + 1) / 6 * np.array(self._standard(future, context, ddof=0))
            context = [(context[i], None if (j := self._back(i, k + 1)) is None else self.state[j]) for i in self.n]
        return result

    def _back(self, i, steps):
        for _ in range(steps):
            i = None if i is None else self.before[i]
        return i

    def _after(self, value):
        return [0.0 if j is None else value[j] for j in self.next]

    def _values(self, gamma):
        return self._mean(self._future(self.reward, gamma), self.node)

    def g2po(self):
        value = [0.95 * v for v in self._values(0.95)]
        ahead = [r + v for r, v in zip(self.reward, self._after(value), strict=True)]
        gain = [q - v for q, v in zip(ahead, value, strict=True)]
        return self.grpo() + self._standard(ahead, self.node) + self._standard(gain, self.group)

    def gagpo(self):
        value = self._values(0.95)
        delta = [r + 0.95 * b - a for r, a, b in zip(self.reward, value, self._after(value), strict=True)]
        return np.array(self._standard(self._future(delta, 0.95 * 0.95), self.group))

    def ppo(self):
        delta = [r + b - a for r, a, b in zip(self.reward, self.values, self._after(self.values), strict=True)]
        return np.array(self._standard(self._future(delta, 0.95), [0] * len(delta)))

    def ecpo(self):
        future = self._future(self.reward, 0.95)
        state, action = self._mean(future, self.node), self._mean(future, self.act)
        taken, visits = defaultdict(int), defaultdict(int)
        for node, key in zip(self.node, self.act, strict=True):
            visits[node] += 1
            taken[key] += 1
        between = self._mean([(q - v) ** 2 for q, v in zip(action, state, strict=True)], self.node)
        within = self._mean([(g - q) ** 2 for g, q in zip(future, action, strict=True)], self.node)
        share = [b / (b + w) if b + w > 0 else 0.0 for b, w in zip(between, within, strict=True)]
        gate = [np.tanh(visits[node] / 2.0) * part for node, part in zip(self.node, share, strict=True)]
        contrast = [
            (q - v) * taken[key] / (taken[key] + 2.0) for q, v, key in zip(action, state, self.act, strict=True)
        ]
        return self.grpo() + [c * g / s for c, g, s in zip(contrast, gate, self._scale(future), strict=True)]

    def _scale(self, value):
        """The divisor of `_standard` in each row's state; infinite where its result is 0."""
        sets = defaultdict(list)
        for i in self.n:
            sets[self.node[i]].append(value[i])
        std = {}
        for key, v in sets.items():
            flat = len(v) == 1 or max(v) - min(v) < 1e-6 * max(1.0, abs(sum(v) / len(v)))
            std[key] = float("inf") if flat else np.std(v, ddof=1) + 1e-6
        return [std[key] for key in self.node]

    def bipace(self):
        future = self._future(self.reward, 0.95)
        state, action = self._mean(future, self.node), self._mean(future, self.act)
        visits, taken = defaultdict(int), defaultdict(int)
        for node, act in zip(self.node, self.act, strict=True):
            visits[node] += 1
            taken[act] += 1
        step = []
        for i, (g, v, q) in enumerate(zip(future, state, action, strict=True)):
            n, m = visits[self.node[i]], taken[self.act[i]]
            step.append(q - v if n > m else (g - v) * n / max(n - 1, 1))
        return self.grpo() + [s / by for s, by in zip(step, self._scale(future), strict=True)]

    def graphgpo(self):
        edges, credit = defaultdict(set), []
        for i in self.n:
            edges[self._target(i)].add(self.node[i])
        distance: dict[Hashable, int] = {"won": 0}
        queue: deque[Hashable] = deque(["won"])
        while queue:
            there = queue.popleft()
            for here in edges[there] - distance.keys():
                distance[here] = distance[there] + 1
                queue.append(here)
        farthest = defaultdict(int)
        for node in self.node:
            farthest[node[0]] = max(farthest[node[0]], distance.get(node, 0))
        for i in self.n:
            credit.append(10.0 * 0.1 ** (distance.get(self._target(i), farthest[self.group[i]] + 1) + 1))
        return self.grpo() + self._standard(credit, self.node)

    def _target(self, i):
        j = self.next[i]
        return self.node[j] if j is not None else "won" if self.outcome[i] >= 10.0 else "lost"

    def crbc(self):
        value, ahead, change = dict.fromkeys(self.node, 0.0), [], 1.0
        while change > 1e-12:
            ahead = [
                0.98 * (self.outcome[i] / 10 if (j := self.next[i]) is None else value[self.node[j]]) for i in self.n
            ]
            new = dict(zip(self.node, self._mean(ahead, self.node), strict=True))
            change, value = max(abs(new[key] - value[key]) for key in new), new
        gain = [q - value[node] for q, node in zip(self._mean(ahead, self.act), self.node, strict=True)]
        sigma = self._mean([g * g for g in gain], self.node)
        return self.grpo() + [5.0 * g / max(s**0.5, 0.1) for g, s in zip(gain, sigma, strict=True)]

    def istar(self):
        world = self._total([r - s for r, s in zip(self.reward, self.step_reward, strict=True)])
        return np.array(self._standard(world, self.group, once=self.trajectory)) + self._standard(
            self.step_reward, self.group
        )

    def min_form(self):
        least = list(self.reward)
        for i in self.backwards:
            j = self.next[i]
            if j is not None:
                least[i] = min(least[i], least[j])
        return self.grpo() + self._standard(least, self.group)

    def ibpo(self):  # without repairs
        return self.grpo()

    def graphhca(self):
        chance, ahead, change = dict.fromkeys(self.node, 0.0), [], 1.0
        while change > 1e-12:
            ahead = [
                float(self.outcome[i] >= 10.0) if (j := self.next[i]) is None else chance[self.node[j]] for i in self.n
            ]
            new = dict(zip(self.node, self._mean([0.95 * a for a in ahead], self.node), strict=True))
            change, chance = max(abs(new[key] - chance[key]) for key in new), new
        return self.grpo() + self._standard([math.log(max(a, 0.01)) for a in ahead], self.node)

    def toll(self):
        reward = [r / 10.0 for r in self.reward]
        won = defaultdict(dict)
        for i in self.n:
            won[self.group[i]][self.trajectory[i]] = self.whole[i] / 10.0
        discount = self._discounts(self._future(reward, 1.0))
        value = self._drawn_to_kin(reward, discount)
        after = [0.0 if j is None else discount[self.group[i]] * value[self.node[j]] for i, j in enumerate(self.next)]
        arrival = [r + a for r, a in zip(reward, after, strict=True)]
        quality, factor = self._mean(arrival, self.act), self._factors(arrival)
        usual, credit = self._mean(quality, self.node), []
        for i, node in enumerate(self.node):
            step = (quality[i] - usual[i]) * factor[node] if node in factor else 2.0 * (quality[i] - value[node])
            own = won[self.group[i]]
            surprise = own[self.trajectory[i]] - (sum(own.values()) + 0.5) / (len(own) + 1)
            credit.append(step + 0.4 * (arrival[i] - quality[i]) + 0.2 * surprise)
        return np.array(credit)

    def _discounts(self, future):
        """The discount of each group: from the slope of the return on the turn, inside the states."""
        change, weight = defaultdict(lambda: -6.0), defaultdict(lambda: 60.0)
        at, usual = self._mean(self.time, self.node), self._mean(future, self.node)
        for i in self.n:
            later = self.time[i] - at[i]
            change[self.group[i]] += later * (future[i] - usual[i])
            weight[self.group[i]] += later**2 * max(usual[i], 0.0)
        return {group: min(max(1.0 + change[group] / weight[group], 0.5), 0.97) for group in weight}

    def _drawn_to_kin(self, reward, discount):
        """The value of each state, drawn to what led there, sweep by sweep until nothing moves."""
        gain, weight, ways = defaultdict(float), defaultdict(float), defaultdict(list)
        for root in {node for node, before in zip(self.node, self.before, strict=True) if before is None}:
            gain[root], weight[root] = 0.5, 1.0
        for i, node in enumerate(self.node):
            gain[node] += reward[i]
            weight[node] += 1.0
            if (j := self.next[i]) is not None:
                ways[node, self.node[j]].append(reward[i])
        kin = {way: paid for way, paid in ways.items() if way[0] != way[1]}
        for (_, child), paid in kin.items():
            gain[child] -= 0.5 * sum(paid) / len(paid)
            weight[child] += 0.5
        value, change = dict.fromkeys(gain, 0.0), 1.0
        while change > 1e-12:
            new = dict(gain)
            for (parent, child), paid in ways.items():
                new[parent] += len(paid) * discount[parent[0]] * value[child]
            for parent, child in kin:
                new[child] += 0.5 * value[parent]
            new = {node: total / weight[node] for node, total in new.items()}
            change, value = max(abs(new[node] - value[node]) for node in new), new
        return value

    def _factors(self, arrival):
        """What a difference between actions is multiplied by, for each state that saw two of them or more."""
        tried = defaultdict(lambda: defaultdict(list))
        for i in self.n:
            tried[self.node[i]][self.act[i]].append(arrival[i])
        within, free = {}, {}
        noise, freedom = defaultdict(float), defaultdict(float)
        for node, actions in tried.items():
            within[node] = sum(len(v) * np.var(v) for v in actions.values())
            free[node] = sum(len(v) - 1 for v in actions.values())
            noise[node[0]] += within[node]
            freedom[node[0]] += free[node]
        factor = {}
        for node, actions in tried.items():
            everything = [y for v in actions.values() for y in v]
            spread = len(everything) * np.var(everything) - within[node]
            pooled = noise[node[0]] / max(freedom[node[0]], 1.0)
            chance = 4.0 * (len(actions) - 1) * (within[node] + pooled) / (free[node] + 1.0)
            share = max(spread, 0.0) / max(spread + chance, 1e-12)
            scale = max((max(spread, 0.0) / len(everything)) ** 0.5, 0.05) ** 0.5
            if len(actions) > 1:
                factor[node] = share / scale + 1.0 - share
        return factor

    def pgpo(self):
        future, potential = self._future(self.reward, 0.95), self._values(0.95)
        delta = [(self.reward[i] if (j := self.next[i]) is None else potential[j]) - potential[i] for i in self.n]
        won = defaultdict(dict)
        for i in self.n:
            won[self.group[i]][self.trajectory[i]] = self.outcome[i] >= 10.0
        weight = [(1.0 - sum(won[g].values()) / len(won[g])) ** 2 for g in self.group]
        progress = [w * d for w, d in zip(weight, self._standard(delta, self.node), strict=True)]
        return np.array(self._standard(future, self.node)) + progress

    def tempo(self):
        whole, past = self.grpo().tolist(), {}
        for i in reversed(self.backwards):
            j = self.before[i]
            past[i] = (self.group[i], self.state[i]) if j is None else (past[j], self.act[j][1], self.state[i])
        value = self._mean(whole, [past[i] for i in self.n])
        after = [whole[i] if (j := self.next[i]) is None else value[j] for i in self.n]
        return np.array([a + b - v for a, b, v in zip(whole, after, value, strict=True)])

    def beacon(self):
        reached = [0 if (j := self.before[i]) is None else self.milestone[j] for i in self.n]
        credit = [0.0] * len(reached)
        for i in self.backwards:
            j = self.next[i]
            if self.milestone[i] > reached[i]:
                credit[i] = 10.0
            elif j is not None:
                credit[i] = 0.95 * credit[j]
        return self.grpo() + self._standard(credit, list(zip(self.group, reached, strict=True)))

    def turn_loo(self):
        playing = defaultdict(list)
        for i in self.n:
            playing[self.group[i], self.time[i]].append(self.whole[i])
        result = []
        for i in self.n:
            others = playing[self.group[i], self.time[i]]
            own, flat = self.whole[i], max(others) - min(others) < 1e-6 * max(1.0, abs(sum(others) / len(others)))
            left = 0.0 if flat else own - (sum(others) - own) / (len(others) - 1)
            result.append(own if len(others) == 1 else left)
        return np.array(result)

    def grpo_lambda(self):
        left = self._future([1.0] * len(self.whole), 0.95)
        return np.array([max(a, -0.1) * w for a, w in zip(self.grpo(), left, strict=True)])
