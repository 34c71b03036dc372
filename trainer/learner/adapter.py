"""A LoRA adapter inside a model: trained alone, merged into copies of the weights, switched off for the reference."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import peft
import torch
import xxhash
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from rollout.weights import checksum
from trainer.config.build import ModelError
from trainer.config.learner import LoraConfig

NAME = "default"  # PEFT's, of a model's only adapter
SEED = 0  # of the first matrices: every rank draws the same
WEIGHTS = "adapter_model.safetensors"  # PEFT's name
ROOT = "base_model.model"  # how PEFT's files call the model

P = ParamSpec("P")
R = TypeVar("R")


class Adapter:
    """The adapter of one model: a pair of matrices A and B beside each adapted weight W, scaled by alpha / rank."""

    def __init__(self, model: PreTrainedModel, config: LoraConfig) -> None:
        """Add the adapter to `model` and freeze its own weights. Raises ModelError for layers that it does not have."""
        targets = self._targets = config.target_modules
        if not isinstance(targets, str):
            _check_targets(model, targets)
        self.config = peft.LoraConfig(
            r=cast(int, config.rank),
            lora_alpha=config.alpha,
            target_modules=targets if isinstance(targets, str) else list(targets),
            lora_dropout=0.0,  # scores and gradients would be of two distributions, see `load_model`
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            peft.inject_adapter_in_model(self.config, model, adapter_name=NAME)
        self._layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, LoraLayer)}

    @property
    def settings(self) -> dict[str, Any]:
        """What the shape and the scale of the matrices depend on, as plain JSON values."""
        targets = self._targets if isinstance(self._targets, str) else list(self._targets)
        return {"rank": self.config.r, "alpha": self.config.lora_alpha, "target_modules": targets}

    @property
    def matrices(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices by the names that PEFT's files give them."""
        return {
            f"{ROOT}.{path}.{part}.weight": matrix
            for path, layer in self._layers.items()
            for part, matrix in (("lora_A", _weight(layer.lora_A)), ("lora_B", _weight(layer.lora_B)))
        }

    def matrices_of(self, name: str) -> list[nn.Parameter]:
        """A and B of the weight `name`, which `merged` reads; none where it is not adapted."""
        layer = self._layers.get(name.removesuffix(".weight"))
        return [] if layer is None else [_weight(layer.lora_A), _weight(layer.lora_B)]

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """W + (alpha / rank) B A in a new tensor, or `weight` itself where it is not adapted."""
        layer = self._layers.get(name.removesuffix(".weight"))
        if layer is None:
            return weight
        with torch.no_grad():
            return weight + cast(Any, layer).get_delta_weight(NAME)

    def without(self, function: Callable[P, R]) -> Callable[P, R]:
        """`function`, such as the model itself, run with the adapter off: the model as it was loaded, bit for bit."""

        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._off():
                return function(*args, **kwargs)

        return run

    def write(self, folder: Path, matrices: Mapping[str, Tensor], base: str) -> None:
        """Write a folder that PEFT loads on top of the model `base`. matrices: as `matrices` names them."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(matrices), folder / WEIGHTS, metadata={"format": "pt"})
        self.config.base_model_name_or_path = base
        self.config.save_pretrained(str(folder))

    @contextmanager
    def _off(self) -> Iterator[None]:
        for layer in self._layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enable_adapters(True)


def keep_trained(policy: nn.Module) -> None:
    """Leave frozen weights out of the policy's state, by all their names: a checkpoint needs the adapter alone.

    DeepSpeed leaves out the first name of a weight that two modules share, such as the head's, and keeps the second.
    """

    def drop(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for name, parameter in module.named_parameters(prefix.removesuffix("."), remove_duplicate=False):
            if not parameter.requires_grad:
                state.pop(name, None)

    policy.register_state_dict_post_hook(drop)


def weights_digest(folder: Path) -> str:
    """xxh3-64 of all weights files of a model's folder, in hexadecimal: which base an adapter belongs to."""
    files = sorted(path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern))
    return xxhash.xxh3_64_hexdigest(" ".join(map(checksum, files)).encode())


def _check_targets(model: PreTrainedModel, targets: tuple[str, ...]) -> None:
    """Raise ModelError for a target that names no linear layer below the head. PEFT passes over such a name."""
    head = model.get_output_embeddings()
    paths = [path for path, layer in model.named_modules() if isinstance(layer, nn.Linear) and layer is not head]
    for target in targets:
        if not any(path == target or path.endswith(f".{target}") for path in paths):
            names = sorted({path.rpartition(".")[2] for path in paths})
            raise ModelError(
                f"learner.lora.target_modules={list(targets)}: {type(model).__name__} has no linear layer {target!r} "
                f"below its head; choose from {', '.join(names)}, or all-linear"
            )


def _weight(matrices: nn.ModuleDict) -> nn.Parameter:
    return cast(nn.Parameter, matrices[NAME].weight)
