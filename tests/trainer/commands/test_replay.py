"""A failed update is run again and its rows that are not finite are told; what cannot be is refused at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.trainer.commands.conftest import Stepcredit, bad_batch, past_run, refused
from trainer import checksums
from trainer.commands import replay
from trainer.learner.messages import BrokenRow, ReplayedStep
from trainer.report.progress import Display

pytestmark = pytest.mark.usefixtures("no_ray")
BATCH, FOLDER = "run/bad-batch-000026.npz", Path("run/checkpoints/update-000025")


def test_an_update_is_run_again_with_the_settings_and_the_checkpoint_of_its_run(
    stepcredit: Stepcredit, tmp_path: Path
) -> None:
    config = past_run(stepcredit, tmp_path / "run", "estimator=gigpo", "env.options.max_steps=7", "seed=3")
    assert stepcredit("replay", BATCH).code == 0
    (plan,) = stepcredit.plans
    assert plan.run == config
    assert plan.start == tmp_path / FOLDER
    assert plan.batch.update == 26


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def spoil_config(path: Path) -> None:
    (path.parent / "config.json").write_text('{"updates": 3}')


def cut_config(path: Path) -> None:
    (path.parent / "config.json").write_text('{"updates": 3')


def drop_config(path: Path) -> None:
    (path.parent / "config.json").unlink()


def drop_checkpoint(path: Path) -> None:
    (FOLDER / "state.json").unlink()


def damage_checkpoint(path: Path) -> None:
    checksums.join(FOLDER)
    (FOLDER / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (Path.unlink, "bad-batch-000026.npz is no file: give the bad-batch-NUMBER.npz"),
        (cut, "is damaged, or no batch of a run"),
        (flip, "is damaged, or no batch of a run"),
        (lambda path: path.write_text("{}"), "is damaged, or no batch of a run"),
        (lambda path: np.savez(path, update=3), "is damaged, or no batch of a run"),
        (drop_config, "run is no folder of a run: it has no config.json"),
        (spoil_config, "config.json is of another version"),
        (cut_config, "config.json is broken"),
        (
            drop_checkpoint,
            "update-000025 is gone, and bad-batch-000026.npz was learned from after it: raise checkpoint",
        ),
        (damage_checkpoint, "update-000025 is damaged (state.json has 2 of"),
    ],
)
def test_a_batch_that_cannot_be_run_again_is_refused_with_the_reason(
    stepcredit: Stepcredit, tmp_path: Path, spoil: Callable[[Path], object], part: str
) -> None:
    past_run(stepcredit, tmp_path / "run")
    spoil(Path(BATCH))
    assert part in refused(stepcredit, "replay", BATCH)


def test_a_replay_without_a_batch_is_refused(stepcredit: Stepcredit) -> None:
    assert "stepcredit replay BATCH" in refused(stepcredit, "replay")


class Finder:
    """A learner whose second step is not finite."""

    def __init__(self, broken: tuple[BrokenRow, ...]) -> None:
        self.broken = broken

    def replay(self, *_: object, seed: int) -> Iterator[ReplayedStep]:
        yield ReplayedStep(rows=(0,), loss=0.5, grad_norm=2.0, skipped=False, broken=())
        if self.broken:
            yield ReplayedStep(rows=(1,), loss=np.inf, grad_norm=np.nan, skipped=True, broken=self.broken)


def told(stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, learner: Finder) -> list[str]:
    """What the replay of update 26, then one of update 30, prints."""

    @contextmanager
    def start(*_: object) -> Iterator[Finder]:
        yield learner

    monkeypatch.setattr(replay, "_learner", start)
    bad_batch(30, "update-000025").write(Path("run"))
    printed = StringIO()
    for batch in (BATCH, "run/bad-batch-000030.npz"):
        assert stepcredit("replay", batch).code == 0
        replay.replay(stepcredit.plans[-1], Display(Console(file=printed, soft_wrap=True)))
    return printed.getvalue().splitlines()


def test_a_replay_tells_each_step_and_the_first_row_that_is_not_finite(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run")
    row = BrokenRow(row=1, loss=np.inf, log_ratio=8.5, parameter="model.norm.weight")
    lines = told(stepcredit, monkeypatch, Finder((row,)))
    words = (
        "row 1 (trajectory 0, turn 1): loss inf, advantage 0, largest |log ratio| 8.5, first in the gradient of "
        "model.norm.weight"
    )
    assert lines[:5] == [
        "· update 26 again, from update-000025",
        "step 1  loss 0.5  gradient norm 2  rows 1",
        "step 2  loss inf  gradient norm nan  rows 1; skipped, 1 of them not finite alone",
        f"  {words}",
        f"first not finite: {words}",
    ]
    assert lines[5] == "· update 30 again, from update-000025, without the 4 updates between"


def test_a_replay_that_stays_finite_says_what_that_means(
    stepcredit: Stepcredit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    past_run(stepcredit, tmp_path / "run")
    lines = told(stepcredit, monkeypatch, Finder(()))
    assert lines[2] == "every step is finite: the failure did not come again"
    assert lines[5] == (
        "every step is finite with these weights, so those of the 4 updates between were the cause: take stepcredit "
        f"fork {tmp_path}/run update=25 learner.learning_rate=..."
    )
