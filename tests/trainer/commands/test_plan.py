"""`stepcredit plan` says on any machine what a run would take of its GPUs, and refuses what fits nowhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.commands.conftest import Stepcredit

KEYS = {
    *("fits", "placement", "zero_stage", "sleep", "kv_cache_bytes", "per_gpu_gib", "peak_gib", "host_gib", "shm_gib"),
    *("checkpoint_gib", "export_gib", "packing", "why"),
}


def planned(carried_out: Stepcredit, *words: str) -> tuple[int, dict[str, Any], str]:
    done = carried_out("plan", *words, "--json")
    return done.code, json.loads(done.out), done.err


@pytest.mark.parametrize(
    ("model", "gpus", "placement", "zero_stage"),
    [("qwen2.5_1.5b", 2, "side by side", 1), ("qwen2.5_7b", 4, "sleeping", 3)],
)
def test_a_plan_is_one_line_of_json(
    carried_out: Stepcredit, tmp_path: Path, model: str, gpus: int, placement: str, zero_stage: int
) -> None:
    code, plan, errors = planned(carried_out, f"model={model}", f"cluster.gpus={gpus}")
    assert (code, errors, plan["fits"]) == (0, "", True)
    assert (plan["placement"], plan["zero_stage"], plan["sleep"]) == (placement, zero_stage, placement == "sleeping")
    assert set(plan) == KEYS
    assert plan["shm_gib"] == 0  # weights stay on the GPUs
    assert list(tmp_path.iterdir()) == []  # a question leaves nothing behind


def test_a_sweep_of_plans_runs_in_this_process_and_needs_no_gpu(carried_out: Stepcredit) -> None:
    done = carried_out("plan", "--multirun", "model=qwen2.5_1.5b", "cluster.gpus=1,2", "--json")
    assert (done.code, done.err) == (0, "")
    plans = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert [plan["fits"] for plan in plans] == [True, True]
    assert plans[0]["peak_gib"] != plans[1]["peak_gib"]


def test_what_fits_nowhere_is_refused_with_the_number_of_gpus_that_would_do(carried_out: Stepcredit) -> None:
    code, plan, errors = planned(carried_out, "model=qwen2.5_7b")
    assert (code, plan["fits"]) == (2, False)
    (line,) = errors.splitlines()
    assert line.endswith(
        "take cluster.gpus=4, where it fits, train a LoRA adapter with learner=lora, or take a smaller model"
    )


def test_seven_billion_parameters_plan_onto_one_gpu_with_an_adapter(carried_out: Stepcredit) -> None:
    code, plan, errors = planned(carried_out, "model=qwen2.5_7b", "learner=lora")
    assert (code, errors, plan["fits"]) == (0, "", True)
    assert (plan["placement"], plan["zero_stage"]) == ("side by side", 1)


def test_a_table_fits_80_columns(carried_out: Stepcredit) -> None:
    done = carried_out("plan", "model=qwen2.5_1.5b", "cluster.gpus=4")
    assert done.code == 0
    assert "Qwen/Qwen2.5-1.5B-Instruct on 4 GPUs" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("cluster=cpu",), "cluster.gpus=0: there is nothing to plan without GPUs"),
        (("cluster.dtype=float32",), "cluster.dtype='float32': plans are for bfloat16"),
        (("learner.packing=dense",), "learner.packing='dense'"),
        (("model.source=nobody/knows",), "model.source='nobody/knows' is not on this machine"),
        (("cluster.gpu_memory_gib=0",), "cluster.gpu_memory_gib=0.0 is out of range"),
    ],
)
def test_a_question_without_an_answer_is_refused_in_one_line(
    carried_out: Stepcredit, words: tuple[str, ...], part: str
) -> None:
    done = carried_out("plan", *words)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert part in line
