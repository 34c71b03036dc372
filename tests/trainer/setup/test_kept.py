"""A part that served a run serves the next one, unless it is another one, is broken, or was in a run that failed."""

from contextlib import suppress
from dataclasses import replace

import pytest

from rollout.ray_actors import ActorDied
from trainer.config.build import ConfigError
from trainer.setup.kept import LearnerLost, Recipe, keeping, lent


class Workshop:
    """Makes parts, which are numbers, and writes down what happens to them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.made = 0
        self.broken = set[int]()

    def recipe(self, name: str, settings: str = "", *, stays: bool = True, carries: bool = False) -> Recipe[int]:
        def start() -> int:
            self.made += 1
            self.events.append(f"start {name} {self.made}")
            return self.made

        def renew(part: int) -> int:
            if part in self.broken:
                raise ActorDied(f"{name} {part}")
            self.events.append(f"renew {name} {part}")
            return part

        return Recipe(
            name=name,
            settings=settings,
            start=start,
            renew=renew,
            close=lambda part: self.events.append(f"close {name} {part}"),
            stays=stays,
            carries=carries,
        )

    def run(self, *recipes: Recipe[int], raises: BaseException | None = None) -> None:
        """A run with these parts, the first one outermost."""
        if not recipes:
            if raises is not None:
                raise raises
            return
        with lent(recipes[0]):
            self.run(*recipes[1:], raises=raises)

    def take_events(self) -> list[str]:
        events, self.events = self.events, []
        return events


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def test_without_keeping_a_part_ends_with_its_run(workshop: Workshop) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    workshop.run(ray, engine)
    workshop.run(ray)
    assert workshop.events == ["start ray 1", "start engine 2", "close engine 2", "close ray 1", *started("ray 3")]


def started(part: str) -> list[str]:
    return [f"start {part}", f"close {part}"]


def test_the_next_run_takes_the_parts_over_and_the_end_closes_them(workshop: Workshop) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    with keeping():
        workshop.run(ray, engine)
        workshop.run(ray, engine)
        assert workshop.take_events() == ["start ray 1", "start engine 2", "renew ray 1", "renew engine 2"]
    assert workshop.events == ["close engine 2", "close ray 1"]


def test_a_part_with_other_settings_is_closed_before_the_new_one_starts(workshop: Workshop) -> None:
    ray, pool = workshop.recipe("ray", carries=True), workshop.recipe("pool")
    with keeping():
        workshop.run(ray, pool, workshop.recipe("engine", "wide"))
        workshop.take_events()
        workshop.run(ray, pool, workshop.recipe("engine", "narrow"))
        assert workshop.take_events() == ["renew ray 1", "renew pool 2", "close engine 3", "start engine 4"]
        workshop.run(workshop.recipe("ray", "large", carries=True))
        assert workshop.take_events() == ["close engine 4", "close pool 2", "close ray 1", "start ray 5"]


def test_a_part_that_died_is_started_anew(workshop: Workshop) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    with keeping():
        workshop.run(ray, engine)
        workshop.broken.add(2)
        workshop.take_events()
        workshop.run(ray, engine)
        assert workshop.take_events() == ["renew ray 1", "close engine 2", "start engine 3"]


def test_what_ran_on_a_part_that_died_is_gone_with_it(workshop: Workshop) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    with keeping():
        workshop.run(ray, engine)
        workshop.broken.add(1)
        workshop.take_events()
        workshop.run(ray, engine)
        assert workshop.take_events() == ["close ray 1", "start ray 3", "start engine 4"]


@pytest.mark.parametrize("error", [ActorDied("a rank"), KeyboardInterrupt()], ids=["a failure", "Ctrl-C"])
def test_a_run_that_fails_leaves_nothing(workshop: Workshop, error: BaseException) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    with keeping():
        workshop.run(ray, workshop.recipe("learner"), engine)
        workshop.take_events()
        with suppress(ActorDied, KeyboardInterrupt):
            workshop.run(ray, engine, raises=error)
        closed = ["close engine 3", "close learner 2", "close ray 1"]
        assert workshop.take_events() == ["renew ray 1", "renew engine 3", *closed]


def test_a_run_that_lost_its_learner_leaves_the_other_parts(workshop: Workshop) -> None:
    ray, engine = workshop.recipe("ray", carries=True), workshop.recipe("engine")
    with keeping():
        with suppress(LearnerLost):
            workshop.run(ray, workshop.recipe("learner"), engine, raises=LearnerLost("a rank died"))
        workshop.broken.add(2)
        workshop.take_events()
        workshop.run(ray, workshop.recipe("learner"), engine)
        again = ["renew ray 1", "close learner 2", "start learner 4", "renew engine 3"]
        assert workshop.take_events() == again


def test_a_refused_run_leaves_its_parts(workshop: Workshop) -> None:
    ray = workshop.recipe("ray", carries=True)
    with keeping():
        with suppress(ConfigError):
            workshop.run(ray, raises=ConfigError("prompts too long"))
        workshop.run(ray)
        assert workshop.events == ["start ray 1", "renew ray 1"]


def test_a_part_that_cannot_serve_two_runs_is_closed_inside_keeping_too(workshop: Workshop) -> None:
    learner = workshop.recipe("learner", stays=False)
    with keeping():
        workshop.run(learner)
        assert workshop.events == started("learner 1")
        workshop.run(replace(learner, stays=True))
        workshop.run(replace(learner, stays=False))
        assert workshop.take_events()[2:] == ["start learner 2", "renew learner 2", "close learner 2"]
