"""Tensors pass through a buffer unchanged, and one changed number is seen: on the way and inside the engine."""

import re
from dataclasses import replace
from queue import Queue
from threading import Thread

import pytest
import torch
from torch import Tensor
from torch.distributed import TCPStore

from rollout.buckets import (
    as_words,
    broadcast,
    broadcast_group,
    check_digests,
    content,
    digest,
    meeting_store,
    pack,
    spec_of,
    unpack,
)
from rollout.transfer import (
    UNKNOWN,
    Meeting,
    PublishError,
    TensorSpec,
    add_contents,
    check_contents,
    in_buckets,
    joined_contents,
    layer_of,
)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


def sized(*num_bytes: int) -> list[TensorSpec]:
    return [
        TensorSpec(name=str(number), dtype="uint8", shape=(size,), num_bytes=size)
        for number, size in enumerate(num_bytes)
    ]


def test_tensors_of_any_precision_come_out_of_a_buffer_as_they_went_in() -> None:
    tensors = {"a": random(3, 5, dtype=torch.bfloat16), "b": random(7).double(), "c": random(4, 4).t(), "d": random()}
    specs = [spec_of(name, tensor) for name, tensor in tensors.items()]
    buffer = torch.zeros(sum(spec.space for spec in specs), dtype=torch.uint8)
    pack(tensors.values(), buffer)
    out = dict(unpack(buffer, specs))
    assert out.keys() == tensors.keys()
    assert all(torch.equal(out[name], tensor) for name, tensor in tensors.items())


def test_a_tensor_above_the_buckets_size_stands_alone() -> None:
    buckets = in_buckets(sized(32, 16, 1000, 48, 1), 64)
    assert [[spec.name for spec in bucket] for bucket in buckets] == [["0", "1"], ["2"], ["3", "4"]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("place", [0, 2**18, 2**18 + 6])
def test_one_changed_value_changes_both_checksums(dtype: torch.dtype, place: int) -> None:
    tensor = random(2**18 + 7, dtype=dtype)
    changed = tensor.clone()
    changed[place] = torch.nextafter(tensor[place], torch.tensor(torch.inf, dtype=dtype))
    assert digest(changed) != digest(tensor)
    assert content(changed) != content(tensor)


def test_a_digest_is_the_slow_sum_over_words_and_places() -> None:
    tensor = random(3, 4)
    words = tensor.flatten().view(torch.int32).tolist()
    assert as_words([digest(tensor)]) == [sum(word * (2 * i + 1) for i, word in enumerate(words)) % 2**64]
    assert as_words([content(tensor)]) == [sum(word * (word + 2**40 + 1) for word in words) % 2**64]


def test_two_values_that_changed_places_change_the_digest_and_not_the_content() -> None:
    tensor = random(6)
    assert digest(tensor.flip(0)) != digest(tensor)
    assert content(tensor.flip(0)) == content(tensor)


def test_the_content_of_a_layer_survives_fusing_transposing_padding_and_a_wider_precision() -> None:
    query, key = random(4, 8, dtype=torch.bfloat16), random(2, 8, dtype=torch.bfloat16)
    fused = torch.cat([query, key, torch.zeros(3, 8, dtype=torch.bfloat16)]).t().float()
    assert as_words([content(fused)])[0] == sum(as_words([content(query), content(key)])) % 2**64


def test_a_tensor_that_was_damaged_on_the_way_is_refused_by_name() -> None:
    names, tensors = ("a", "b"), [random(5), random(6)]
    sent = as_words([digest(tensor) for tensor in tensors])
    check_digests(list(zip(names, tensors, strict=True)), sent)
    tensors[1][3] += 1
    with pytest.raises(PublishError, match=r"^b arrived with checksum [0-9a-f]{16}, the learner sent [0-9a-f]{16}$"):
        check_digests(list(zip(names, tensors, strict=True)), sent)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"layer 0": 1, "layer 1": 3}, "in 1 of 2 layers, first in layer 1"),
        ({"layer 0": 1}, "in 1 of 2 layers, first in layer 1"),
        ({"layer 0": 1, "layer 1": 2, "the rest": 5}, "in 1 of 2 layers, first in the rest"),
    ],
    ids=["stale", "missing", "too many"],
)
def test_an_engine_whose_weights_are_not_the_learners_is_refused(held: dict[str, int], message: str) -> None:
    sent = add_contents({"layer 0": 2**64 - 1, "layer 1": 2}, {"layer 0": 2})
    check_contents(3, sent, {"layer 0": 1, "layer 1": 2})
    with pytest.raises(
        PublishError, match=re.escape(f"publish of version 3: the engine's weights are not the learner's {message}")
    ):
        check_contents(3, sent, held)


def test_workers_that_share_a_model_are_summed_over_their_shares_and_compared_in_what_all_hold() -> None:
    first = {"whole": {"layer 0": 5}, "part 0 of 2": {"layer 0": 1, "the rest": 2**64 - 1}}
    second = {"whole": {"layer 0": 5}, "part 1 of 2": {"layer 0": 2, "the rest": 3}}
    assert joined_contents(3, [first, second]) == {"layer 0": 8, "the rest": 2}
    stale = second | {"whole": {"layer 0": 4}}
    with pytest.raises(
        PublishError, match=r"version 3: worker 1 of the engine holds other weights in layer 0 \(whole\)"
    ):
        joined_contents(3, [first, stale])


def test_a_layer_with_weights_that_are_shared_unknown_how_is_not_compared() -> None:
    held = joined_contents(3, [{"whole": {"layer 0": 1, "layer 1": 2}, UNKNOWN: {"layer 1": 7}}])
    assert held == {"layer 0": 1, "layer 1": None}
    check_contents(3, {"layer 0": 1, "layer 1": 9}, held)
    with pytest.raises(PublishError, match="first in layer 0"):
        check_contents(3, {"layer 0": 2, "layer 1": 9}, held)


def test_a_parameter_belongs_to_the_layer_of_its_first_number() -> None:
    names = ("model.layers.3.mlp.experts.7.w1", "transformer.h.0.attn.bias", "model.norm.weight")
    assert [layer_of(name) for name in names] == ["layer 3", "layer 0", "the rest"]


def member(meeting: Meeting, store: TCPStore | None, values: list[int], received: Queue) -> None:
    buffer = torch.tensor(values, dtype=torch.uint8)
    broadcast(broadcast_group("cpu", meeting, store), buffer)
    received.put((meeting.rank, buffer.tolist()))


def test_a_broadcast_fills_every_members_buffer_with_the_senders() -> None:
    store, received = meeting_store("127.0.0.1"), Queue()
    meeting = Meeting(host=store.host, port=store.port, size=3, timeout_s=60.0)
    members = [
        Thread(target=member, args=(replace(meeting, rank=rank), None if rank else store, [rank + 1] * 4, received))
        for rank in range(3)
    ]
    for one in members:
        one.start()
    for one in members:
        one.join()
    assert sorted(received.get_nowait() for _ in members) == [(rank, [1] * 4) for rank in range(3)]
