"""Times every estimator, its formula in plain loops and a re-creation of the public GiGPO code, in one run.

`python -m scripts.bench.estimators [--quick] [rows ...]`: batches of so many rows, then BiPACE with 6,400 vectors.

A loop's time counts only if its result equals the estimator's. An estimator without a loop is timed alone. The last
line is JSON.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import TypeVar
from uuid import uuid4

import numpy as np

from estimators import ESTIMATORS, StepBatch, build, needs
from estimators.algebra.clusters import cluster
from scripts.bench.command_line import parser, report
from scripts.bench.loops import Loops

T = TypeVar("T")
SIZES, QUICK_SIZES = (682, 2116, 5596, 19769), (300,)
VECTORS, QUICK_VECTORS = 6400, 300
SETTINGS = {"bipace": {"eps": 0.0}}  # on one-hot states eps 0 finds the states


def make_batch(rows, seed=0, vectors=None):
    """Groups of 8 rollouts of various lengths. Some states occur in most rollouts of a group, many only once."""
    rng = np.random.default_rng(seed)
    groups = 64 if rows > 10_000 else 16
    lengths = 1 + rng.multinomial(rows - 8 * groups, rng.dirichlet(np.full(8 * groups, 6.0)))
    trajectory = np.repeat(np.arange(8 * groups), lengths)
    time = np.concatenate([np.arange(n) for n in lengths])
    chance = 1.0 / np.arange(1, 201) ** 1.5
    state = rng.choice(200, rows, p=chance / chance.sum())
    last = time == lengths[trajectory] - 1
    columns = {
        "group": trajectory // 8,
        "trajectory": trajectory,
        "time": time,
        "reward": 10.0 * (last & (rng.random(8 * groups) < 0.5)[trajectory]),
        "invalid": rng.random(rows) < 0.05,
        "state": state,
        "action": rng.integers(0, 4, rows),
        "embedding": np.eye(200, dtype=np.float32)[state] if vectors is None else vectors(rng, trajectory // 8, state),
        "repair": np.zeros(rows),
        "edited": np.zeros(rows, bool),
        "values": state / 20.0,
    }
    columns["milestone"] = milestones(rng, lengths)
    columns["switch"] = (time == 0) | (rng.random(rows) < 0.25)
    return StepBatch(**columns)


def scored(batch, estimator):
    """The batch, with step rewards for an estimator that needs them: with them others would earn less of the world."""
    takes_rewards = "step_reward" in needs(estimator).columns
    return replace(batch, step_reward=batch.state / 200.0) if takes_rewards else batch


def milestones(rng, lengths):
    """Counts [N] that rise after every fifth step, and after none of some rollouts."""
    gained = rng.random(lengths.sum()) < np.repeat(0.2 * (rng.random(len(lengths)) < 0.8), lengths)
    total = np.cumsum(gained)
    return total - np.repeat((total - gained)[np.cumsum(lengths) - lengths], lengths)


def hidden(rng, group, state, width=3584):
    """Vectors [N, width] at a cosine distance of about 0.02 from one direction per group and state."""
    centre = rng.standard_normal((group.max() + 1, 200, width), dtype=np.float32)
    return centre[group, state] + 0.2 * rng.standard_normal((len(state), width), dtype=np.float32)


def public_columns(batch):
    """The inputs of the public code: ids and observations as strings in object arrays, a rollout's sum on each row."""

    def named(sets):
        return np.array([str(uuid4()) for _ in sets.size], dtype=object)[sets.label]

    texts = np.array([f"observation {state}" for state in batch.state], dtype=object)
    total = batch.rollouts.sum(batch.reward)[batch.rollouts.label]
    return named(batch.groups), named(batch.rollouts), texts, total, batch.reward, batch.invalid


def public_gigpo(uid, trajectory, texts, total, reward, invalid):
    """The public code's algorithm row by row, floats for its tensors: a list of scores per uid, a uuid per state."""
    score, step = total.copy(), _public_returns(trajectory, reward)
    for i in range(len(score)):
        score[i] -= 0.1 * invalid[i]
        step[i] -= 0.1 * invalid[i]
    anchor = np.empty(len(score), dtype=object)
    for group in np.unique(uid):
        clusters = defaultdict(list)
        for i in np.where(uid == group)[0]:
            clusters[texts[i]].append(i)
        for members in clusters.values():
            label = str(uuid4())
            for i in members:
                anchor[i] = label
    return _by_list(score, uid) + _by_list(step, anchor)


def _public_returns(trajectory, reward):
    """Returns to go, by scanning the batch once per rollout and once per row, as the public code does."""
    future = {}
    for rollout in np.unique(trajectory):
        running, backwards = 0.0, []
        for i in np.where(trajectory == rollout)[0][::-1]:
            running = reward[i] + 0.95 * running
            backwards.append(running)
        future[rollout] = backwards[::-1]
    result = np.zeros(len(trajectory))
    for i, rollout in enumerate(trajectory):
        inside = np.where(trajectory == rollout)[0]
        result[i] = future[rollout][np.where(inside == i)[0][0]]
    return result


def _by_list(score, index):
    lists, result = defaultdict(list), np.zeros(len(score))
    for i in range(len(score)):
        lists[index[i]].append(score[i])
    mean = {key: np.mean(values) for key, values in lists.items()}
    std = {key: np.std(values, ddof=1) if len(values) > 1 else 1.0 for key, values in lists.items()}
    for i in range(len(score)):
        result[i] = (score[i] - mean[index[i]]) / (std[index[i]] + 1e-6)
    return result


def best(call: Callable[[], T], times: int) -> tuple[float, T]:
    """(seconds of the fastest of 1 + `times` calls, the result)."""
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    for _ in range(times):
        start = perf_counter()
        call()
        seconds = min(seconds, perf_counter() - start)
    return seconds, result


def compare(rows):
    """Print one line per estimator at this size. Returns how many times faster gigpo is than the public code."""
    batch = make_batch(rows)
    sizes = build("gigpo")(batch).diagnostics
    print(f"{rows} rows, {len(batch.rollouts.size)} rollouts; states: {sizes['singleton_share']:.0%} seen once, mean "
          f"{sizes['cluster_size_mean']:.1f}, P90 {sizes['cluster_size_p90']:.0f}")  # fmt: skip
    loops = Loops(batch)
    for name in sorted(ESTIMATORS):
        estimator = build(name, **SETTINGS.get(name, {}))
        own = scored(batch, estimator)
        fast_s, fast = best(lambda estimator=estimator, own=own: estimator(own).value, 20)
        line = f"  {name:12} {1e3 * fast_s:9.2f} ms"
        if hasattr(loops, name):
            slow_s, slow = best(getattr(loops if own is batch else Loops(own), name), 1)
            np.testing.assert_allclose(fast, slow, rtol=1e-6, atol=1e-6)
            line += f"   loops x{slow_s / fast_s:6.0f}"
        print(line)
    return against_public(batch)


def against_public(batch):
    """Print the time of the public code's algorithm. Returns how many times faster gigpo is."""
    columns = public_columns(batch)
    public_s, public = best(lambda: public_gigpo(*columns), min(4, 10_000 // len(batch)))
    compat = build("gigpo", episode_stats="row", penalty="row", singleton="raw")
    compat_s, value = best(lambda: compat(batch).value, 20)
    np.testing.assert_allclose(value, public, rtol=1e-6, atol=1e-6)
    speedup = public_s / compat_s
    print(f"  public code  {1e3 * public_s:9.2f} ms   compat preset {1e3 * compat_s:.2f} ms, x{speedup:.0f}")
    return speedup


def slow_clusters(batch, eps):
    """BiGPO one row at a time: the row times every centroid, and a new centroid for the cluster that gains the row."""
    label = np.zeros(len(batch), np.int64)
    unit = batch.embedding / np.linalg.norm(batch.embedding, axis=1, keepdims=True)
    for rows in batch.groups.parts():
        sums, centroids = [], np.empty((0, unit.shape[1]), np.float32)
        for i in rows:
            near = centroids @ unit[i]
            at = int(near.argmax()) if len(near) else 0
            if not len(near) or 1.0 - near[at] > eps:
                at = len(sums)
                sums.append(unit[i].copy())
                centroids = np.vstack([centroids, unit[i]])
            else:
                sums[at] += unit[i]
                centroids[at] = sums[at] / np.linalg.norm(sums[at])
            label[i] = at
    return batch.groups.split(label)


def measure_bipace(rows):
    """(seconds of BiPACE on `rows` hidden states, how many times slower its clusters are row by row)."""
    batch = make_batch(rows, vectors=hidden)
    bipace = build("bipace", eps=0.05)
    fast_s, _ = best(lambda: bipace(batch), 5)
    slow_s, slow = best(lambda: slow_clusters(batch, 0.05), 0)
    fast = cluster(batch, batch.needed("embedding", "the bench"), 0.05, "mean")
    assert np.array_equal(fast.label, slow.label), "clusters differ from the loop's"
    print(
        f"bipace of {rows} x 3584: {1e3 * fast_s:.0f} ms, {len(fast.size)} clusters; row by row {1e3 * slow_s:.0f} ms"
    )
    return fast_s, slow_s / fast_s


def main():
    """Measure and print."""
    command = parser(__doc__)
    command.add_argument("rows", type=int, nargs="*", help=f"sizes of batches; default {SIZES}")
    args = command.parse_args()
    gigpo = {rows: compare(rows) for rows in args.rows or (QUICK_SIZES if args.quick else SIZES)}
    vectors = QUICK_VECTORS if args.quick else VECTORS
    bipace_s, speedup = measure_bipace(vectors)
    numbers = {f"gigpo_speedup_{rows}": round(times, 1) for rows, times in gigpo.items()}
    report(numbers | {f"bipace_{vectors}_s": round(bipace_s, 4), f"bipace_speedup_{vectors}": round(speedup, 1)})


if __name__ == "__main__":
    main()
