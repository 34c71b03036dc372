"""A run is told where its weights go if shared memory is too small for them."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from rollout.transfer import Route
from trainer.config.build import ConfigError
from trainer.config.settings import ClusterConfig
from trainer.report.progress import Display
from trainer.setup.exchange import weights_bytes, weights_route


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two files of 10 and 6 numbers."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": np.zeros((5, 2), np.float16)}, folder / "model-1.safetensors")
    save_file({"b": np.zeros(4, np.float32), "c": np.zeros((1, 2), np.float32)}, folder / "model-2.safetensors")
    return folder


def test_the_weights_size_is_that_of_the_learners_precision(model: Path) -> None:
    assert (weights_bytes(model, "float32"), weights_bytes(model, "bfloat16")) == (64, 32)


def test_without_shared_memory_the_weights_go_through_the_disk_and_one_line_says_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = StringIO()
    display = Display(Console(file=out, soft_wrap=True))
    with weights_route(ClusterConfig(), str(model), display, tmp_path / "shm") as route:
        assert route.folder is not None
        assert route.folder.parent == tmp_path
    assert not route.folder.exists()
    assert out.getvalue().startswith(
        f"· {tmp_path}/shm has no room for two copies of the weights (0 MB): they go through"
    )
    assert len(out.getvalue().splitlines()) == 1


def test_in_shared_memory_nothing_is_said(model: Path, tmp_path: Path) -> None:
    out = StringIO()
    with weights_route(ClusterConfig(), str(model), Display(Console(file=out)), tmp_path) as route:
        assert route.folder is not None
        assert route.folder.parent == tmp_path
    assert out.getvalue() == ""


def test_where_nothing_has_room_the_run_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.setup.exchange.weights_bytes", lambda *_: 2**60)
    with (
        pytest.raises(ConfigError, match="the weights need"),
        weights_route(ClusterConfig(), str(model), Display(), tmp_path),
    ):
        pass


def test_weights_that_stay_on_a_gpu_need_no_room_in_host_memory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.setup.exchange.weights_bytes", lambda *_: 2**60)
    with weights_route(ClusterConfig(device="cuda", gpus=1, bucket_bytes=7), str(model), Display(), tmp_path) as route:
        assert route == Route(way="ipc", folder=None, bucket_bytes=7)


def test_several_nodes_have_no_shared_memory_to_put_a_bucket_in(model: Path, tmp_path: Path) -> None:
    route = weights_route(ClusterConfig(weight_transfer="shm"), str(model), Display(), nodes_share=tmp_path)
    with pytest.raises(ConfigError, match=r"cluster\.weight_transfer='shm' with several nodes.*=auto"), route:
        pass
