"""Credit on recorded rollouts, no engine and no learner: python examples/credit_offline.py ROLLOUTS [ESTIMATOR ...]

ROLLOUTS is a file that `stepcredit train record=rollouts` leaves, outputs/.../rollouts/update-000001.jsonl.zst. One
line a row: which rollout, which turn, what was done, and what each estimator gives it. Estimators that need hidden
states or revisions are for `stepcredit lab`, which also compares whole runs.
"""

import sys
from pathlib import Path

from estimators import build
from rollout.record import read_groups
from trainer.data.columns import step_batch
from trainer.data.rows import RowTable


def comparison(path: Path, names: list[str]) -> list[str]:
    """Its lines, groups and rollouts in recorded order."""
    groups = list(read_groups(path))
    table = RowTable(groups)
    batch = step_batch(table, embedding=None)
    credit = {name: build(name)(batch).value for name in names}
    lines = [f"{'task':<24} rollout turn {'action':<32}" + "".join(f"{name:>10}" for name in names)]
    siblings = [(group.task_id, played.sibling) for group in groups for played in group.trajectories]
    for number, row in enumerate(table):
        task, sibling = siblings[row.trajectory]
        place = f"{task[:24]:<24} {sibling:7} {row.time:4} {row.step.action[:32]:<32}"
        lines.append(place + "".join(f"{credit[name][number]:+10.2f}" for name in names))
    return lines


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print("\n".join(comparison(Path(sys.argv[1]), sys.argv[2:] or ["grpo", "gigpo", "crbc"])))
