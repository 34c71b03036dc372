"""Every table of configs/table/ plans whole on any machine, and says what is missing there."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from shutil import rmtree

import pytest

from tests.trainer.commands.conftest import Stepcredit, refused
from tests.trainer.tables.conftest import conditions, finished_run
from trainer.cells.cell import Outcome, State, write_outcome
from trainer.commands.paper_table import TablePlan
from trainer.commands.table import CONFIGS
from trainer.config.build import ConfigError
from trainer.config.commands import EvaluateConfig, TrainConfig, WarmstartConfig
from trainer.tables.adopted import adopted
from trainer.tables.begun import begin, check_begun
from trainer.tables.recorded import raw
from trainer.tables.runs import Run, read_run

TABLES = sorted(file.stem for file in (CONFIGS / "table").glob("*.yaml"))
PAPERS = [pytest.param(name, marks=pytest.mark.slow) for name in TABLES if name != "laptop"]
NO_PRESET = {"ngram_clusters_q", "gspo_score"}  # rows that nobody can run: no code is published for them
OURS = ("laptop", "textcraft_135m")  # tables that no paper has
HERE = (
    "cluster.gpus=",
    "environment variable",
    "env.options",
    "data/",
    "alfworld",
    "endpoint=URL",
)  # what a machine may lack
MINE = Path(__file__).parents[3] / "examples" / "my_estimator"
pytestmark = pytest.mark.usefixtures("no_ray")


def plan_of(stepcredit: Stepcredit, *words: str) -> TablePlan:
    ended = stepcredit("table", *words)
    assert (ended.code, ended.err) == (0, "")
    return stepcredit.plans.pop()


@pytest.mark.parametrize("name", ["laptop", *PAPERS])
def test_every_table_plans_whole(stepcredit: Stepcredit, name: str) -> None:
    plan = plan_of(stepcredit, name, "--dry-run")
    assert plan.config.dry_run
    assert Path(plan.config.output) == Path.cwd() / "outputs" / "table" / name
    assert not Path(plan.config.output).exists()
    for row in plan.rows:
        wrong = [line for line in row.missing if not any(word in line for word in HERE)]
        if row.row.name in NO_PRESET:
            assert wrong
            continue
        assert wrong == []
        assert row.config is not None
        assert set(row.cells) == set(plan.config.table.seeds)
        rooms = {(cell.cpus, cell.gpus) for cell in (*row.cells.values(), *row.starts.values())}
        assert rooms == {(0 if row.config.cluster.gpus else None, row.config.cluster.gpus)}
        assert (row.hours is None) == (row.config.cluster.device == "cpu")
        assert bool(row.row.published) == (not name.startswith(OURS) and not row.row.endpoint)
        assert any("endpoint=URL" in line for line in row.missing) == row.row.endpoint
    assert len({cell.digest for row in plan.rows for cell in row.cells.values()}) == len(plan.rows) * len(
        plan.config.table.seeds
    )


def test_a_table_in_the_folder_of_ones_own_estimator_plans_whole(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(MINE)
    monkeypatch.syspath_prepend(str(MINE))
    plan = plan_of(stepcredit, "mine", "--dry-run")
    assert [(row.row.name, row.missing) for row in plan.rows] == [("grpo", ()), ("mine", ())]
    (grpo, _) = plan.rows
    (same,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "--dry-run").rows
    assert {cell.digest for cell in grpo.cells.values()} < {cell.digest for cell in same.cells.values()}


def test_tasks_that_changed_under_a_half_finished_table_are_refused(stepcredit: Stepcredit) -> None:
    plan = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]")
    output = Path(plan.config.output)
    begin(output, "laptop", plan.rows)
    check_begun(output, "laptop", plan.rows)
    (panel,) = output.glob("panels/*/panel.json")
    panel.unlink()  # as a kill between folder and file leaves it
    begin(output, "laptop", plan.rows)
    (row,) = plan.rows
    assert row.panel is not None
    task = replace(row.panel.tasks[0], digest="0" * 64)
    other = replace(row, panel=replace(row.panel, tasks=(task, *row.panel.tasks[1:])))
    with pytest.raises(ConfigError, match=f"is of other tasks than env.options give now .*{task.task_id}"):
        check_begun(output, "laptop", [other])


def test_settings_that_changed_under_a_half_finished_table_are_refused(stepcredit: Stepcredit) -> None:
    words = ("laptop", "rows=[grpo]", "seeds=[0]")
    plan = plan_of(stepcredit, *words)
    (row,) = plan.rows
    assert row.config is not None
    begin(Path(plan.config.output), "laptop", plan.rows)
    cell, has = row.cells[0], replace(row.config, seed=0)
    finished_run(cell.folder, ["", "a"])
    write_outcome(Outcome(cell=cell, state=State.FINISHED))
    moved = replace(has.model, source="elsewhere/start/model")
    # What a plan chose for its GPUs, and where the start lies, make no other cell.
    planned = replace(has, learner=replace(has.learner, zero_stage=3), model=moved)
    (cell.folder / "config.json").write_text(json.dumps(asdict(planned), default=str))
    plan_of(stepcredit, *words)
    (cell.folder / "config.json").write_text(json.dumps(asdict(replace(has, group_size=4)), default=str))
    stepcredit.runs.clear()
    line = refused(stepcredit, "table", *words)
    assert "row grpo, seed 0, was played with other settings (group_size differ; see " in line
    assert "set them back, or choose another output folder" in line


@pytest.mark.parametrize("kind", ["ray", "submitit"])
def test_a_table_whose_cells_run_elsewhere_lacks_no_gpus_here(stepcredit: Stepcredit, kind: str) -> None:
    words = ("textcraft_135m", "rows=[grpo]", "seeds=[0]", "--dry-run")
    lacking = [[one for one in row.missing if "cluster.gpus=" in one] for row in plan_of(stepcredit, *words).rows]
    assert len(lacking[0]) == 1
    (row,) = plan_of(stepcredit, *words, f"launcher.kind={kind}").rows
    assert [one for one in row.missing if "cluster.gpus=" in one] == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("no table is named: stepcredit table NAME",)),
        (("latop",), ("there is no table=latop", "did you mean 'laptop'?", "alfworld_1.5b")),
        (("laptop", "rows=[grop]"), ("rows='grop'", "'laptop'", "did you mean 'grpo'?")),
        (("laptop", "seds=[1]"), ("seds=[1]", "did you mean 'seeds'?")),
        (("laptop", "+set.checkpoint.evry=5"), ("unknown setting +set.checkpoint.evry=5", "'checkpoint.every'")),
        (("laptop", "seeds=[-1]"), ("seeds=[-1]", "0 or more")),
        (("laptop", "runs=.", "--dry-run"), ("runs=.", "leave --dry-run out")),
        (("laptop", "+set.updates=0"), ("no row takes +set.updates=0", "choose 1 or more")),
        (("laptop", "+set.output=there"), ("set.output is given to each cell", "leave it out")),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(
    stepcredit: Stepcredit, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = refused(stepcredit, "table", *words)
    for part in parts:
        assert part in line


def test_rows_of_a_model_behind_an_endpoint_run_where_one_is_named(stepcredit: Stepcredit) -> None:
    """The table is any that has such rows; its world is another one, which needs no data."""
    rows = ("alfworld_1.5b", "--dry-run", "rows=[endpoint_react]", "+set.env=textcraft")
    (row,) = plan_of(stepcredit, *rows, "endpoint=http://localhost:8000/v1", "endpoint_model=gpt-4o").rows
    assert row.missing == ()
    assert isinstance(row.config, EvaluateConfig)
    assert (row.config.endpoint, row.config.model.source) == ("http://localhost:8000/v1", "gpt-4o")
    assert (row.config.env.style, row.config.env.examples, row.fetches) == ("react", 2, None)


def test_a_setting_for_every_cell_reaches_the_config_and_the_words(stepcredit: Stepcredit) -> None:
    words = ("+set.updates=2", "+set.validation.every=1", "+set.log.tags=[a,'b c']", "+set.cluster=cpu")
    plan = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[3]", *words)
    (row,) = plan.rows
    assert row.config is not None
    assert isinstance(row.config, TrainConfig)
    assert (row.config.updates, row.config.validation.every, row.config.log.tags) == (2, 1, ("a", "b c"))
    assert {"updates=2", "validation.every=1", 'log.tags=["a","b c"]', "cluster=cpu", "seed=3"} <= set(
        row.cells[3].words
    )


def test_a_setting_for_every_cell_reaches_the_rows_whose_command_has_it(stepcredit: Stepcredit) -> None:
    words = ("+set.checkpoint.every=5", "+set.env.style=bare", "+set.samples=2")
    own = ["checkpoint.every=5", "env.style=bare", "samples=2"]
    rows = {row.row.name: row for row in plan_of(stepcredit, "webshop_1.5b", "rows=[prompting,grpo]", *words).rows}
    assert [word for word in own if word in rows["prompting"].cells[0].words] == own[1:]
    assert [word for word in own if word in rows["grpo"].cells[0].words] == own[:2]
    assert not any("unknown setting checkpoint" in line for line in rows["prompting"].missing)


def test_the_words_of_a_cell_and_of_its_start_are_words_of_their_commands(stepcredit: Stepcredit) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[2]").rows
    stepcredit.runs.clear()
    start, cell = row.starts[2], row.cells[2]
    assert stepcredit(*start.call).code == 0
    _, warm = stepcredit.runs.pop()
    assert isinstance(warm, WarmstartConfig)
    assert (warm.seed, warm.epochs, warm.rows_per_step, warm.output) == (2, 4, 16, str(start.folder))
    ended = stepcredit(*cell.call)  # the start has left no model yet
    assert f"model.source='{start.folder}/model' is no Hugging Face folder" in ended.line


def test_finished_cells_are_found_in_run_folders_and_in_reports(stepcredit: Stepcredit, tmp_path: Path) -> None:
    plan = plan_of(stepcredit, "laptop", "rows=[grpo,gigpo]", "seeds=[0,1,2]")

    def cell(name: str, row: int, seed: int) -> Run:
        config = plan.rows[row].config
        assert config is not None
        folder = finished_run(tmp_path / name, ["a", "ab"], every=40, seed=seed)
        plain = asdict(replace(config, seed=seed, model=replace(config.model, source="there/model")))
        (folder / "config.json").write_text(json.dumps(plain, default=str))
        return read_run(folder)

    cell("here", 0, 0)
    cell("cells/of-a-table", 1, 2)
    reported = {"grpo": {"1": raw(cell("gone", 0, 1))}, "gigpo": {"0": raw(cell("gone too", 1, 0))}}
    for name in ("gone", "gone too"):
        rmtree(tmp_path / name)
    (tmp_path / "seed-1.json").write_text(json.dumps({"table": {}, "runs": reported}, default=str))
    found = adopted(tmp_path, plan.rows)
    assert {row: {seed: run.folder.name for seed, run in of.items()} for row, of in found.items()} == {
        "grpo": {0: "here", 1: "gone"},
        "gigpo": {0: "gone too", 2: "of-a-table"},
    }


def test_of_runs_with_equal_settings_the_one_from_the_cells_own_warm_start_is_taken(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]").rows
    assert row.config is not None
    for name, start in (("another table's", "cells/0123456789"), ("its own", f"cells/{row.starts[0].digest}")):
        folder = finished_run(tmp_path / name, ["a", "ab"], every=40)
        plain = asdict(replace(row.config, seed=0, model=replace(row.config.model, source=f"{start}/model")))
        (folder / "config.json").write_text(json.dumps(plain, default=str))
    assert adopted(tmp_path, [row])["grpo"][0].folder.name == "its own"


def test_a_run_whose_files_lie_elsewhere_is_taken_if_it_played_the_same_tasks(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]").rows
    assert row.config is not None
    assert row.panel is not None
    here, there = (
        replace(row.config, env=replace(row.config.env, options={**row.config.env.options, "recipes": f"/{place}"}))
        for place in ("here", "there")
    )
    for name, digest in (("another catalogue", "0" * 64), ("the same", row.panel.digest)):
        folder = finished_run(tmp_path / name, ["a", "ab"], every=40, stated=conditions(digest))
        (folder / "config.json").write_text(json.dumps(asdict(there), default=str))
    assert adopted(tmp_path, [replace(row, config=here)])["grpo"][0].folder.name == "the same"
    rmtree(tmp_path / "the same")
    with pytest.raises(ConfigError, match="holds no finished run with the settings of a row"):
        adopted(tmp_path, [replace(row, config=here)])


def test_a_finished_evaluation_is_found_wherever_it_was_served_and_only_with_the_cells_samples(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    plan = plan_of(stepcredit, "webshop_1.5b", "rows=[prompting]", "seeds=[0,1,2]")
    config = plan.rows[0].config
    assert isinstance(config, EvaluateConfig)
    cluster, engine = replace(config.cluster, threads=7, env_workers=3), replace(config.engine, max_num_seqs=5)
    for seed, changes in enumerate(({}, {"samples": 4}, {"cluster": replace(cluster, dtype="float16")})):
        folder = tmp_path / f"seed {seed}"
        folder.mkdir()
        elsewhere = {"output": str(folder), "resume": "auto", "cluster": cluster, "engine": engine}
        settings = asdict(replace(config, seed=seed, **(elsewhere | changes)))
        (folder / "config.json").write_text(json.dumps(settings, default=str))
        result = {"overall": {"wins": 1, "total": 2}, "by_kind": {}, "score": 0.5}
        (folder / "evaluation.json").write_text(json.dumps(result))
    found = adopted(tmp_path, plan.rows)
    assert {row: {seed: run.folder.name for seed, run in of.items()} for row, of in found.items()} == {
        "prompting": {0: "seed 0"}
    }


def test_a_folder_without_a_row_s_run_is_refused_with_the_nearest_run_and_its_differences(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]").rows

    def refusal() -> str:
        with pytest.raises(ConfigError) as refused:
            adopted(tmp_path, [row])
        return str(refused.value)

    def settings(**changes: object) -> str:
        return json.dumps(asdict(replace(row.config, seed=0, **changes)), default=str)  # pyright: ignore[reportArgumentType]

    assert "of 0 runs: name the folder that holds the runs' own folders" in refusal()
    folder = finished_run(tmp_path / "other", ["a"])
    (folder / "config.json").write_text(settings(updates=39, group_size=7))
    assert refusal().endswith("of 1 runs: other, the nearest, differs in group_size, updates from row grpo, seed 0")
    (folder / "config.json").write_text(settings())
    (folder / "metrics.jsonl").write_text(json.dumps({"update": 40, "rollout/success": 1.0}) + "\n")
    assert "other, the nearest, has not finished, or was never validated" in refusal()


def test_broken_runs_of_something_else_are_passed_over_and_one_of_a_row_is_told(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]").rows
    assert row.config is not None
    for name in ("a good one", "broken"):
        folder = finished_run(tmp_path / name, ["a", "ab"], every=40)
        (folder / "config.json").write_text(json.dumps(asdict(replace(row.config, seed=0)), default=str))
    (tmp_path / "broken" / "metrics.jsonl").write_text('{"update": 4')
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text(json.dumps({"updates": 3}))
    assert adopted(tmp_path, [row])["grpo"][0].folder.name == "a good one"
    rmtree(tmp_path / "a good one")
    with pytest.raises(ConfigError, match=r"broken/metrics.jsonl is broken"):
        adopted(tmp_path, [row])


def test_a_row_that_is_never_validated_is_missing_before_it_runs(stepcredit: Stepcredit) -> None:
    (row,) = plan_of(stepcredit, "laptop", "rows=[grpo]", "seeds=[0]", "+set.validation.every=null").rows
    assert row.missing == ("validation.every=null: a row without a validation has no number; set it to a number",)


def test_rows_that_a_setting_makes_equal_are_refused_before_anything_runs(stepcredit: Stepcredit) -> None:
    line = refused(stepcredit, "table", "laptop", "rows=[grpo,gigpo]", "+set.estimator=grpo")
    assert "two cells are the same: " in line
