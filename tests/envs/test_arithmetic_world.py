"""The Arithmetic class: what counts as an answer, how answers are compared, and files of questions."""

import json
import os
import signal
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import Ending, EnvError, make
from envs.arithmetic import Arithmetic
from envs.arithmetic.answer import LONGEST, is_answer, number
from envs.arithmetic.compare import Judge, judge
from envs.arithmetic.judge import MEMORY_BYTES

OWN = Path(__file__).parent / "questions.jsonl"
SMALL: dict[str, Any] = {"train": 5, "validation": 2, "depths": (1, 2)}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes records as a JSONL file; text is written unchanged."""

    def write(*records: Any, name: str = "questions.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
        return path

    return write


def asked(question: str, answer: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer}


# --- what an answer is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "42",
        " -7 ",
        "1,234.50",
        "84/2",
        "x",
        "(2, 2)",
        "π",
        r"\frac{3}{4}",
        r"10\text{ metres}",
        r"\sqrt2",
        "5 cm",
        "$18",
    ],
)
def test_numbers_and_expressions_are_answers(line: str) -> None:
    assert is_answer(line)


@pytest.mark.parametrize(
    "line",
    ["", " ", "+", "42 apples", "The answer is 42", "4\n2", "xyz", "日本語 4", r"\frac{one}{2}", "7" * (LONGEST + 1)],
)
def test_words_and_several_lines_are_none(line: str) -> None:
    assert not is_answer(line)


def test_a_long_line_is_judged_at_once() -> None:
    assert not is_answer((r"\pi" * 60) + " word")  # a pattern that tries every way to cut it would never end


@pytest.mark.parametrize(
    ("line", "exact"),
    [
        ("18", Fraction(18)),
        (" -018.0\n", Fraction(-18)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("0.1", Fraction(1, 10)),
        *((line, None) for line in ("", "84/2", "1 8", "12,34", "1e3", "+5", "--5", ".5", "5.", "٣", "²", "$5", "x")),
    ],
)
def test_a_number_is_read_exactly_or_not_at_all(line: str, exact: Fraction | None) -> None:
    assert number(line) == exact


@given(st.integers(-(10**60), 10**60), st.booleans())
def test_every_integer_is_read_as_itself_with_or_without_commas(integer: int, commas: bool) -> None:
    assert number(f"{integer:,}" if commas else str(integer)) == integer
    assert is_answer(f"{integer:,}")


# --- one turn -----------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Arithmetic:
    return Arithmetic(**SMALL)


@pytest.mark.parametrize(
    ("said", "observation", "ending", "reward"),
    [
        ("{}", "Right.", Ending.SUCCESS, 1.0),
        (" {}.0 ", "Right.", Ending.SUCCESS, 1.0),
        ("{}1", "Wrong.", Ending.FAILURE, 0.0),
        ("{}.0000000000000000000001", "Wrong.", Ending.FAILURE, 0.0),
        ("{} coins", "This is no answer.", Ending.FAILURE, 0.0),
        ("{} + 0", "This is no answer.", Ending.FAILURE, 0.0),
        ("", "This is no answer.", Ending.FAILURE, 0.0),
    ],
)
def test_the_one_turn_is_right_wrong_or_no_answer(
    world: Arithmetic, said: str, observation: str, ending: Ending, reward: float
) -> None:
    for task in world.tasks("train"):
        world.reset(task)
        now = world.step(said.format(next(world.expert())))
        assert (now.observation, now.ending, now.reward, now.score) == (observation, ending, reward, reward)


def test_the_task_itself_is_no_answer_to_it(world: Arithmetic) -> None:
    for task in world.tasks("train"):
        question = world.reset(task).observation
        assert world.step(question.removeprefix("Compute ").removesuffix(".")).ending is Ending.FAILURE


def test_the_state_is_the_question_and_a_snapshot_goes_on_in_another_world(world: Arithmetic) -> None:
    first = world.reset("train-story-2-3", seed=1)
    assert first == world.reset("train-story-2-3", seed=2)
    assert first.state_key == first.observation
    saved, answer = world.snapshot(), next(world.expert())
    assert world.step("-1").ending is Ending.FAILURE
    other = Arithmetic(**SMALL)
    assert other.restore(saved) == first
    assert other.step(answer).won
    with pytest.raises(EnvError, match=r"the episode of train-story-2-3 ended \(success\); reset before the next step"):
        other.step(answer)


def test_kinds_are_depths(world: Arithmetic) -> None:
    assert {world.kind(task) for task in world.tasks("validation")} == {"depth 1", "depth 2"}


# --- files of questions -------------------------------------------------------------------------------------------


def test_gsm8ks_answers_stand_after_the_marks_and_the_working_gives_their_depth() -> None:
    env = make("arithmetic", questions=OWN)
    tasks = {env.reset(task).observation: task for split in ("train", "validation") for task in env.tasks(split)}
    assert len(tasks) == len(OWN.read_text().splitlines())
    answers = {question: (env.reset(task).ending, next(env.expert())) for question, task in tasks.items()}
    for line in OWN.read_text().splitlines():
        record = json.loads(line)
        assert answers[record["question"]] == (None, str(record["answer"]).split("#### ")[-1])
    kinds = {question[:13]: env.kind(task) for question, task in tasks.items()}
    assert (kinds["A baker fills"], kinds["A train has 4"], kinds["What is 5 les"]) == (
        "depth 2",
        "depth 1",
        "question",
    )
    assert list(env.tasks("train_depth2")) == [task for task in tasks.values() if env.kind(task) == "depth 2"]


@pytest.mark.parametrize(
    ("right", "said", "ending"),
    [
        ("1,400", "1400", Ending.SUCCESS),
        ("1,400", "$1400.00", Ending.SUCCESS),
        ("18", "17$ $18", Ending.FAILURE),
        ("1,400", r"\boxed{1400}", Ending.SUCCESS),
        ("1,400", "1,401", Ending.FAILURE),
        ("18", "17, 18", Ending.FAILURE),
        ("18", "18, 19", Ending.FAILURE),
        ("18", "18 or 19", Ending.FAILURE),
        ("18", "It is 18", Ending.FAILURE),
        (r"\frac{3}{4}", "0.75", Ending.SUCCESS),
        (r"\frac{3}{4}", "6/8", Ending.SUCCESS),
        (r"\frac{3}{4}", "4", Ending.FAILURE),
        ("x^2 - 1", "(x+1)(x-1)", Ending.SUCCESS),
        ("x^2 - 1", "(x+1)(x+1)", Ending.FAILURE),
        ("(2, 2)", "(2,2)", Ending.SUCCESS),
        ("18", "()", Ending.FAILURE),
        ("18", "eighteen", Ending.FAILURE),
    ],
)
def test_answers_to_questions_of_a_file_are_compared_by_math_verify(
    write: Write, right: str, said: str, ending: Ending
) -> None:
    env = make("arithmetic", questions=write(asked("How many?", f"It is so.\n#### {right}")))
    env.reset(env.tasks("validation")[0])
    assert env.step(said).ending is ending


def test_which_questions_are_held_out_does_not_hang_on_their_order(write: Write) -> None:
    records = [asked(f"What is {n} + {n}?", 2 * n) for n in range(95)]
    one = make("arithmetic", questions=write(*records, name="one.jsonl"))
    other = make("arithmetic", questions=write(*records[::-1], records[0], name="other.jsonl"))
    assert len(one.tasks("validation")) == 10
    assert len(one.tasks("train")) == 85
    assert set(one.tasks("validation")) == set(other.tasks("validation"))
    assert not set(one.tasks("validation")) & set(one.tasks("train"))


def test_a_separate_validation_file_is_used_whole_and_must_share_no_question(write: Write) -> None:
    train = write(*(asked(f"What is {n} + 1?", n + 1) for n in range(20)), name="train.jsonl")
    test = write(*(asked(f"What is {n} + 2?", n + 2) for n in range(3)), name="test.jsonl")
    env = make("arithmetic", questions=train, held_out=test)
    assert (len(env.tasks("train")), len(env.tasks("validation"))) == (20, 3)
    assert env.reset(env.tasks("validation")[2]).observation == "What is 2 + 2?"
    leaking = write(asked("What is 9 + 2?", 11), asked("What is 7 + 1?", 8), name="leaking.jsonl")
    with pytest.raises(EnvError) as refusal:
        make("arithmetic", questions=train, held_out=leaking)
    assert str(refusal.value) == f"{leaking} line 2: {train} line 8 asks the same; take one of them out"


GOOD = asked("What is 1 + 1?", "2")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Expecting value"),
        ('{"question": "What', "Unterminated string"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
        ([1], 'is no object {"question": ..., "answer": ...}'),
        ({"answer": "2"}, "has no text as its 'question'"),
        (asked("  ", "2"), "has no text as its 'question'"),
        (asked("\ud800", "2"), "surrogates not allowed"),
        (asked("What?", None), "has no text as its 'answer'"),
        (asked("What?", True), "has no text as its 'answer'"),
        (asked("What?", "It is so. ####"), "its answer '' is no number or expression that math-verify can compare"),
        (asked("What?", "#### two"), "its answer 'two' is no number or expression that math-verify can compare"),
        (asked("What?", "()"), "its answer '()' is no number or expression that math-verify can compare"),
        (asked("What?", float("inf")), "its answer 'Infinity' is no number"),
        (asked("What is 1 + 1?", "3"), "line 1 has another answer to the same question; take one out"),
    ],
)
def test_a_broken_line_is_refused_in_one_line_with_its_path_and_number(write: Write, line: Any, told: str) -> None:
    path = write(GOOD, line, GOOD)
    with pytest.raises(EnvError) as refusal:
        make("arithmetic", questions=path)
    assert str(refusal.value).startswith(f"{path} line 2: ")
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_bytes_that_are_no_text_are_refused_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"question": "\xe9?", "answer": 1}\n')
    with pytest.raises(EnvError, match="line 2: 'utf-8' codec can't decode"):
        make("arithmetic", questions=path)


def test_a_missing_and_an_empty_file_are_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(EnvError, match=r"none\.jsonl: there is no such file; give arithmetic a JSONL file"):
        make("arithmetic", questions=tmp_path / "none.jsonl")
    with pytest.raises(EnvError, match=r"questions\.jsonl: holds no question"):
        make("arithmetic", questions=write())


# --- math-verify's process ----------------------------------------------------------------------------------------


def test_an_answer_that_takes_too_long_is_wrong_and_the_next_one_is_compared() -> None:
    impatient = Judge(cpu_seconds=1.0)
    assert impatient.equal("18", "99999999!") is False
    assert impatient.equal("18", "18") is True


def test_answers_are_compared_in_any_thread_and_by_one_process() -> None:
    before, own, verdicts = children(), Judge(), list[bool | None]()
    threads = [threading.Thread(target=lambda n=n: verdicts.append(own.equal("3", str(n)))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, verdicts)) == ["False"] * 7 + ["True"]
    assert len(children() - before) == 1


def test_a_process_that_somebody_killed_is_an_error_and_is_replaced() -> None:
    before, own = children(), Judge()
    assert own.equal("1", "1") is True
    (child,) = children() - before
    assert f"Max address space         {MEMORY_BYTES}" in Path(f"/proc/{child}/limits").read_text()
    os.kill(child, signal.SIGKILL)
    with pytest.raises(EnvError, match=r"the process of judge\.py ended with status -9 before it answered"):
        own.equal("1", "2")
    assert own.equal("1", "1") is True


def test_a_process_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EnvError, match=r"math-verify could not be started: install it with pip install math-verify"):
        Judge().equal("1", "1")


@pytest.mark.parametrize("text", ["0", "-7", "1,234,567", "0.50", "-1,000.25", "9" * 60])
def test_a_plain_number_equals_itself_and_not_its_neighbour(text: str) -> None:
    assert judge().equal(text, text) is True
    assert judge().equal(text, f"1{text.removeprefix('-')}") is False


def children() -> set[int]:
    """The living child processes that compare answers."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {int(child) for child in listed if "judge.py" in Path(f"/proc/{child}/cmdline").read_text()}
