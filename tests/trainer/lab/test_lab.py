"""The whole lab on a recording made by hand and on small worlds: what is read, printed and written."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from transformers import PreTrainedModel

from estimators import Advantages, StepBatch, build
from rollout.record import write_groups
from rollout.types import RolloutGroup
from tests.fakes import completion, group, step
from trainer.config.build import ConfigError
from trainer.config.build import build as typed
from trainer.data.columns import step_batch, token_batch
from trainer.data.rows import RowTable
from trainer.lab.config import LabConfig, TruthConfig
from trainer.lab.measure.hidden import hidden_states
from trainer.lab.measure.jackknife import ConfidenceInterval
from trainer.lab.measure.recorded import UpdateCredit, recorded_credit
from trainer.lab.plan import LabPlan, plan_lab
from trainer.lab.report.interval import with_interval
from trainer.lab.report.numbers import Numbers
from trainer.lab.report.tables import mean
from trainer.lab.run import lab
from trainer.lab.worlds.maze import MazeConfig
from trainer.report.progress import Display

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL = TruthConfig(sizes=(2, 4), rollouts=200, mazes=(MazeConfig(width=3, tasks=2, pits=1, horizon=5),))


def task_group(*, won: bool = True) -> RolloutGroup:
    """Two rollouts of a task that differ from state 0 on: the first wins in two steps, the second stays and fails."""
    first = completion("go", prompt=[1, 2], tokens=[5, 9])
    return group(
        (step("go", said=first), step("go", state="1", reward=10.0 * won, said=completion(prompt=[1, 2, 5, 9, 3]))),
        (step("stay", said=completion("stay", prompt=[1, 2], tokens=[6])), step("fly", valid=False)),
        won=[won],
    )


def vectors() -> np.ndarray:
    """Hidden states of both groups' rows: state 0 along the first axis, state 1 along the second."""
    return np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 0, 1, 0, 0]]


def recorded(run: Path, *updates: int, **settings: Any) -> Path:
    for update in updates:
        write_groups(run / "rollouts" / f"update-{update:06d}.jsonl.zst", [task_group(), task_group(won=update > 1)])
        np.save(run / "rollouts" / f"update-{update:06d}.embeddings.npy", vectors())
    if settings:
        (run / "config.json").write_text(json.dumps(settings))
    return run


def config(output: Path, *estimators: Any, **options: Any) -> LabConfig:
    return LabConfig(output=str(output), estimators=estimators or ("grpo", "gigpo", "bipace"), **options)


def credit_of(plan: LabPlan) -> Iterator[UpdateCredit]:
    return recorded_credit(plan.recordings, plan.recorded, model=plan.model, layer=plan.config.layer)


def run_lab(settings: LabConfig, console: Console | None = None) -> Numbers:
    return lab(plan_lab(settings), Display(console or Console(file=StringIO())))


def test_recorded_rollouts_get_the_credit_that_the_run_gave(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1, 2)
    updates = list(credit_of(plan_lab(config(tmp_path, "gigpo", "grpo", run=str(run)))))
    batch = step_batch(RowTable([task_group(), task_group(won=False)]), embedding=None)
    value = build("gigpo")(batch).value
    assert [update.update for update in updates] == [1, 2]
    first = updates[0]
    assert first.credit["gigpo"].statistics.variance == pytest.approx(np.var(value))
    assert (first.groups, first.rollouts, first.rows, first.success) == (2, 4, 8, 0.25)
    # Both groups are in state 0 three times and in state 1 once.
    assert (first.states.singleton_states, first.states.singleton_rows) == (0.5, 0.25)
    assert first.credit["grpo"].statistics.within_rollouts == pytest.approx(0.0)
    assert first.credit["gigpo"].ms > 0.0
    assert list(first.pairs) == [("gigpo", "grpo")]


def test_recorded_hidden_states_form_clusters(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "bipace", run=str(recorded(tmp_path, 1))))
    (update,) = credit_of(plan)
    diagnostics = update.credit["bipace"].diagnostics
    assert (diagnostics["cluster_size_mean"], diagnostics["singleton_share"]) == (2.0, 0.5)
    assert (diagnostics["share_contrast"], diagnostics["share_singleton"]) == (0.75, 0.25)


def test_only_the_chosen_updates_are_read(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "grpo", run=str(recorded(tmp_path, 1, 2, 3)), updates=(3, 1)))
    assert [recording.update for recording in plan.recordings] == [3, 1]


def test_options_come_from_the_entry_then_the_lab_then_the_run_then_the_paper(tmp_path: Path) -> None:
    run = recorded(
        tmp_path,
        1,
        estimator={"name": "bipace", "gamma": 0.5, "eps": 0.3, "norm": "mean"},
        rollout={"success_reward": 4.0},
        model={"tuning": {"eps": 0.2, "layer": -2}},
    )
    entries = ("bipace", {"name": "gigpo", "gamma": 0.75}, "gigpo", "crbc", {"name": "bipace", "eps": 0.01})
    plan = plan_lab(config(tmp_path, *entries, run=str(run), omega=2.0, truth=SMALL))
    estimators: dict[str, Any] = dict(plan.recorded)
    bipace = estimators["bipace"]
    assert (bipace.gamma, bipace.eps, bipace.layer, bipace.norm, bipace.omega) == (0.5, 0.3, -2, "mean", 2.0)
    gigpo = estimators["gigpo"]
    assert (estimators["gigpo gamma=0.75"].gamma, gigpo.gamma, gigpo.omega) == (0.75, 0.95, 2.0)
    assert (estimators["crbc"].success_reward, estimators["bipace eps=0.01"].eps) == (4.0, 0.01)
    generated: dict[str, Any] = dict(plan.generated)  # the run's options do not count here
    assert (generated["bipace"].gamma, generated["bipace"].omega, generated["crbc"].success_reward) == (0.95, 2.0, 10.0)


def test_an_estimator_of_step_rewards_is_for_runs_that_had_a_scorer(tmp_path: Path) -> None:
    bare = recorded(tmp_path / "bare", 1, scorer={"_target_": None})
    scored = recorded(tmp_path / "scored", 1, scorer={"name": "milestones", "_target_": None})
    everything = [
        plan_lab(replace(config(tmp_path, run=str(run)), estimators="all")).recorded for run in (bare, scored)
    ]
    assert everything[1].keys() - everything[0].keys() == {"istar"}
    with pytest.raises(ConfigError, match=r"'istar' needs the columns \['step_reward'\], which recorded rollouts have"):
        plan_lab(config(tmp_path, "istar", run=str(bare)))


def test_eps_auto_is_measured_on_the_first_update_and_kept(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "bipace", run=str(recorded(tmp_path, 1, 2)), eps="auto"))
    first, second = (update.credit["bipace"].diagnostics["eps"] for update in credit_of(plan))
    assert first == second


def test_the_error_names_a_recording_that_is_not_whole(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1)
    (run / "rollouts" / "update-000001.jsonl.zst").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"update-000001.jsonl.zst.*no whole recording"):
        list(credit_of(plan_lab(config(tmp_path, run=str(run)))))


@pytest.mark.parametrize("updates", [(), (1, 1)], ids=str)
def test_an_empty_or_repeated_choice_of_updates_is_refused(tmp_path: Path, updates: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"updates=\[.*\]: give one or more, each once, or null for all"):
        config(tmp_path, "grpo", run=str(tmp_path), updates=updates)


def test_a_recording_without_revisions_is_refused_to_an_estimator_that_needs_them(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "grpo", "ibpo", run=str(recorded(tmp_path, 1))))
    with pytest.raises(
        ConfigError, match=r"update-000001.*: 2 of 2 groups .* without revisions, .*'ibpo'.* leave it out"
    ):
        list(credit_of(plan))


@dataclass(frozen=True, kw_only=True)
class Fussy:
    """Refuses every batch: when it calibrates itself, or when it is called."""

    early: bool = False

    def calibrated(self, batch: StepBatch) -> "Fussy":
        return self if not self.early else self._refused(batch)

    def __call__(self, batch: StepBatch) -> Advantages:
        return self._refused(batch)

    def _refused(self, batch: StepBatch) -> Any:
        raise ValueError(f"row 3 of {len(batch)} is not welcome")


@pytest.mark.parametrize("early", [True, False])
def test_the_error_of_an_estimator_names_the_file_of_the_rows(tmp_path: Path, early: bool) -> None:
    entry = {"_target_": f"{__name__}.Fussy", "early": early}
    plan = plan_lab(config(tmp_path, entry, run=str(recorded(tmp_path, 1))))
    with pytest.raises(ConfigError, match=r"update-000001.jsonl.zst: estimator 'Fussy early=.*': row 3 of 8"):
        list(credit_of(plan))


def composed(*overrides: str) -> LabConfig:
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return typed(LabConfig, OmegaConf.to_container(compose("lab", list(overrides)), resolve=True))  # pyright: ignore


def test_every_compat_preset_is_an_estimator_of_the_lab(tmp_path: Path) -> None:
    presets = {
        f"compat/{path.stem}": OmegaConf.to_container(OmegaConf.load(path))
        for path in (CONFIGS / "estimator" / "compat").glob("*.yaml")
    }
    entries = f"estimators=[gigpo,{','.join(presets)},{{name:compat/verl_agent_gigpo,gamma:0.5}}]"
    settings = composed(entries, f"output={tmp_path}", f"run={recorded(tmp_path, 1)}", "truth=null", "omega=2")
    assert settings.presets == presets
    estimators: dict[str, Any] = dict(plan_lab(settings).recorded)
    own = estimators["compat/verl_agent_gigpo gamma=0.5"]
    assert (own.gamma, own.omega, own.episode_stats, own.penalty, own.singleton) == (0.5, 2.0, "row", "row", "raw")
    assert estimators["compat/verl_agent_gigpo"].gamma == 0.95
    assert estimators["compat/verl_agent_gigpo_similar"].similarity == 0.9
    assert (estimators["gigpo"].omega, estimators["gigpo"].episode_stats) == (2.0, "trajectory")
    (update,) = credit_of(plan_lab(settings))
    batch = step_batch(RowTable([task_group(), task_group(won=False)]), embedding=None)
    public = build("gigpo", omega=2.0, episode_stats="row", penalty="row", singleton="raw")(batch).value
    assert update.credit["compat/verl_agent_gigpo"].statistics.variance == np.var(public)
    assert update.pairs["gigpo", "compat/verl_agent_gigpo"].rank is not None


def test_a_presets_options_win_over_the_runs(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1, estimator={"name": "gigpo", "gamma": 0.5, "invalid_penalty": 0.25})
    presets = {"compat/mine": {"name": "gigpo", "gamma": 0.75}}
    plan = plan_lab(config(tmp_path, "gigpo", "compat/mine", run=str(run), presets=presets))
    estimators: dict[str, Any] = dict(plan.recorded)
    assert [(preset.gamma, preset.invalid_penalty) for preset in estimators.values()] == [(0.5, 0.25), (0.75, 0.25)]


def test_the_error_of_an_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    presets = {"compat/mine": {"name": "gigpo"}}
    with pytest.raises(ConfigError, match=r"'compat/mien', which is no preset: did you mean 'compat/mine'\?"):
        plan_lab(config(tmp_path, "compat/mien", truth=SMALL, presets=presets))


def test_hidden_states_of_another_recording_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1)
    np.save(run / "rollouts" / "update-000001.embeddings.npy", vectors()[:5])
    with pytest.raises(ConfigError, match="embedding has 5 rows where 8 are due"):
        list(credit_of(plan_lab(config(tmp_path, run=str(run)))))


def test_hidden_states_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1)
    for kept in (b"", b"half"):
        (run / "rollouts" / "update-000001.embeddings.npy").write_bytes(kept)
        with pytest.raises(ConfigError, match=r"^\S*update-000001\.embeddings\.npy is no whole array .*layer=-2"):
            list(credit_of(plan_lab(config(tmp_path, run=str(run)))))


def test_hidden_states_read_again_equal_the_models(
    tmp_path: Path, model_folder: Path, tied_qwen: PreTrainedModel
) -> None:
    torch = pytest.importorskip("torch")
    batch = token_batch(RowTable([task_group()]))
    for layer in (-1, -2, 0):
        hidden = hidden_states(model_folder, batch, layer)
        for row in range(batch.num_rows):
            ids = torch.tensor([batch.prompt(row).tolist()])
            states = tied_qwen(ids, output_hidden_states=True).hidden_states[layer][0, -1]
            assert hidden[row] == pytest.approx(states.detach().numpy(), abs=1e-5)


def test_a_layer_replaces_the_recorded_hidden_states(tmp_path: Path, model_folder: Path) -> None:
    options = {"run": str(recorded(tmp_path, 1)), "layer": -2, "weights": str(model_folder)}
    (update,) = credit_of(plan_lab(config(tmp_path, {"name": "bipace", "eps": 0.0}, **options)))
    # Rows 0, 2, 4 and 6 have one prompt; the recorded vectors would make clusters of 3 and 1.
    assert update.credit["bipace eps=0.0"].diagnostics["cluster_size_mean"] != 2.0
    with pytest.raises(ConfigError, match="layer 9 does not exist"):
        list(credit_of(plan_lab(config(tmp_path, "bipace", **{**options, "layer": 9}))))


def test_a_lab_prints_tables_and_leaves_a_page_and_every_number(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=100)
    run, output = recorded(tmp_path / "run", 1, 2), tmp_path / "estimators=[grpo]"
    measured = run_lab(config(output, run=str(run), truth=SMALL), console)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    for title in (
        "Credit on recorded rollouts",
        "Rank correlation",
        "Sign agreement",
        "Clusters",
        "Branches",
        "Against the true advantage: maze",
    ):
        assert title in printed
    assert "estimators=[grpo]/lab.html" in printed.replace("\n", "")
    assert {path.name for path in output.iterdir()} == {"lab.json", "lab.md", "lab.html", "truth.svg", "truth.png"}
    numbers = json.loads((output / "lab.json").read_text())
    assert numbers["config"]["run"] == str(run)
    assert [update["update"] for update in numbers["recorded"]] == [1, 2]
    assert numbers["recorded"][0]["pairs"][0]["rank"] == measured.recorded[0].pairs["grpo", "gigpo"].rank
    assert [(comparison["estimator"], comparison["size"]) for comparison in numbers["truth"]] == [
        (name, size) for size in (2, 4) for name in ("grpo", "gigpo", "bipace")
    ]
    assert numbers["truth"][0]["error"] == asdict(measured.truth[0].error)
    page = (output / "lab.html").read_text()
    assert page.count("<svg") == 1 + 4  # the figure; parts of variance, no credit, rank correlation, singletons
    tables = (output / "lab.md").read_text()
    for comparison in measured.truth:  # of every group size
        assert all(with_interval(comparison.error) in text for text in (printed, page, tables))
    assert "http" not in page.replace("http://www.w3.org", "")


def test_worlds_alone_need_no_run_and_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    first, same, other = (
        run_lab(config(tmp_path / name, "gigpo", truth=SMALL, seed=seed))
        for name, seed in (("first", 0), ("same", 0), ("other", 1))
    )
    assert first.truth == same.truth
    assert first.truth[0].error != other.truth[0].error
    assert first.recorded == ()


def test_leaving_a_world_out_changes_no_other(tmp_path: Path) -> None:
    mazes = tuple(MazeConfig(name=name, width=3, tasks=2, pits=1, horizon=5) for name in ("left out", "kept"))
    both, second = (
        run_lab(config(tmp_path, "gigpo", truth=TruthConfig(sizes=(2,), rollouts=200, mazes=worlds))).truth
        for worlds in (mazes, mazes[1:])
    )
    assert both[1:] == second
    assert both[0].error != both[1].error  # equal worlds with two names have different rollouts


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (float("nan"), float("nan"), "–"),
        (0.5, float("nan"), "0.50"),
        (0.5, 0.0625, "0.50±0.06"),
        (-0.001, 0.5, "0.00±0.50"),
        (9.994, 0.5, "9.99±0.50"),
        (9.996, 0.5, "10.0±0.5"),
        (0.5, 12.34, "0.5±12.3"),
        (99.96, 2.0, "100±2"),
        (1234.5, 3.0, "1234±3"),
    ],
)
def test_a_number_is_printed_with_three_digits_and_its_interval(value: float, half: float, text: str) -> None:
    assert with_interval(ConfidenceInterval(value=value, half=half)) == text


def test_the_mean_leaves_missing_values_out() -> None:
    assert (mean([1.0, None, 2.0]), mean([None])) == (1.5, None)
