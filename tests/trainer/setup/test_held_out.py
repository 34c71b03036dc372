"""The folder of an evaluation: what goes on there, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs.panel import Panel
from rollout.endpoint_usage import EndpointUsage
from tests.fakes import step, trajectory
from tests.trainer.commands.test_evaluate import defaults
from trainer.config.build import ConfigError
from trainer.setup.held_out import HeldOutFolder, finished_rollouts

PANEL = Panel(world="corridor", split="train", tasks=())


def go_on_with(output: Path, endpoint: str | None, changes: dict[str, Any]) -> int:
    """How many rollouts an evaluation takes from one of other settings; `changes` by group, or by name."""
    config = replace(defaults(), output=str(output), endpoint=endpoint)
    HeldOutFolder(config, PANEL, ()).keep(trajectory(step("go")))
    changed = {
        name: replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return len(finished_rollouts(replace(config, resume="auto", **changed)))


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("config.json", b'{"updates": 3}', "holds no evaluation .*choose another output folder"),
        ("config.json", b"[1]", "holds no evaluation .*choose another output folder"),
        ("config.json", b"\xff", "config.json is broken .*choose another output folder"),
        ("rollouts.jsonl", b"{\n", "rollouts.jsonl is damaged .*delete it"),
        ("rollouts.jsonl", b"[1]\n", "rollouts.jsonl is damaged .*delete it"),
        ("rollouts.jsonl", b"{}\n", "rollouts.jsonl is damaged .*delete it"),
        ("rollouts.jsonl.zst", b"cut", "rollouts.jsonl.zst is damaged .*delete it"),
        ("usage.json", b"{", "usage.json is damaged .*delete it"),
        ("usage.json", b"[1]", "usage.json is damaged .*delete it"),
    ],
)
def test_an_evaluation_does_not_go_on_in_a_folder_of_something_else_or_with_a_damaged_file(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    config = replace(defaults(), output=str(tmp_path), resume="auto")
    HeldOutFolder(config, PANEL, ()).state()
    (tmp_path / "evaluation.json").write_text("[]")  # tells nothing, and is made anew
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=told):
        HeldOutFolder(config, PANEL, finished_rollouts(config))


def test_what_an_endpoint_used_stays_known_where_an_engine_of_ours_goes_on(tmp_path: Path) -> None:
    asked = EndpointUsage(requests=2, input_tokens=100, output_tokens=10)
    config = replace(defaults(), output=str(tmp_path))
    HeldOutFolder(config, PANEL, (), lambda: asked).keep(trajectory(step("go")))
    ours = replace(config, resume="auto", endpoint=None)
    assert HeldOutFolder(ours, PANEL, ()).usage == asked
    assert HeldOutFolder(replace(ours, output=str(tmp_path / "new")), PANEL, ()).usage is None


@pytest.mark.parametrize(
    ("endpoint", "changes", "named"),
    [
        ("http://localhost:1", {"rollout": {"truncated": "invalid"}}, "rollout.truncated='keep'"),
        (None, {"cluster": {"dtype": "bfloat16"}}, "cluster.dtype='float32'"),
        (None, {"engine": {"extra": {"quantization": "fp8"}}}, "engine.extra.quantization=None"),
    ],
)
def test_an_evaluation_does_not_go_on_where_its_rollouts_would_be_of_two_kinds(
    tmp_path: Path, endpoint: str | None, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"was made with {named}"):
        go_on_with(tmp_path, endpoint, changes)


@pytest.mark.parametrize(
    ("endpoint", "changes"),
    [
        (None, {"rollout": {"retries": 5, "max_failure_share": 0.9, "env_timeout_s": 1.0}}),
        (None, {"cluster": {"threads": 7, "env_workers": 1}, "engine": {"max_num_seqs": 1}}),
        (None, {"model": {"cache": "elsewhere"}}),
        ("http://localhost:1", {"cluster": {"dtype": "bfloat16"}, "endpoint": "http://localhost:2"}),
        (None, {"endpoint": "http://localhost:2"}),
    ],
)
def test_an_evaluation_goes_on_where_nothing_changes_what_it_measures(
    tmp_path: Path, endpoint: str | None, changes: dict[str, Any]
) -> None:
    assert go_on_with(tmp_path, endpoint, changes) == 1
