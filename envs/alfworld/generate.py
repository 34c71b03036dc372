"""Generated games, each proven solvable: played from memory, or written to a folder in the official layout."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from envs.alfworld.engine import line
from envs.alfworld.expert import Planner, solution
from envs.alfworld.game import read_game
from envs.alfworld.household import Errand, Households, errand, furnish, problem, sentence
from envs.alfworld.index import GAME_FILE, RELEASE, SPLITS
from envs.base import EnvError

MAX_STEPS = 50  # the papers' limit; the expert must solve each game within it
_ATTEMPTS = 50
_TRIAL = re.compile(r"(\w+)/[^/]+/trial_S-?\d+_(\d{6})")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The games of `Households`, each made on first access; the same in every process."""

    spec: Households
    """Which games these are."""

    def tasks(self, split: str) -> Sequence[str]:
        return _tasks(self.spec, split)

    def task_type(self, task_id: str) -> str:
        return self._errand(task_id).task_type

    def record(self, task_id: str) -> Mapping[str, Any]:
        """The fields of a game file that `read_game` and the original engine need."""
        task = self._errand(task_id)
        return _unproven(self.spec, task, _solvable(self.spec, task))

    def source(self, task_id: str) -> str:
        return task_id

    def _errand(self, task_id: str) -> Errand:
        trial = _TRIAL.fullmatch(task_id)
        if trial is not None and int(trial[2]) < self.spec.count(trial[1]):
            task = errand(self.spec, trial[1], int(trial[2]))
            if task.task_id(self.spec.seed) == task_id:
                return task
        raise EnvError(f"{task_id!r} is none of the games generated here; take a task id from tasks(split)")


def make_record(spec: Households, task: Errand) -> dict[str, Any]:
    """The contents of `game.tw-pddl`. The walkthrough is a short solution that uses full knowledge."""
    record = _unproven(spec, task, _solvable(spec, task))
    game = read_game(record, source=task.task_id(spec.seed))
    walkthrough = Planner(game, game.start).best() or ()
    return {**record, "solvable": True, "walkthrough": [line(game, act) for act in walkthrough]}


@lru_cache(maxsize=2**16)
def _solvable(spec: Households, task: Errand) -> int:
    """The first layout of the objects that the expert can solve. Raises EnvError if there is none."""
    for attempt in range(_ATTEMPTS):
        game = read_game(_unproven(spec, task, attempt), source=task.task_id(spec.seed))
        if solution(game, max_steps=MAX_STEPS):
            return attempt
    raise EnvError(
        f"in {_ATTEMPTS} layouts of {task.task_id(spec.seed)} the expert found no way within {MAX_STEPS} steps; "
        f"give fewer receptacles than {spec.receptacles}"
    )


def _unproven(spec: Households, task: Errand, attempt: int) -> dict[str, Any]:
    return {
        "pddl_domain": _logic("household.pddl"),
        "grammar": _logic("household.twl2").replace("TASK", sentence(spec, task)),
        "pddl_problem": problem(spec, task, furnish(spec, task, attempt)),
    }


def write_households(spec: Households, folder: Path) -> int:
    """Write every game into `folder`/json_2.1.1 in the official layout, renamed into place when complete.

    Returns the number of games. Raises EnvError if the folder already has games, or gets some meanwhile.
    """
    root, message = folder / RELEASE, f"{folder / RELEASE} exists already; remove it, or write into another folder"
    if root.exists():
        raise EnvError(message)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=f"{RELEASE}.") as fresh:
        whole = Path(fresh) / "whole"
        _write_games(spec, whole)
        try:
            whole.rename(root)
        except OSError as error:
            raise EnvError(message) from error
    return sum(map(spec.count, SPLITS))


def _write_games(spec: Households, root: Path) -> None:
    for split in SPLITS:
        for number in range(spec.count(split)):
            task = errand(spec, split, number)
            record = make_record(spec, task)
            place = root / task.task_id(spec.seed)
            place.mkdir(parents=True)
            details = json.dumps(_details(task, record, seed=spec.seed), indent=1)
            (place / "traj_data.json").write_text(details, encoding="utf-8")
            (place / GAME_FILE).write_text(json.dumps(record), encoding="utf-8")


def _details(task: Errand, record: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """The contents of `traj_data.json`: the official fields about the task, without a recorded trajectory."""
    lamp = task.task_type == "look_at_obj_in_light"
    walkthrough: list[str] = record["walkthrough"]
    steps = [{"high_idx": number, "discrete_action": {"action": text}} for number, text in enumerate(walkthrough)]
    return {
        "task_id": task.task_id(seed).rpartition("/")[2],
        "task_type": task.task_type,
        "pddl_params": {
            "mrecep_target": "",
            "object_sliced": False,
            "object_target": task.thing,
            "parent_target": "" if lamp else task.target,
            "toggle_target": task.target if lamp else "",
        },
        "plan": {"high_pddl": steps, "low_actions": []},
        "scene": {"floor_plan": f"FloorPlan{task.scene}", "scene_num": task.scene},
        "turk_annotations": {"anns": []},
    }


@lru_cache(maxsize=64)
def _tasks(spec: Households, split: str) -> tuple[str, ...]:
    return tuple(sorted(errand(spec, split, number).task_id(spec.seed) for number in range(spec.count(split))))


@cache
def _logic(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
