"""Families of models: each is computed as its own forward computes it, gradients included, or refused in one line."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from tests.trainer.conftest import SHAPE
from trainer.config.build import ModelError
from trainer.learner import head
from trainer.learner.check import check_forward
from trainer.learner.policy import PolicyModule

SIZE = {**SHAPE, "bos_token_id": 1, "eos_token_id": 2}
OLD = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Llama": {},
    "Mistral": {},
    "Granite": {"logits_scaling": 8.0, "embedding_multiplier": 6.0},
    "Granite tied": {"logits_scaling": 8.0, "tie_word_embeddings": True},
    "HyperCLOVAX": {"logits_scaling": 0.25},
    "MiniCPM3": {**LATENT, "dim_model_base": 8},
    "Cohere": {"logit_scale": 0.0625},
    "Cohere2": {"logit_scale": 0.0625, "head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8},
    "Gemma3 text": {"head_dim": 8, "final_logit_softcapping": 5.0},
    "Gemma3 uncapped": {"head_dim": 8},
    "Phi": {},
    "Phi3": {},
    "Olmo": {},
    "Olmo2": {},
    "SmolLM3": {},
    "StableLm": {},
    "Starcoder2": {},
    "Glm4": {"head_dim": 8},
    "Falcon": {"num_kv_heads": 2, "new_decoder_architecture": True},
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "GPT2": OLD,
    "GPTJ": {**OLD, "rotary_dim": 4},
    "GPTBigCode": OLD,
    "Bloom": {"n_layer": 3, "n_head": 4},
    "Qwen2Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    # Its experts are lists as long as the list of blocks.
    "Mixtral": {"num_local_experts": 3, "num_experts_per_tok": 2},
}
CLASSES = {
    "Granite tied": "Granite",
    "Gemma3 text": "Gemma3",
    "Gemma3 uncapped": "Gemma3",
}
TARGETS_AT = torch.tensor([2, 3, 4, 13, 17, 18, 20])  # [S] flat cells of [2, 11]


def config_of(family: str) -> Any:
    name = CLASSES.get(family, family)
    config = f"{name}TextConfig" if name == "Gemma3" else f"{name}Config"
    return getattr(transformers, config)(**{**SIZE, **FAMILIES[family]})


def build(family: str) -> PreTrainedModel:
    name = CLASSES.get(family, family)
    cls = getattr(transformers, f"{name}LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    torch.manual_seed(0)
    model = cls(config_of(family)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and scales too, which begin as 0 and 1
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for further threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    monkeypatch.setitem(head.LOGITS_PER_CHUNK, "cpu", 2 * 61)  # several chunks
    return build(request.param)


def token_ids() -> tuple[Tensor, Tensor]:
    ids = torch.randint(3, 61, (2, 11), generator=torch.Generator().manual_seed(0))
    return ids, ids.flatten()[TARGETS_AT + 1]


def plain(model: PreTrainedModel, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies from the model's own forward. [S]"""
    ids, targets = token_ids()
    logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)[TARGETS_AT] / temperature
    table = logits.log_softmax(-1)
    return table.gather(1, targets[:, None])[:, 0], -(table.exp() * table).sum(-1)


def test_a_family_is_computed_as_its_own_forward_does_gradients_included(model: PreTrainedModel) -> None:
    ids, targets = token_ids()
    slope = torch.linspace(-1, 1, len(targets))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients(logprobs: Tensor, entropy: Tensor) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad((slope * logprobs).sum() + 0.3 * entropy.sum(), parameters, allow_unused=True)

    logprobs, entropy = plain(model, 0.7)
    output = PolicyModule(model)(ids, TARGETS_AT, targets, temperature=0.7)
    torch.testing.assert_close(output.logprobs, logprobs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.entropy, entropy, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(output.logprobs, output.entropy), gradients(logprobs, entropy), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_every_hidden_state_of_a_family_is_hugging_faces_of_the_same_index(model: PreTrainedModel) -> None:
    ids, targets = token_ids()
    cells = torch.arange(ids.numel())
    with torch.no_grad():
        states = model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
        for layer in range(-4, 4):
            output = PolicyModule(model)(ids, TARGETS_AT, targets, layer=layer, embed_at=cells)
            torch.testing.assert_close(output.hidden, states[layer].flatten(0, 1), rtol=0, atol=1e-6)


def test_a_pass_that_scores_no_token_gives_the_same_hidden_states_and_runs_no_block_behind_them(
    model: PreTrainedModel,
) -> None:
    ids, targets = token_ids()
    cells, none = torch.arange(ids.numel()), torch.zeros(0, dtype=torch.int64)
    policy = PolicyModule(model)
    ran: list[int] = []
    for number, block in enumerate(policy.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.no_grad():
        for layer in range(4):
            full = policy(ids, TARGETS_AT, targets, layer=layer, embed_at=cells)
            ran.clear()
            short = policy(ids, none, none, layer=layer, embed_at=cells)
            assert torch.equal(short.hidden, full.hidden)
            assert ran == list(range(max(layer, 1)))
            assert len(short.logprobs) == 0
    assert len(policy.blocks) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_family_that_is_computed_right_passes_the_check(model: PreTrainedModel, dtype: torch.dtype) -> None:
    check_forward(PolicyModule(model.to(dtype)), temperature=0.7, layer=-2)


# --- what the check finds -----------------------------------------------------------------------------------------


def own_forward(model: PreTrainedModel, change: Callable[[Any], None]) -> PolicyModule:
    """A policy of the model, whose own forward has changed since in a way that its config does not tell."""
    policy, original = PolicyModule(model), model.forward

    def forward(**named: Any) -> Any:
        output = original(**named)
        change(output)
        return output

    model.forward = forward
    return policy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factor", [0.125, 0.7, 1.5])
def test_a_scaling_of_the_logits_that_the_config_does_not_name_is_found(dtype: torch.dtype, factor: float) -> None:
    policy = own_forward(build("Qwen2").to(dtype), lambda output: output.logits.mul_(factor))
    with pytest.raises(ModelError, match=r"the head as the learner computes it gives log-probs .* off by .* nats"):
        check_forward(policy, temperature=1.0)


@pytest.mark.parametrize("family", ["Granite", "Cohere", "Gemma2", "Falcon"])
def test_a_head_that_is_taken_for_a_bare_matrix_is_found(family: str) -> None:
    policy = PolicyModule(build(family))
    policy.head.maths = head.LogitsMaths(scale=1.0 if family != "Falcon" else 2.0)
    with pytest.raises(ModelError, match="the head as the learner computes it gives log-probs"):
        check_forward(policy, temperature=1.0)


def with_states(index: int) -> Callable[[Any], None]:
    def change(output: Any) -> None:
        states = list(output.hidden_states)
        states[index] = 1.1 * states[index]
        output.hidden_states = tuple(states)

    return change


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("index", "named"), [(0, "hidden state of layer 0"), (1, "hidden state of layer 1"), (3, "body")]
)
def test_states_that_are_not_the_models_own_are_found_and_named(dtype: torch.dtype, index: int, named: str) -> None:
    policy = own_forward(build("Qwen2").to(dtype), with_states(index))
    with pytest.raises(
        ModelError, match=rf"the {named} as the learner computes it is off by .* Qwen2ForCausalLM's own"
    ):
        check_forward(policy, temperature=1.0)


def test_the_layer_that_an_estimator_reads_is_checked_too() -> None:
    policy = own_forward(build("Qwen2"), with_states(2))
    check_forward(policy, temperature=1.0)
    with pytest.raises(ModelError, match="hidden state of layer 2"):
        check_forward(policy, temperature=1.0, layer=-2)


def test_a_model_that_returns_no_hidden_states_is_refused() -> None:
    policy = own_forward(build("Qwen2"), lambda output: setattr(output, "hidden_states", None))
    with pytest.raises(ModelError, match="Qwen2ForCausalLM returns no hidden states"):
        check_forward(policy, temperature=1.0)


def test_a_layer_that_the_model_does_not_have_is_refused_by_the_check() -> None:
    with pytest.raises(ModelError, match="layer 99 does not exist: this model has hidden states -4 to 3"):
        check_forward(PolicyModule(build("Qwen2")), temperature=1.0, layer=99)


def without_blocks(model: PreTrainedModel) -> None:
    model.model.layers = nn.ModuleList([model.model.layers[0]])


def with_two_lists(model: PreTrainedModel) -> None:
    model.model.others = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])


@pytest.mark.parametrize(
    ("change", "lists"),
    [(without_blocks, r"0 lists of its 3 blocks"), (with_two_lists, r"2 lists .* \(layers, others\)")],
)
def test_a_body_without_one_list_of_blocks_is_refused(change: Callable[[PreTrainedModel], None], lists: str) -> None:
    model = build("Qwen2")
    change(model)
    with pytest.raises(ModelError, match=f"the body of Qwen2ForCausalLM has {lists}"):
        PolicyModule(model)


def test_a_head_that_is_no_linear_layer_is_refused() -> None:
    model = build("Qwen2")
    model.lm_head = nn.Sequential(nn.Linear(32, 61), nn.Tanh())
    with pytest.raises(ModelError, match="the head of Qwen2ForCausalLM is Sequential, not one linear layer"):
        PolicyModule(model)


def test_weights_that_are_not_finite_are_refused_with_the_cause() -> None:
    model = build("Qwen2")
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(ModelError, match="the forward of Qwen2ForCausalLM gives logits that are not finite: its wei"):
        check_forward(PolicyModule(model), temperature=1.0)


def test_a_state_that_is_not_finite_is_no_agreement() -> None:
    policy = own_forward(build("Qwen2"), lambda output: output.hidden_states[1].fill_(torch.nan))
    with pytest.raises(ModelError, match=r"the hidden state of layer 1 .* is off by nan"):
        check_forward(policy, temperature=1.0)


def test_the_check_runs_the_models_own_forward_once_and_the_policys_once() -> None:
    policy, calls = PolicyModule(build("Qwen2")), list[None]()
    policy.body.register_forward_pre_hook(lambda *_: calls.append(None))
    check_forward(policy, temperature=1.0, layer=2)
    assert len(calls) == 2


# --- the chunked head, to the last digits -------------------------------------------------------------------------

MATHS = {
    "matrix": head.LogitsMaths(),
    "scaled": head.LogitsMaths(scale=0.125),
    "capped": head.LogitsMaths(cap=3.0),
    "scaled and capped": head.LogitsMaths(scale=2.5, cap=3.0),
}


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("maths", MATHS)
def test_the_gradients_of_the_chunked_head_are_those_of_finite_differences(
    maths: str, biased: bool, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(head.LOGITS_PER_CHUNK, "cpu", 2 * 7)
    random = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()  # noqa: E731
    hidden, weight, targets = draw(5, 3), draw(7, 3), torch.tensor([0, 6, 3, 3, 1])
    bias = draw(7) if biased else None

    def chunked(hidden: Tensor, weight: Tensor, *bias: Tensor) -> Tensor:
        return head.ChunkedLogprobs.apply(hidden, weight, targets, temperature, *(bias or (None,)), MATHS[maths])

    assert torch.autograd.gradcheck(chunked, (hidden, weight, *(() if bias is None else (bias,))))
