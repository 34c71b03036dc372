"""What a success rate must be read with: its tasks, how they were sampled, and the packages that served them."""

import importlib.metadata
import platform
from typing import Any

from envs.panel import Panel
from trainer.config.commands import EvaluateConfig, TrainConfig
from trainer.setup.machine import CPU_BUILD, installed
from trainer.setup.protocol import deviations
from trainer.setup.world import World

FILE = "conditions.json"
"""Where a run keeps them, in its folder."""
PACKAGES = ("stepcredit", "vllm", CPU_BUILD, "transformers", "torch", "alfworld", "textworld")
SHORT = 16  # digits of a digest that a line shows


def conditions(
    config: TrainConfig | EvaluateConfig, world: World, panel: Panel | None, temperature: float
) -> dict[str, Any]:
    """As plain JSON values. panel: the tasks that are played; None where none are. temperature: of their sampling."""
    protocol = config.protocol
    return {
        "protocol": None if protocol is None else {"source": protocol.source, "runs": protocol.runs},
        "deviations": list(deviations(config, world)),
        "panel": None if panel is None else _panel(panel, split_tasks=len(world.validation)),
        "temperature": temperature,
        "packages": versions(),
    }


def _panel(panel: Panel, *, split_tasks: int) -> dict[str, Any]:
    return {
        "world": panel.world,
        "split": panel.split,
        "digest": panel.digest,
        "tasks": len(panel.tasks),
        "split_tasks": split_tasks,
        "kinds": panel.counts,
        "facts": dict(panel.facts),
    }


def conditions_lines(stated: dict[str, Any]) -> list[str]:
    """What a run prints at its start: its panel in a line, its protocol in another, and a line for each deviation."""
    lines = [] if stated["panel"] is None else [panel_line(stated)]
    if stated["protocol"] is not None:
        differing = stated["deviations"]
        lines += [f"protocol of {stated['protocol']['source']}, {len(differing)} deviations:"]
        lines += [f"  {sentence}" for sentence in differing]
    return lines


def panel_line(stated: dict[str, Any]) -> str:
    """The tasks in a line, such as "128 of 170 tasks of textcraft test, panel 0267779d2575654b, temperature 0.4"."""
    panel = stated["panel"]
    facts = "".join(f", {name} {value}" for name, value in panel["facts"].items() if name != "catalogue")
    return (
        f"{panel['tasks']} of {panel['split_tasks']} tasks of {panel['world']} {panel['split']}, "
        f"panel {panel['digest'][:SHORT]}{facts}, temperature {stated['temperature']}"
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what is played and answered, if they are installed."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)}
    return {"python": platform.python_version(), **packages}
