"""An engine's log gives the error behind vLLM's "see root cause above"."""

from rollout.engine_log import root_cause

PREFIX = "(EngineCore_DP0 pid=77) ERROR 11-26 02:00:00 [core.py:1510] "
LOG = f"""INFO 11-26 01:59:58 [utils.py:253] non-default args
{PREFIX}EngineCore failed to start.
{PREFIX}Traceback (most recent call last):
{PREFIX}  File "core.py", line 1500, in run_engine_core
{PREFIX}    raise ValueError("No memory")
{PREFIX}ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.
(EngineCore_DP0 pid=77) Process EngineCore_DP0:
Traceback (most recent call last):
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""


def test_the_error_behind_the_last_one_is_the_cause() -> None:
    cause = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`."
    assert root_cause(LOG.splitlines(keepends=True)) == cause


def test_the_error_of_a_worker_is_the_cause_of_what_its_executor_raises() -> None:
    worker = "(Worker_TP1 pid=78) ERROR 11-26 02:00:00 [multiproc_executor.py:953] "
    pointer = "Exception: WorkerProc initialization failed. See stack trace for root cause."
    log = [f"{worker}AssertionError: 896 is not divisible by 3", f"{PREFIX}{pointer}", *LOG.splitlines()[-1:]]
    assert root_cause(log) == "AssertionError: 896 is not divisible by 3"


def test_an_error_without_a_prefix_and_with_a_module_is_one_too() -> None:
    assert root_cause(["torch.OutOfMemoryError: CUDA out of memory"]) == "torch.OutOfMemoryError: CUDA out of memory"


def test_a_log_without_errors_has_no_cause() -> None:
    assert root_cause(["an Error in the middle: of a line", "nothing"]) is None
