"""Recipe folders for the tests: the real one beside the checkout, and small ones written on the spot."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data of the published worlds; never in the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data: {SHARED_DATA} is missing")
    return SHARED_DATA


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes `name=details` as recipe files; a details of type str is written as it is."""

    def write(**files: Any) -> Path:
        for name, details in files.items():
            content = details if isinstance(details, str) else json.dumps(details)
            (tmp_path / f"{name}.json").write_text(content)
        return tmp_path

    return write


@pytest.fixture
def workshop(recipe_folder: Callable[..., Path]) -> Path:
    """Six goals with tags: rope and twine are cords; a net takes any cord; a sail takes a tag that is a plain item."""
    kind = "minecraft:crafting_shapeless"
    hemp, linen, wood = ({"item": f"minecraft:{name}"} for name in ("hemp", "linen", "old_wood"))
    cords = {"tag": "minecraft:cords"}
    pole = {"item": "minecraft:pole"}
    return recipe_folder(
        rope={
            "type": kind,
            "group": "cords",
            "ingredients": [hemp] * 3,
            "result": {"item": "minecraft:rope", "count": 2},
        },
        twine={"type": kind, "group": "cords", "ingredients": [linen], "result": {"item": "minecraft:twine"}},
        pole={
            "type": "minecraft:crafting_shaped",
            "group": "pole",
            "pattern": ["W", "W"],
            "key": {"W": wood},
            "result": {"item": "minecraft:pole"},
        },
        net={"type": kind, "ingredients": [cords, cords], "result": {"item": "minecraft:net"}},
        ladder={"type": kind, "ingredients": [cords, pole, pole], "result": {"item": "minecraft:ladder"}},
        sail={"type": kind, "ingredients": [{"tag": "minecraft:canvas"}, pole], "result": "minecraft:sail"},
        roast={"type": "minecraft:smelting", "ingredient": hemp, "result": "minecraft:ash"},
    )
