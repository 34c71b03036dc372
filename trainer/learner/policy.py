"""A causal language model that returns what an update needs: log-probs and entropies of responses, hidden states."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from trainer.config.build import ModelError
from trainer.learner.attention import packing_arguments, use_packed_attention
from trainer.learner.head import ResponseHead


class PolicyOutput(NamedTuple):
    """The output for S response tokens and K rows. A named tuple: DeepSpeed finds no tensors inside a dataclass."""

    logprobs: Tensor
    """float32 [S], nats. Log-probs of the targets, after temperature."""
    entropy: Tensor
    """float32 [S], nats. Entropy of the distributions the targets were drawn from, after temperature."""
    hidden: Tensor | None
    """[K, D] in the model's dtype. Hidden states at the requested cells; None if no layer was asked for."""
    last: Tensor | None = None
    """[K, D] in the model's dtype, of a critic of tokens [S, D]. The body's output at the cells that it reads; None if
    there is none."""


class PolicyModule(nn.Module):
    """A Hugging Face causal LM: a body with one list of blocks, and a linear head, see `LogitsMaths`.

    Raises ModelError for a model that is built otherwise.
    """

    def __init__(self, model: PreTrainedModel, *, gradient_checkpointing: bool = False, packed: bool = False) -> None:
        """packed: sequences come packed into one line, see `trainer.learner.attention`."""
        super().__init__()
        self.model = model
        self.packed = packed
        self.head = ResponseHead(model)
        self._path = _path_of_blocks(model)
        if packed:
            use_packed_attention(model)
        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile each block's forward. Hooks stay outside: torch would not notice those that come and go."""
        for block in self.blocks:
            block.forward = torch.compile(block.forward, dynamic=True, backend=backend)

    @property
    def body(self) -> PreTrainedModel:
        """The model below its head. A property, because a module registered twice gets DeepSpeed's hooks twice."""
        return cast(PreTrainedModel, self.model.base_model)

    @property
    def blocks(self) -> nn.ModuleList:
        """The body's blocks, in the order that they run."""
        return cast(nn.ModuleList, self.body.get_submodule(self._path))

    def forward(
        self,
        input_ids: Tensor,  # int64 [B, L], right-padded; or packed [1, T]
        predict_at: Tensor,  # int64 [S], flat cells
        targets: Tensor,  # int64 [S]
        *,
        temperature: float = 1.0,
        layer: int | None = None,
        embed_at: Tensor | None = None,  # int64 [K], flat cells
        last_at: Tensor | None = None,  # int64 [K] or [S], flat cells
        bounds: Tensor | None = None,  # int32 [B + 1], flat cells
        longest: int = 0,
    ) -> PolicyOutput:
        """Log-probs of `targets` given the cells before them, hidden states of `layer` at `embed_at`, and of the last
        layer at `last_at`.

        layer: index into Hugging Face's `hidden_states`. 0 is the input of the first block, i the output of block i,
            the last (or -1) the output of the body, which is that of its final norm.
        predict_at: may be empty; without `last_at` the body then runs no further than the blocks that `layer` needs.
        bounds, longest: of packed sequences, see `attention.packing_arguments`; None if they are padded.
        No attention mask is passed, so positions count from 0 and SDPA takes its causal path.
        """
        index = None if layer is None or embed_at is None else self.index_of(layer)
        stop = index if len(predict_at) == 0 and last_at is None else None
        with self.keeping(index) as kept, self.shortened(stop):
            packing = {} if bounds is None else packing_arguments(bounds, longest, input_ids.numel())
            states = self.body(input_ids=input_ids, use_cache=False, **packing).last_hidden_state  # [B, L, D]
        chosen = states.flatten(0, 1).index_select(0, predict_at)  # [S, D]
        logprobs, entropy = self.head(chosen, targets, temperature)
        last = None if last_at is None else states.flatten(0, 1).index_select(0, last_at)
        if index is None or embed_at is None:
            return PolicyOutput(logprobs=logprobs, entropy=entropy, hidden=None, last=last)
        (layers_states,) = kept or [states]
        hidden = layers_states.flatten(0, 1).index_select(0, embed_at)
        return PolicyOutput(logprobs=logprobs, entropy=entropy, hidden=hidden, last=last)

    def index_of(self, layer: int) -> int:
        """`layer` counted from 0. Raises ModelError for a layer that the model does not have."""
        count = len(self.blocks) + 1
        if not -count <= layer < count:
            raise ModelError(f"layer {layer} does not exist: this model has hidden states {-count} to {count - 1}")
        return layer % count

    @contextmanager
    def keeping(self, index: int | None) -> Iterator[list[Tensor]]:
        """A list that receives the hidden states of `index` while the body runs; the last ones are the body's output.

        They are what Hugging Face records as `hidden_states`: the first block's input and each block's output.
        """
        kept: list[Tensor] = []
        if index is None or index == len(self.blocks):
            yield kept
            return
        handle = self._keep_input(kept) if index == 0 else self._keep_output(kept, self.blocks[index - 1])
        try:
            yield kept
        finally:
            handle.remove()

    @contextmanager
    def shortened(self, index: int | None) -> Iterator[None]:
        """The body without the blocks behind hidden states `index`, for the length of the block; None keeps all."""
        blocks, (parent, name) = self.blocks, self._place_of_blocks()
        if index is not None:
            setattr(parent, name, blocks[: max(index, 1)])  # the first block's input is kept when it is called
        try:
            yield
        finally:
            setattr(parent, name, blocks)

    def _place_of_blocks(self) -> tuple[nn.Module, str]:
        path, _, name = self._path.rpartition(".")
        return self.body.get_submodule(path), name

    def _keep_input(self, kept: list[Tensor]) -> RemovableHandle:
        def keep(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            kept.append(arguments[0] if arguments else named["hidden_states"])

        return self.blocks[0].register_forward_pre_hook(keep, with_kwargs=True)

    def _keep_output(self, kept: list[Tensor], block: nn.Module) -> RemovableHandle:
        def keep(block: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        return block.register_forward_hook(keep)


def _path_of_blocks(model: PreTrainedModel) -> str:
    """The path, below the body, of its one list of blocks: the outermost ModuleList of `num_hidden_layers` modules.

    Raises ModelError where there is no such list, or more than one.
    """
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    paths: list[str] = []
    for path, module in model.base_model.named_modules():
        is_inner = any(path.startswith(f"{outer}.") for outer in paths)
        if isinstance(module, nn.ModuleList) and len(module) == count and not is_inner:
            paths.append(path)
    if len(paths) != 1:
        raise ModelError(
            f"the body of {type(model).__name__} has {len(paths)} lists of its {count} blocks ({', '.join(paths)}), "
            "not one: hidden states cannot be read, train another model"
        )
    return paths[0]
