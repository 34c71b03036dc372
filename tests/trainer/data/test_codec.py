"""Text and token ids: nothing is lost, and the ids of a longer dialogue begin with those of the shorter one."""

import itertools
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from envs import WORLDS, make
from envs.prompts import Message
from rollout.policy import Exchange
from tests.fakes import completion, plain
from trainer.config.build import ModelError
from trainer.config.tiny import TinySpec
from trainer.data.codec import ChatCodec
from trainer.data.demos import corpus, demonstrate, rendered_turns
from trainer.data.spelling import Speller
from trainer.setup.models import train_tokenizer

# No names of special tokens: every tokenizer reads those as the tokens.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).filter(lambda text: "<|" not in text)


@pytest.fixture(scope="module")
def world_texts() -> list[str]:
    """Every text of every task of TextCraft's own recipes, both prompt styles."""
    env = make("textcraft")
    tasks = [*env.tasks("train"), *env.tasks("test")]
    return [
        text
        for style in ("bare", "react")
        for text in corpus(env, tasks, WORLDS["textcraft"].prompter(style), history=40)
    ]


@pytest.fixture(scope="module")
def codec(world_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> ChatCodec:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(world_texts[:100], TinySpec()).save_pretrained(folder)  # it has not seen the other texts
    return ChatCodec(folder)


def test_every_text_of_the_world_comes_back_from_its_ids(codec: ChatCodec, world_texts: list[str]) -> None:
    assert [text for text in world_texts if codec.decode(codec.encode_response(text)[:-1].tolist()) != text] == []


@settings(deadline=None)
@given(text=TEXT)
@example(text="\uf900")  # which has a composed form of its own
def test_any_text_comes_back_from_its_ids_in_its_composed_form(codec: ChatCodec, text: str) -> None:
    assert codec.decode(codec.encode_response(text).tolist()) == unicodedata.normalize("NFC", text)


def test_a_response_ends_the_turn(codec: ChatCodec) -> None:
    ids = codec.encode_response("get 1 copper").tolist()
    assert ids[-1] == codec.tokenizer.eos_token_id
    assert codec.tokenizer.eos_token_id not in ids[:-1]


def test_a_prompt_is_the_dialogue_and_the_opening_of_the_next_turn(codec: ChatCodec) -> None:
    messages = (
        Message(role="user", content="Goal: craft rope."),
        Message(role="assistant", content="get 3 hemp"),
        Message(role="user", content="Got 3 hemp"),
    )
    pad, end, act = (codec.tokenizer.convert_tokens_to_ids(name) for name in ("<|pad|>", "<|end|>", "<|act|>"))
    plain_ids = [codec.encode_response(message.content)[:-1].tolist() for message in messages]
    assert codec.encode(messages).tolist() == [*plain_ids[0], act, *plain_ids[1], end, *plain_ids[2], act]
    assert codec.encode(messages).dtype == np.int32
    assert pad not in codec.encode(messages)


def sampled_turn(codec: ChatCodec, messages: tuple[Message, ...], ids: list[Any]) -> Exchange:
    """A turn in which the engine sampled `ids`."""
    prompt = codec.encode(messages).tolist()
    return Exchange(messages=messages, completion=completion(codec.decode(ids), prompt=prompt, tokens=ids))


def continued(before: Exchange, observation: str) -> tuple[Message, ...]:
    return (
        *before.messages,
        Message(role="assistant", content=before.completion.text),
        Message(role="user", content=observation),
    )


@settings(deadline=None)
@given(
    first=TEXT, sampled=st.lists(st.integers(3, 258), min_size=1, max_size=12), observation=TEXT, ended=st.booleans()
)
def test_a_prompt_continues_from_the_ids_that_were_sampled(
    codec: ChatCodec, first: str, sampled: list[int], observation: str, ended: bool
) -> None:
    # Ids 3 to 258 are single bytes. Tokenising their text seldom gives them back, and often they are no valid text.
    end = codec.tokenizer.eos_token_id
    before = sampled_turn(codec, (Message(role="user", content=first),), [*sampled, *[end] * ended])
    prompt = codec.encode(continued(before, observation), before).tolist()
    tail = codec.encode_response(observation)[:-1].tolist()
    act = codec.tokenizer.convert_tokens_to_ids("<|act|>")
    # A response that was cut off at its maximum length has no end token; the template adds it.
    assert prompt == [*before.completion.prompt_ids, *sampled, end, *tail, act]


def test_messages_that_do_not_continue_the_exchange_are_tokenised_afresh(codec: ChatCodec) -> None:
    letters = [codec.encode_response(letter)[0] for letter in "get 1 copper"]
    end = codec.tokenizer.eos_token_id
    before = sampled_turn(codec, (Message(role="user", content="first"),), [*letters, end])
    continuation = continued(before, "Got 1 copper")
    dropped_history = (Message(role="user", content="other"), *continuation[1:])
    other_response = (continuation[0], Message(role="assistant", content="get 2 copper"), continuation[2])
    for messages in (dropped_history, other_response):
        assert codec.encode(messages, before).tolist() == codec.encode(messages).tolist()
    assert codec.encode(continuation, before).tolist() != codec.encode(continuation).tolist()


@settings(deadline=None)
@given(first=TEXT, turns=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))
def test_a_demonstration_tokenised_as_a_whole_equals_one_tokenised_turn_by_turn(
    codec: ChatCodec, first: str, turns: list[tuple[str, str]]
) -> None:
    messages: tuple[Message, ...] = (Message(role="user", content=first),)
    before = None
    for response, observation in turns:
        prompt = codec.encode(messages, before)
        assert prompt.tolist() == codec.encode(messages).tolist()
        sampled = completion(response, prompt=prompt.tolist(), tokens=codec.encode_response(response).tolist())
        before = Exchange(messages=messages, completion=sampled)
        messages = continued(before, observation)


def dialogues(codec: ChatCodec, style: str, split: str) -> list[list[tuple[list[int], list[int]]]]:
    """Prompt and response ids of the expert's steps, episode by episode."""
    env, prompts = make("textcraft"), WORLDS["textcraft"].prompter(style)
    return [
        [
            (codec.encode(next(shorter).messages).tolist(), codec.encode_response(response).tolist())
            for shorter, response in rendered_turns(demo, prompts, history=40)
        ]
        for demo in demonstrate(env, env.tasks(split), seed=0)
    ]


def test_bare_dialogues_of_the_world_extend_token_by_token(codec: ChatCodec) -> None:
    episodes = dialogues(codec, "bare", "test")
    assert max(len(steps) for steps in episodes) > 3
    for steps in episodes:
        for (prompt, response), (later, _) in itertools.pairwise(steps):
            assert later[: len(prompt) + len(response)] == prompt + response


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a text"], TinySpec())
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"{tmp_path} has no chat template"):
        ChatCodec(tmp_path)


def test_the_same_corpus_gives_the_same_ids(world_texts: list[str]) -> None:
    first, second = (train_tokenizer(world_texts[:50], TinySpec(vocab_size=400)) for _ in range(2))
    assert plain(first.encode(world_texts[0])) == plain(second.encode(world_texts[0]))
    assert len(first) == 400


@pytest.mark.slow
def test_the_real_models_dialogues_extend_token_by_token_too(smollm2: Path) -> None:
    codec = ChatCodec(smollm2)
    for steps in dialogues(codec, "bare", "test_depth3"):
        for (prompt, response), (later, _) in itertools.pairwise(steps):
            assert later[: len(prompt) + len(response)] == prompt + response


def test_a_text_is_encoded_as_the_tokenizer_does_though_its_file_cuts_texts(
    codec: ChatCodec, world_texts: list[str]
) -> None:
    whole = [codec.tokenizer.encode(text, add_special_tokens=False) for text in world_texts]
    rust = getattr(codec.tokenizer, "backend_tokenizer")  # noqa: B009 - not every tokenizer has it
    rust.enable_truncation(3)
    speller = Speller(codec.tokenizer, ())
    assert [speller.encode(text) for text in world_texts] == whole
