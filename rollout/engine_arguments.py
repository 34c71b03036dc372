"""Which arguments of vLLM a user may add with `engine.extra`; checked without importing vLLM, which takes seconds."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from envs.base import hint

DISTRIBUTION = frozenset(
    {
        *("logprobs_mode", "logits_processors", "watermark_config", "reasoning_config", "hf_overrides", "logit_bias"),
        *("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "bad_words", "min_tokens"),
    }
)
"""They change what is sampled, or which log-probs are returned; the learner would compute those of another
distribution."""
SETTINGS: Mapping[str, str] = {
    "model": "model.source",
    "dtype": "cluster.dtype",
    "temperature": "sampling.temperature",
    "top_p": "sampling.top_p",
    "max_tokens": "sampling.max_tokens",
    "max_model_len": "model.prompt_tokens and model.response_tokens",
    "max_num_seqs": "engine.max_num_seqs",
    "tensor_parallel_size": "engine.tensor_parallel",
    "gpu_memory_utilization": "engine.gpu_memory",
    "enable_sleep_mode": "cluster.sleep",
}
"""Arguments that have a setting of their own."""
OURS = frozenset(
    {"weight_transfer_config", "worker_extension_cls", "disable_log_stats", "distributed_executor_backend"}
)
"""Arguments without which weights would not reach the engine, or an engine not the GPUs that it shares."""


def check_extra(names: Iterable[str]) -> None:
    """Raise ValueError for an argument that vLLM does not have, or that may not be set with `engine.extra`."""
    for name in names:
        if name in DISTRIBUTION:
            raise ValueError(
                f"engine.extra.{name} changes the distribution that tokens are drawn from, and the learner's log-probs "
                "would be those of another: leave it out"
            )
        if name in SETTINGS:
            raise ValueError(f"engine.extra.{name} has a setting of its own: set {SETTINGS[name]} instead")
        if name in OURS:
            raise ValueError(f"engine.extra.{name} is set by the framework, which needs it so: leave it out")
        if name not in _arguments():
            raise ValueError(f"engine.extra.{name} is no argument of vLLM's AsyncEngineArgs: {_nearest(name)}")


@cache
def _arguments() -> frozenset[str]:
    """The names of the fields of AsyncEngineArgs, read from vLLM's source."""
    package = find_spec("vllm")
    if package is None or package.origin is None:
        raise ValueError("engine.extra: vLLM is not installed; run scripts/install")
    tree = ast.parse((Path(package.origin).parent / "engine" / "arg_utils.py").read_text())
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("EngineArgs"))
    fields = (line.target for node in classes for line in node.body if isinstance(line, ast.AnnAssign))
    return frozenset(field.id for field in fields if isinstance(field, ast.Name))


def _nearest(name: str) -> str:
    near = hint(name, sorted(_arguments()))
    return near if near.startswith("did you mean") else "its documentation lists them as engine arguments"
