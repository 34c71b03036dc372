"""The whole lab on a recording made by hand and on small worlds: what is read, printed and written."""

import json
from dataclasses import asdict, dataclass
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
from trainer.lab.measure.recorded import recorded_credit
from trainer.lab.measure.truth import Measured
from trainer.lab.plan import plan_lab
from trainer.lab.report.tables import mean, measured
from trainer.lab.run import lab
from trainer.lab.worlds.maze import MazeConfig
from trainer.report.progress import Display

CONFIGS = Path(__file__).parents[3] / "configs"
SMALL = TruthConfig(sizes=(2, 4), rollouts=200, mazes=(MazeConfig(width=3, tasks=2, pits=1, horizon=5),))


def played(*, won: bool = True) -> RolloutGroup:
    """Two rollouts of a task that part at state 0: one wins in two steps, the other stays and fails."""
    first = completion("go", prompt=[1, 2], tokens=[5, 9])
    return group(
        (step("go", said=first), step("go", state="1", reward=10.0 * won, said=completion(prompt=[1, 2, 5, 9, 3]))),
        (step("stay", said=completion("stay", prompt=[1, 2], tokens=[6])), step("fly", valid=False)),
        won=[won],
    )


def vectors() -> np.ndarray:
    """Of both groups' rows: state 0 along one axis, state 1 along another."""
    return np.eye(2, dtype=np.float32)[[0, 1, 0, 0, 0, 1, 0, 0]]


def recorded(run: Path, *updates: int, **settings: Any) -> Path:
    for update in updates:
        write_groups(run / "rollouts" / f"update-{update:06d}.jsonl.zst", [played(), played(won=update > 1)])
        np.save(run / "rollouts" / f"update-{update:06d}.embeddings.npy", vectors())
    if settings:
        (run / "config.json").write_text(json.dumps(settings))
    return run


def config(output: Path, *estimators: Any, **options: Any) -> LabConfig:
    return LabConfig(output=str(output), estimators=estimators or ("grpo", "gigpo", "bipace"), **options)


def test_recorded_rollouts_get_the_credit_that_the_run_gave(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1, 2)
    found = list(recorded_credit(plan_lab(config(tmp_path, "gigpo", "grpo", run=str(run))), None))
    batch = step_batch(RowTable([played(), played(won=False)]), embedding=None)
    value = build("gigpo")(batch).value
    assert [one.update for one in found] == [1, 2]
    assert found[0].credit["gigpo"].shape.variance == pytest.approx(np.var(value))
    assert (found[0].groups, found[0].rollouts, found[0].rows, found[0].success) == (2, 4, 8, 0.25)
    # Both groups stand in state 0 three times and in state 1 once.
    assert (found[0].states.singleton_states, found[0].states.singleton_rows) == (0.5, 0.25)
    assert found[0].credit["grpo"].shape.within_rollouts == pytest.approx(0.0)
    assert found[0].credit["gigpo"].ms > 0.0
    assert list(found[0].pairs) == [("gigpo", "grpo")]


def test_clusters_of_recorded_hidden_states_are_found(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "bipace", run=str(recorded(tmp_path, 1))))
    (found,) = recorded_credit(plan, None)
    told = found.credit["bipace"].diagnostics
    assert (told["cluster_size_mean"], told["singleton_share"]) == (2.0, 0.5)
    assert (told["share_contrast"], told["share_singleton"]) == (0.75, 0.25)


def test_only_the_updates_asked_for_are_read(tmp_path: Path) -> None:
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
    made: dict[str, Any] = dict(plan.recorded)
    bipace = made["bipace"]
    assert (bipace.gamma, bipace.eps, bipace.layer, bipace.norm, bipace.omega) == (0.5, 0.3, -2, "mean", 2.0)
    assert (made["gigpo gamma=0.75"].gamma, made["gigpo"].gamma, made["gigpo"].omega) == (0.75, 0.95, 2.0)
    assert (made["crbc"].success_reward, made["bipace eps=0.01"].eps) == (4.0, 0.01)
    generated: dict[str, Any] = dict(plan.generated)  # no run stands behind the generated worlds
    assert (generated["bipace"].gamma, generated["bipace"].omega, generated["crbc"].success_reward) == (0.95, 2.0, 10.0)


def test_eps_auto_is_measured_on_the_first_update_and_kept(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "bipace", run=str(recorded(tmp_path, 1, 2)), eps="auto"))
    first, second = (found.credit["bipace"].diagnostics["eps"] for found in recorded_credit(plan, None))
    assert first == second


def test_a_recording_that_is_not_whole_is_named(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1)
    (run / "rollouts" / "update-000001.jsonl.zst").write_bytes(b"half")
    with pytest.raises(ConfigError, match=r"update-000001.jsonl.zst.*no whole recording"):
        list(recorded_credit(plan_lab(config(tmp_path, run=str(run))), None))


@pytest.mark.parametrize("updates", [(), (1, 1)], ids=str)
def test_updates_are_one_or_more_and_each_once(tmp_path: Path, updates: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"updates=\[.*\]: give one or more, each once, or null for all"):
        config(tmp_path, "grpo", run=str(tmp_path), updates=updates)


def test_a_recording_without_revisions_is_refused_to_an_estimator_that_needs_them(tmp_path: Path) -> None:
    plan = plan_lab(config(tmp_path, "grpo", "ibpo", run=str(recorded(tmp_path, 1))))
    with pytest.raises(
        ConfigError, match=r"update-000001.*: 2 of 2 groups .* without revisions, .*'ibpo'.* leave it out"
    ):
        list(recorded_credit(plan, None))


@dataclass(frozen=True, kw_only=True)
class Fussy:
    """Has something against every batch: when it measures itself, or when it is called."""

    early: bool = False

    def calibrated(self, batch: StepBatch) -> "Fussy":
        return self if not self.early else self._refused(batch)

    def __call__(self, batch: StepBatch) -> Advantages:
        return self._refused(batch)

    def _refused(self, batch: StepBatch) -> Any:
        raise ValueError(f"row 3 of {len(batch)} is not to be borne")


@pytest.mark.parametrize("early", [True, False])
def test_rows_that_an_estimator_refuses_are_told_with_their_file(tmp_path: Path, early: bool) -> None:
    entry = {"_target_": f"{__name__}.Fussy", "early": early}
    plan = plan_lab(config(tmp_path, entry, run=str(recorded(tmp_path, 1))))
    with pytest.raises(ConfigError, match=r"update-000001.jsonl.zst: estimator 'Fussy early=.*': row 3 of 8"):
        list(recorded_credit(plan, None))


def composed(*overrides: str) -> LabConfig:
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return typed(LabConfig, OmegaConf.to_container(compose("lab", list(overrides)), resolve=True))  # pyright: ignore


def test_every_compat_preset_is_an_estimator_of_the_lab(tmp_path: Path) -> None:
    presets = {
        f"compat/{path.stem}": OmegaConf.to_container(OmegaConf.load(path))
        for path in (CONFIGS / "estimator" / "compat").glob("*.yaml")
    }
    entries = f"estimators=[gigpo,{','.join(presets)},{{name:compat/verl_agent_gigpo,gamma:0.5}}]"
    found = composed(entries, f"output={tmp_path}", f"run={recorded(tmp_path, 1)}", "truth=null", "omega=2")
    assert found.presets == presets
    made: dict[str, Any] = dict(plan_lab(found).recorded)
    own = made["compat/verl_agent_gigpo gamma=0.5"]
    assert (own.gamma, own.omega, own.episode_stats, own.penalty, own.singleton) == (0.5, 2.0, "row", "row", "raw")
    assert (made["compat/verl_agent_gigpo"].gamma, made["compat/verl_agent_gigpo_similar"].similarity) == (0.95, 0.9)
    assert (made["gigpo"].omega, made["gigpo"].episode_stats) == (2.0, "trajectory")
    (credit,) = recorded_credit(plan_lab(found), None)
    batch = step_batch(RowTable([played(), played(won=False)]), embedding=None)
    public = build("gigpo", omega=2.0, episode_stats="row", penalty="row", singleton="raw")(batch).value
    assert credit.credit["compat/verl_agent_gigpo"].shape.variance == np.var(public)
    assert credit.pairs["gigpo", "compat/verl_agent_gigpo"].rank is not None


def test_a_presets_own_options_count_before_the_runs(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1, estimator={"name": "gigpo", "gamma": 0.5, "invalid_penalty": 0.25})
    presets = {"compat/mine": {"name": "gigpo", "gamma": 0.75}}
    plan = plan_lab(config(tmp_path, "gigpo", "compat/mine", run=str(run), presets=presets))
    made: dict[str, Any] = dict(plan.recorded)
    assert [(one.gamma, one.invalid_penalty) for one in made.values()] == [(0.5, 0.25), (0.75, 0.25)]


def test_a_preset_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    presets = {"compat/mine": {"name": "gigpo"}}
    with pytest.raises(ConfigError, match=r"'compat/mien', which is no preset: did you mean 'compat/mine'\?"):
        plan_lab(config(tmp_path, "compat/mien", truth=SMALL, presets=presets))


def test_hidden_states_of_another_recording_are_refused(tmp_path: Path) -> None:
    run = recorded(tmp_path, 1)
    np.save(run / "rollouts" / "update-000001.embeddings.npy", vectors()[:5])
    with pytest.raises(ConfigError, match="embedding has 5 rows where 8 are due"):
        list(recorded_credit(plan_lab(config(tmp_path, run=str(run))), None))


def test_a_layer_is_read_anew_as_the_model_computes_it(
    tmp_path: Path, model_folder: Path, tied_qwen: PreTrainedModel
) -> None:
    torch = pytest.importorskip("torch")
    batch = token_batch(RowTable([played()]))
    for layer in (-1, -2, 0):
        found = hidden_states(model_folder, batch, layer)
        for row in range(batch.num_rows):
            ids = torch.tensor([batch.prompt(row).tolist()])
            states = tied_qwen(ids, output_hidden_states=True).hidden_states[layer][0, -1]
            assert found[row] == pytest.approx(states.detach().numpy(), abs=1e-5)


def test_a_layer_replaces_the_recorded_hidden_states(tmp_path: Path, model_folder: Path) -> None:
    options = {"run": str(recorded(tmp_path, 1)), "layer": -2, "weights": str(model_folder)}
    (found,) = recorded_credit(plan_lab(config(tmp_path, {"name": "bipace", "eps": 0.0}, **options)), -2)
    # Rows 0, 2, 4 and 6 have one prompt; the recorded vectors would make clusters of 3 and 1.
    assert found.credit["bipace eps=0.0"].diagnostics["cluster_size_mean"] != 2.0
    with pytest.raises(ConfigError, match="layer 9 does not exist"):
        list(recorded_credit(plan_lab(config(tmp_path, "bipace", **{**options, "layer": 9})), 9))


def test_a_lab_prints_tables_and_leaves_a_page_and_every_number(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=100)
    run, output = recorded(tmp_path / "run", 1, 2), tmp_path / "estimators=[grpo]"
    recordings, truth = lab(plan_lab(config(output, run=str(run), truth=SMALL)), Display(console))
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    for title in (
        "Credit on recorded rollouts",
        "Rank correlation",
        "Sign agreement",
        "Clusters",
        "Branches",
        "Against the true advantage: maze",
    ):
        assert title in " ".join(printed.split())  # a narrow table's title runs over two lines
    assert "estimators=[grpo]/lab.html" in printed.replace("\n", "")
    assert {path.name for path in output.iterdir()} == {"lab.json", "lab.md", "lab.html", "truth.svg", "truth.png"}
    numbers = json.loads((output / "lab.json").read_text())
    assert numbers["config"]["run"] == str(run)
    assert [one["update"] for one in numbers["recorded"]] == [1, 2]
    assert numbers["recorded"][0]["pairs"][0]["rank"] == recordings[0].pairs["grpo", "gigpo"].rank
    assert [(one["estimator"], one["size"]) for one in numbers["truth"]] == [
        (name, size) for size in (2, 4) for name in ("grpo", "gigpo", "bipace")
    ]
    assert numbers["truth"][0]["error"] == asdict(truth[0].error)
    page = (output / "lab.html").read_text()
    assert page.count("<svg") == 1 + 4  # the figure; parts of variance, no credit, rank correlation, singletons
    tables = (output / "lab.md").read_text()
    for one in truth:  # of every group size
        assert all(measured(one.error) in told for told in (printed, page, tables))
    assert "http" not in page.replace("http://www.w3.org", "")


def test_worlds_alone_need_no_run_and_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    one, same, other = (
        lab(plan_lab(config(tmp_path / name, "gigpo", truth=SMALL, seed=seed)), Display(Console(file=StringIO())))
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert one == same
    assert one[1][0].error != other[1][0].error
    assert one[0] == []


def test_a_world_left_out_changes_no_other(tmp_path: Path) -> None:
    mazes = tuple(MazeConfig(name=name, width=3, tasks=2, pits=1, horizon=5) for name in ("left out", "kept"))
    both, one = (
        lab(
            plan_lab(config(tmp_path, "gigpo", truth=TruthConfig(sizes=(2,), rollouts=200, mazes=worlds))),
            Display(Console(file=StringIO())),
        )
        for worlds in (mazes, mazes[1:])
    )
    assert both[1][1:] == one[1]
    assert both[1][0].error != both[1][1].error  # worlds of two names are drawn apart


def test_what_could_not_be_told_is_no_number() -> None:
    assert measured(Measured(value=float("nan"), half=float("nan"))) == "–"
    assert measured(Measured(value=0.5, half=float("nan"))) == "0.50"
    assert measured(Measured(value=0.5, half=0.0625)) == "0.50±0.06"
    assert (mean([1.0, None, 2.0]), mean([None])) == (1.5, None)
