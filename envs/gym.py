"""The worlds for Gymnasium: `import envs.gym`, then `gymnasium.make("stepcredit/TextCraft-v0")`.

`gymnasium.make("envs.gym:stepcredit/TextCraft-v0")` does both at once. A world of your own has no line here:
`gymnasium.make("envs.gym:stepcredit/World-v0", world="package.module:SPEC")`.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium.spaces import Text

from envs import WORLDS, find, make
from envs.base import Ending, EnvStep
from envs.spec import ASCII, GymSpec

ANY_WORLD = "stepcredit/World-v0"
_MAX_SEED = 2**31


class AnyText(Text):
    """A space of texts in any script. Its samples are ASCII."""

    def contains(self, x: Any) -> bool:
        """Whether x is a text of an allowed length."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length


class WorldGym(gymnasium.Env[str, str]):
    """A world as a Gymnasium environment.

    world: a name or a target, as for `envs.make`; options: the world's own; world_options: those that have the name of
    a parameter here, as WebShop's `split`. `reset(options={"task_id": ID})` starts
    that task; without it the environment's generator draws one of `split`. The generator also draws the world's seed.
    A won or lost episode is `terminated`; the step limit is `truncated`.
    info: task_id, state_key, admissible, won, score, ending.
    """

    def __init__(
        self, *, world: str, split: str = "train", world_options: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        spec = find(world).gym
        self.action_space = _space(spec, spec.max_action)
        self._max_action = spec.max_action
        self.observation_space = _space(spec, spec.max_observation, breaks="\n")
        self._world = make(world, **options, **(world_options or {}))
        self._tasks = self._world.tasks(split)
        self._task_id = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode. Raises ValueError for an option other than `task_id`, EnvError for an unknown task id."""
        super().reset(seed=seed)
        others = dict(options or {})
        task_id = others.pop("task_id", None)
        if others:
            raise ValueError(f"reset has no option {next(iter(others))!r}; its only one is 'task_id'")
        drawn = self._tasks[int(self.np_random.integers(len(self._tasks)))]
        chosen = drawn if task_id is None else task_id
        first = self._world.reset(chosen, seed=int(self.np_random.integers(_MAX_SEED)))
        self._task_id = chosen
        return first.observation, self._info(first)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one action. Raises ValueError for one outside the action space: no space could hold its echo."""
        if not self.action_space.contains(action):
            any_text = isinstance(self.action_space, AnyText)
            allowed = "characters" if any_text else "printable ASCII characters on one line"
            raise ValueError(f"{action!r} is not an action: at most {self._max_action} {allowed}")
        now = self._world.step(action)
        terminated = now.ending is not None and now.ending is not Ending.LIMIT
        return now.observation, now.reward, terminated, now.ending is Ending.LIMIT, self._info(now)

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


def _space(spec: GymSpec, max_length: int, breaks: str = "") -> Text:
    """Texts of at most `max_length` characters, from the world's charset and `breaks`."""
    space = AnyText if spec.charset is None else Text
    return space(min_length=0, max_length=max_length, charset=(spec.charset or ASCII) + breaks)


def register() -> None:
    """Make the ids known to Gymnasium. A second call changes nothing."""
    _register(ANY_WORLD)
    for name, world in WORLDS.items():
        if world.gym.id is not None:
            _register(world.gym.id, world=name)


def _register(id: str, **kwargs: Any) -> None:
    if id not in gymnasium.registry:
        gymnasium.register(id=id, entry_point=WorldGym, kwargs=kwargs)  # pyright: ignore[reportUnknownMemberType]


register()
