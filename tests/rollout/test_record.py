"""Rollouts come back from disk exactly, and a file that is not whole is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.record import GroupLog, read_groups, read_log, write_groups
from rollout.types import Revision, RolloutGroup
from tests.fakes import completion, group, plain, step, trajectory

TEXT = st.text(max_size=20)
# Everything a float32 can be: what is learned from a recording must be what was learned from the run.
LOGPROB = st.floats(max_value=0.0, width=32)
STEPS = st.builds(
    lambda text, state, valid, reward, tokens, version, milestone, added, idle: step(
        text,
        state=state,
        valid=valid,
        reward=reward,
        milestone=milestone,
        step_reward=added,
        idle_turns=idle,
        said=completion(
            text, tokens=[token for token, _ in tokens], logprobs=[logprob for _, logprob in tokens], version=version
        ),
    ),
    TEXT,
    TEXT,
    st.booleans(),
    st.floats(allow_nan=False),
    st.lists(st.tuples(st.integers(0, 2**31 - 1), LOGPROB), max_size=4),
    st.integers(0, 1000),
    st.none() | st.integers(0, 9),
    st.none() | st.floats(allow_nan=False),
    st.integers(0, 9),
)
GROUPS = st.lists(
    st.builds(
        lambda rollouts, task_id, seed, won: group(*rollouts, task_id=task_id, seed=seed, won=[won]),
        st.lists(st.lists(STEPS, min_size=1, max_size=3), min_size=1, max_size=3),
        TEXT,
        st.integers(0, 2**31 - 1),
        st.booleans(),
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recording")


@pytest.fixture
def recorded() -> list[RolloutGroup]:
    return [group([step("go", state=str(place)) for place in range(50)], task_id=str(task)) for task in range(3)]


@settings(deadline=None)  # it waits for the disk
@given(groups=GROUPS)
def test_rollouts_come_back_exactly(folder: Path, groups: list[RolloutGroup]) -> None:
    write_groups(folder / "some.jsonl.zst", groups)
    assert plain(list(read_groups(folder / "some.jsonl.zst"))) == plain(groups)


def test_revisions_come_back_with_the_rollouts_they_are_of(tmp_path: Path) -> None:
    mended = trajectory(step("go", state="1"), step("stop", reward=10.0), sibling=1, won=True)
    revision = Revision(trajectory=mended, reference=0, credit=0.25)
    lost = group([step()], [step()], won=[True])
    groups = [replace(lost, revisions=(revision,)), replace(lost, revisions=()), lost]
    write_groups(tmp_path / "some.jsonl.zst", groups)
    assert plain(list(read_groups(tmp_path / "some.jsonl.zst"))) == plain(groups)


def test_an_older_recording_without_the_keys_of_revisions_milestones_step_rewards_and_idle_turns_has_none(
    tmp_path: Path, recorded: list[RolloutGroup]
) -> None:
    path = tmp_path / "some.jsonl.zst"
    write_groups(path, recorded[:1])
    record = json.loads(zstandard.ZstdDecompressor().decompress(path.read_bytes()))
    del record["revisions"]
    for rollout in record["trajectories"]:
        for taken in rollout["steps"]:
            del taken["milestone"], taken["step_reward"], taken["idle_turns"]
    path.write_bytes(zstandard.ZstdCompressor().compress(json.dumps(record).encode()))
    assert plain(list(read_groups(path))) == plain(recorded[:1])


def test_a_recording_is_one_line_of_json_a_group(tmp_path: Path, recorded: list[RolloutGroup]) -> None:
    path = tmp_path / "new" / "folder" / "some.jsonl.zst"
    write_groups(path, recorded)
    text = zstandard.ZstdDecompressor().decompress(path.read_bytes()).decode()
    assert text.count("\n") == 3
    assert text.endswith("\n")


def test_half_a_recording_is_refused(tmp_path: Path, recorded: list[RolloutGroup]) -> None:
    path = tmp_path / "some.jsonl.zst"
    write_groups(path, recorded)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no whole recording"):
            list(read_groups(path))


def test_a_kill_while_writing_leaves_the_old_recording(
    tmp_path: Path, recorded: list[RolloutGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.jsonl.zst"
    write_groups(path, recorded[:1])
    write = Path.write_bytes

    def killed(partial: Path, data: bytes) -> None:
        write(partial, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        write_groups(path, recorded)
    assert plain(list(read_groups(path))) == plain(recorded[:1])
    assert list(tmp_path.glob("*.zst")) == [path]


def test_a_log_of_groups_has_each_as_soon_as_it_is_added(tmp_path: Path, recorded: list[RolloutGroup]) -> None:
    log = GroupLog(tmp_path / "log.jsonl", recorded[:1])
    for number, group_ in enumerate(recorded[1:], start=2):
        log.add(group_)
        assert plain(list(read_log(tmp_path / "log.jsonl"))) == plain(recorded[:number])


@pytest.mark.parametrize("written", [1, 40, -1])
def test_a_line_of_a_log_that_a_kill_cut_short_is_left_out_and_not_built_on(
    tmp_path: Path, recorded: list[RolloutGroup], written: int
) -> None:
    path = tmp_path / "log.jsonl"
    GroupLog(path, recorded[:2])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:written])
    kept = list(read_log(path))
    assert plain(kept) == plain(recorded[:1])
    GroupLog(path, kept).add(recorded[2])
    assert plain(list(read_log(path))) == plain([recorded[0], recorded[2]])
