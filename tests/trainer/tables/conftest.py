"""Invented folders of finished runs: what `stepcredit train` leaves, without weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.report.validations import write_validation

PACKAGES = {"python": "3.11.7", "torch": "2.13.0"}
SAMPLED = {"rollout/steps": 2.0, "rollout/response_tokens": 4.0, "rollout/dropped_groups": 1.0}
SAMPLED |= {"rollout/replaced_tokens": 15.0, "revise/response_tokens": 5.0}
"""What an update logs of its rollouts: 10 were not dropped, with 80 tokens; 100 with those of others."""
TASKS = {"a": "depth 1", "b": "depth 1", "c": "depth 2", "d": "depth 2"}


def conditions(digest: str = "0" * 64, **packages: str) -> dict[str, Any]:
    """What a run states of its numbers."""
    return {
        "protocol": None,
        "deviations": [],
        "panel": {
            "world": "textcraft",
            "split": "test",
            "digest": digest,
            "tasks": 4,
            "split_tasks": 4,
            "kinds": {"depth 1": 2, "depth 2": 2},
            "facts": {},
        },
        "temperature": 1.0,
        "packages": PACKAGES | packages,
    }


def finished_run(
    folder: Path,
    solved: Sequence[str],
    *,
    every: int = 10,
    seed: int = 0,
    outcomes: bool = True,
    stated: Mapping[str, Any] | None = None,
) -> Path:
    """A run whose validations after 0, every, 2 * every, ... updates solve the tasks named in each text of `solved`."""
    folder.mkdir(parents=True)
    rows = list[dict[str, float]]()
    for number, won in enumerate(solved):
        shares = {"validation/success": len(won) / 4, "validation/score": len(won) / 4}
        for kind in ("depth 1", "depth 2"):
            of_kind = [task for task, one in TASKS.items() if one == kind]
            shares[f"validation/success {kind}"] = sum(task in won for task in of_kind) / len(of_kind)
        costs = {"seconds/collect": 2.0, "seconds/validate": 1.0, **SAMPLED} if number else {}
        rows.append({"update": number * every, **shares, **costs})
        if outcomes:
            write_validation(folder, number * every, {task: (task in won, float(task in won)) for task in TASKS})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"updates": (len(solved) - 1) * every, "seed": seed, "groups_per_update": 3, "group_size": 5}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "conditions.json").write_text(json.dumps(stated or conditions()))
    panel = [{"task_id": task, "kind": kind, "digest": ""} for task, kind in TASKS.items()]
    (folder / "panel.json").write_text(json.dumps({"panels": [{"tasks": panel}]}))
    return folder
