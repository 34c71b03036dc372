"""The worlds for Gymnasium: `import envs.gym`, then `gymnasium.make("stepcredit/TextCraft-v0")`.

`gymnasium.make("envs.gym:stepcredit/TextCraft-v0")` does both at once.
"""

import string
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from envs import make
from envs.base import Ending, EnvStep

IDS = {"alfworld": "stepcredit/ALFWorld-v0", "textcraft": "stepcredit/TextCraft-v0"}  # by the name that `make` knows

ACTION_CHARS = string.ascii_letters + string.digits + string.punctuation + " "
MAX_ACTION = 512
# A reset lists at most a few hundred recipes; an inventory grows by less than a longest action in each of 40 steps.
MAX_OBSERVATION = 2**16
_MAX_SEED = 2**31


class WorldGym(gymnasium.Env[str, str]):
    """A world of `envs.make` with Gymnasium's five values; options are the world's own.

    `reset(options={"task_id": ID})` starts that task; without it one of `split` is drawn by the environment's
    generator, as is the world's seed in both cases. Winning is `terminated`, the step limit is `truncated`.
    info: task_id, state_key, admissible, won, score, ending.
    """

    def __init__(self, *, world: str, split: str = "train", **options: Any) -> None:
        self.action_space = Text(min_length=0, max_length=MAX_ACTION, charset=ACTION_CHARS)
        self.observation_space = Text(min_length=0, max_length=MAX_OBSERVATION, charset=ACTION_CHARS + "\n")
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
        self._task_id = drawn if task_id is None else task_id
        first = self._world.reset(self._task_id, seed=int(self.np_random.integers(_MAX_SEED)))
        return first.observation, self._info(first)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """One command. Raises ValueError for an action outside the action space, whose echo no space would hold."""
        if not self.action_space.contains(action):
            raise ValueError(
                f"{action!r} is not an action: at most {MAX_ACTION} printable ASCII characters on one line"
            )
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
    for world, name in IDS.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=WorldGym, kwargs={"world": world})  # pyright: ignore[reportUnknownMemberType]


register()
