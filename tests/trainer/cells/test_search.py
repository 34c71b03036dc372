"""A search proposes cells from the results of earlier ones, ends the bad ones, and goes on when it was killed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.trainer.cells.test_launch import display
from trainer.cells import search as search_module
from trainer.cells.cell import Cell, Outcome, State, cell_of, write_outcome
from trainer.cells.index import Index
from trainer.cells.launch import run_cells
from trainer.cells.launcher import Launcher
from trainer.cells.search import Choice, Interval, Search, SearchConfig, logged_values
from trainer.cells.site import LOOK_S, Running, end_each
from trainer.config.build import ConfigError

SPACE = {"rate": Interval(low=1e-4, high=1.0, log=True), "size": Choice(values=("4", "8"))}


def success(cell: Cell) -> float:
    """The best rate is 0.01, the best size 8."""
    words = dict(word.split("=") for word in cell.words)
    return 1 / (1 + 100 * abs(float(words["rate"]) - 0.01)) - (words["size"] == "4") * 0.2


@dataclass(slots=True)
class Played:
    """A cell that validates once, then finishes, unless it is ended first."""

    cell: Cell
    looks: int = 0
    ordered: Outcome | None = None

    def outcome(self) -> Outcome | None:
        self.looks += 1
        if self.looks == 1:
            rows = [{"update": 1, "rollout/success": 0.1}, {"update": 5, "validation/success": success(self.cell)}]
            self.cell.folder.mkdir(parents=True, exist_ok=True)
            (self.cell.folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"update": 6, "val')
            return None
        ended = self.ordered or Outcome(cell=self.cell, state=State.FINISHED)
        write_outcome(ended)
        return ended

    def end(self, state: State, line: str = "") -> None:
        self.ordered = Outcome(cell=self.cell, state=state, line=line)


class Killed(Exception):
    """The machine goes down."""


@dataclass(slots=True)
class Place:
    """One cell at a time; dies at the start of cell number `dies`."""

    dies: int | None = None
    parallel: int | None = 1
    look_s: float = LOOK_S
    started: int = 0

    def check(self, cell: Cell) -> None:
        del cell

    def start(self, cell: Cell) -> Played:
        self.started += 1
        if self.started == self.dies:
            raise Killed
        return Played(cell)

    def end_all(self, running: Sequence[Running]) -> None:
        end_each(running)

    def close(self) -> None:
        """Nothing."""


def search(folder: Path, trials: int, place: Place, *, prune: bool = True) -> Sequence[Outcome]:
    return searched(folder, SearchConfig(n_trials=trials, prune=prune), place)[1]


def searched(folder: Path, config: SearchConfig, place: Place) -> tuple[Search, Sequence[Outcome]]:
    searching = searched_later(folder, config)
    proposed = searching.cells()
    return searching, run_cells(
        proposed, launcher=Launcher(), display=display(), watcher=searching, site=place, count=config.n_trials
    )


def searched_later(folder: Path, config: SearchConfig) -> Search:
    """A search, none of whose cells was started."""

    def cell(values: Mapping[str, str]) -> Cell:
        return cell_of("train", [f"{name}={value}" for name, value in values.items()], folder)

    return Search(config, SPACE, cell, folder, Index(folder, []))


def test_a_search_finds_better_settings_than_its_start_and_ends_bad_cells_by_their_validations(tmp_path: Path) -> None:
    outcomes = search(tmp_path, 20, Place())
    assert len(outcomes) == 20
    start, rest = outcomes[:5], outcomes[5:]
    assert {outcome.state for outcome in start} == {State.FINISHED}
    assert max(success(outcome.cell) for outcome in rest) > max(success(outcome.cell) for outcome in start)
    pruned = [outcome for outcome in rest if outcome.state == State.PRUNED]
    assert pruned
    assert "validation/success" in pruned[0].line
    assert "at update 5 is worse than the median there" in pruned[0].line
    assert {outcome.state for outcome in search(tmp_path / "all", 7, Place(), prune=False)} == {State.FINISHED}


def test_a_search_that_was_killed_goes_on_with_the_cell_that_ran(tmp_path: Path) -> None:
    try:
        search(tmp_path, 6, Place(dies=3))
    except Killed:
        before = json.loads((tmp_path / "cells.json").read_text())
    place = Place()
    outcomes = search(tmp_path, 6, place)
    assert (len(before), place.started, len(outcomes)) == (2, 4, 4)
    assert len(list((tmp_path / "cells").glob("*.json"))) == 6


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"update": 5, "validation/success": 0.5}\n{"update": 10, "valid')
    assert logged_values(tmp_path / "metrics.jsonl", "validation/success") == {5: 0.5}
    assert logged_values(tmp_path / "none", "validation/success") == {}


def test_a_running_cells_numbers_are_read_again_only_when_they_were_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = list[Path]()
    monkeypatch.setattr(
        search_module, "logged_values", lambda file, metric: reads.append(file) or logged_values(file, metric)
    )
    searching = searched_later(tmp_path, SearchConfig())
    cell = next(searching.cells())
    assert [searching.verdict(cell) for _ in range(3)] == [None] * 3
    assert reads == []
    cell.folder.mkdir(parents=True)
    file = cell.folder / "metrics.jsonl"
    for update in (5, 10):
        with file.open("a") as rows:
            rows.write(json.dumps({"update": update, "validation/success": 0.5}) + "\n")
        assert [searching.verdict(cell) for _ in range(3)] == [None] * 3
        assert searching._reported == {cell.digest: update}
    assert reads == [file, file]


def test_cells_are_looked_at_as_often_as_their_place_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    search(tmp_path, 2, Place(look_s=5.0))
    assert slept == [5.0] * 4  # each of the two cells is looked at twice


def test_a_search_that_was_killed_in_its_last_cell_runs_it_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        search(tmp_path, 3, Place(dies=3))
    with pytest.raises(Killed):
        search(tmp_path, 3, Place(dies=1))
    place = Place()
    assert [outcome.state for outcome in search(tmp_path, 3, place)] == [State.FINISHED]
    assert (place.started, len(list((tmp_path / "cells").glob("*.json")))) == (1, 3)
    assert search(tmp_path, 3, Place()) == ()


def test_a_search_by_a_number_that_no_run_logs_is_refused() -> None:
    for metric in ("validation/score", "validation/success depth 2", "credit/of_my_own", "failure/env_timeout"):
        assert SearchConfig(metric=metric).metric == metric
    with pytest.raises(ConfigError, match=r"metric='validation/succes' is nothing .*: did you mean 'validation/succes"):
        SearchConfig(metric="validation/succes")
    with pytest.raises(ConfigError, match=r"metric='zzz' is nothing that a run logs: choose a number of a metrics"):
        SearchConfig(metric="zzz")


def test_a_search_whose_cells_all_lack_its_metric_ends_after_its_start(tmp_path: Path) -> None:
    config = SearchConfig(n_trials=9, startup=3, metric="validation/score")
    searching, outcomes = searched(tmp_path, config, Place())
    assert (len(outcomes), searching.learned) == (3, False)
    assert "none of 3 finished cells has validation/score in metrics.jsonl" in (searching.complaint or "")
    assert "it has no validation/score, by which the search goes" in (tmp_path / "cells.md").read_text()
    searching, outcomes = searched(tmp_path, config, Place())
    assert (outcomes, searching.complaint is None) == ((), False)
    searching, _ = searched(tmp_path / "sound", SearchConfig(n_trials=2), Place())
    assert (searching.learned, searching.complaint) == (True, None)


def test_some_cells_without_the_metric_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SearchConfig(n_trials=1)
    searched(tmp_path, config, Place())
    monkeypatch.setattr("trainer.cells.search.logged_values", lambda *_: {})
    searching, _ = searched(tmp_path, SearchConfig(n_trials=2), Place())
    assert searching.learned
    assert "1 finished cells have no validation/success in metrics.jsonl" in (searching.complaint or "")
