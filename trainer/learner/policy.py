"""A causal language model seen as what an update needs: log-probs of responses, their entropy, hidden states."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

LOGITS_PER_CHUNK = 2**23
"""Logits alive at a time: 32 MiB in float32, so that 55 tokens of a vocabulary of 151,936 go together."""


class PolicyOutput(NamedTuple):
    """S response tokens, K rows, hidden size D. A named tuple, since DeepSpeed finds no tensors in a dataclass.

    logprobs, entropy: float32 [S], nats, of the tempered distribution. hidden: [K, D] in the model's dtype, or None.
    """

    logprobs: Tensor
    entropy: Tensor
    hidden: Tensor | None


class PolicyModule(nn.Module):
    """Wraps a Hugging Face causal LM (Qwen2, Llama and their like: a body with `layers` and `norm`, a linear head).

    Raises ValueError for a model whose head does more than a matrix product.
    """

    def __init__(self, model: PreTrainedModel, *, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.model = model
        self.head = ResponseHead(model)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def body(self) -> PreTrainedModel:
        """The model below its head. A property: registered twice, it would get DeepSpeed's hooks twice."""
        return cast(PreTrainedModel, self.model.base_model)

    def forward(
        self,
        input_ids: Tensor,  # int64 [B, L], right-padded
        predict_at: Tensor,  # int64 [S], flat cells
        targets: Tensor,  # int64 [S]
        *,
        temperature: float = 1.0,
        layer: int | None = None,
        embed_at: Tensor | None = None,  # int64 [K], flat cells
    ) -> PolicyOutput:
        """Log-probs of `targets` given the cells before them, and the hidden state of `layer` at `embed_at`.

        layer: index into Hugging Face's `hidden_states`: 0 the embeddings, i the output of block i, the last (or -1)
            the final norm's output. Without a mask, positions count from 0 and SDPA takes its causal path.
        """
        with self._kept(layer, embed_at) as kept:
            states = self.body(input_ids=input_ids, use_cache=False).last_hidden_state  # [B, L, D]
        chosen = states.flatten(0, 1).index_select(0, predict_at)  # [S, D]
        logprobs, entropy = self.head(chosen, targets, temperature)
        return PolicyOutput(logprobs=logprobs, entropy=entropy, hidden=kept[0] if kept else None)

    @contextmanager
    def _kept(self, layer: int | None, embed_at: Tensor | None) -> Iterator[list[Tensor]]:
        """A list that receives the layer's output at the wanted cells while the body runs. [K, D]"""
        kept: list[Tensor] = []
        if layer is None or embed_at is None:
            yield kept
            return

        def keep(module: nn.Module, arguments: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            kept.append(states.flatten(0, 1).index_select(0, embed_at))

        handle = self._module_of(layer).register_forward_hook(keep)
        try:
            yield kept
        finally:
            handle.remove()

    def _module_of(self, layer: int) -> nn.Module:
        """The submodule whose output is `hidden_states[layer]`. Raises ValueError outside the model's range."""
        blocks = cast(nn.ModuleList, self.body.layers)
        count = len(blocks) + 1
        if not -count <= layer < count:
            raise ValueError(f"layer {layer} does not exist: this model has hidden states {-count} to {count - 1}")
        index = layer % count
        if index == 0:
            return self.model.get_input_embeddings()
        return blocks[index - 1] if index < len(blocks) else cast(nn.Module, self.body.norm)


class ResponseHead(nn.Module):
    """The model's own output matrix as a module of its own.

    One call is one gather of the matrix under ZeRO-3, however many chunks the tokens need: calling `lm_head` per
    chunk would ask every rank for the same number of chunks.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        scaling = [name for name in ("final_logit_softcapping", "logit_scale") if getattr(model.config, name, None)]
        if not isinstance(head, nn.Linear) or head.bias is not None or scaling:
            raise ValueError(
                f"{type(model).__name__} has a head other than one matrix ({scaling or head}): unsupported"
            )
        self.weight = head.weight  # [V, D]

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """[S, D], int64 [S] -> log-probs and entropies, float32 [S]."""
        return ChunkedLogprobs.apply(hidden, self.weight, targets, temperature)  # type: ignore[return-value]


class ChunkedLogprobs(torch.autograd.Function):
    """Log-softmax at the targets and entropy of `hidden @ weight.T / temperature`, a chunk of tokens at a time.

    The [S, V] logits never exist: the backward pass computes each chunk's anew from the saved log-normaliser.
    With p = softmax(z): d logp_t / dz = onehot_t - p; d H / dz = -p * (log p + H).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        normaliser = hidden.new_empty(len(hidden), dtype=torch.float32)  # [S]
        logprobs, entropy = torch.empty_like(normaliser), torch.empty_like(normaliser)
        for part in _chunks(len(hidden), len(weight)):
            logits = _logits(hidden[part], weight, temperature)  # [C, V]
            normaliser[part] = logits.logsumexp(-1)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - normaliser[part]
            probability = (logits - normaliser[part, None]).exp_()
            # H = log Z - sum p z
            entropy[part] = normaliser[part] - torch.linalg.vecdot(probability, logits)
        ctx.save_for_backward(hidden, weight, targets, normaliser, entropy)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        grad_logprobs, grad_entropy = grad_outputs
        hidden, weight, targets, normaliser, entropy = ctx.saved_tensors
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for part in _chunks(len(hidden), len(weight)):
            logp = _logits(hidden[part], weight, ctx.temperature).sub_(normaliser[part, None])  # [C, V]
            pull = torch.zeros_like(normaliser[part]) if grad_logprobs is None else grad_logprobs[part]  # [C]
            factor = pull[:, None]
            if grad_entropy is not None:
                factor = factor + grad_entropy[part, None] * (logp + entropy[part, None])
            grad = logp.exp_().mul_(factor).neg_()
            grad.scatter_add_(1, targets[part, None], pull[:, None])
            grad = grad.div_(ctx.temperature).to(weight.dtype)
            torch.mm(grad, weight, out=grad_hidden[part])
            grad_weight.addmm_(grad.T, hidden[part])
        return grad_hidden, grad_weight, None, None


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """float32 [C, V], a tensor of its own."""
    logits = F.linear(hidden, weight).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(num_tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS_PER_CHUNK // vocabulary)
    for first in range(0, num_tokens, size):
        yield slice(first, min(first + size, num_tokens))
