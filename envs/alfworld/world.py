"""ALFWorld: household tasks in text (2010.03768). Our own rules, whose texts equal the original's exactly."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from envs.alfworld.engine import NOTHING_HAPPENS, Act, commands, is_won, line, opening, perform
from envs.alfworld.expert import Planner, search, shown_by
from envs.alfworld.game import Game, Numbers, State, read_game
from envs.alfworld.generate import Generated
from envs.alfworld.household import Households
from envs.alfworld.index import SPLITS
from envs.alfworld.library import Library, open_folder
from envs.alfworld.milestones import milestone
from envs.alfworld.wording import read_wording, split_task
from envs.base import Definition, Ending, EnvError, EnvStep, hint, no_split

Guide = Literal["search", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A whole episode at one point. Any process with the same games can restore it."""

    task_id: str
    """The game's id."""

    state: State
    """Where everything is."""

    turns: int
    """Actions taken so far."""

    seen: Numbers
    """The receptacles whose contents were shown."""

    last: EnvStep
    """What the last `reset` or `step` returned."""


class ALFWorld:
    """ALFWorld, one episode at a time. Games are fixed, so `seed` has no effect.

    data: a folder of games in the official layout, json_2.1.1. None generates games.
    households: without data, the fields of `Households`; None for their defaults.
    engine: "native", or "textworld" for the original (all instances in one thread; no snapshots).
    max_steps: actions until Ending.LIMIT (the papers: 50).
    expert: "search" looks for objects as an agent must; "plan" knows where everything is.
    Raises EnvError for a folder without games, for broken games, and for options out of range.
    """

    def __init__(
        self,
        *,
        data: str | Path | None = None,
        households: Mapping[str, Any] | None = None,
        engine: str = "native",
        max_steps: int = 50,
        expert: str = "search",
    ) -> None:
        if max_steps < 1:
            raise EnvError(f"alfworld cannot run with max_steps={max_steps}; give 1 or more")
        self._guide: Guide = _guide(expert)
        self._original = _original(engine)
        self._library = _library(data, households)
        self._max_steps = max_steps
        self._game: Game | None = None
        self._admissible: Mapping[str, Act] = {}
        self._now: Snapshot | None = None

    def tasks(self, split: str) -> Sequence[str]:
        """Task ids "split/task folder/trial folder" of train, valid_seen or valid_unseen, sorted."""
        if split not in SPLITS:
            raise no_split("alfworld", split, SPLITS)
        return self._library.tasks(split)

    def kind(self, task_id: str) -> str:
        """The task type, such as "pick_and_place_simple"."""
        return self._library.task_type(task_id)

    def definition(self, task_id: str) -> Definition:
        """The rules, the words and the household of a game; how it puts things down: "move" or "put"."""
        record = self._library.record(task_id)
        put = read_wording(split_task(record["grammar"])[1]).commands["PutObject"]
        content = {name: record[name] for name in ("pddl_domain", "grammar", "pddl_problem")}
        return Definition(content=content, facts={"action_syntax": put.partition(" ")[0]})

    def reset(self, task_id: str, *, seed: int = 0) -> EnvStep:
        """Start a game; every seed gives the same one. Raises EnvError for an unknown task id and for a broken game."""
        self.close()
        record = self._library.record(task_id)
        game = read_game(record, source=self._library.source(task_id))
        acts = commands(game, game.start)
        text, admissible = opening(game), tuple(acts)
        if self._original is not None:
            answer = self._original.reset(record)
            text, admissible = answer.observation, answer.commands
        first = EnvStep(observation=text, state_key=text, admissible=admissible, milestone=0)
        self._game, self._admissible = game, acts
        self._now = Snapshot(task_id=task_id, state=game.start, turns=0, seen=frozenset(), last=first)
        return first

    def step(self, action: str) -> EnvStep:
        """Execute one command. Raises EnvError before `reset` and after the end."""
        game, now = self._playing()
        if now.last.ending is not None:
            raise EnvError(f"the episode of {now.task_id} ended ({now.last.ending}); reset before the next step")
        act = self._admissible.get(action.strip())
        state, text = (now.state, NOTHING_HAPPENS) if act is None else perform(game, now.state, act)
        self._admissible = commands(game, state)
        won, admissible = is_won(game, state), tuple(self._admissible)
        if self._original is not None:
            answer = self._original.step(action)
            text, won, admissible = answer.observation, answer.won, answer.commands
        limit = Ending.LIMIT if now.turns + 1 >= self._max_steps else None
        seen = now.seen if act is None else now.seen | shown_by(game, state, act)
        last = EnvStep(
            observation=text,
            state_key=text,
            reward=float(won),
            ending=Ending.SUCCESS if won else limit,
            admissible=admissible,
            won=won,
            score=float(won),
            milestone=max(now.last.milestone or 0, milestone(game, state, seen)),
        )
        self._now = Snapshot(task_id=now.task_id, state=state, turns=now.turns + 1, seen=seen, last=last)
        return last

    def expert(self) -> Iterator[str]:
        """Actions that solve the game from here; the plan is made anew for each action."""
        while (playing := self._playing())[1].last.ending is None:
            game, now = playing
            if self._guide == "search":
                yield line(game, search(game, now.state, now.seen))
            else:
                yield line(game, _first(Planner(game, now.state).best(), now.task_id))

    def snapshot(self) -> Snapshot:
        """The whole episode at this point. Raises EnvError before `reset` and with the original engine."""
        if self._original is not None:
            raise EnvError("the original engine cannot be rewound; take snapshots with engine='native'")
        return self._playing()[1]

    def restore(self, snapshot: Snapshot) -> EnvStep:
        """Continue from a snapshot, and return its `last`. Raises EnvError with the original engine."""
        if self._original is not None:
            raise EnvError("the original engine cannot be rewound; restore snapshots with engine='native'")
        game = self._game
        if game is None or self._now is None or self._now.task_id != snapshot.task_id:
            record, source = self._library.record(snapshot.task_id), self._library.source(snapshot.task_id)
            game = self._game = read_game(record, source=source)
        self._now, self._admissible = snapshot, commands(game, snapshot.state)
        return snapshot.last

    def close(self) -> None:
        """Forget the episode."""
        self._game = self._now = None
        self._admissible = {}

    def _playing(self) -> tuple[Game, Snapshot]:
        if self._game is None or self._now is None:
            raise EnvError("no episode is under way; reset alfworld with a task id first")
        return self._game, self._now


def _library(data: str | Path | None, households: Mapping[str, Any] | None) -> Library:
    """The games to play. Raises EnvError for data and households at once, and for an unknown field of households."""
    if data is not None:
        if households is not None:
            raise EnvError("alfworld plays either data or generated households; leave one of the two options out")
        return open_folder(Path(data).resolve())
    values = dict(households or {})
    names = [field.name for field in fields(Households)]
    for name in values:
        if name not in names:
            raise EnvError(f"alfworld's households have no {name!r}; {hint(name, names)}")
    if "task_types" in values:
        values["task_types"] = tuple(values["task_types"])
    return Generated(spec=Households(**values))


def _original(engine: str) -> Any:
    """The original engine, or None for the native one. Raises EnvError if it is not installed."""
    match engine:
        case "native":
            return None
        case "textworld":  # imported by name: only this option needs it
            return import_module("envs.alfworld.oracle").TextWorldEngine()
        case _:
            raise EnvError(f"alfworld has no engine={engine!r}; choose 'native' or 'textworld'")


def _guide(expert: str) -> Guide:
    match expert:
        case "search" | "plan":
            return expert
        case _:
            raise EnvError(f"alfworld has no expert={expert!r}; choose 'search' or 'plan'")


def _first(acts: tuple[Act, ...] | None, task_id: str) -> Act:
    if not acts:
        raise EnvError(f"the expert knows no way to the goal of {task_id}")
    return acts[0]
