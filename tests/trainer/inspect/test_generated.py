"""Worlds of known truth on the page: the truth stands beside the row that it is of."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.inspect.test_inspect import page_of
from trainer.config.build import ConfigError
from trainer.inspect.config import InspectConfig
from trainer.inspect.generated import drawn_rollouts
from trainer.lab.worlds.bench import WORLDS


def config(**options: object) -> InspectConfig:
    return InspectConfig(output="page.html", world="delay", **options)  # pyright: ignore[reportArgumentType]


def test_the_truth_of_a_row_is_the_worlds_own() -> None:
    drawn, world = drawn_rollouts(config(groups=2, layout=1)), WORLDS["delay"](1)
    assert len(drawn.rows) == len(drawn.batch) == len(drawn.truth)
    for row, truth in zip(drawn.rows, drawn.truth.tolist(), strict=True):
        state, code = world.names.index(row.step.observation), world.acts.index(row.step.action)
        (slot,) = np.flatnonzero((world.keys[state] == code) & (world.policy[state] > 0))
        assert truth == world.advantage[row.time, state, slot]


def test_rows_stand_rollout_by_rollout_and_columns_with_them() -> None:
    drawn = drawn_rollouts(config(groups=3, group_size=4))
    places = [(row.group, row.trajectory, row.time) for row in drawn.rows]
    batch = drawn.batch
    assert places == list(zip(batch.group.tolist(), batch.trajectory.tolist(), batch.time.tolist(), strict=True))
    assert [row.step.reward for row in drawn.rows] == batch.reward.tolist()
    assert len(drawn.rows.groups) == 3


def test_states_that_look_alike_are_one_node_and_one_state() -> None:
    drawn = drawn_rollouts(config(layout=1))
    seen = {row.step.observation: row.step.state_key for row in drawn.rows}
    assert seen["good 1"] == seen["good 2"] == "good 1 or good 2 or good 3"


def test_the_page_has_the_truth_and_no_tokens(tmp_path: Path) -> None:
    records = page_of(None, "gigpo", world="delay", groups=2, to=tmp_path)
    group = records["group-1-1"]
    assert len(group["truth"]) == len(group["reward"])
    assert (group["tokens"], len(group["hidden"]["x"])) == (None, len(group["reward"]))


def test_a_page_is_of_a_run_or_of_a_world() -> None:
    with pytest.raises(ConfigError, match="neither a run nor a world is given"):
        InspectConfig(output="page.html")
    with pytest.raises(ConfigError, match=r"run=run and world=.* are given"):
        config(run="run")
    with pytest.raises(ConfigError, match="world=delaz, which the bench has not: did you mean 'delay'"):
        InspectConfig(output="page.html", world="delaz")
    with pytest.raises(ConfigError, match="are of a recorded run"):
        config(updates=(1,))
    with pytest.raises(ConfigError, match="layout=3 is of a world of known truth: leave it out with run=kept"):
        InspectConfig(output="page.html", run="kept", layout=3)
