"""The worlds for Gymnasium: `import envs.gym`, then `gymnasium.make("stepcredit/TextCraft-v0")`.

`gymnasium.make("envs.gym:stepcredit/TextCraft-v0")` does both at once.
"""

import string
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from envs import make
from envs.base import Ending, EnvStep

ASCII = string.ascii_letters + string.digits + string.punctuation + " "
MAX_ACTION = 512
_MAX_SEED = 2**31


class AnyText(Text):
    """Text with letters of any script: what was scraped from the web has no charset. Samples are ASCII."""

    def contains(self, x: Any) -> bool:
        """Any text within the lengths."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A world's id and the texts of its spaces. charset: the characters of a line; None for any text."""

    id: str
    max_observation: int
    charset: str | None

    def text(self, max_length: int, breaks: str = "") -> Text:
        """Texts up to a length, of the charset and `breaks`."""
        space = AnyText if self.charset is None else Text
        return space(min_length=0, max_length=max_length, charset=(self.charset or ASCII) + breaks)


# By the name that `make` knows. ALFWorld's answers list a room or a receptacle. TextCraft's reset lists at most a few
# hundred recipes; its inventory grows by less than a longest action in each of 40 steps. WebShop's longest descriptions
# have some ten thousand characters. A file of questions may be in any language.
TABLE = {
    "alfworld": Registered(id="stepcredit/ALFWorld-v0", max_observation=2**16, charset=ASCII),
    "arithmetic": Registered(id="stepcredit/Arithmetic-v0", max_observation=2**16, charset=None),
    "textcraft": Registered(id="stepcredit/TextCraft-v0", max_observation=2**16, charset=ASCII),
    "webshop": Registered(id="stepcredit/WebShop-v0", max_observation=2**20, charset=None),
}


class WorldGym(gymnasium.Env[str, str]):
    """A world of `envs.make` with Gymnasium's five values; options are the world's own.

    `reset(options={"task_id": ID})` starts that task; without it one of `split` is drawn by the environment's
    generator, as is the world's seed in both cases. Winning or losing is `terminated`, the step limit `truncated`.
    info: task_id, state_key, admissible, won, score, ending.
    """

    def __init__(self, *, world: str, split: str = "train", **options: Any) -> None:
        entry = TABLE[world]
        self.action_space = entry.text(MAX_ACTION)
        self.observation_space = entry.text(entry.max_observation, breaks="\n")
        self._world = make(world, **options)
        self._tasks = self._world.tasks(split)
        self._task_id = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode. Raises ValueError for an option other than `task_id`, EnvError for an unknown task id."""
        super().reset(seed=seed)
        asked = dict(options or {})
        task_id = asked.pop("task_id", None)
        if asked:
            raise ValueError(f"reset has no option {next(iter(asked))!r}; its only one is 'task_id'")
        drawn = self._tasks[int(self.np_random.integers(len(self._tasks)))]
        chosen = drawn if task_id is None else task_id
        first = self._world.reset(chosen, seed=int(self.np_random.integers(_MAX_SEED)))
        self._task_id = chosen
        return first.observation, self._info(first)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """One action. Raises ValueError for an action outside the action space, whose echo no space would hold."""
        if not self.action_space.contains(action):
            any_text = isinstance(self.action_space, AnyText)
            allowed = "characters" if any_text else "printable ASCII characters on one line"
            raise ValueError(f"{action!r} is not an action: at most {MAX_ACTION} {allowed}")
        now = self._world.step(action)
        ended = now.ending is not None and now.ending is not Ending.LIMIT
        return now.observation, now.reward, ended, now.ending is Ending.LIMIT, self._info(now)

    def close(self) -> None:
        """Forget the episode."""
        self._world.close()

    def _info(self, now: EnvStep) -> dict[str, Any]:
        return {
            "task_id": self._task_id,
            "state_key": now.state_key,
            "admissible": now.admissible,
            "won": now.won,
            "score": now.score,
            "ending": now.ending,
        }


def register() -> None:
    """Make the ids known to Gymnasium; a second call changes nothing."""
    for world, entry in TABLE.items():
        if entry.id not in gymnasium.registry:
            gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
                id=entry.id, entry_point=WorldGym, kwargs={"world": world}
            )


register()
