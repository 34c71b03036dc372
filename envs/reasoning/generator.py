"""The child process that makes and scores questions by reasoning-gym: it reads lines of JSON, and writes one for each.

    ["make", {name: settings, ...}, seed]   null, or the text of an error
    ["item", name, number]                  [question, answer], the answer null where the package has none
    ["score", name, number, text]           a number in [0, 1]

`envs.reasoning.datasets` starts the process and passes the processor time that an answer's score may take, in seconds:
some scores parse the answer as a formula, which can take for ever. Then the kernel ends the process.
"""

# reasoning-gym is untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportMissingImports=false

import json
import os
import resource
import signal
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")  # of its dependencies' sources

try:
    from reasoning_gym.factory import DATASETS, create_dataset
except ModuleNotFoundError as error:
    if error.name == "reasoning_gym":
        sys.exit(1)  # the process that started this one says it
    raise

MEMORY_BYTES = 4 * 2**30


def main(cpu_seconds: float, size: int) -> None:
    """Reply to each line until standard input ends. size: of every dataset."""
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # some datasets print
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES if most == resource.RLIM_INFINITY else most, most))
    datasets: dict[str, Any] = {}
    print(json.dumps("ready"), file=reply, flush=True)
    for line in sys.stdin:
        match json.loads(line):
            case ["make", settings, seed]:
                answer = make(datasets, settings, seed, size)
            case ["item", name, number]:
                item = datasets[name][number]
                answer = [item["question"], item["answer"]]
            case ["score", name, number, text]:
                signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
                answer = score(datasets[name], number, text)
                signal.setitimer(signal.ITIMER_PROF, 0.0)
            case other:
                raise ValueError(f"no such question: {other!r}")
        print(json.dumps(answer), file=reply, flush=True)


def make(datasets: dict[str, Any], settings: dict[str, dict[str, Any]], seed: int, size: int) -> str | None:
    """Make the datasets. Returns what is wrong with their names or settings."""
    for name, options in settings.items():
        if name not in DATASETS:
            return f"reasoning-gym has no dataset {name!r}\n{' '.join(sorted(DATASETS))}"
        if ours := {"seed", "size"} & options.keys():
            return f"the dataset {name!r} gets its {min(ours)} from the world: take it out of its settings {options}"
        try:
            datasets[name] = create_dataset(name, **{**options, "seed": seed, "size": size})
        except (TypeError, ValueError, AssertionError) as error:
            return f"the dataset {name!r} refuses its settings {options}: {error}"
    return None


def score(dataset: Any, number: int, text: str) -> float:
    """The package's own score. An answer at which its reader stumbles has none."""
    item = dataset[number]
    try:
        return min(1.0, max(0.0, float(dataset.score_answer(text, item))))
    except Exception:  # noqa: BLE001 - readers raise whatever int(), literal_eval() or sympy raise
        return 0.0


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
