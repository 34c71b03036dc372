"""Learners with forked ranks, and a batch of dialogues."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.trainer.learner.reference import Learners, Starter
from trainer.data.tokens import TokenBatch


@pytest.fixture
def learners(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Learners]:
    with closing(Learners(monkeypatch, model_folder)) as learners:
        yield learners


@pytest.fixture
def start(learners: Learners) -> Starter:
    return learners.start


@pytest.fixture
def watched(learners: Learners) -> Starter:
    return learners.watched


@pytest.fixture
def batch(dialogue: Callable[..., TokenBatch]) -> TokenBatch:
    return dialogue(seed=3, trajectories=6)
