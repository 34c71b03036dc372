"""The cores that a job asks for are those that work at one time."""

from types import SimpleNamespace

import pytest

from trainer.config.settings import ClusterConfig
from trainer.setup.job_needs import job_needs

GPUS = {"device": "cuda", "gpus": 3, "engines": 2, "ranks": 1, "threads": 4, "env_workers": 5}


@pytest.mark.parametrize(
    ("cluster", "cores"),
    [
        (None, 0),
        (ClusterConfig(address="auto"), 0),  # its own nodes do the work
        (ClusterConfig(cpus=3), 3),
        (ClusterConfig(), 2 + 2 + 2),  # one engine or one rank of two threads, two env workers, Ray and the command
        (ClusterConfig(**GPUS), 2 * 4 + 5 + 2),
        (ClusterConfig(**GPUS, placement="split"), 3 * 4 + 5 + 2),  # engines and ranks at the same time
    ],
)
def test_a_job_asks_for_the_cores_that_work_at_one_time(cluster: ClusterConfig | None, cores: int) -> None:
    assert job_needs(SimpleNamespace(cluster=cluster)) == {"job_cpus": cores, "job_bytes": 0}


def test_a_config_that_could_not_be_built_asks_for_nothing() -> None:
    assert job_needs(None) == {"job_cpus": 0, "job_bytes": 0}
