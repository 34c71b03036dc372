"""The head of a language model, in chunks of tokens: log-probs and entropies without the whole table of logits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.config.build import ModelError

LOGITS_PER_CHUNK = {"cpu": 2**23, "cuda": 2**28}
"""Logits per chunk, by device, in float32. 32 MiB on a CPU: 55 tokens of a vocabulary of 151,936. 1 GiB on a GPU: 1,766
tokens, since every chunk reads the whole matrix."""
MULTIPLYING = ("hyperclovax",)
"""Families that multiply by their `logits_scaling`; the others (Granite, MiniCPM) divide by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitsMaths:
    """What a head does to hidden @ weight.T + bias: z -> cap * tanh(scale * z / cap), before temperature."""

    scale: float = 1.0
    """Factor of the logits, as in Granite and Cohere."""
    cap: float | None = None
    """Bound of the logits' soft cap, as in Gemma 2; None caps nothing."""

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LogitsMaths":
        """What the model's config says. Whether its forward does the same is `check.check_forward`'s business."""
        config = model.config.get_text_config()
        scale = 1.0
        for name in ("logit_scale", "lm_head_multiplier"):
            scale *= getattr(config, name, None) or 1.0
        if scaling := getattr(config, "logits_scaling", None):
            scale *= scaling if config.model_type.startswith(MULTIPLYING) else 1.0 / scaling
        return cls(scale=scale, cap=getattr(config, "final_logit_softcapping", None) or None)


class ResponseHead(nn.Module):
    """The model's output matrix, with its bias if it has one, as a module of its own.

    Under ZeRO-3 one call gathers the matrix once, however many chunks the tokens need. Calling `lm_head` per chunk
    would force the same number of chunks on every rank. Raises ModelError for a head that is no linear layer.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelError(
                f"the head of {type(model).__name__} is {type(head).__name__}, not one linear layer: "
                "train another model"
            )
        self.weight = head.weight  # [V, D]
        self.bias = head.bias  # [V] or None
        self.maths = LogitsMaths.of(model)

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probs of the targets and entropies, in nats. [S, D], int64 [S] -> float32 [S], float32 [S]"""
        return ChunkedLogprobs.apply(  # type: ignore[return-value]
            hidden, self.weight, targets, temperature, self.bias, self.maths
        )


class ChunkedLogprobs(torch.autograd.Function):
    """Log-softmax at the targets and entropy H of z, one chunk of tokens at a time.

    With a = hidden @ weight.T + bias, scale s, cap c and temperature T (see `LogitsMaths`):

        z = y / T,  y = c tanh(s a / c),  or y = s a without a cap

    The whole [S, V] table of logits never exists. The backward pass computes each chunk's logits again, from the saved
    log-normaliser. With p = softmax(z):

        d logp_t / dz = onehot_t - p
        d H      / dz = -p * (log p + H)
        dz / da       = s (1 - (y / c)^2) / T
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        bias: Tensor | None = None,
        maths: LogitsMaths = LogitsMaths(),
    ) -> tuple[Tensor, Tensor]:
        normaliser = hidden.new_empty(len(hidden), dtype=_working(hidden))  # [S]
        logprobs, entropy = torch.empty_like(normaliser), torch.empty_like(normaliser)
        for part in _chunks(hidden, weight):
            logits = _tempered(_logits(hidden[part], weight, bias, maths), temperature)  # [C, V]
            normaliser[part] = logits.logsumexp(-1)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - normaliser[part]
            probability = (logits - normaliser[part, None]).exp_()
            # H = log Z - sum p z
            entropy[part] = normaliser[part] - torch.linalg.vecdot(probability, logits)
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy, bias)
        ctx.temperature, ctx.maths = temperature, maths
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_logprobs, grad_entropy = grad_outputs
        hidden, weight, targets, normaliser, entropy, bias = ctx.saved_tensors
        working = _working(hidden)  # of the sums over chunks
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=working) if ctx.needs_input_grad[1] else None
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=working)
        for part in _chunks(hidden, weight):
            logits = _logits(hidden[part], weight, bias, ctx.maths)  # [C, V]
            slope = _slope(logits, ctx.maths)
            logp = _tempered(logits, ctx.temperature).sub_(normaliser[part, None])
            pull = torch.zeros_like(normaliser[part]) if grad_logprobs is None else grad_logprobs[part]  # [C]
            factor = pull[:, None]
            if grad_entropy is not None:
                factor = factor + grad_entropy[part, None] * (logp + entropy[part, None])
            grad = logp.exp_().mul_(factor).neg_()
            grad.scatter_add_(1, targets[part, None], pull[:, None])
            grad = grad.div_(ctx.temperature)
            if slope is not None:
                grad = grad.mul_(slope)
            grad = grad.to(weight.dtype)
            torch.mm(grad, weight, out=grad_hidden[part])
            if grad_weight is not None:
                _add_product(grad_weight, grad.T, hidden[part])
            if grad_bias is not None:
                grad_bias.add_(grad.sum(0, dtype=working))
        grad_bias = None if bias is None or grad_bias is None else grad_bias.to(bias.dtype)
        grad_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_hidden, grad_weight, None, None, grad_bias, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, maths: LogitsMaths) -> Tensor:
    """The logits of a chunk before temperature, in a new tensor. float32 [C, V]"""
    if _keeps_float32(hidden):
        logits = float32_product(hidden, weight.T)
        logits = logits if bias is None else logits.add_(bias)
    else:
        logits = F.linear(hidden, weight, bias).to(_working(hidden))
    if maths.scale != 1.0:
        logits = logits.mul_(maths.scale)
    return logits if maths.cap is None else logits.div_(maths.cap).tanh_().mul_(maths.cap)


def float32_product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right of bfloat16 matrices, added up and kept in float32: logits of 20 to 30 in bfloat16 lie 0.125 apart.

    On CUDA one kernel that copies no operand; elsewhere its twin, for tests.
    """
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _keeps_float32(matrix: Tensor) -> bool:
    """Whether products of such a matrix are taken by `float32_product`. On a CPU its twin would be too slow."""
    return matrix.is_cuda and matrix.dtype == torch.bfloat16


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in place and in the precision of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total.add_(float32_product(left, right) if _keeps_float32(left) else left @ right)


def _slope(logits: Tensor, maths: LogitsMaths) -> Tensor | float | None:
    """d logits / d (hidden @ weight.T + bias), from the logits before temperature; None where it is 1. [C, V]"""
    if maths.cap is not None:
        return (logits / maths.cap).square_().neg_().add_(1.0).mul_(maths.scale)
    return None if maths.scale == 1.0 else maths.scale


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1.0 else logits.div_(temperature)


def _working(hidden: Tensor) -> torch.dtype:
    """float32, or float64 where the model has it: a test's gradients."""
    return torch.promote_types(hidden.dtype, torch.float32)


def _chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    size = max(1, LOGITS_PER_CHUNK[hidden.device.type] // len(weight))
    for first in range(0, len(hidden), size):
        yield slice(first, min(first + size, len(hidden)))
