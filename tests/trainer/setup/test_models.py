"""A tiny policy: equal inputs make the same one, other inputs another, and an incomplete one is never used."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from trainer.config.tiny import TinySpec
from trainer.setup.models import build_tiny

SPEC = TinySpec(hidden_size=64, intermediate_size=64, layers=1, kv_heads=1, vocab_size=300, context=64)
CORPUS = ["Goal: craft rope.", "get 3 hemp", "Got 3 hemp"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(CORPUS, SPEC, tmp_path_factory.mktemp("cache"))


def test_the_same_corpus_and_size_make_the_same_policy_bit_for_bit(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # earlier random numbers must not matter
    again = build_tiny(CORPUS, SPEC, tmp_path)
    assert again.name == tiny.name
    assert contents(again) == contents(tiny)


def test_making_a_policy_does_not_change_the_callers_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3).tolist()
    torch.manual_seed(7)
    build_tiny(CORPUS, SPEC, tmp_path)
    assert torch.rand(3).tolist() == expected


def test_a_policy_is_made_once_and_then_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_tiny(CORPUS, SPEC, tmp_path)
    monkeypatch.setattr("trainer.setup.models.train_tokenizer", None)
    assert build_tiny(CORPUS, SPEC, tmp_path) == first


@pytest.mark.parametrize(
    ("corpus", "spec"),
    [
        ([*CORPUS, "a new recipe"], SPEC),
        (CORPUS, replace(SPEC, seed=1)),
        (CORPUS, replace(SPEC, layers=2)),
    ],
)
def test_another_corpus_or_size_is_another_policy(
    tiny: Path, tmp_path: Path, corpus: list[str], spec: TinySpec
) -> None:
    other = build_tiny(corpus, spec, tmp_path)
    assert other.name != tiny.name
    assert contents(other) != contents(tiny)


def test_a_policy_is_a_hugging_face_folder_whose_vocabulary_holds_every_id(tiny: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    ids = torch.tensor([tokenizer.encode("get 3 hemp")])
    assert model(ids).logits.shape == (1, ids.shape[1], 320)  # 300 tokens at most, filled up to a multiple of 64
    assert len(tokenizer) <= 300
    assert tokenizer.decode(ids[0]) == "get 3 hemp"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # pyright: ignore


def test_the_loaded_tokenizer_equals_the_one_that_was_written(tiny: Path) -> None:
    loaded, written = AutoTokenizer.from_pretrained(tiny), Tokenizer.from_file(str(tiny / "tokenizer.json"))
    for text in (*CORPUS, "click[b27869] costs 100.00 dollars", "don't  go to drawer 12\n"):
        assert loaded.encode(text) == written.encode(text).ids
        assert loaded.decode(loaded.encode(text)) == text


def test_a_kill_half_way_leaves_no_policy_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = PreTrainedTokenizerFast.save_pretrained

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        build_tiny(CORPUS, SPEC, tmp_path)
    assert list(tmp_path.glob("tiny-*")) == []
    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", save)
    assert "tokenizer.json" in contents(build_tiny(CORPUS, SPEC, tmp_path))


def test_the_slower_of_two_processes_takes_the_policy_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, overtakings = PreTrainedTokenizerFast.save_pretrained, []

    def overtaken(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
        save(tokenizer, folder)
        if not overtakings:  # another process finishes while this one writes
            overtakings.append(folder)
            build_tiny(CORPUS, SPEC, tmp_path)

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", overtaken)
    folder = build_tiny(CORPUS, SPEC, tmp_path)
    assert list(tmp_path.iterdir()) == [folder]
    assert "tokenizer.json" in contents(folder)
