import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from tests.trainer.learner.test_families import build
from trainer.config.build import ModelError
from trainer.learner import head
from trainer.learner.head import ChunkedLogprobs, float32_product
from trainer.learner.policy import PolicyModule

LINES, WIDTH, LAYERS = 3, 11, 3
INPUT_IDS = torch.randint(1, 61, (LINES, WIDTH), generator=torch.Generator().manual_seed(0))  # [B, L]
PREDICT_AT = torch.tensor([2, 3, 4, 13, 17, 18, 29])  # [S]
TARGETS = INPUT_IDS.flatten()[PREDICT_AT + 1]
EMBED_AT = torch.tensor([2, 13, 17, 29])  # [K]
VOCABULARY_SMALL = 1000


@pytest.fixture(params=["tied_qwen", "untied_llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return request.getfixturevalue(request.param)


def plain(model: PreTrainedModel, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs of TARGETS and entropies from Hugging Face's own forward and torch's own log-softmax. [S]"""
    logits = model(input_ids=INPUT_IDS, use_cache=False).logits.flatten(0, 1)[PREDICT_AT] / temperature
    table = logits.log_softmax(-1)
    return table.gather(1, TARGETS[:, None])[:, 0], -(table.exp() * table).sum(-1)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two tokens of the 61-word vocabulary: 7 tokens take four chunks, the last with one token."""
    monkeypatch.setitem(head.LOGITS_PER_CHUNK, "cpu", 2 * 61)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropy_equal_a_plain_forward(model: PreTrainedModel, temperature: float) -> None:
    with torch.no_grad():
        output = PolicyModule(model)(INPUT_IDS, PREDICT_AT, TARGETS, temperature=temperature)
        logprobs, entropy = plain(model, temperature)
    torch.testing.assert_close(output.logprobs, logprobs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.entropy, entropy, rtol=1e-5, atol=1e-5)
    assert output.hidden is None


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_gradients_equal_those_of_a_plain_forward(
    model: PreTrainedModel, checkpointing: bool, entropy_weight: float
) -> None:
    slope = torch.linspace(-1, 1, len(TARGETS))  # a different sign and size for each token
    parameters = list(model.parameters())
    logprobs, entropy = plain(model, 0.7)
    expected = torch.autograd.grad((slope * logprobs).sum() + entropy_weight * entropy.sum(), parameters)
    module = PolicyModule(model, gradient_checkpointing=checkpointing).train()
    try:
        output = module(INPUT_IDS, PREDICT_AT, TARGETS, temperature=0.7)
        loss = (slope * output.logprobs).sum()
        loss = loss + entropy_weight * output.entropy.sum() if entropy_weight else loss
        gradients = torch.autograd.grad(loss, parameters)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("layer", range(-LAYERS - 1, LAYERS + 1))
def test_the_hidden_state_is_hugging_faces_of_the_same_index(model: PreTrainedModel, layer: int) -> None:
    with torch.no_grad():
        output = PolicyModule(model)(INPUT_IDS, PREDICT_AT, TARGETS, layer=layer, embed_at=EMBED_AT)
        states = model(input_ids=INPUT_IDS, output_hidden_states=True).hidden_states[layer]
    torch.testing.assert_close(output.hidden, states.flatten(0, 1)[EMBED_AT], rtol=0, atol=1e-6)


def test_no_hook_is_left_behind(tied_qwen: PreTrainedModel) -> None:
    module = PolicyModule(tied_qwen)
    hooks = lambda: [len(child._forward_hooks) for child in module.modules()]  # noqa: E731
    before = hooks()
    with torch.no_grad():
        module(INPUT_IDS, PREDICT_AT, TARGETS, layer=1, embed_at=EMBED_AT)
    assert hooks() == before


def test_right_padding_changes_nothing(model: PreTrainedModel) -> None:
    padded = torch.nn.functional.pad(INPUT_IDS, (0, 5))
    shift = lambda cells: cells + 5 * (cells // WIDTH)  # noqa: E731 - the flat cell in the padded table
    with torch.no_grad():
        narrow = PolicyModule(model)(INPUT_IDS, PREDICT_AT, TARGETS, layer=-2, embed_at=EMBED_AT)
        wide = PolicyModule(model)(padded, shift(PREDICT_AT), TARGETS, layer=-2, embed_at=shift(EMBED_AT))
    for ours, theirs in zip(wide, narrow, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [LAYERS + 1, -LAYERS - 2])
def test_a_layer_the_model_does_not_have_is_refused(tied_qwen: PreTrainedModel, layer: int) -> None:
    with pytest.raises(ModelError, match=f"layer {layer} does not exist: this model has hidden states -4 to 3"):
        PolicyModule(tied_qwen)(INPUT_IDS, PREDICT_AT, TARGETS, layer=layer, embed_at=EMBED_AT)


def test_attention_takes_the_causal_path_without_a_mask(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, object]] = []
    original = nn.functional.scaled_dot_product_attention

    def spy(*arguments: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, **options: object) -> Tensor:
        calls.append((attn_mask, is_causal))
        return original(*arguments, attn_mask=attn_mask, is_causal=is_causal, **options)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        PolicyModule(model)(INPUT_IDS, PREDICT_AT, TARGETS)
    assert calls == [(None, True)] * LAYERS


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(4, 32).bfloat16(), torch.randn(1000, 32).bfloat16()
    targets = torch.tensor([1, 2, 3, 4])
    logprobs, _ = ChunkedLogprobs.apply(hidden, weight, targets, 1.0)
    exact = (hidden @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(logprobs, exact, rtol=0, atol=1e-5)


def bfloat16_head(chunks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(log-probs, gradient of the hidden states, gradient of the weight, logits in float64) of 64 tokens."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 32, generator=generator).bfloat16().requires_grad_()
    weight = (4 * torch.randn(VOCABULARY_SMALL, 32, generator=generator)).bfloat16().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(head.LOGITS_PER_CHUNK, "cpu", 64 // chunks * VOCABULARY_SMALL)
        logprobs, _ = ChunkedLogprobs.apply(hidden, weight, torch.arange(64), 1.0)
        logprobs.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return logprobs.detach(), hidden.grad, weight.grad, (hidden.double() @ weight.double().T).detach()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head takes the products that it takes on CUDA, by their twin for the CPU."""
    monkeypatch.setattr(head, "_keeps_float32", lambda matrix: matrix.dtype == torch.bfloat16)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_head_in_float32_rounds_no_logit_of_bfloat16_operands() -> None:
    logprobs, grad_hidden, grad_weight, logits = bfloat16_head(chunks=4)
    exact = logits.requires_grad_()
    expected = exact.log_softmax(-1).diagonal()
    torch.testing.assert_close(logprobs, expected.detach().float(), rtol=0, atol=1e-4)
    (pull,) = torch.autograd.grad(expected.sum(), exact)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 32, generator=generator).bfloat16().double()
    weight = (4 * torch.randn(VOCABULARY_SMALL, 32, generator=generator)).bfloat16().double()
    for ours, theirs in ((grad_hidden, pull @ weight), (grad_weight, pull.T @ hidden)):
        assert (ours.double() - theirs).norm() < 4e-3 * theirs.norm()  # bfloat16 rounds by 2e-3


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_gradient_of_a_bfloat16_head_is_the_same_in_any_number_of_chunks() -> None:
    """Sums in float32 that are rounded to bfloat16 once: in 64 chunks a sum in bfloat16 is rounded 64 times."""
    one, many = bfloat16_head(chunks=1)[2].double(), bfloat16_head(chunks=64)[2].double()
    assert (one - many).norm() < 1e-4 * one.norm()


def test_a_head_on_the_cpu_adds_the_chunks_of_its_gradient_up_in_float32() -> None:
    one, many = bfloat16_head(chunks=1)[2].double(), bfloat16_head(chunks=64)[2].double()
    assert (one - many).norm() < 4e-3 * one.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_float32_product_on_cuda_equals_its_twin() -> None:
    left, right = torch.randn(64, 256).bfloat16(), torch.randn(256, 512).bfloat16()
    ours = float32_product(left.cuda(), right.cuda()).cpu()
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, float32_product(left, right), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_give_the_same_logprobs_hidden_states_and_gradients(backend: str, checkpointing: bool) -> None:
    model = build("Qwen2")
    policy = PolicyModule(model, gradient_checkpointing=checkpointing).train()

    def outcome() -> list[Tensor]:
        output = policy(INPUT_IDS, PREDICT_AT, TARGETS, temperature=0.7, layer=1, embed_at=EMBED_AT)
        loss = output.logprobs.sum() + output.entropy.sum()
        return [output.logprobs, output.entropy, output.hidden, *torch.autograd.grad(loss, list(model.parameters()))]

    eager = outcome()
    policy.compile_blocks(backend)
    for ours, theirs in zip(outcome(), eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-5)


# --- memory -------------------------------------------------------------------------------------------------------

VOCABULARY = 151_936  # Qwen's
CHUNK = 4 * 55 * VOCABULARY  # bytes of one chunk of float32 logits: 55 tokens, 33 MB
Run = Callable[[Tensor, Tensor, Tensor], object]


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes of tensors alive at one time in `run`, beyond those that were alive before.

    Counts what torch's allocator hands out, temporaries inside an operation included: how busy the machine is, or what
    the C allocator keeps, does not matter.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]  # frees are negative
    return max(itertools.accumulate(changes))


def peak_of(run: Run, *, tokens: int, width: int, dtype: torch.dtype) -> int:
    """Peak bytes of `run(hidden [tokens, width], weight [VOCABULARY, width], targets [tokens])`, its inputs aside."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).to(dtype)
    weight = torch.randn(VOCABULARY, width, generator=generator).to(dtype)
    targets = torch.zeros(tokens, dtype=torch.int64)
    return peak_bytes(lambda: run(hidden, weight, targets))


def chunked_forward(hidden: Tensor, weight: Tensor, targets: Tensor) -> None:
    with torch.no_grad():
        ChunkedLogprobs.apply(hidden, weight, targets, 1.0)


def whole_forward(hidden: Tensor, weight: Tensor, targets: Tensor) -> None:
    """The same numbers from the whole [S, V] table of logits."""
    (hidden @ weight.T).float().log_softmax(-1).gather(1, targets[:, None])


def forward_and_backward(hidden: Tensor, weight: Tensor, targets: Tensor, *, entropy: bool = False) -> None:
    logprobs, entropies = ChunkedLogprobs.apply(hidden.requires_grad_(), weight.requires_grad_(), targets, 0.7)
    (logprobs.sum() + entropies.sum() if entropy else logprobs.sum()).backward()


def test_the_whole_table_of_logits_is_seen_by_the_measurement() -> None:
    tokens = 220
    assert peak_of(whole_forward, tokens=tokens, width=8, dtype=torch.float32) >= 2 * 4 * tokens * VOCABULARY


@pytest.mark.parametrize("tokens", [220, pytest.param(2048, marks=pytest.mark.slow)])
def test_a_forward_pass_over_a_qwen_vocabulary_needs_under_130_megabytes(tokens: int) -> None:
    # The whole table of 220 tokens would be 134 MB in float32 alone, that of 2,048 tokens 1.2 GB.
    assert CHUNK < peak_of(chunked_forward, tokens=tokens, width=64, dtype=torch.bfloat16) < 130e6


@pytest.mark.parametrize("entropy", [False, True])
def test_the_memory_of_a_pass_with_gradients_does_not_grow_with_the_tokens(entropy: bool) -> None:
    run = partial(forward_and_backward, entropy=entropy)
    few, many = (peak_of(run, tokens=tokens, width=8, dtype=torch.float32) for tokens in (110, 220))
    per_token = (
        4 * 8 + 3 * 4 + 2 * 4 + 8
    )  # gradient of the hidden state; normaliser, log-prob, entropy; their gradients
    assert many - few <= 110 * per_token
    # Four tables of a chunk, the gradient of the weight, and what is kept per token.
    assert many <= 4 * CHUNK + 4 * 8 * VOCABULARY + 220 * per_token
