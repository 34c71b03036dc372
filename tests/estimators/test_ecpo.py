"""ECPO: compared with loops, a worked example and limiting cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimators import UNPARSED, StepBatch, build
from tests.estimators.slow import flat, returns, rewards, takes, visits

LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5), min_size=1, max_size=3)
SEED = st.integers(0, 2**32 - 1)


def slow(batch, gamma, kappa, norm, tau):
    future = returns(batch, gamma, rewards(batch))
    result, gates = np.zeros(len(batch)), np.zeros(len(batch))
    for i in range(len(batch)):
        same = visits(batch, i)
        if flat(future[same]):
            continue
        v = np.mean(future[same])
        q = {j: np.mean(future[takes(batch, j)]) for j in same}
        between = np.mean([(q[j] - v) ** 2 for j in same])
        within = np.mean([(future[j] - q[j]) ** 2 for j in same])
        m = len(takes(batch, i))
        gates[i] = np.tanh(len(same) / tau) * between / (between + within)
        scale = np.std(future[same], ddof=1) + 1e-6 if norm == "mean_std" else 1.0
        result[i] = gates[i] * ((m * q[i] + kappa * v) / (m + kappa) - v) / scale
    return result, gates


@given(
    seed=SEED,
    lengths=LENGTHS,
    gamma=st.sampled_from([0.5, 0.95]),
    kappa=st.sampled_from([0.0, 2.0]),
    norm=st.sampled_from(["mean", "mean_std"]),
    omega=st.sampled_from([0.5, 1.0]),
    tau=st.sampled_from([0.5, 2.0, 10.0]),
    unparsed=st.booleans(),
)
def test_ecpo_equals_the_formula_in_loops(random_columns, seed, lengths, gamma, kappa, norm, omega, tau, unparsed):
    columns = random_columns(seed, lengths)
    if unparsed:
        columns["action"] = np.where(columns["action"] == 2, UNPARSED, columns["action"])
    batch = StepBatch(**columns)
    fast = build("ecpo", gamma=gamma, kappa=kappa, norm=norm, omega=omega, tau=tau)(batch)
    step, gates = slow(batch, gamma, kappa, norm, tau)
    whole = build("grpo", norm=norm)(batch).value + omega * step
    np.testing.assert_allclose(fast.value, whole, rtol=1e-9, atol=1e-9)
    assert fast.diagnostics["gate_mean"] == pytest.approx(gates.mean(), abs=1e-9)


def test_a_worked_example_of_ecpo(rows):
    # Actions a a b with G = 8 4 0: V = 4, Q = 6 and 0. Between: (4 + 4 + 16) / 3, within: (4 + 4) / 3: 3/4,
    # of which tanh(3 / 2) is trusted. kappa 2: a has 2/4 of 6 - 4, b 1/3 of 0 - 4. A_E = 4 0 -4.
    batch = rows(reward=[8.0, 4.0, 0.0], action=[1, 1, 2])
    value = build("ecpo", norm="mean")(batch).value
    trust = 0.9051482536448664
    assert value.tolist() == pytest.approx([4.0 + 0.75 * trust, 0.75 * trust, -4.0 - trust], abs=1e-12)


@given(seed=SEED, lengths=LENGTHS, kappa=st.sampled_from([0.0, 2.0]))
def test_the_step_term_of_ecpo_is_its_gate_times_bipaces_q(random_columns, seed, lengths, kappa):
    batch = StepBatch(**random_columns(seed, lengths))
    q = build("bipace", eps=0.0, kappa=kappa, no_contrast="zero")(batch).value - build("grpo")(batch).value
    gated = build("ecpo", kappa=kappa)(batch).value - build("grpo")(batch).value
    gates = slow(batch, 0.95, kappa, "mean", 2.0)[1]
    np.testing.assert_allclose(gated, gates * q, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_with_tau_near_0_and_one_action_per_row_the_gate_is_open(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**{**columns, "action": np.arange(len(columns["action"]))})
    opened = build("ecpo", kappa=0.0, tau=1e-6)(batch).value
    np.testing.assert_allclose(opened, build("gigpo")(batch).value, atol=1e-9)


@given(seed=SEED, lengths=LENGTHS)
def test_one_action_or_omega_0_is_grpo_exactly(random_columns, seed, lengths):
    columns = random_columns(seed, lengths)
    batch = StepBatch(**columns)
    grpo = build("grpo")(batch).value.tolist()
    assert build("ecpo", omega=0.0)(batch).value.tolist() == grpo
    one = StepBatch(**{**columns, "action": np.zeros(len(columns["action"]), int)})
    np.testing.assert_allclose(build("ecpo")(one).value, grpo, rtol=0, atol=1e-12)


def test_diagnostics_include_gigpos_sizes(rows):
    batch = rows(reward=[8.0, 4.0, 0.0, 1.0], action=[1, 1, 2, 1], state=[0, 0, 0, 5])
    ecpo, gigpo = build("ecpo")(batch).diagnostics, build("gigpo")(batch).diagnostics
    assert ecpo == {**gigpo, "gate_mean": pytest.approx(np.tanh(1.5) * 0.75 * 3 / 4)}


def test_the_defaults_are_the_papers():
    estimator = build("ecpo")
    assert (estimator.kappa, estimator.omega, estimator.gamma, estimator.norm) == (2.0, 1.0, 0.95, "mean_std")
