"""Every estimator preset composes, builds, and says what it stands for; a user's own class needs one line."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from estimators import ESTIMATORS, Advantages
from estimators.own import with_name
from trainer.commands.defaults import register
from trainer.config.build import ConfigError, build
from trainer.config.commands import TrainConfig
from trainer.setup.credit import estimator_of

CONFIGS = Path(__file__).parents[3] / "configs"
PRESETS = sorted(
    path.relative_to(CONFIGS / "estimator").with_suffix("") for path in CONFIGS.glob("estimator/**/*.yaml")
)


def composed(*overrides):
    register()
    with initialize_config_dir(str(CONFIGS), version_base=None):
        return OmegaConf.to_container(compose("train", list(overrides)).estimator, resolve=True)


def built(options):
    return estimator_of(SimpleNamespace(estimator=options))


@pytest.mark.parametrize("preset", PRESETS, ids=str)
def test_a_preset_builds_the_estimator_it_names(preset):
    options = composed(f"estimator={preset}")
    assert type(built(options)) is ESTIMATORS[options["name"]]


def test_every_estimator_has_a_preset_of_its_name():
    assert {str(preset) for preset in PRESETS} >= set(ESTIMATORS)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"bipace"}))
def test_a_preset_of_the_papers_holds_the_defaults(name):
    # bipace apart: its layer belongs to the model.
    made, defaults = built(composed(f"estimator={name}")), ESTIMATORS[name]()
    assert {f.name: getattr(made, f.name) for f in fields(made)} == {
        f.name: getattr(defaults, f.name) for f in fields(made)
    }


@pytest.mark.parametrize("name", ["grpo", "rloo", "gigpo", "gigpo_similar"])
def test_a_compat_preset_is_the_public_codes_way_and_says_so(name):
    made = built(composed(f"estimator=compat/verl_agent_{name}"))
    assert (made.episode_stats, made.penalty, made.singleton) == ("row", "row", "raw")
    assert "NOT the paper" in (CONFIGS / "estimator" / "compat" / f"verl_agent_{name}.yaml").read_text()


def own(batch):
    return Advantages(value=batch.reward)


def test_a_users_own_function_needs_one_line_and_is_called_by_its_last_part():
    register()
    with initialize_config_dir(str(CONFIGS), version_base=None):
        told = compose("train", ["output=out", "~estimator", f"+estimator._target_={__name__}.own"])
    config = build(TrainConfig, OmegaConf.to_container(told, resolve=True))
    assert config.estimator == {"name": "own", "_target_": f"{__name__}.own"}
    assert estimator_of(config) is own


def test_a_users_own_name_goes_before_the_targets():
    assert with_name({"_target_": "package.Mine", "name": "mine"})["name"] == "mine"


def test_a_wrong_target_is_a_config_error():
    with pytest.raises(ConfigError, match="cannot be loaded"):
        built({"name": "mine", "_target_": "nowhere.Mine"})
