"""The learner's forward against the model's own, before anything is trained: same hidden states, same log-probs."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainer.config.build import ModelError
from trainer.learner.attention import own_attention
from trainer.learner.policy import PolicyModule, PolicyOutput

LINES, WIDTH = 2, 12  # of random tokens
ORDER_OF_SUMS = 64
"""How many roundings of float32 a sum may differ by that is added up in another order: the root of 4,096 terms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A few random tokens, and what the model's own forward says about them."""

    input_ids: Tensor
    """int64 [B, L]."""
    targets: Tensor
    """int64 [B * (L - 1)]. The next token of every cell but the last of each line."""
    predict_at: Tensor
    """int64 [B * (L - 1)]. The flat cells of those."""
    hidden: tuple[Tensor, ...]
    """Hugging Face's `hidden_states`, [B, L, D] each."""
    logits: Tensor
    """float32 [B * (L - 1), V]. At `predict_at`, before temperature."""


def check_forward(policy: PolicyModule, *, temperature: float, layer: int | None = None) -> None:
    """Raise ModelError where the policy's log-probs or hidden states are not those of the model's own forward.

    Compares the first, the middle and the last hidden state, and `layer` if it is given, at random tokens, in the
    model's own precision. Leaves the policy in evaluation mode.
    """
    policy.eval()
    count = len(policy.blocks)
    layers = () if layer is None else (policy.index_of(layer),)
    inner = [index for index in dict.fromkeys((0, count // 2, *layers)) if index != count]
    with torch.no_grad():
        probe = _probe(policy.model)
        if len(probe.hidden) != count + 1:
            raise ModelError(
                f"{type(policy.model).__name__} returns {len(probe.hidden)} hidden states for {count} blocks, "
                f"not {count + 1}: train another model"
            )
        states, output = _ours(policy, probe, inner, temperature)
    for index, state in states.items():
        _check_hidden(policy, probe, index, state)
    _check_head(policy, probe, temperature, output.logprobs)


def _ours(
    policy: PolicyModule, probe: Probe, inner: Sequence[int], temperature: float
) -> tuple[dict[int, Tensor], PolicyOutput]:
    """One forward of the policy: the hidden states of the layers `inner` and of the last one, and the log-probs."""
    cells = torch.arange(probe.input_ids.numel(), device=probe.input_ids.device)
    input_ids, bounds = probe.input_ids, None
    if policy.packed:
        input_ids = input_ids.view(1, -1)  # [1, B * L]
        bounds = torch.arange(0, len(cells) + 1, WIDTH, dtype=torch.int32, device=cells.device)
    with ExitStack() as stack:
        kept = {index: stack.enter_context(policy.keeping(index)) for index in inner}
        output = policy(
            input_ids,
            probe.predict_at,
            probe.targets,
            temperature=temperature,
            layer=-1,
            embed_at=cells,
            bounds=bounds,
            longest=WIDTH,
        )
    states = {index: state.flatten(0, 1) for index, (state,) in kept.items()}  # [B * L, D]
    return {**states, len(policy.blocks): output.hidden}, output


def _probe(model: PreTrainedModel) -> Probe:
    device, vocabulary = model.device, model.config.get_text_config().vocab_size
    random = torch.Generator().manual_seed(0)
    input_ids = torch.randint(0, vocabulary, (LINES, WIDTH), generator=random).to(device)
    with own_attention(model):
        own = model(input_ids=input_ids, use_cache=False, output_hidden_states=True)
    if not own.hidden_states:
        raise ModelError(f"{type(model).__name__} returns no hidden states: train another model")
    if not bool(own.logits.isfinite().all()):
        raise ModelError(
            f"the forward of {type(model).__name__} gives logits that are not finite: its weights hold such values, or "
            f"{model.dtype} is too narrow for them; take another model, or cluster.dtype=float32"
        )
    cells = torch.arange(LINES * WIDTH, device=device).view(LINES, WIDTH)[:, :-1].flatten()
    return Probe(
        input_ids=input_ids,
        targets=input_ids[:, 1:].flatten(),
        predict_at=cells,
        hidden=tuple(own.hidden_states),
        logits=own.logits.flatten(0, 1)[cells].float(),
    )


def _check_hidden(policy: PolicyModule, probe: Probe, index: int, ours: Tensor) -> None:
    """Both forwards do the same operations on the same tokens: only atomic additions on a GPU may round differently.

    Packed attention is another kernel, whose roundings add up over the blocks.
    """
    model = policy.model
    of = "body" if index == len(probe.hidden) - 1 else f"hidden state of layer {index}"
    own = probe.hidden[index].flatten(0, 1)  # [B * L, D]
    if ours.shape != own.shape:
        raise _differs(model, of, f"has shape {tuple(ours.shape)}, not {tuple(own.shape)},")
    difference = (ours.float() - own.float()).abs().max().item()
    largest = own.float().abs().max().item()
    roundings = ORDER_OF_SUMS if own.dtype == torch.float32 else 16 if policy.packed else 4
    tolerance = roundings * torch.finfo(own.dtype).eps * largest
    if not difference <= tolerance:  # a difference that is no number is no agreement
        raise _differs(model, of, f"is off by {difference:.3g} (tolerance {tolerance:.2g})")


def _check_head(policy: PolicyModule, probe: Probe, temperature: float, ours: Tensor) -> None:
    table = (probe.logits / temperature).log_softmax(-1)  # [S, V]
    own = table.gather(1, probe.targets[:, None])[:, 0]
    difference = (ours - own).abs().mean().item()
    tolerance = logprob_tolerance(policy.head.weight.dtype, probe.logits.abs().max().item() / temperature)
    if not difference <= tolerance:
        wrong = f"gives log-probs that are off by {difference:.3g} nats on average (tolerance {tolerance:.2g})"
        raise _differs(policy.model, "head", wrong)


def logprob_tolerance(dtype: torch.dtype, largest: float) -> float:
    """How far the mean |log-prob| of two right forwards may differ, in nats, if no |logit| is above `largest`.

    A log-prob is a logit less the normaliser. Both carry the rounding of a logit: `largest` times the precision.
    float32: the head's sums are added up in another order, so that an error grows with the root of their terms.
    bfloat16: sums are float32, and at most four results are rounded (the product, and a soft cap's division, tanh and
    product), each by a quarter of the precision on average.
    """
    roundings = ORDER_OF_SUMS if dtype == torch.float32 else 1
    return roundings * torch.finfo(dtype).eps * (1.0 + largest) if math.isfinite(largest) else 0.0


def _differs(model: PreTrainedModel, part: str, wrong: str) -> ModelError:
    name = type(model).__name__
    return ModelError(
        f"the {part} as the learner computes it {wrong} against {name}'s own forward: train another model"
    )
