"""Questions of reasoning-gym by task id, made and scored by its child process."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from envs.base import EnvError, hint
from envs.held_out import SPLITS, is_held_out
from envs.helper import Helper, HelperDied

CPU_SECONDS = 5.0  # for the score of one answer
SIZE = 20_000
"""Of every dataset: a constant, because some draw their questions by it. None refuses so many."""
_GENERATOR = Path(__file__).with_name("generator.py")
_MISSING = "reasoning-gym could not be started: install it with pip install reasoning-gym==0.1.25"
_MAX_BARREN = 500  # questions in a row that bring nothing new before a dataset counts as exhausted


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Which questions to make. Raises EnvError for values out of range."""

    datasets: str
    """Names of datasets with their settings, as JSON: one value for one spec."""

    seed: int
    """Another seed gives other questions."""

    train: int
    """Training questions of each dataset, at most."""

    validation: int
    """Validation questions of each dataset, at most."""

    def __post_init__(self) -> None:
        if not json.loads(self.datasets):
            raise EnvError("reasoning_gym cannot run with datasets={}; give one or more, such as {chain_sum: {}}")
        for name in ("train", "validation"):
            if (value := getattr(self, name)) < 1:
                raise EnvError(f"reasoning_gym cannot run with {name}={value}; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question."""

    dataset: str
    """Name of its dataset."""
    number: int
    """Its place there."""
    text: str
    """What the agent reads."""
    answer: str | None
    """The package's own answer; None where it has none and knows only how to score."""

    @property
    def kind(self) -> str:
        """The dataset."""
        return self.dataset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Questions:
    """All questions of a spec, and the process that scores answers."""

    helper: Helper
    """The child process."""
    by_id: Mapping[str, Question]
    """Questions by task id, such as "chain_sum-12"."""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Task ids of train and validation, and of train_NAME and validation_NAME for each dataset."""

    def question(self, task_id: str) -> Question:
        """The question of a task. Raises EnvError for an unknown task id."""
        if task_id not in self.by_id:
            raise EnvError(f"reasoning_gym has no question {task_id!r}; take a task id from tasks(split)")
        return self.by_id[task_id]

    def score(self, question: Question, text: str) -> float:
        """The package's score of an answer, in [0, 1]; 0 for one that takes more than 5 s of processor time."""
        try:
            return self.helper.ask(["score", question.dataset, question.number, text])
        except HelperDied as death:
            if death.out_of_time:
                return 0.0
            raise


def questions(spec: Spec) -> Questions:
    """The questions of a spec, the same in every process. A larger `train` or `validation` only adds questions.

    A question's text alone decides its split, so that no validation question is trained on by any seed. Raises EnvError
    for a dataset that does not exist and for settings that it refuses. A forked process gets a child of its own.
    """
    return _questions(spec, os.getpid())


@cache
def _questions(spec: Spec, process: int) -> Questions:
    settings = json.loads(spec.datasets)
    making = ["make", settings, spec.seed]
    helper = Helper(_GENERATOR, str(CPU_SECONDS), str(SIZE), missing=_MISSING, first=[making])
    if (wrong := helper.ask(making)) is not None:
        what, _, names = wrong.partition("\n")
        raise EnvError(f"{what}; {hint(what.split()[-1].strip(chr(39)), names.split())}" if names else what)
    by_split = [_of_dataset(helper, name, spec) for name in settings]
    splits = {split: tuple(task_id for sets in by_split for task_id in sets[split]) for split in SPLITS}
    for name, sets in zip(settings, by_split, strict=True):
        splits |= {f"{split}_{name}": tuple(sets[split]) for split in SPLITS if sets[split]}
    by_id = {task_id: question for sets in by_split for split in SPLITS for task_id, question in sets[split].items()}
    return Questions(helper=helper, by_id=by_id, splits=splits)


def _of_dataset(helper: Helper, name: str, spec: Spec) -> dict[str, dict[str, Question]]:
    """The first questions of a dataset, by split and task id; each text once."""
    most = {"train": spec.train, "validation": spec.validation}
    by_split: dict[str, dict[str, Question]] = {"train": {}, "validation": {}}
    texts = set[str]()
    number = barren = 0
    while number < SIZE and barren < _MAX_BARREN and any(len(by_split[split]) < most[split] for split in SPLITS):
        text, answer = _item(helper, name, number)
        split = "validation" if is_held_out(text) else "train"
        is_new = text not in texts and len(by_split[split]) < most[split]
        if is_new:
            by_split[split][f"{name}-{number}"] = Question(dataset=name, number=number, text=text, answer=answer)
        texts.add(text)
        barren = 0 if is_new else barren + 1
        number += 1
    if not all(by_split.values()):
        raise EnvError(f"the dataset {name!r} has {len(texts)} questions, too few for both splits; change its settings")
    return by_split


def _item(helper: Helper, name: str, number: int) -> tuple[str, str | None]:
    text, answer = helper.ask(["item", name, number])
    return text, answer if answer is None else str(answer)


def canonical(datasets: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Datasets with their settings as JSON that names equal ones equally."""
    return json.dumps({name: dict(settings or {}) for name, settings in datasets.items()}, sort_keys=True)
