"""A causal language model that returns what an update needs: log-probs and entropies of responses, hidden states."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

LOGITS_PER_CHUNK = 2**23
"""Logits per chunk: 32 MiB in float32, which is 55 tokens of a vocabulary of 151,936."""


class PolicyOutput(NamedTuple):
    """The output for S response tokens and K rows. A named tuple: DeepSpeed finds no tensors inside a dataclass."""

    logprobs: Tensor
    """float32 [S], nats. Log-probs of the targets, after temperature."""
    entropy: Tensor
    """float32 [S], nats. Entropy of the distributions the targets were drawn from, after temperature."""
    hidden: Tensor | None
    """[K, D] in the model's dtype. Hidden states at the requested cells; None if no layer was asked for."""


class PolicyModule(nn.Module):
    """A Hugging Face causal LM with a body of `layers` and `norm` and a linear head, such as Qwen2 or Llama.

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
        """The model below its head. A property, because a module registered twice gets DeepSpeed's hooks twice."""
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

        layer: index into Hugging Face's `hidden_states`. 0 is the embeddings, i the output of block i, the last (or -1)
            the output of the final norm.
        No attention mask is passed, so positions count from 0 and SDPA takes its causal path.
        """
        with self._kept(layer, embed_at) as kept:
            states = self.body(input_ids=input_ids, use_cache=False).last_hidden_state  # [B, L, D]
        chosen = states.flatten(0, 1).index_select(0, predict_at)  # [S, D]
        logprobs, entropy = self.head(chosen, targets, temperature)
        return PolicyOutput(logprobs=logprobs, entropy=entropy, hidden=kept[0] if kept else None)

    @contextmanager
    def _kept(self, layer: int | None, embed_at: Tensor | None) -> Iterator[list[Tensor]]:
        """A list that receives the layer's output at the cells `embed_at` while the body runs. [K, D]"""
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
    """The model's output matrix as a module of its own.

    Under ZeRO-3 one call gathers the matrix once, however many chunks the tokens need. Calling `lm_head` per chunk
    would force the same number of chunks on every rank.
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
        """Log-probs of the targets and entropies, in nats. [S, D], int64 [S] -> float32 [S], float32 [S]"""
        return ChunkedLogprobs.apply(hidden, self.weight, targets, temperature)  # type: ignore[return-value]


class ChunkedLogprobs(torch.autograd.Function):
    """Log-softmax at the targets and entropy H of z = hidden @ weight.T / temperature, one chunk of tokens at a time.

    The whole [S, V] table of logits never exists. The backward pass computes each chunk's logits again, from the saved
    log-normaliser. With p = softmax(z):

        d logp_t / dz = onehot_t - p
        d H      / dz = -p * (log p + H)
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
    """The logits of a chunk, after temperature, in a new tensor. float32 [C, V]"""
    logits = F.linear(hidden, weight).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(num_tokens: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, LOGITS_PER_CHUNK // vocabulary)
    for first in range(0, num_tokens, size):
        yield slice(first, min(first + size, num_tokens))
