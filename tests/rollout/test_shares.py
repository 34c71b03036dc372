"""The checksum of a layer whose weights vLLM's workers share, over vLLM's own sharded layers on two gloo ranks."""

import socket
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from rollout.buckets import as_words, content
from rollout.transfer import check_contents, joined_contents

pytestmark = pytest.mark.slow


def test_the_shares_of_all_workers_have_the_content_of_the_whole_weights() -> None:
    # Here, as each of the test processes would else import vLLM to collect.
    from tests.rollout.sharded import WORKERS, tensors, worker  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
        results = list(pool.map(worker, range(WORKERS), [port] * WORKERS))
    workers = [held for held, _ in results]
    whole = tensors()
    parts = {"0": ["q", "k", "v", "q_bias", "k_bias", "v_bias"], "1": ["o", "o_bias"], "2": ["gate", "up"]}
    parts |= {"3": ["router"], "4": ["norm"], "5": ["embedding"]}
    expected = {
        layer: sum(as_words([content(whole[name]) for name in names])) % 2**64 for layer, names in parts.items()
    }
    assert joined_contents(1, workers) == expected
    check_contents(1, expected, joined_contents(1, workers))
    assert {share for held in workers for share in held} == {
        *("whole", "keys and values 0", "part 0 of 2", "part 1 of 2"),
    }
    assert [strange for _, strange in results] == [["unknown"], ["unknown"]]
