"""`envs.make`: names, options, and what importing the package loads."""

import subprocess
import sys

import pytest

from envs import EnvError, make
from envs.textcraft import TextCraft

HEAVY = {"torch", "ray", "vllm", "deepspeed", "hydra", "gymnasium", "transformers", "math_verify", "sympy"}


def test_a_world_is_made_by_name_with_its_options() -> None:
    env = make("textcraft", max_steps=1)
    assert isinstance(env, TextCraft)
    env.reset(env.tasks("train")[0])
    assert env.step("inventory").ending == "limit"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("textcraf", {}, "there is no world 'textcraf'; did you mean 'textcraft'?"),
        (
            "chess",
            {},
            "there is no world 'chess'; choose one of alfworld, arithmetic, code, reasoning_gym, textcraft, webshop",
        ),
        ("textcraft", {"recipe": "x"}, "textcraft has no option 'recipe'; did you mean 'recipes'?"),
        (
            "textcraft",
            {"zzz": 1},
            "textcraft has no option 'zzz'; choose one of distractors, max_steps, protocol, recipes",
        ),
        ("textcraft", {"max_steps": 0}, "textcraft cannot run with max_steps=0; give 1 or more"),
        ("textcraft", {"distractors": -1}, "textcraft cannot show distractors=-1 recipes; give 0 or more"),
        ("textcraft", {"protocol": "x"}, "textcraft has no protocol='x'; choose 'adapt' or 'stratified'"),
    ],
)
def test_a_wrong_name_or_option_is_refused_with_the_nearest_right_one(name: str, options: dict, message: str) -> None:
    with pytest.raises(EnvError) as refusal:
        make(name, **options)
    assert str(refusal.value) == message


def test_importing_envs_pulls_in_nothing_heavy() -> None:
    code = "import sys, envs, envs.prompts; print(' '.join({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "envs" in loaded
    assert not HEAVY & set(loaded)
