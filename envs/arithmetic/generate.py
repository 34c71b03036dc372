"""Problems made by seed: expressions to compute and stories to understand."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from envs.arithmetic.answer import number
from envs.arithmetic.expression import draw, value, written
from envs.arithmetic.library import Library, Problem, library
from envs.arithmetic.story import LONGEST, Story, tell
from envs.base import EnvError

_VALIDATION_SHARE = 5  # one in so many computations
_PATIENCE = 2000  # draws in a row that bring nothing new before a set counts as exhausted


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is made: `train` and `validation` problems of each form and depth, with numbers of up to `largest`.

    Raises EnvError for values out of range.
    """

    seed: int
    forms: tuple[str, ...]
    depths: tuple[int, ...]
    largest: int
    train: int
    validation: int

    def __post_init__(self) -> None:
        for name, values in (("forms", self.forms), ("depths", self.depths)):
            if not values or len(set(values)) < len(values):
                raise EnvError(f"arithmetic cannot run with {name}={list(values)}; give one or more, each once")
        for form in self.forms:
            if form not in _FORMS:
                raise EnvError(f"arithmetic has no form {form!r}; choose from {', '.join(_FORMS)}")
        for depth in self.depths:
            if not 1 <= depth <= LONGEST:
                raise EnvError(f"arithmetic has no problems of depth {depth}; choose from 1 to {LONGEST}")
        for name, least in (("largest", 10), ("train", 1), ("validation", 1)):
            if (given := getattr(self, name)) < least:
                raise EnvError(f"arithmetic cannot run with {name}={given}; give {least} or more")


@cache
def generated(spec: Spec) -> Library:
    """The problems of a spec, the same in every process; a larger `train` or `validation` adds to the smaller's.

    Which split a problem is for hangs on its computation alone, so none of `validation`'s is trained on in any form,
    depth or seed. Raises EnvError where there are not as many problems as asked for.
    """
    train, validation = (_problems(spec, split) for split in ("train", "validation"))
    return library("arithmetic", train, validation, equal)


def equal(right: str, given: str) -> bool | None:
    """Whether two numbers are exactly the same; None where the given one is no number."""
    read = number(given)
    return None if read is None else read == number(right)


def is_held_out(computation: str) -> bool:
    """Whether a computation, written as an expression, is kept for validation."""
    digest = hashlib.blake2b(computation.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _VALIDATION_SHARE == 0


def _problems(spec: Spec, split: str) -> dict[str, Problem]:
    """By task id, shuffled, so that the first few and every n-th are of all forms and depths."""
    made = [
        (f"{split}-{form}-{depth}-{place}", problem)
        for depth in spec.depths
        for form in spec.forms
        for place, problem in enumerate(_distinct(spec, split, form, depth))
    ]
    random.Random(f"arithmetic {spec.seed} {split} order").shuffle(made)
    return dict(made)


def _distinct(spec: Spec, split: str, form: str, depth: int) -> list[Problem]:
    """The first so many problems of a split, form and depth that the seed gives."""
    rng = random.Random(f"arithmetic {spec.seed} {split} {form} {depth} {spec.largest}")
    wanted = spec.train if split == "train" else spec.validation
    found: dict[str, Problem] = {}
    barren = 0
    while len(found) < wanted and barren < _PATIENCE:
        before = len(found)
        told = _FORMS[form](rng, depth, spec.largest)
        if is_held_out(written(told.computation)) == (split == "validation"):
            answer = str(value(told.computation))
            found.setdefault(told.text, Problem(question=told.text, answer=answer, depth=depth))
        barren = barren + 1 if len(found) == before else 0
    if len(found) < wanted:
        raise EnvError(
            f"arithmetic finds {len(found)} problems of form {form!r} and depth {depth} with largest={spec.largest}, "
            f"not {split}={wanted}; lower {split}, or raise largest"
        )
    return list(found.values())


def _expression(rng: random.Random, depth: int, largest: int) -> Story:
    computation = draw(rng, depth, largest)
    return Story(text=f"Compute {written(computation)}.", computation=computation)


_FORMS: dict[str, Callable[[random.Random, int, int], Story]] = {"expression": _expression, "story": tell}
