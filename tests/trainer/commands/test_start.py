"""What a command imports before it refuses its words: no model library; and it does not start Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "vllm", "deepspeed", "wandb", "tensorboard", "openai", "matplotlib"}
# Runs the command, then writes its exit code, the imported modules and whether Ray runs to a file.
PROGRAM = """
import json, pathlib, sys
from trainer.commands.main import main
seen = pathlib.Path(sys.argv.pop(1))
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
import ray
seen.write_text(json.dumps([code, sorted(name for name in sys.modules if "." not in name), ray.is_initialized()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "--cfg", "job"), 0),
        (("train", "--help"), 0),
        (("train", "estimator=gigpo", "group_size=1"), 2),
        (("quickstart", "updates=0"), 2),
        (("train", "learner.lerning_rate=1"), 2),
        (("lab", "nowhere"), 2),
        (("warmstart", "demos=nothing.jsonl"), 2),
        (("demos", "env.options.max_steps=0"), 2),
        (("data", "webshop-generate", "size=1"), 2),
        (("evaluate", "model.source=./nothing"), 2),
    ],
)
def test_a_command_that_trains_nothing_imports_no_model_library(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "seen.json"), *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    ended_with, modules, ray_is_up = json.loads((tmp_path / "seen.json").read_text())
    assert (ended_with, ray_is_up) == (code, False)
    assert HEAVY & set(modules) == set()
    assert len(ended.stderr.splitlines()) == (1 if code else 0)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_word_that_is_no_command_waits_for_no_library_at_all(tmp_path: Path) -> None:
    program = PROGRAM.replace("import ray\n", "").replace("ray.is_initialized()", "False")
    command = [sys.executable, "-c", program, str(tmp_path / "seen.json"), "trian"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    code, modules, _ = json.loads((tmp_path / "seen.json").read_text())
    assert code == 2
    assert {*HEAVY, "hydra", "ray", "numpy"} & set(modules) == set()
