"""The commands of `stepcredit`, one record each. Nothing that a command needs is imported here."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / "configs"  # beside the package, in a checkout and in a wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where a command writes, and what it leaves there."""

    what: str
    """What a place with results holds, such as "a run"."""

    default: str
    """The place, where nobody chooses one; {now} is the second at which the command starts, {world} its world,
    {name} its name."""

    leaves: tuple[str, ...] = ()
    """The names by which results in a folder are known; empty for a command that writes one file."""

    numbered: bool = True
    """Whether a default place that is taken is replaced by the next free one; False refuses it."""

    resumable: bool = False
    """Whether the command can go on with what is there: resume=auto."""

    go_on: str | None = None
    """The word that goes on with what is there, where it is another; {folder} is the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. Classes and functions are named as "module:name" and imported when the command is called."""

    yaml: str
    """The file of configs/ that the command composes, without its ending."""

    config: str
    """The dataclass that the composed YAML becomes."""

    plan: str
    """plan(config) checks the config and returns the plan; it imports neither torch nor vLLM."""

    run: str
    """run(plan, display) does the work."""

    help: str
    """One line for `stepcredit --help`."""

    base: str | None = None
    """base(words) makes known to Hydra what the YAML composes on, where that depends on the words of the command."""

    positional: str | None = None
    """The setting that a first word without "=" stands for."""

    positionals: str | None = None
    """The setting that all first words without "=" stand for together, as a list."""

    asks: str | None = None
    """What is said where that setting is not given; None where it has a default, or its config says it."""

    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Words that stand for a setting, such as "--json" for "json=true"."""

    output: Output | None = None
    """What the setting `output` names; None for a command without it."""


A_RUN = Output(
    what="a run",
    default="outputs/train/{now}",
    leaves=("config.json", "metrics.jsonl", "checkpoints", "rollouts"),
    resumable=True,
)

COMMANDS: Mapping[str, Command] = {
    "train": Command(
        yaml="train",
        config="trainer.config.commands:TrainConfig",
        plan="trainer.setup.preflight:plan_training",
        run="trainer.run:train",
        help="train a policy by reinforcement learning",
        output=A_RUN,
    ),
    "plan": Command(
        yaml="plan",
        config="trainer.config.commands:PlanConfig",
        plan="trainer.commands.plan:plan_plan",
        run="trainer.commands.plan:show_plan",
        help="say what a run would take of its GPUs",
        flags={"--json": "json=true"},
    ),
    "profile": Command(
        yaml="profile",
        config="trainer.config.commands:ProfileConfig",
        plan="trainer.setup.preflight:plan_training",
        run="trainer.commands.profile:profile",
        help="trace one update of a training run",
        output=Output(what="a profile", default="outputs/profile/{now}", leaves=("trace.json.gz",)),
    ),
    "doctor": Command(
        yaml="doctor",
        config="trainer.config.showing:DoctorConfig",
        plan="trainer.commands.examination:plan_doctor",
        run="trainer.commands.doctor:show_doctor",
        help="say what this machine is and what would run on it",
        flags={"--json": "json=true", "--gpu": "gpu=true"},
    ),
    "panel": Command(
        yaml="panel",
        config="trainer.config.showing:PanelConfig",
        plan="trainer.commands.panel:plan_panel",
        run="trainer.commands.panel:show_panels",
        help="say which tasks numbers are of: stepcredit panel ENV",
        positional="env",
        flags={"--json": "json=true"},
    ),
    "evaluate": Command(
        yaml="evaluate",
        config="trainer.config.commands:EvaluateConfig",
        plan="trainer.setup.preflight:plan_evaluation",
        run="trainer.commands.evaluate:evaluate",
        help="measure a model or an endpoint on held-out tasks",
        output=Output(
            what="an evaluation",
            default="outputs/evaluate/{now}",
            leaves=("evaluation.json", "config.json", "rollouts.jsonl", "rollouts.jsonl.zst"),
            resumable=True,
        ),
    ),
    "compare": Command(
        yaml="compare",
        config="trainer.config.compare:CompareConfig",
        plan="trainer.commands.compare:plan_compare",
        run="trainer.commands.compare:show_comparison",
        help="put evaluations in one table: stepcredit compare DIR DIR",
        positionals="folders",
        asks="no evaluations are named: stepcredit compare DIR DIR",
        flags={"--markdown": "format=markdown", "--csv": "format=csv", "--json": "format=json"},
    ),
    "fork": Command(
        yaml="fork",
        config="trainer.config.earlier:ForkConfig",
        plan="trainer.setup.past_run:plan_fork",
        run="trainer.run:train",
        help="a new run from an old checkpoint: stepcredit fork RUN_DIR update=N",
        base="trainer.commands.forked:register_run",
        positional="run",
        output=replace(A_RUN, default="outputs/fork/{now}"),
    ),
    "replay": Command(
        yaml="replay",
        config="trainer.config.earlier:ReplayConfig",
        plan="trainer.setup.past_run:plan_replay",
        run="trainer.commands.replay:replay",
        help="run a failed update again: stepcredit replay BATCH",
        positional="batch",
        asks="no batch is named: stepcredit replay BATCH, the file that the failed run named",
    ),
    "demos": Command(
        yaml="demos",
        config="trainer.config.commands:DemosConfig",
        plan="trainer.setup.preflight:plan_demos",
        run="trainer.commands.warmstart:write_demos",
        help="write expert demonstrations",
        output=Output(what="demonstrations", default="outputs/demos/{world}.jsonl"),
    ),
    "warmstart": Command(
        yaml="warmstart",
        config="trainer.config.commands:WarmstartConfig",
        plan="trainer.setup.preflight:plan_warmstart",
        run="trainer.commands.warmstart:warmstart",
        help="fine-tune a policy on demonstrations",
        output=Output(what="a model", default="outputs/warmstart/{now}", leaves=("model",)),
    ),
    "lab learn": Command(  # before "lab", whose first word it shares
        yaml="lab_learn",
        config="trainer.lab.learn.config:LearnConfig",
        plan="trainer.lab.learn.run:plan_learn",
        run="trainer.lab.learn.run:learn",
        help="which credit learns fastest, in small worlds",
        output=Output(
            what="a set of learning curves",
            default="outputs/learn/{now}",
            leaves=("learn.json", "learn.html", "learn.md"),
            resumable=True,
        ),
    ),
    "lab": Command(
        yaml="lab",
        config="trainer.lab.config:LabConfig",
        plan="trainer.lab.plan:plan_lab",
        run="trainer.lab.run:lab",
        help="compare estimators: stepcredit lab [RUN_DIR]",
        positional="run",
        output=Output(what="a lab", default="outputs/lab/{now}", leaves=("lab.json", "lab.html", "lab.md")),
    ),
    "truth": Command(
        yaml="truth",
        config="trainer.inspect.truth_plan:MonteCarloConfig",
        plan="trainer.inspect.truth_plan:plan_truth",
        run="trainer.inspect.truth:measure_truth",
        help="play on from each recorded turn: stepcredit truth RUN_DIR",
        positional="run",
        asks="no run is named: stepcredit truth RUN_DIR",
    ),
    "inspect": Command(
        yaml="inspect",
        config="trainer.inspect.config:InspectConfig",
        plan="trainer.inspect.plan:plan_inspect",
        run="trainer.inspect.run:inspect",
        help="a page of every step's credit: stepcredit inspect RUN_DIR",
        positional="run",
        flags={"--serve": "serve=true"},
        output=Output(what="a page", default="outputs/inspect/{now}.html"),
    ),
    "table": Command(
        yaml="table",
        config="trainer.tables.config:TableConfig",
        plan="trainer.commands.paper_table:plan_table",
        run="trainer.commands.paper_table:run_table",
        help="a table of the papers: stepcredit table NAME",
        positional="table",
        asks="no table is named: stepcredit table NAME, such as laptop; stepcredit table --help lists them",
        flags={"--dry-run": "dry_run=true"},
        output=Output(
            what="a table",
            default="outputs/table/{name}",
            leaves=("table.json", "cells", "report.json"),
            numbered=False,
            resumable=True,
        ),
    ),
    "sweep-report": Command(
        yaml="sweep_report",
        config="trainer.commands.sweep_report:SweepReportConfig",
        plan="trainer.commands.sweep_report:plan_sweep_report",
        run="trainer.commands.sweep_report:show_sweep_report",
        help="rank a sweep's settings: stepcredit sweep-report DIR",
        positional="sweep",
        asks="no sweep is named: stepcredit sweep-report DIR, such as outputs/sweeps/DATE_TIME",
    ),
    "quickstart": Command(
        yaml="quickstart",
        config="trainer.config.commands:QuickstartConfig",
        plan="trainer.setup.preflight:plan_quickstart",
        run="trainer.commands.quickstart:quickstart",
        help="warm start, training and report in minutes",
        output=Output(
            what="a quickstart",
            default="outputs/quickstart",
            leaves=("warmstart", "train", "report.html"),
            numbered=False,
        ),
    ),
    "data alfworld": Command(
        yaml="data_alfworld",
        config="trainer.commands.make_data:ReleaseConfig",
        plan="trainer.commands.make_data:plan_data",
        run="trainer.commands.make_data:fetch_alfworld",
        help="fetch and check ALFWorld's official games",
    ),
    "data alfworld-generate": Command(
        yaml="data_alfworld_generate",
        config="trainer.commands.make_data:HouseholdsConfig",
        plan="trainer.commands.make_data:plan_data",
        run="trainer.commands.make_data:generate_households",
        help="write generated households, official format",
    ),
    "data webshop-generate": Command(
        yaml="data_webshop_generate",
        config="trainer.commands.make_data:ShopConfig",
        plan="trainer.commands.make_data:plan_data",
        run="trainer.commands.make_data:generate_shop",
        help="write a generated shop, official format",
    ),
}


def name_of(command: Command) -> str:
    """The words by which a command of the table is called."""
    return next(name for name, entry in COMMANDS.items() if entry is command)


def named(path: str) -> Callable[..., Any]:
    """The class or function of "module:name"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
