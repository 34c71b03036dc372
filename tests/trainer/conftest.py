"""Small random models and token batches for the learner's tests."""

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from rollout import ray_cluster
from trainer.data.tokens import TokenBatch
from trainer.setup.models import convert_smollm2

ROOT = Path(__file__).parents[2]
VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}

BatchFactory = Callable[..., TokenBatch]


@pytest.fixture(scope="session")
def tied_qwen() -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)).eval()


@pytest.fixture(scope="session")
def untied_llama() -> PreTrainedModel:
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)).eval()


@pytest.fixture(scope="session")
def model_folder(tied_qwen: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tied_qwen.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dialogue() -> BatchFactory:
    """A batch of random dialogues: half of the turns repeat all before them, the others start anew."""

    def build(*, seed: int = 0, trajectories: int = 5, turns: int = 4, chained: float = 0.5) -> TokenBatch:
        random = np.random.default_rng(seed)
        ids = lambda low, high: random.integers(1, VOCABULARY, random.integers(low, high)).tolist()  # noqa: E731
        rows: list[tuple[int, int, list[int], list[int]]] = []
        for trajectory in range(trajectories):
            context: list[int] = []
            for time in range(int(random.integers(1, turns + 1))):
                context = (context if random.random() < chained else []) + ids(1, 9)
                response = ids(1, 7)
                rows.append((trajectory, time, context, response))
                context = context + response
        order = random.permutation(len(rows))
        rows = [rows[index] for index in order]
        return TokenBatch(
            tokens=np.concatenate([np.array(prompt + response) for _, _, prompt, response in rows]),
            prompt_lens=[len(prompt) for _, _, prompt, _ in rows],
            response_lens=[len(response) for *_, response in rows],
            trajectory=[trajectory for trajectory, *_ in rows],
            time=[time for _, time, *_ in rows],
        )

    return build


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct. One worker converts it, which takes half a minute; the others wait."""
    cache = ROOT / ".cache" / "models"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "smollm2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return convert_smollm2(cache)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    ray_cluster.start(num_cpus=2, object_store_bytes=2**27)
    yield
    ray_cluster.stop()
