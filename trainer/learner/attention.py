"""Packed attention: sequences stand one after another in one line of cells, and none of them sees another.

Hugging Face's models call it by its name, `PACKED`, where they would call SDPA. On CUDA it is one call of torch's
`varlen_attn`, on a CPU one call of SDPA for each sequence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from trainer.config.build import ModelError

PACKED = "packed"
CHANGES_ATTENTION = ("softcap", "s_aux", "position_bias")
"""Options of attention that change its numbers and that `varlen_attn` does not have."""


def use_packed_attention(model: PreTrainedModel) -> None:
    """Let the model's blocks call `packed_attention`; every later call of its body needs `packing_arguments`."""
    model.set_attn_implementation(PACKED)


@contextmanager
def own_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model's attention as Hugging Face loads it, on padded lines, for the length of the block."""
    packed = model.config._attn_implementation == PACKED
    if packed:
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if packed:
            use_packed_attention(model)


def packing_arguments(bounds: Tensor, longest: int, total: int) -> dict[str, Any]:
    """What a body passes on to its blocks: positions, which begin at 0 in each sequence, and the sequences' bounds.

    bounds: int32 [B + 1], where each sequence begins, and the end. longest, total: tokens of the longest sequence and
    of all, given as numbers, since to read them from a GPU would stall it.
    """
    cells = torch.arange(total, device=bounds.device)
    starts = bounds[:-1].long().repeat_interleave(bounds.diff(), output_size=total)
    limits = {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest}
    return {"position_ids": (cells - starts)[None], **limits}


def packed_attention(
    module: nn.Module,
    query: Tensor,  # [1, heads, T, head size]
    key: Tensor,  # [1, key and value heads, T, head size]
    value: Tensor,  # [1, key and value heads, T, head size]
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,  # int32 [B + 1]
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence. Returns [1, T, heads, head size].

    sliding_window: how many cells a cell sees, itself included; None lets it see all before it.
    """
    del attention_mask  # one for padded lines
    if unknown := [name for name in CHANGES_ATTENTION if options.get(name) is not None]:
        raise ModelError(
            f"{type(module).__name__} has {unknown[0]}, which packed attention does not compute: "
            "set learner.packing=padded"
        )
    if not query.is_cuda:
        return _one_by_one(module, query, key, value, cu_seq_lens_q.tolist(), scaling, sliding_window), None
    flat_query, flat_key, flat_value = (part[0].transpose(0, 1) for part in (query, key, value))
    attended = varlen_attn(
        flat_query,
        flat_key,
        flat_value,
        cu_seq_lens_q,
        cu_seq_lens_q,
        max_length_q,
        max_length_q,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=True,
    )
    assert isinstance(attended, Tensor)  # a pair only where more is asked for
    return attended[None], None


def _one_by_one(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: list[int],
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    attended: list[Tensor] = []
    for first, last in pairwise(bounds):
        own_query, own_key, own_value = (part[:, :, first:last] for part in (query, key, value))
        mask = _window(last - first, sliding_window, query.device)
        attended.append(
            sdpa_attention_forward(module, own_query, own_key, own_value, mask, scaling=scaling, is_causal=True)[0]
        )
    return torch.cat(attended, dim=1)


def _window(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Which cells see which, of one sequence; None where all see all before them. bool [1, 1, L, L]"""
    if sliding_window is None or length <= sliding_window:
        return None
    cells = torch.arange(length, device=device)
    behind = cells[:, None] - cells
    return ((behind >= 0) & (behind < sliding_window))[None, None]


AttentionInterface.register(PACKED, packed_attention)
