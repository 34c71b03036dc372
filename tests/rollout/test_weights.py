"""Weights pass through a folder that has room and an owner, and a file is loaded only as the learner wrote it."""

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from rollout.weights import NoRoom, PublishError, checksum, exchange_folder, roomy, sweep, verify

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from rollout.weights import exchange_folder
with exchange_folder(Path(sys.argv[1])) as folder:
    (folder / "weights").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(range(256)) * 2**17)  # 32 MiB: more than one block
    return path


def test_the_file_that_was_written_is_accepted(weights: Path) -> None:
    verify(weights, 3, checksum(weights))


@pytest.mark.parametrize("place", [0, 2**24, 2**25 - 1])
def test_one_flipped_byte_is_refused_in_one_line(weights: Path, place: int) -> None:
    written = checksum(weights)
    with weights.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0xFF]))
    with pytest.raises(PublishError, match=rf"^publish of version 3: {weights} has checksum .* wrote {written}$"):
        verify(weights, 3, written)


@pytest.mark.parametrize("length", [0, 1000])
def test_a_file_that_is_cut_short_is_refused(weights: Path, length: int) -> None:
    written = checksum(weights)
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(PublishError, match="has checksum"):
        verify(weights, 3, written)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match=r"version 3: there are no weights at .*gone"):
        verify(tmp_path / "gone", 3, "")


# --- the folder ---------------------------------------------------------------------------------------------------


def holder(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a folder of weights in `place`."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_weights_of_a_killed_process_are_swept_by_the_next_one_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    living, kept = holder(tmp_path)
    killed, left = holder(tmp_path)
    killed.kill()
    killed.wait()
    (tmp_path / "foreign").mkdir()
    assert left.is_dir()
    with exchange_folder(tmp_path) as folder:
        assert set(tmp_path.iterdir()) == {kept, folder, tmp_path / "foreign"}
        assert sweep(tmp_path) == []
    assert set(tmp_path.iterdir()) == {kept, tmp_path / "foreign"}
    living.kill()
    living.wait()
    assert sweep(tmp_path) == [kept]


def with_free(monkeypatch: pytest.MonkeyPatch, free: dict[Path, int]) -> None:
    usage = namedtuple("usage", ("total", "used", "free"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(0, 0, free[place]))


def test_weights_go_through_shared_memory_where_it_has_room_and_else_through_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, disk = tmp_path / "shm", tmp_path / "disk"
    shared.mkdir()
    disk.mkdir()
    with_free(monkeypatch, {shared: 64 * 2**20, disk: 2**30})
    assert roomy(64 * 2**20, shared, disk) == shared
    assert roomy(65 * 2**20, shared, disk) == disk
    with pytest.raises(NoRoom, match=r"the weights need 2\.00 GB .*shm has 0\.06 .*disk has 1\.00 GB free: .*TMPDIR="):
        roomy(2**31, shared, disk)
    assert roomy(1, tmp_path / "none", disk) == disk
