"""No call of an engine, a rank or a worker is waited for without a limit that a setting raises."""

import ast
from pathlib import Path

import pytest

from rollout.actor_spec import Limit
from rollout.engines import EngineConfig
from trainer.config.learner import LearnerConfig
from trainer.learner.ranks import _actor  # pyright: ignore[reportPrivateUsage]

ROOT = Path(__file__).parents[2]
FILES = [file for room in ("rollout", "trainer") for file in sorted((ROOT / room).rglob("*.py"))]


def test_a_publish_a_response_and_an_update_have_a_limit_each() -> None:
    engine = EngineConfig(timeout_s=7, response_timeout_s=8).spec(0)
    assert engine.limit == Limit(seconds=7, setting="engine.timeout_s")
    assert {method: limit.seconds for method, limit in engine.limits.items()} == {
        "complete": 8,
        "complete_wave": 8,
        "prompt_logprobs": 8,
    }
    rank = _actor(LearnerConfig(timeout_s=9), 0)
    assert rank.limit == Limit(seconds=9, setting="learner.timeout_s")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_actor_that_is_described_has_a_limit(file: Path) -> None:
    for call in ast.walk(ast.parse(file.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "ActorSpec":
            assert "limit" in {keyword.arg for keyword in call.keywords}, f"{file}:{call.lineno}"
