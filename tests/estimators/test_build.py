"""`build` names an unknown name or option and a value out of range, with the nearest right one."""

import pytest

from estimators import ESTIMATORS, build
from estimators.bipace import Bipace
from estimators.grpo import Grpo

BAD = [
    (
        "gigp",
        {},
        r"estimator 'gigp' is unknown: did you mean 'gigpo'\? It is one of beacon, bipace, .*your own needs `_target_`",
    ),
    (
        "gigpo",
        {"gama": 0.9},
        r"gigpo has no option 'gama': did you mean 'gamma'\? It is one of episode_rewards, episode_stats",
    ),
    ("grpo", {"gamma": 0.9}, r"grpo has no option 'gamma'"),
    (
        "toll",
        {"episode_stats": "row", "norm": "mean"},
        r"no option 'episode_stats': .*; if an experiment sets it, add ~estimator.episode_stats ~estimator.norm$",
    ),
    ("gigpo", {"norm": "std"}, r"gigpo: norm='std' is unknown: did you mean 'mean_std'\? It is one of mean, mean_std"),
    ("bipace", {"variant": "tag"}, r"variant='tag' is unknown: did you mean 'action_tag'\?"),
    ("bipace", {"no_contrast": "loo"}, r"no_contrast='loo' is unknown: .*leave_one_out, zero"),
    ("bipace", {"centroid": "seed"}, r"centroid='seed' is unknown: .*first, mean"),
    ("rloo", {"episode_stats": "rows"}, r"episode_stats='rows' is unknown: did you mean 'row'\?"),
    ("rloo", {"penalty": None}, r"penalty=None is unknown: .*return, row"),
    ("gigpo", {"gamma": 1.5}, r"gigpo: gamma=1.5 is out of range: nearest 1.0, give a finite number in \[0.0, 1.0\]$"),
    ("gigpo", {"omega": -1}, r"omega=-1 is out of range: nearest 0.0, give a finite number in \[0.0, inf\)$"),
    ("gigpo", {"gamma": -0.5}, r"gamma=-0.5 is out of range: nearest 0.0"),
    ("gigpo", {"gamma": float("nan")}, r"gamma=nan is out of range: give a finite number"),
    ("gigpo", {"omega": float("inf")}, r"omega=inf is out of range"),
    ("gigpo", {"omega": "1"}, r"omega='1' is out of range: give a finite number"),
    ("gigpo", {"omega": True}, r"omega=True is out of range"),
    ("grpo", {"invalid_penalty": -1}, r"invalid_penalty=-1 is out of range: nearest 0.0"),
    ("bipace", {"eps": 1.2}, r"eps=1.2 is out of range: nearest 1.0, give a finite number in \[0.0, 1.0\] or 'auto'"),
    ("bipace", {"eps": "automatic"}, r"eps='automatic' is out of range"),
    ("bipace", {"kappa": -2.0}, r"kappa=-2.0 is out of range"),
    ("bipace", {"kappa": 1.0, "variant": "action_tag"}, r"bipace: kappa=1.0 has no effect on variant='action_tag'"),
    ("bipace", {"layer": -8.0}, r"layer=-8.0 is out of range: give an integer$"),
    ("bipace", {"layer": None}, r"layer=None is out of range: give an integer$"),
    ("hgpo", {"depth": -1}, r"depth=-1 is out of range: nearest 0, give an integer in \[0, inf\)$"),
    ("hgpo", {"skip_undefined": "skip"}, r"hgpo: skip_undefined='skip' is unknown: It is one of false, true$"),
    ("hgpo", {"skip_undefined": 1}, r"hgpo: skip_undefined=1 is unknown"),
    ("ecpo", {"tau": 0}, r"tau=0 is out of range: nearest 1e-06"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD, ids=[message for *_, message in BAD])
def test_a_wrong_name_option_or_value_is_refused_with_the_nearest_right_one(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


def test_build_gives_the_dataclass_with_its_options():
    assert build("grpo", norm="mean") == Grpo(norm="mean")
    assert build("bipace", eps="auto", gamma=1, layer=3) == Bipace(eps="auto", gamma=1, layer=3)


def test_the_defaults_are_the_papers():
    defaults = build("bipace")
    assert (defaults.gamma, defaults.omega, defaults.eps, defaults.layer) == (0.95, 1.0, 0.10, -8)
    assert (defaults.variant, defaults.no_contrast, defaults.centroid) == ("q", "leave_one_out", "mean")
    assert (defaults.norm, defaults.episode_stats) == ("mean_std", "trajectory")
    assert (defaults.penalty, defaults.invalid_penalty, defaults.kappa) == ("return", 0.1, 0.0)


def test_equal_options_are_equal_estimators_and_hash_alike():
    assert len({build(name) for name in ESTIMATORS} | {build(name) for name in ESTIMATORS}) == len(ESTIMATORS)
