"""`stepcredit panel` prints which tasks numbers are of, and says how two panels differ."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from envs.panel import Panel
from tests.trainer.commands.conftest import Stepcredit, refused
from trainer.setup.panels import as_json

ROOT = Path(__file__).parents[3]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trainer.commands.main import main; main()", "panel", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "80"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_panel_is_compared_with_the_one_that_was_written_before(tmp_path: Path) -> None:
    questions = ("arithmetic", "env.options.train=2", "env.options.validation=1", "env.options.forms=[story]")
    written = run(tmp_path, *questions, "--json")
    assert (written.returncode, written.stderr) == (0, "")
    assert [panel["split"] for panel in json.loads(written.stdout)["panels"]] == ["train", "validation"]
    assert len(written.stdout.splitlines()) == 1
    (tmp_path / "before.json").write_text(written.stdout)
    same = run(tmp_path, *questions, "compare=before.json")
    assert (same.returncode, same.stdout) == (0, "train: equal\nvalidation: equal\n")
    more = run(tmp_path, *questions, "env.options.validation=2", "compare=before.json", "split=validation")
    assert (more.returncode, more.stderr) == (1, "")
    assert more.stdout.splitlines()[0].startswith("validation: 4 added")
    assert sum(line.startswith("  added   validation-story-") for line in more.stdout.splitlines()) == 4


@pytest.mark.parametrize("world", ["alfworld", "webshop"])
def test_what_is_printed_fits_80_columns_and_counts_the_tasks_of_each_kind(tmp_path: Path, world: str) -> None:
    split = "valid_seen" if world == "alfworld" else "validation"
    done = run(tmp_path, world, f"split={split}", "tasks=12")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    fact = "action_syntax move" if world == "alfworld" else "products 400"
    assert f"{world} {split}, digest" in lines[0]
    assert f"  {fact}" in lines
    assert any("all" in line and " 12 " in line for line in lines)
    assert any("and 2 more: --json lists all" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("arithmetic", "compare=none.json"), ("none.json cannot be read as panels", "stepcredit panel ENV --json")),
        (("arithmetic", "compare=broken.json"), ("broken.json cannot be read as panels",)),
        (("arithmetic", "compare=shop.json"), ("shop.json has panels of 'shop', not of 'arithmetic'",)),
        (("textcraft", "compare=craft.json", "split=depth2"), ("split='depth2' is not in compare=craft.json", "test")),
        (("arithmetic", "tasks=0"), ("tasks=0 is out of range",)),
        (("alfwrld",), ("there is no env=alfwrld", "did you mean 'alfworld'?")),
    ],
)
def test_what_cannot_be_listed_or_compared_is_refused(
    stepcredit: Stepcredit, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    Path("broken.json").write_text('{"panels": [{}]}')
    for file, world in (("shop.json", "shop"), ("craft.json", "textcraft")):
        Path(file).write_text(as_json([Panel(world=world, split="test", tasks=())]))
    line = refused(stepcredit, *("panel", *words))
    assert all(part in line for part in parts), line
