"""What a command line reaches: the command with its config, its help, a user's groups, sweeps, completion."""

import logging
from pathlib import Path

import pytest
import yaml

from tests.trainer.commands.conftest import SOUND, Stepcredit, evaluation_folder, past_run, refused, sweep_folder
from tests.trainer.commands.test_lab_command import recorded_run
from trainer.commands.table import COMMANDS, CONFIGS, named

ESTIMATORS = {preset.stem for preset in (Path(__file__).parents[3] / "configs" / "estimator").glob("*.yaml")}
pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_sound_command_line_reaches_its_function_with_its_config(
    stepcredit: Stepcredit, tmp_path: Path, command: str
) -> None:
    past_run(stepcredit, tmp_path / "run")
    for name in ("one", "other"):
        evaluation_folder(tmp_path / name, 1, 0)
    special = {
        "compare": ("kinds", True),
        "data": ("folder", "games"),
        "doctor": ("report", "figures.jsonl"),
        "inspect": ("output", "page.html"),
        "truth": ("continuations", 8),
        "panel": ("tasks", 7),
        "table": ("dry_run", True),
        "replay": ("batch", "run/bad-batch-000026.npz"),
        "sweep-report": ("direction", "minimize"),
    }
    setting, value = special.get(command.split()[0], ("seed", 7))
    first = {
        "fork": ("run", "update=25"),
        "compare": ("one", "other"),
        "inspect": (str(recorded_run(tmp_path / "kept")),),
        "truth": (str(recorded_run(tmp_path / "run")), "weights=tiny"),
        "table": ("laptop",),
        "sweep-report": (str(sweep_folder(tmp_path / "sweep")),),
    }
    words = first.get(command, ())
    ended = stepcredit(*command.split(), *words, f"{setting}={value}")
    assert (ended.code, ended.err) == (0, "")
    ((run, config),) = stepcredit.runs
    assert (run, type(config)) == SOUND[command]
    assert getattr(config, setting) == value


def test_a_fork_may_have_an_estimator_of_its_own_and_the_word_that_takes_out_its_runs_may_come_first(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run")
    words = ("~estimator", "+estimator._target_=estimators.gigpo.Gigpo", "run=run", "update=25", "seed=7")
    assert stepcredit("fork", *words).err == ""
    config = stepcredit.runs[0][1]
    assert (config.seed, dict(config.estimator)) == (7, {"name": "Gigpo", "_target_": "estimators.gigpo.Gigpo"})


@pytest.mark.parametrize("world", ["alfworld", "arithmetic", "code", "textcraft", "webshop"])
def test_every_world_gives_demonstrations(stepcredit: Stepcredit, world: str) -> None:
    assert stepcredit("demos", f"env={world}").code == 0
    assert stepcredit.runs[0][1].env.world == world


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_what_the_table_names_exists(command: str) -> None:
    entry = COMMANDS[command]
    assert [name for name in (entry.config, entry.plan, entry.run) if not callable(named(name))] == []
    assert (CONFIGS / f"{entry.yaml}.yaml").is_file()


def test_notes_of_libraries_are_not_printed(stepcredit: Stepcredit) -> None:
    assert stepcredit("panel", "textcraft").code == 0
    loud = [name for name in ("matplotlib.font_manager", "hydra") if logging.getLogger(name).isEnabledFor(logging.INFO)]
    assert loud == ["hydra"]


def users_estimator(configs: Path, name: str = "mine") -> None:
    (configs / "estimator").mkdir(parents=True)
    (configs / "estimator" / f"{name}.yaml").write_text("name: gigpo\ngamma: 0.5\n")


def test_a_users_groups_are_found_in_the_working_folder(stepcredit: Stepcredit, tmp_path: Path) -> None:
    users_estimator(tmp_path / "configs")
    (tmp_path / "configs" / "experiment").mkdir()
    (tmp_path / "configs" / "experiment" / "x.yaml").write_text("# @package _global_\nupdates: 3\n")
    assert stepcredit("train", "estimator=mine", "experiment=x").code == 0
    ((_, config),) = stepcredit.runs
    assert (dict(config.estimator), config.updates) == ({"name": "gigpo", "gamma": 0.5}, 3)
    assert "mine" in stepcredit("train", "--help").out
    assert "did you mean 'mine'?" in stepcredit("train", "estimator=mien").line


def test_the_experiment_that_was_chosen_is_the_one_that_the_logs_name(stepcredit: Stepcredit) -> None:
    for words in ((), ("experiment=tiny",), ("experiment=tiny", "log.experiment=mine")):
        assert stepcredit("train", *words).code == 0
    assert [config.log.experiment for _, config in stepcredit.runs] == [None, "tiny", "mine"]


def test_a_users_groups_are_found_in_the_folder_of_config_dir(stepcredit: Stepcredit, tmp_path: Path) -> None:
    users_estimator(tmp_path / "elsewhere")
    assert stepcredit("train", "--config-dir", "elsewhere", "estimator=mine").code == 0
    ((_, config),) = stepcredit.runs
    assert config.estimator["gamma"] == 0.5
    assert stepcredit("train", "estimator=mine").code == 2
    assert "nowhere' not found" in stepcredit("train", "--config-dir", "nowhere").line


def test_a_choice_in_a_folder_of_its_group_is_taken(stepcredit: Stepcredit) -> None:
    assert stepcredit("train", "estimator=compat/verl_agent_grpo").code == 0


@pytest.mark.parametrize("words", [(), ("--config-dir", "configs")])
def test_a_users_file_that_ours_would_hide_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...]
) -> None:
    users_estimator(tmp_path / "configs", "gigpo")
    assert "estimator/gigpo.yaml has the name of one of stepcredit's own" in refused(stepcredit, "train", *words)


def test_help_names_the_commands(stepcredit: Stepcredit) -> None:
    ended = stepcredit("--help")
    assert ended.code == 0
    assert [command for command in COMMANDS if f"  {command} " not in ended.out] == []
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_opens_with_what_the_command_does(stepcredit: Stepcredit, command: str) -> None:
    ended = stepcredit(*command.split(), "--help")
    assert ended.code == 0
    about, _, called = COMMANDS[command].help.partition(": stepcredit ")
    first, _, usage, *_ = ended.out.splitlines()
    assert first == f"stepcredit {command}: {about}"
    assert usage.startswith(f"usage: stepcredit {called or command} [")


def test_help_of_a_command_names_its_groups(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--help")
    assert ended.code == 0
    assert "estimator: beacon, bipace, crbc" in ended.out
    assert "cluster: cpu, gpu, gpu1, gpu2, gpu4, gpu8" in ended.out
    assert stepcredit.runs == []


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("lab", ["suite"]),
        ("compare", []),
        ("warmstart", ["cluster", "env", "experiment", "learner", "model", "protocol", "world_model"]),
    ],
)
def test_help_names_no_group_that_the_command_does_not_take(
    stepcredit: Stepcredit, command: str, groups: list[str]
) -> None:
    before, _, _ = stepcredit(command, "--help").out.partition("Settings, as")
    _, _, lines = before.partition("Groups and their choices:\n")
    assert [line.partition(":")[0] for line in lines.splitlines() if line and line[0] != " "] == groups


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("table", "usage: stepcredit table NAME [--dry-run] [GROUP=CHOICE ...] [SETTING=VALUE ...]"),
        ("compare", "usage: stepcredit compare DIR DIR [--markdown] [--csv] [--json]\n  [SETTING=VALUE ...]"),
        ("lab learn", "usage: stepcredit lab learn [SETTING=VALUE ...]"),
    ],
)
def test_help_says_how_the_command_is_called_in_80_columns(stepcredit: Stepcredit, command: str, usage: str) -> None:
    shown = stepcredit(*command.split(), "--help").out
    assert f"\n\n{usage}\n\n" in shown
    assert max(map(len, shown.partition("Settings, as")[0].splitlines())) <= 80


def test_help_names_no_folder_of_parts(stepcredit: Stepcredit) -> None:
    assert "table/parts" not in stepcredit("table", "--help").out


def test_help_names_the_folders_of_a_group(stepcredit: Stepcredit) -> None:
    assert "\nestimator/compat: verl_agent_gigpo, " in stepcredit("train", "--help").out


def test_the_composed_config_can_be_looked_at(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--cfg", "job", "estimator=gigpo", "updates=3")
    shown = yaml.safe_load(ended.out)
    assert (shown["updates"], shown["estimator"]["name"], shown["model"]["source"]) == (3, "gigpo", "tiny")
    assert stepcredit.runs == []


def test_a_sweep_runs_once_for_each_combination_in_a_folder_of_its_own(stepcredit: Stepcredit) -> None:
    assert stepcredit("train", "--multirun", "seed=1,2", "estimator=gigpo,grpo").code == 0
    configs = [config for _, config in stepcredit.runs]
    assert [(config.seed, config.estimator["name"]) for config in configs] == [
        (1, "gigpo"),
        (1, "grpo"),
        (2, "gigpo"),
        (2, "grpo"),
    ]
    assert len({config.output for config in configs}) == 4


@pytest.mark.parametrize(
    "words",
    [
        ("train", "updates=3", "--multirun", "seed=1,2"),
        ("train", "--multirun", "updates=3", "--config-dir", "mine", "seed=1,2"),
        ("train", "seed=1,2", "--config-dir=mine", "updates=3", "-m"),
    ],
)
def test_options_may_stand_between_the_settings(stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "mine").mkdir()
    assert stepcredit(*words).code == 0
    assert [(config.updates, config.seed) for _, config in stepcredit.runs] == [(3, 1), (3, 2)]


@pytest.mark.parametrize("words", [("--config-dir", "mine", "laptop"), ("--config-dir=mine", "laptop"), ("laptop",)])
def test_a_tables_name_may_stand_behind_options(stepcredit: Stepcredit, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "mine").mkdir()
    assert stepcredit("table", *words, "rows=[grpo]", "seeds=[0]", "--dry-run").code == 0
    assert stepcredit.plans.pop().config.name == "laptop"


def test_completion_is_installed_for_the_command(stepcredit: Stepcredit) -> None:
    ended = stepcredit("train", "--shell-completion", "install=bash")
    assert ended.code == 0
    assert "hydra_bash_completion()" in ended.out
    assert ended.out.splitlines()[-1].endswith("complete -o nospace -o default -F hydra_bash_completion stepcredit")


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("stepcredit tr", {command.split()[0] for command in COMMANDS}),
        ("stepcredit data alf", {"alfworld", "alfworld-generate", "webshop-generate"}),
        ("stepcredit data alfworld-generate fol", {"folder="}),
        ("stepcredit train estimator=", {f"estimator={name}" for name in ESTIMATORS}),
        ("stepcredit evaluate cluster=gpu", {f"cluster=gpu{number}" for number in ("", 1, 2, 4, 8)}),
    ],
)
def test_a_shell_can_complete_commands_and_their_groups(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, line: str, choices: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert set(stepcredit("-sc", "query=bash").out.split()) == choices
