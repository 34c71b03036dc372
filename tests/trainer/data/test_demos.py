"""Demonstrations: an expert's steps with a rollout's prompts, in a file that is complete or refused."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs import WORLDS, Env, make
from envs.prompts import Prompter
from rollout.collect import Collector, RolloutConfig
from rollout.types import Task
from tests.fakes import CORRIDOR_PROMPTS, CharCodec, Corridor, LocalPool, ScriptedPolicy, plain, play_options
from trainer.config.build import ConfigError
from trainer.data.demos import Demo, DemoStep, corpus, demonstrate, mistaken, read, rendered_turns, write
from trainer.data.supervised import Supervised, supervised
from trainer.learner.packing import find_chains


@pytest.fixture
def demos() -> list[Demo]:
    return list(demonstrate(Corridor(), ["2", "3"], seed=5))


def taught(
    demos: list[Demo],
    prompter: Prompter = CORRIDOR_PROMPTS,
    *,
    history: int = 6,
    prompt_tokens: int = 999,
    response_tokens: int = 999,
    observations: bool = False,
) -> Supervised:
    """What the demonstrations teach, a token for each character."""
    codec: Any = CharCodec()
    return supervised(
        demos,
        prompter,
        codec,
        history=history,
        prompt_tokens=prompt_tokens,
        response_tokens=response_tokens,
        observations=observations,
    )


def test_a_demonstration_is_what_the_expert_saw_and_did(demos: list[Demo]) -> None:
    seed = demos[0].seed
    observations = [f"corridor {seed} of length 2", "at 1"]
    steps = tuple(DemoStep(observation=observation, action="go", admissible=None) for observation in observations)
    assert demos[0] == Demo(task_id="2", seed=seed, won=True, steps=steps)
    assert (demos[1].won, len(demos[1].steps)) == (True, 3)


def test_worlds_differ_from_task_to_task_and_from_seed_to_seed(demos: list[Demo]) -> None:
    assert [demo.seed for demo in demonstrate(Corridor(), ["3", "2"], seed=5)] == [demo.seed for demo in demos[::-1]]
    others = [demo.seed for demo in demonstrate(Corridor(), ["2", "3"], seed=6)]
    assert len({*others, *(demo.seed for demo in demos)}) == 4


def test_a_demonstration_says_whether_the_expert_solved_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corridor, "LIMIT", 2)
    assert [(demo.won, len(demo.steps)) for demo in demonstrate(Corridor(), ["2", "3"], seed=5)] == [
        (True, 2),
        (False, 2),
    ]


@pytest.mark.parametrize(
    ("env", "prompts", "task_id", "history"),
    [
        (Corridor(), CORRIDOR_PROMPTS, "3", 6),
        (make("textcraft"), WORLDS["textcraft"].prompter("bare"), None, 12),
        (make("textcraft"), WORLDS["textcraft"].prompter("react"), None, 2),
    ],
    ids=["corridor", "bare", "react"],
)
def test_rendered_turns_have_the_prompts_of_a_rollout_of_the_expert(
    env: Env, prompts: Prompter, task_id: str | None, history: int
) -> None:
    (demo,) = demonstrate(env, [task_id or max(env.tasks("test"), key=env.kind)], seed=0)
    turns = list(rendered_turns(demo, prompts, history=history))
    assert len(turns) > 2
    policy = ScriptedPolicy(lambda key: turns[key[2]][1])
    collector = Collector(
        policy=policy,
        pool=LocalPool(lambda: env),  # pyright: ignore[reportArgumentType]
        prompter=prompts,
        config=RolloutConfig(history=history),
    )
    task = Task(number=0, task_id=demo.task_id, seed=demo.seed)
    collected = asyncio.run(collector.collect([task], group_size=1, options=play_options()))
    assert [request.messages for request in policy.asked] == [next(shorter).messages for shorter, _ in turns]
    assert [rollout.success for rollout in collected.groups[0].trajectories] == [True]


def test_supervised_rows_are_the_prompt_and_the_response_of_every_step(demos: list[Demo]) -> None:
    batch = taught(demos).batch
    text = lambda ids: "".join(map(chr, ids))  # noqa: E731
    first = f"corridor {demos[0].seed} of length 2\n"
    assert [text(batch.prompt(row)) for row in (0, 1)] == [first, first + "go\0at 1\n"]
    assert [text(batch.row(row)[batch.prompt_lens[row] :]) for row in range(5)] == ["go\0"] * 5
    assert (batch.trajectory.tolist(), (batch.time // 2).tolist()) == ([0, 0, 1, 1, 1], [0, 1, 0, 1, 2])


def test_a_prompt_over_the_limit_shows_fewer_past_turns_as_in_a_rollout(demos: list[Demo]) -> None:
    whole = f"corridor {demos[1].seed} of length 3\n"
    rows = taught(demos[1:], prompt_tokens=len(whole) + 10)
    assert rows.too_long == 0
    shown = ["".join(map(chr, rows.batch.prompt(row))) for row in range(3)]
    assert shown == [whole, f"{whole}go\0at 1\n", f"{whole}go\0at 2\n"]


def test_a_demonstration_ends_where_even_the_shortest_prompt_is_over_the_limit(demos: list[Demo]) -> None:
    first = len(f"corridor {demos[1].seed} of length 3\n")
    rows = taught(demos, prompt_tokens=first)
    assert (rows.batch.num_rows, rows.too_long) == (2, 3)
    with pytest.raises(
        ConfigError, match=r"no step of the expert's fits model.prompt_tokens=9 and model.res.*=999: raise"
    ):
        taught(demos, prompt_tokens=9)


def test_a_demonstration_ends_where_no_rollout_could_finish_the_response(demos: list[Demo]) -> None:
    lengths = taught(demos).batch.response_lens
    assert taught(demos, response_tokens=int(lengths.max())).too_long == 0
    with pytest.raises(ConfigError, match=r"model.response_tokens=1: raise them"):
        taught(demos, response_tokens=1)


def test_what_the_world_says_is_learned_where_asked_for_in_the_chain_of_the_actions(demos: list[Demo]) -> None:
    batch = taught(demos[:1], observations=True).batch
    learned = ["".join(map(chr, batch.row(row)[batch.prompt_lens[row] :])) for row in range(batch.num_rows)]
    assert learned == [f"corridor {demos[0].seed} of length 2\n"[1:], "go\0", "at 1\n", "go\0"]
    assert find_chains(batch) == [(0, 1, 2, 3)]  # one pass over the episode


def test_a_prompt_that_shows_the_past_in_other_words_adds_no_observation(demos: list[Demo]) -> None:
    batch = taught(demos[1:2], history=1, observations=True).batch
    assert batch.time.tolist() == [0, 1, 2, 3, 5]  # the third prompt leaves out the first turn


def test_mistakes_are_in_the_prompts_and_not_in_the_responses_that_are_learned() -> None:
    env, prompts = make("textcraft"), WORLDS["textcraft"].prompter("bare")
    task_ids = env.tasks("test")[:20]
    erring = list(demonstrate(env, task_ids, seed=0, mistakes=0.3))
    assert erring == list(demonstrate(env, task_ids, seed=0, mistakes=0.3))
    mistakes = [step for demo in erring for step in demo.steps if not step.by_expert]
    assert len(mistakes) > 10
    batch = taught(erring, prompts, history=40, prompt_tokens=99_999).batch
    learned = [(int(demo), int(time)) for demo, time in zip(batch.trajectory, batch.time // 2, strict=True)]
    expert = [
        (number, time) for number, demo in enumerate(erring) for time, step in enumerate(demo.steps) if step.by_expert
    ]
    assert learned == expert
    last = "".join(map(chr, batch.prompt(batch.num_rows - 1)))
    assert all(f"{step.action}\0" in last for step in erring[-1].steps[:-1])


@pytest.mark.parametrize("action", ["go to shelf 1", "put cup 0 on shelf 2", "open fridge", "look"])
def test_a_mistake_is_another_action(action: str) -> None:
    assert action not in {mistaken(action, random.Random(seed)) for seed in range(20)}


def test_the_expert_solves_its_task_from_every_state_a_mistake_leads_to() -> None:
    env = make("textcraft")
    erring = list(demonstrate(env, env.tasks("test"), seed=0, mistakes=0.1))
    assert [demo.task_id for demo in erring if not demo.won] == []
    assert any(not step.by_expert for demo in erring for step in demo.steps)


def test_a_corpus_has_the_worlds_answers_to_right_and_wrong_actions_each_once() -> None:
    env = make("textcraft")
    texts = corpus(env, env.tasks("test")[:5], WORLDS["textcraft"].prompter("bare"), history=12)
    assert len(texts) == len(set(texts))
    for demo in demonstrate(env, env.tasks("test")[:5], seed=0):
        assert {step.observation for step in demo.steps} | {step.action for step in demo.steps} <= set(texts)
    assert any(text.startswith("Could not") for text in texts)


# --- the file -----------------------------------------------------------------------------------------------------


def test_demonstrations_come_back_as_they_were_written(demos: list[Demo], tmp_path: Path) -> None:
    listed = Demo(
        task_id="a\u2028b",
        seed=2**31 - 1,
        won=False,
        steps=(DemoStep(observation="é\n", action="", admissible=("a",)),),
    )
    path = tmp_path / "new" / "demos.jsonl"
    assert write([*demos, listed], path) == 3
    assert plain(read(path)) == plain([*demos, listed])


def test_a_kill_while_writing_leaves_the_previous_file(demos: list[Demo], tmp_path: Path) -> None:
    path = tmp_path / "demos.jsonl"
    write(demos[:1], path)

    def killed_at_the_second():
        yield demos[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(killed_at_the_second(), path)
    assert read(path) == demos[:1]


def test_a_missing_file_is_refused_with_the_command_that_writes_one(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    with pytest.raises(
        ConfigError, match=f"no demonstrations at {path}: write them with stepcredit demos output={path}"
    ):
        read(path)


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


BROKEN: dict[str, Callable[[dict[str, Any]], str]] = {
    "cut short": lambda demo: json.dumps(demo)[:-1],
    "empty": lambda _: "",
    "a list": lambda _: "[]",
    "a number": lambda _: "3",
    "no seed": lambda demo: json.dumps(without(demo, "seed")),
    "no steps": lambda demo: json.dumps({**demo, "steps": None}),
    "no action": lambda demo: json.dumps({**demo, "steps": [without(demo["steps"][0], "action")]}),
}


def test_an_empty_file_of_demonstrations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demos.jsonl").touch()
    with pytest.raises(ConfigError, match=r"demos.jsonl holds no demonstration: write the file anew"):
        read(tmp_path / "demos.jsonl")


@pytest.mark.parametrize("broken", BROKEN)
def test_a_line_that_is_no_demonstration_is_refused_by_its_number(
    demos: list[Demo], tmp_path: Path, broken: str
) -> None:
    path = tmp_path / "demos.jsonl"
    write(demos, path)
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{BROKEN[broken](json.loads(second))}\n{first}\n")
    with pytest.raises(ConfigError, match=rf"{path} line 2 is no demonstration .*: write the file anew"):
        read(path)


def test_a_file_of_no_demonstrations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demos.jsonl").touch()  # as a killed `stepcredit demos` leaves it
    with pytest.raises(ConfigError, match=r"demos.jsonl holds no demonstration: write the file anew"):
        read(tmp_path / "demos.jsonl")


def test_a_compressed_file_is_refused_in_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "rollouts.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" * 1000)
    with pytest.raises(ConfigError, match=r"zst is no text \(invalid start byte at byte 1\): name a file that .{,40}$"):
        read(tmp_path / "rollouts.jsonl.zst")


def test_only_a_line_feed_ends_a_line_of_a_file(tmp_path: Path, demos: list[Demo]) -> None:
    path = tmp_path / "demos.jsonl"
    write(demos, path)
    text = path.read_text().replace("corridor", "corridor\u2028\x85", 1)
    path.write_text(text)
    assert [demo.task_id for demo in read(path)] == [demo.task_id for demo in demos]
    assert "\u2028" in read(path)[0].steps[0].observation
