"""Generated households: in the official format, solvable, the same in every process, of the requested size."""

import json
from collections import Counter
from pathlib import Path

import pytest

from envs import EnvError
from envs.alfworld import ALFWorld, generate
from envs.alfworld.expert import solution
from envs.alfworld.game import load_record, read_game
from envs.alfworld.generate import Generated, write_households
from envs.alfworld.household import Households
from envs.alfworld.index import SPLITS, TASK_TYPES

SPEC = Households(seed=7, train=18, held_out=6)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    assert write_households(SPEC, folder) == 30
    return folder


def test_written_games_are_played_exactly_as_those_in_memory(written: Path) -> None:
    folder = ALFWorld(data=written)
    memory = ALFWorld(households={"seed": 7, "train": 18, "held_out": 6})
    for split in SPLITS:
        assert folder.tasks(split) == memory.tasks(split)
        for task in folder.tasks(split):
            assert folder.kind(task) == memory.kind(task)
            assert folder.reset(task) == memory.reset(task)
            for action in folder.expert():
                assert folder.step(action) == memory.step(action)


def test_a_written_game_has_the_fields_of_an_official_one(written: Path, shared_data: Path) -> None:
    def fields(folder: Path, name: str) -> dict[str, object]:
        return json.loads(next(iter(sorted(folder.glob(f"json_2.1.1/train/pick_heat*/*/{name}")))).read_text())

    sample = shared_data / "alfworld" / "sample"
    assert fields(written, "game.tw-pddl").keys() == fields(sample, "game.tw-pddl").keys()
    ours, official = (fields(folder, "traj_data.json") for folder in (written, sample))
    assert ours.keys() == official.keys() - {"images"}
    assert ours["pddl_params"].keys() == official["pddl_params"].keys()
    assert ours["task_type"] == official["task_type"]


def test_the_walkthrough_of_a_written_game_wins(written: Path) -> None:
    env = ALFWorld(data=written)
    for task in env.tasks("train"):
        env.reset(task)
        record = json.loads((written / "json_2.1.1" / task / "game.tw-pddl").read_text())
        assert [env.step(action) for action in record["walkthrough"]][-1].won


def test_a_folder_that_has_games_already_is_left_alone(written: Path) -> None:
    with pytest.raises(EnvError, match="exists already"):
        write_households(SPEC, written)


def test_games_that_another_process_wrote_meanwhile_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, write = Households(train=1, held_out=1), generate._write_games  # pyright: ignore[reportPrivateUsage]

    def overtaken(spec: Households, root: Path) -> None:
        write(spec, root)
        write(spec, tmp_path / "json_2.1.1")

    monkeypatch.setattr(generate, "_write_games", overtaken)
    with pytest.raises(EnvError, match="exists already"):
        write_households(spec, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["json_2.1.1"]


def test_what_a_run_that_was_cut_off_left_behind_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Households(train=3, held_out=1)
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_details", _cut_off)
        with pytest.raises(KeyboardInterrupt):
            write_households(spec, tmp_path)
    assert not (tmp_path / "json_2.1.1").exists()
    assert write_households(spec, tmp_path) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["json_2.1.1"]


def _cut_off(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("receptacles", "objects"), [(6, 3), (12, 30), (30, 60)])
def test_a_household_has_the_requested_number_of_receptacles_and_objects(receptacles: int, objects: int) -> None:
    games = Generated(spec=Households(train=12, held_out=1, receptacles=receptacles, objects=objects))
    for task in games.tasks("train"):
        game = read_game(games.record(task), source=task)
        assert (len(game.receptacles), len(game.objects)) == (receptacles, objects)
        assert len(set(game.objects)) == objects
        assert solution(game, max_steps=50) is not None


def test_task_types_take_turns_and_can_be_chosen() -> None:
    def types(spec: Households) -> Counter[str]:
        games = Generated(spec=spec)
        return Counter(map(games.task_type, games.tasks("train")))

    assert types(Households(train=60)) == dict.fromkeys(TASK_TYPES, 10)
    assert types(Households(train=8, task_types=TASK_TYPES[:2])) == dict.fromkeys(TASK_TYPES[:2], 4)


def test_valid_seen_is_set_in_the_scenes_of_train_and_valid_unseen_in_others() -> None:
    games = Generated(spec=Households(train=600, held_out=200))

    def scenes(split: str) -> set[str]:
        return {task.split("/")[1].rpartition("-")[2] for task in games.tasks(split)}

    assert scenes("valid_seen") <= scenes("train")
    assert not scenes("valid_unseen") & scenes("train")


def test_games_of_one_scene_have_the_same_receptacles() -> None:
    games = Generated(spec=Households(train=600))
    rooms: dict[str, set[tuple[str, ...]]] = {}
    for task in games.tasks("train")[::5]:
        scene = task.split("/")[1].rpartition("-")[2]
        rooms.setdefault(scene, set()).add(read_game(games.record(task), source=task).receptacles)
    assert len(rooms) > 40
    assert all(len(kinds) == 1 for kinds in rooms.values())


def test_another_seed_gives_other_games() -> None:
    one, other = (Generated(spec=Households(seed=seed, train=30)) for seed in (0, 1))
    same = [
        one.record(task)["pddl_problem"] == twin.record(name)["pddl_problem"]
        for task, name, twin in zip(one.tasks("train"), other.tasks("train"), [other] * 30, strict=True)
    ]
    assert not any(same)


@pytest.mark.parametrize(
    "wrong", ["", "train/x", "train/x/trial_S0_000000", "test/x/trial_S0_000000", "train/x/trial_S0_999999"]
)
def test_a_task_that_was_not_generated_is_refused(wrong: str) -> None:
    with pytest.raises(EnvError, match="none of the games generated here"):
        Generated(spec=Households()).task_type(wrong)


def test_nothing_is_done_at_the_start(written: Path) -> None:
    for path in sorted(written.glob("json_2.1.1/*/*/*/game.tw-pddl")):
        game = read_game(load_record(path), source=str(path))
        wanted = {thing for thing, kind in enumerate(game.object_kind) if kind == game.goal.kind}
        for kind, things in zip(game.place_kind, game.start.contents, strict=True):
            assert kind != game.goal.place or not wanted.intersection(things)
