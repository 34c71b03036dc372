"""Panels: the same tasks give the same digests wherever they lie, and another task is told from the one it replaced."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envs import WORLDS, EnvError, make
from envs.alfworld import ALFWorld
from envs.alfworld.generate import write_households
from envs.alfworld.household import Households
from envs.base import Defining, Definition
from envs.panel import Difference, Panel, PanelTask, compare, panel_of, read_manifest
from tests.fakes import Corridor

HOUSEHOLDS = {"train": 4, "held_out": 6}


def panel(env: Any, split: str, world: str = "world") -> Panel:
    return panel_of(env, world=world, split=split, task_ids=env.tasks(split))


def task(task_id: str, digest: str = "d", kind: str = "k") -> PanelTask:
    return PanelTask(task_id=task_id, kind=kind, digest=digest)


def panel_like(*tasks: PanelTask, **facts: str | int) -> Panel:
    return Panel(world="w", split="s", tasks=tasks, facts=facts)


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("games")
    write_households(Households(train=4, held_out=6), folder)
    return folder


@pytest.fixture
def shuffled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lists folders in an order of a seed's own, as file systems do."""
    listed = Path.glob

    def shuffle(seed: int) -> None:
        def glob(folder: Path, pattern: str) -> Iterator[Path]:
            paths = sorted(listed(folder, pattern))
            random.Random(seed).shuffle(paths)
            return iter(paths)

        monkeypatch.setattr(Path, "glob", glob)

    return shuffle


def edit(game: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads(game.read_text())
    change(record)
    game.write_text(json.dumps(record))


def test_a_panel_by_hand() -> None:
    corridor = panel_of(Corridor(), world="corridor", split="test", task_ids=["5", "6"])
    first = '{"admissible":null,"observation":"corridor 0 of length 5"}'
    assert corridor.tasks[0] == task("5", hashlib.sha256(first.encode()).hexdigest(), "odd")
    assert (corridor.counts, corridor.facts) == ({"even": 1, "odd": 1}, {})
    rows = [f'{{"digest":"{task.digest}","kind":"{task.kind}","task_id":"{task.task_id}"}}' for task in corridor.tasks]
    whole = "[{},[" + ",".join(rows) + "]]"
    assert corridor.digest == hashlib.sha256(whole.encode()).hexdigest()


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_of_this_package_defines_its_tasks(world: str) -> None:
    assert isinstance(WORLDS[world].make, type)
    assert issubclass(WORLDS[world].make, Defining)


@pytest.mark.parametrize("world", ["alfworld", "textcraft"])
def test_a_panel_depends_neither_on_the_listing_of_files_nor_on_where_they_lie(
    world: str, games: Path, tmp_path: Path, shuffled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPCREDIT_CACHE", str(tmp_path / "cache"))
    source = games if world == "alfworld" else Path(make.__code__.co_filename).parent / "textcraft" / "recipes"
    option, split = ("data", "valid_unseen") if world == "alfworld" else ("recipes", "test")
    panels: list[Panel] = []
    for seed in range(3):
        shuffled(seed)
        shutil.copytree(source, tmp_path / str(seed))
        panels.append(panel(make(world, **{option: tmp_path / str(seed)}), split))
    assert panels[0] == panels[1] == panels[2]
    assert len(panels[0].tasks) > 5


def test_generated_games_have_the_digests_of_the_same_games_in_files(games: Path) -> None:
    written, memory = (panel(env, "valid_seen") for env in (ALFWorld(data=games), ALFWorld(households=HOUSEHOLDS)))
    assert written == memory
    assert written.facts == {"action_syntax": "move"}


def test_one_edited_game_is_one_changed_task_and_its_walkthrough_is_no_part_of_it(games: Path, tmp_path: Path) -> None:
    before = panel(ALFWorld(data=games), "train")
    folder = tmp_path / "games"
    shutil.copytree(games, folder)
    first, second = (folder / "json_2.1.1" / task.task_id / "game.tw-pddl" for task in before.tasks[:2])
    edit(first, lambda record: record.update(walkthrough=["look"]))
    edit(second, lambda record: record.update(pddl_problem=record["pddl_problem"] + "\n"))
    difference = compare(before, panel(ALFWorld(data=folder), "train"))
    assert difference == Difference(added=(), lost=(), changed=(before.tasks[1].task_id,), moved=(), facts={})


def test_games_of_an_older_release_say_that_things_are_put(games: Path, tmp_path: Path) -> None:
    folder = tmp_path / "games"
    shutil.copytree(games, folder)
    before = panel(ALFWorld(data=games), "train")
    for game in sorted(folder.rglob("game.tw-pddl")):
        edit(game, lambda record: record.update(grammar=record["grammar"].replace("move {o} to {r}", "put {o} in {r}")))
    after = panel(ALFWorld(data=folder), "train")
    assert after.facts == {"action_syntax": "put"}
    assert str(compare(before, after)) == "4 changed; action_syntax move -> put"


def test_a_shop_of_another_size_has_the_facts_of_another_panel() -> None:
    small, large = (panel(make("webshop", shop_size=size), "validation") for size in (40, 60))
    assert (small.facts["products"], large.facts["products"]) == (40, 60)
    assert small.facts["catalogue"] != large.facts["catalogue"]
    assert panel(make("webshop", shop_size=40), "validation") == small


def test_a_recipe_that_changes_changes_the_goals_that_need_it_and_no_others(workshop: Path, tmp_path: Path) -> None:
    before = panel(make("textcraft", recipes=workshop), "agentgym")
    after = tmp_path / "after"
    shutil.copytree(workshop, after)
    edit(after / "pole.json", lambda recipe: recipe.update(pattern=["W", "W", "W"]))
    changed = compare(before, panel(make("textcraft", recipes=after), "agentgym")).changed
    assert sorted(changed) == ["minecraft:ladder", "minecraft:pole", "minecraft:sail"]


def test_facts_that_are_not_those_of_all_tasks_are_listed() -> None:
    class Measured(Corridor):
        def definition(self, task_id: str) -> Definition:
            return Definition(content={}, facts={"length": int(task_id)})

    assert panel_of(Measured(), world="measured", split="test", task_ids=["6", "5"]).facts == {"length": "5, 6"}


def test_what_has_become_of_a_panel_by_hand() -> None:
    before = panel_like(task("a"), task("b"), task("c"), task("d"), products=10)
    after = panel_like(task("e"), task("c", "other"), task("b"), task("d", kind="other"), products=12)
    difference = compare(before, after)
    assert difference == Difference(
        added=("e",), lost=("a",), changed=("c", "d"), moved=("c", "b"), facts={"products": (10, 12)}
    )
    assert str(difference) == "1 added, 1 lost, 2 changed, 2 moved; products 10 -> 12"
    assert not compare(before, before)


def test_a_manifest_is_read_as_it_was_written() -> None:
    written = panel_like(task("a"), task("b"), products=10, syntax="move")
    assert read_manifest(json.loads(json.dumps(written.manifest()))) == written


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([], "it holds no manifest of a panel"),
        ({"world": "w"}, r"it holds no manifest of a panel \(KeyError\('tasks'\)\)"),
        (panel_like(task("a")).manifest() | {"digest": "0" * 64}, "it states the digest '000"),
        (panel_like(task("a")).manifest() | {"facts": {"products": 1}}, "it states the digest"),
    ],
)
def test_a_manifest_that_is_none_or_was_edited_is_refused(values: Any, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        read_manifest(values)


def test_a_world_that_lists_a_task_twice_is_refused() -> None:
    with pytest.raises(EnvError, match=r"corridor lists '5' 2 times in split='test': list each task once"):
        panel_of(Corridor(), world="corridor", split="test", task_ids=["5", "6", "5"])
