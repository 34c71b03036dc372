"""A model whose positions depend on the longest sequence of a pass is refused longer ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.setup.test_packing import QWEN, folder, named
from trainer.config.build import ConfigError
from trainer.setup.positions import check_positions

LONG = {"rope_type": "longrope", "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    "model",
    [
        {"rope_parameters": LONG},
        {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 64},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 64},
    ],
)
def test_sequences_that_are_longer_than_the_positions_hold_for_are_refused(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    here = folder(tmp_path, QWEN | model)
    with pytest.raises(
        ConfigError, match=r"^model.prompt_tokens=64 .* longer than the 64 tokens .*: lower model.prompt"
    ):
        check_positions(named(here))
    with pytest.raises(ConfigError, match="64 tokens"):
        check_positions(replace(named("hub/id"), source=here))
    check_positions(replace(named(here), prompt_tokens=56))


@pytest.mark.parametrize("rope", [None, {"rope_type": "default"}, {"rope_type": "yarn", "factor": 4.0}])
def test_other_positions_are_as_they_are(tmp_path: Path, rope: dict[str, Any] | None) -> None:
    check_positions(named(folder(tmp_path, QWEN | {"rope_scaling": rope, "max_position_embeddings": 64})))
    check_positions(named("tiny"))
    check_positions(named("nobody/knows"))
