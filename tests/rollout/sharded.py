"""One of two ranks that share vLLM's own sharded layers over gloo."""

import os
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import (
    MergedColumnParallelLinear,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
)
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

from rollout.buckets import as_words, content
from rollout.transfer import add_contents
from rollout.vllm_engine import shares

HIDDEN, HEADS, HEAD, MLP, VOCABULARY = 32, 4, 8, 48, 100
WORKERS = 2
Sums = dict[str, dict[str, int]]


def tensors() -> dict[str, torch.Tensor]:
    """The whole weights of one layer as Hugging Face has them, with one head of keys and values."""
    torch.manual_seed(0)
    shapes = {
        "q": (HIDDEN, HIDDEN),
        "k": (HEAD, HIDDEN),
        "v": (HEAD, HIDDEN),
        "o": (HIDDEN, HIDDEN),
        "q_bias": (HIDDEN,),
        "k_bias": (HEAD,),
        "v_bias": (HEAD,),
        "o_bias": (HIDDEN,),
        "gate": (MLP, HIDDEN),
        "up": (MLP, HIDDEN),
        "router": (3, HIDDEN),
        "norm": (HIDDEN,),
        "embedding": (VOCABULARY, HIDDEN),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def load(layer: Any, name: str, weight: torch.Tensor, *shard: Any) -> None:
    parameter = getattr(layer, name)
    getattr(parameter, "weight_loader", lambda own, whole: own.data.copy_(whole))(parameter, weight, *shard)


def loaded(whole: Mapping[str, torch.Tensor]) -> dict[str, nn.Module]:
    """What one worker holds of them."""
    attention = QKVParallelLinear(HIDDEN, HEAD, HEADS, 1, bias=True)
    output, router = RowParallelLinear(HIDDEN, HIDDEN, bias=True), ReplicatedLinear(HIDDEN, 3, bias=False)
    gates, norm = MergedColumnParallelLinear(HIDDEN, [MLP, MLP], bias=False), RMSNorm(HIDDEN)
    embedding = VocabParallelEmbedding(VOCABULARY, HIDDEN)
    for shard in "qkv":
        load(attention, "weight", whole[shard], shard)
        load(attention, "bias", whole[f"{shard}_bias"], shard)
    load(output, "weight", whole["o"])
    load(output, "bias", whole["o_bias"])
    for number, name in enumerate(("gate", "up")):
        load(gates, "weight", whole[name], number)
    load(router, "weight", whole["router"])
    load(norm, "weight", whole["norm"])
    load(embedding, "weight", whole["embedding"])
    layers = (attention, output, gates, router, norm, embedding)
    return {str(number): cast(nn.Module, layer) for number, layer in enumerate(layers)}


def worker(rank: int, port: int) -> tuple[Sums, list[str]]:
    """The sums of what a worker holds, each layer its own, and the shares of a parameter that vLLM loads otherwise."""
    torch.set_num_threads(1)
    os.environ["VLLM_DIST_IDENT"] = str(port)  # vLLM's worker sets it; read where the processor has AVX-512
    with set_current_vllm_config(VllmConfig()):
        address = f"tcp://127.0.0.1:{port}"
        init_distributed_environment(WORKERS, rank, address, rank, backend="gloo")
        initialize_model_parallel(WORKERS)
        held: Sums = {}
        for name, module in loaded(tensors()).items():
            for parameter in module.parameters():
                for share, part in shares(module, cast(nn.Parameter, parameter)):
                    value = as_words([content(part)])[0]
                    held[share] = add_contents(held.get(share, {}), {name: value})
        strange = nn.Parameter(torch.zeros(2))
        strange.weight_loader = print  # pyright: ignore[reportAttributeAccessIssue]
        return held, [share for share, _ in shares(nn.Module(), strange)]
