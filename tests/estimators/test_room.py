"""The package knows neither text nor tokens nor torch: importing it loads no heavy library."""

import subprocess
import sys

HEAVY = ["torch", "ray", "vllm", "deepspeed", "hydra", "transformers", "envs", "rollout", "trainer"]


def test_importing_estimators_loads_no_heavy_library_and_no_other_room():
    code = f"import sys, estimators; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
