"""A seed is a hash of its parts: the same in any process, and different for different parts."""

import os
import subprocess
import sys

import pytest

from rollout.seeds import derive_seed

PARTS = (0, "world", 3, 7)


def test_seeds_never_change_between_versions() -> None:
    # Fixed values: a checkpoint made by another version must go on with the same games.
    expected = [1642264171, 507624230, 1799620828]
    assert [derive_seed(*parts) for parts in (PARTS, ("validation", "t1"), (1,))] == expected


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_seeds_do_not_depend_on_the_process(hash_seed: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", f"from rollout.seeds import derive_seed; print(derive_seed(*{PARTS!r}))"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(finished.stdout) == derive_seed(*PARTS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 2), (2, 1)),
        ((1, 23), (12, 3)),
        (("a", "bc"), ("ab", "c")),
        ((1,), ("1",)),
        ((1,), (1, "")),
        ((0,), (0, 0)),
    ],
)
def test_different_parts_have_different_seeds(first: tuple[int | str, ...], second: tuple[int | str, ...]) -> None:
    assert derive_seed(*first) != derive_seed(*second)


def test_a_whole_runs_requests_spread_over_all_seeds() -> None:
    # 20,000 draws out of 2**31 collide 0.09 times in the mean; a seed built by adding its parts collides thousands.
    seeds = {derive_seed(0, task, sibling, step) for task in range(50) for sibling in range(20) for step in range(20)}
    assert len(seeds) == 20_000
    assert 0 <= min(seeds) < 2**31 // 1000
    assert 2**31 - 2**31 // 1000 < max(seeds) < 2**31
