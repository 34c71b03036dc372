"""Which of the validation tasks of a run are trained on under another id."""

from envs import WORLDS
from envs.base import Definition
from tests.fakes import Corridor
from trainer.config.settings import EnvConfig
from trainer.setup.panels import panel, trained_copies, training_panel
from trainer.setup.world import World

CORRIDOR = EnvConfig(world="own", _target_="tests.fakes:CORRIDOR", style="bare")


class OddOrEven(Corridor):
    """Corridors that differ only in whether their length is odd; all are trained on but 6."""

    def tasks(self, split: str) -> tuple[str, ...]:
        return ("1", "3") if split == "train" else ("1", "5", "6")

    def definition(self, task_id: str) -> Definition:
        return Definition(content={"odd": int(task_id) % 2})


def copies(env: Corridor) -> tuple[str, ...]:
    train, test = (tuple(env.tasks(split)) for split in ("train", "test"))
    world = World(env=env, prompter=WORLDS["textcraft"].prompter("bare"), train=train, validation=test)
    return trained_copies(panel(CORRIDOR, world, "test"), training_panel(CORRIDOR, world))


def test_a_task_that_is_trained_on_under_another_id_is_found() -> None:
    assert copies(OddOrEven()) == ("5",)  # "1" is trained on under its own id, which `open_world` tells


def test_a_world_that_does_not_say_what_its_tasks_are_shows_none() -> None:
    assert copies(Corridor()) == ()
