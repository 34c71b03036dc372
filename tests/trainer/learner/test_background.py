"""What a rank writes beside its work is what was there when it was copied, whole and checked, or named as failed."""

import resource
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from trainer import checksums
from trainer.learner.background import BackgroundWriter, on_host

Pair = namedtuple("Pair", ["weight", "name"])


def test_a_copy_has_the_values_the_kinds_and_the_sharing_of_what_was_copied_and_keeps_them() -> None:
    shared, groups = torch.ones(3, requires_grad=True), [{"lr": 0.1, "params": [0, 1]}]
    state = OrderedDict(a=shared, b=(shared, [torch.zeros(0), None]), groups=groups, pair=Pair(shared[1:], "w"))
    held = on_host(state)
    with torch.no_grad():
        shared.fill_(2.0)
    groups[0]["lr"] = 0.2
    assert list(held) == ["a", "b", "groups", "pair"]
    assert (type(held), type(held["pair"]), held["groups"]) == (OrderedDict, Pair, [{"lr": 0.1, "params": [0, 1]}])
    assert torch.equal(held["a"], torch.ones(3))
    assert torch.equal(held["pair"].weight, torch.ones(2))
    assert held["a"] is held["b"][0]
    assert not held["a"].requires_grad


def test_a_view_is_written_without_the_rest_of_its_storage(tmp_path: Path) -> None:
    writer, whole = BackgroundWriter(0), torch.zeros(1_000_000)
    writer.add({"part": whole[:10]}, tmp_path / "part.pt")
    writer.start(tmp_path)
    assert writer.fault(wait=True) is None
    assert (tmp_path / "part.pt").stat().st_size < 10_000


def test_a_writer_ends_with_the_checksums_of_the_state_that_was_copied(tmp_path: Path) -> None:
    writer, weight = BackgroundWriter(1), torch.arange(5.0)
    writer.add({"weight": weight}, tmp_path / "one.pt")
    weight.zero_()

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    writer.add_folder(tmp_path / "model", write)
    assert not (tmp_path / "one.pt").exists()
    writer.start(tmp_path)
    assert writer.fault(wait=True) is None
    assert [path.name for path in checksums.parts(tmp_path)] == ["written-1.json"]
    checksums.join(tmp_path)
    assert checksums.damage(tmp_path) is None
    assert torch.equal(torch.load(tmp_path / "one.pt")["weight"], torch.arange(5.0))
    (tmp_path / "model" / "config.json").write_text("[]")
    assert checksums.damage(tmp_path) == "model/config.json has other bytes than were written"


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1000, 500_000])
def test_a_write_that_finds_no_room_is_named_and_leaves_no_checksums(tmp_path: Path, size: int) -> None:
    writer = BackgroundWriter(0)
    writer.add({"weight": torch.zeros(1_000_000)}, tmp_path / "one.pt")
    with full_at(size):
        writer.start(tmp_path)
        fault = writer.fault(wait=True)
    assert "File too large" in (fault or "")
    assert checksums.parts(tmp_path) == []
    writer.add({"weight": torch.zeros(1_000_000)}, tmp_path / "one.pt")
    writer.start(tmp_path)  # where there is room again
    assert writer.fault(wait=True) is None
