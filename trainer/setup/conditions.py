"""What a success rate must be read with: its tasks, how they were sampled, and the packages that served them."""

import importlib.metadata
import platform
from typing import Any

from envs.panel import Panel
from trainer.setup.machine import CPU_BUILD, installed

PACKAGES = ("stepcredit", "vllm", CPU_BUILD, "transformers", "torch", "alfworld", "textworld")
SHORT = 16  # digits of a digest that a line shows


def conditions(panel: Panel, *, split_tasks: int, temperature: float) -> dict[str, Any]:
    """As plain JSON values. split_tasks: tasks of the whole split; temperature: of the sampling."""
    return {
        "panel": {
            "world": panel.world,
            "split": panel.split,
            "digest": panel.digest,
            "tasks": len(panel.tasks),
            "split_tasks": split_tasks,
            "kinds": panel.counts,
            "facts": dict(panel.facts),
        },
        "temperature": temperature,
        "packages": versions(),
    }


def conditions_line(stated: dict[str, Any]) -> str:
    """The same in a line, such as "128 of 170 tasks of textcraft test, panel 0267779d2575654b, temperature 0.4"."""
    panel = stated["panel"]
    facts = "".join(f", {name} {value}" for name, value in panel["facts"].items() if name != "catalogue")
    return (
        f"{panel['tasks']} of {panel['split_tasks']} tasks of {panel['world']} {panel['split']}, "
        f"panel {panel['digest'][:SHORT]}{facts}, temperature {stated['temperature']}"
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide what is played and answered, if they are installed."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)}
    return {"python": platform.python_version(), **found}
