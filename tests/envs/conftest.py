"""Data for the tests: the real data beside the checkout, and small recipe folders that a test writes."""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Data of the published worlds. It is not in the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data: {SHARED_DATA} is missing")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Worlds cache in a temporary folder, never in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPCREDIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def alfworld_data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all official games of both validation splits."""
    folder = tmp_path_factory.mktemp("alfworld")
    for split in ("valid_seen", "valid_unseen"):
        with tarfile.open(shared_data / "alfworld" / f"json_2.1.1_{split}.tar.xz", "r:xz") as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def alfworld_traces(shared_data: Path) -> list[dict[str, Any]]:
    """Episodes recorded in the original."""
    files = sorted((shared_data / "traces" / "alfworld").glob("*.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.open(file, "rt")]


@pytest.fixture
def recipe_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes `name=details` as recipe files; text is written unchanged."""

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
