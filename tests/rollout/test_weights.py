"""A weights file is loaded only if it is the one that the learner wrote."""

from pathlib import Path

import pytest

from rollout.weights import PublishError, checksum, verify


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
    with pytest.raises(PublishError, match=rf"^publish of version 3: {weights} has checksum .* wrote {written}; .*$"):
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
