"""What a process pays before it knows that it was told something wrong: no model library, no Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "vllm", "deepspeed", "wandb", "tensorboard", "openai", "matplotlib"}
# Runs the command and then tells, in a file, what was imported and whether Ray was up.
PROGRAM = """
import json, pathlib, sys
from trainer.commands.main import main
told = pathlib.Path(sys.argv.pop(1))
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
import ray
told.write_text(json.dumps([code, sorted(name for name in sys.modules if "." not in name), ray.is_initialized()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "--cfg", "job"), 0),
        (("train", "--help"), 0),
        (("train", "estimator=gigpo", "group_size=1"), 2),
        (("quickstart", "updates=0"), 2),
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
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "told.json"), *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    ended_with, modules, ray_is_up = json.loads((tmp_path / "told.json").read_text())
    assert (ended_with, ray_is_up) == (code, False)
    assert HEAVY & set(modules) == set()
    assert len(ended.stderr.splitlines()) == (1 if code else 0)
    assert list(folder.iterdir()) == []
