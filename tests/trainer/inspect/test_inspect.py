"""What the page is told: credit, its parts, the visits it came from, the graph, hidden states and tokens."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from estimators import Estimator, build, needs
from rollout.record import write_groups
from tests.fakes import completion, group, step
from tests.trainer.inspect.conftest import played, recorded, vectors
from trainer.config.build import ConfigError
from trainer.data.columns import step_batch
from trainer.data.recording import recordings, truth_file
from trainer.data.rows import RowTable, with_step_rewards
from trainer.inspect.config import InspectConfig
from trainer.inspect.continued import Continued
from trainer.inspect.credit import credit_of, row_credit
from trainer.inspect.graph import lanes
from trainer.inspect.hidden import hidden_record
from trainer.inspect.plan import plan_inspect
from trainer.inspect.run import inspect
from trainer.inspect.truth import write_truth
from trainer.inspect.truth_plan import MonteCarloConfig
from trainer.report.progress import Display

BATCH = step_batch(RowTable([played()]), embedding=vectors())


def page_of(run: Path | None, *estimators: Any, to: Path | None = None, **options: Any) -> dict[str, Any]:
    """The JSON records of the page, by the id of their element. It is written beside the run, or into `to`."""
    page = (to or (run or Path()).parent) / "page.html"
    source = {} if run is None else {"run": str(run)}
    config = InspectConfig(output=str(page), estimators=estimators or None, **source, **options)
    inspect(plan_inspect(config), Display(Console(file=io.StringIO())))
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page.read_text(), re.S)
    return {name: json.loads(record) for name, record in found}


def estimator(name: str, **options: Any) -> Estimator:
    return build(name, norm="mean", invalid_penalty=0.0, **options)


def test_the_page_holds_the_credit_that_the_estimators_give(run: Path) -> None:
    group = page_of(run, "gigpo", "bipace", "grpo")["group-3-1"]
    for label in ("gigpo", "bipace", "grpo"):
        given = build(label)(step_batch(RowTable([played(), played()]), embedding=np.tile(vectors(), (2, 1))))
        assert group["credit"][label]["value"] == pytest.approx(given.value[6:], rel=1e-4)


def test_a_turn_shows_what_a_scorer_added_and_returns_hold_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    added = with_step_rewards([played()], np.array([0.5, 0.0, 1.0, 0.0, 0.0, -2.0]))
    write_groups(run / "rollouts" / "update-000001.jsonl.zst", added)
    group = page_of(run, {"name": "grpo", "invalid_penalty": 0.0})["group-1-0"]
    assert group["step_reward"] == [0.5, 0, 1, 0, 0, -2]
    assert [rollout["total"] for rollout in group["rollouts"]] == [8.5, 1, -2]
    assert page_of(recorded(tmp_path / "other", 1), "grpo")["group-1-0"]["step_reward"] is None


@pytest.mark.parametrize("name", ["gigpo", "bipace", "graphgpo", "crbc", "g2po", "ecpo", "tempo", "graphhca"])
def test_the_episode_term_is_what_all_turns_of_a_rollout_share(name: str) -> None:
    credit = credit_of(build(name), BATCH)
    assert credit.episode is not None
    without = credit_of(build(name, omega=0.0), BATCH).advantages.value
    assert credit.episode == pytest.approx(without)


@pytest.mark.parametrize("name", ["rloo", "hgpo", "pgpo", "grpo_lambda", "turn_loo"])
def test_an_estimator_without_two_terms_is_shown_as_one_number(name: str) -> None:
    assert credit_of(build(name), BATCH).episode is None


def test_value_and_action_value_are_means_of_returns_over_the_visits() -> None:
    # gamma 1/2: the first rollout returns 4 from state 0 and 8 from state 1, all others 0. State 0 has four visits:
    # two go (4 and 0), one stays (0), and one names no action (0). State 1 has two: one goes (8), one stays (0).
    credit = credit_of(estimator("gigpo", gamma=0.5), BATCH)
    assert credit.returns.tolist() == [4, 8, 0, 0, 0, 0]
    assert credit.states.mean(credit.returns)[credit.states.label].tolist() == [1, 4, 1, 1, 4, 1]
    assert credit.actions.mean(credit.returns)[credit.actions.label].tolist() == [2, 8, 0, 2, 0, 0]


def test_an_estimator_that_measures_its_discount_is_shown_with_undiscounted_returns(run: Path) -> None:
    page = page_of(run, {"name": "toll", "invalid_penalty": 0.0})
    assert page["page"]["estimators"][0]["gamma"] == 1.0
    assert page["group-1-0"]["credit"]["toll invalid_penalty=0.0"]["returns"] == [8, 8, 0, 0, 0, 0]


def test_a_row_shares_q_with_the_rows_that_its_estimator_takes_for_the_same_action(run: Path) -> None:
    # In state 0, rows 0 and 3 went and row 2 stayed; rows 2 and 3 began with the same tokens, row 0 with others.
    credit = page_of(run, "gigpo", {"name": "bipace", "eps": 0.1, "variant": "first_token"})["group-1-0"]["credit"]
    by_name, by_token = (one["action"] for one in credit.values())
    assert by_name[0] == by_name[3] != by_name[2]
    assert by_token[2] == by_token[3] != by_token[0]


def test_the_visits_of_bipace_are_its_clusters_and_those_of_tempo_share_a_past() -> None:
    assert credit_of(build("bipace", eps=0.1), BATCH).states.label.tolist() == [0, 1, 0, 0, 1, 0]
    assert credit_of(build("bipace", eps=1.0), BATCH).states.label.tolist() == [0] * 6
    same_past = credit_of(build("tempo"), BATCH).states.label
    assert same_past[0] == same_past[2] == same_past[5]
    assert len(set(same_past.tolist())) == 4


def test_an_estimator_that_measures_an_option_keeps_what_it_measured() -> None:
    ready, _ = row_credit({"bipace": build("bipace", eps="auto")}, lambda _: BATCH)
    assert ready["bipace"].eps == 0.01  # pyright: ignore[reportAttributeAccessIssue]


def test_the_graph_merges_equal_states_and_ends_in_success_or_failure(run: Path) -> None:
    group = page_of(run, "gigpo")["group-1-0"]
    graph = group["graph"]
    assert [group["texts"][place] for place in graph["text"]] == ["0", "1"]
    assert list(zip(graph["source"], graph["target"], strict=True)) == [(0, 1), (1, 2), (0, 0), (0, 1), (1, 3), (0, 3)]
    assert graph["layer"] == [0, 1, 2, 2]
    assert graph["lane"] == [0, 0, -0.5, 0.5]


def test_a_state_after_idle_turns_is_a_node_of_its_own_and_says_so(tmp_path: Path) -> None:
    rollouts = group((step(valid=False), step(idle_turns=1)), (step(),))
    write_groups(tmp_path / "run" / "rollouts" / "update-000001.jsonl.zst", [rollouts])
    shown = page_of(tmp_path / "run", "gigpo")["group-1-0"]
    assert shown["graph"]["source"] == [0, 1, 0]
    assert [shown["texts"][place] for place in shown["graph"]["text"]] == ["0", "0\n\nIdle turns before: 1"]


def test_lanes_keep_neighbours_beside_each_other() -> None:
    # 0 -> {1, 2}; 1 -> 4 and 2 -> 3: the third layer turns round so that no edges cross.
    placed = lanes(np.array([0.0, 1, 1, 2, 2]), np.array([0, 0, 1, 2]), np.array([1, 2, 4, 3]))
    assert np.sign(placed[1] - placed[2]) == np.sign(placed[4] - placed[3])
    assert sorted(placed[1:3].tolist()) == [-0.5, 0.5]


def test_hidden_states_name_their_nearest_and_keep_their_distances(run: Path) -> None:
    hidden = page_of(run, "gigpo")["group-1-0"]["hidden"]
    assert hidden["kept"] == pytest.approx(1.0)
    assert hidden["near"][1][0] == 4
    assert hidden["cosine"][1] == [1.0, 0.0, 0.0, 0.0, 0.0]
    distance = np.hypot(hidden["x"][0] - hidden["x"][1], hidden["y"][0] - hidden["y"][1])
    assert distance == pytest.approx(2**0.5, rel=1e-4)


def test_tokens_have_the_log_probs_of_the_engine_and_what_the_learner_differs_by(run: Path) -> None:
    group = page_of(run, "gigpo")["group-3-0"]
    tokens = group["tokens"]
    assert [group["texts"][place] for place in tokens["piece"][0]] == ["#5", "#9"]
    assert (tokens["engine"][0], tokens["gap"][0]) == ([-0.25, -0.5], [0.125, 0.125])


def with_critic(run: Path, values: list[float], **options: Any) -> Path:
    """The run as one of `ppo`, whose critic said so of its second update."""
    (run / "config.json").write_text(json.dumps({"estimator": {"name": "ppo", "whiten": False, **options}}))
    np.save(run / "rollouts" / "update-000003.values.npy", np.array(values, np.float32))
    return run


def test_what_a_critic_said_of_the_turns_is_shown_with_the_credit_that_follows_from_it(run: Path) -> None:
    # lam 1/2, no penalty: rewards 0, 8 | 0, 0, 0 | 0 and V 4, 6 | 1, 2, 3 | 5, so delta 2, 2 | 1, 1, -3 | -5.
    options = {"lam": 0.5, "invalid_penalty": 0.0}
    records = page_of(with_critic(run, 2 * [4.0, 6, 1, 2, 3, 5], **options), updates=(3,))
    assert [one["label"] for one in records["page"]["estimators"]] == ["ppo", "gigpo", "grpo"]
    credit = records["group-3-1"]["credit"]["ppo"]
    assert credit["critic"] == [4, 6, 1, 2, 3, 5]
    assert credit["value"] == [3, 2, 0.75, -0.5, -3, -5]
    assert (credit["token_value"], credit["token_critic"]) == (None, None)
    assert records["group-3-1"]["credit"]["gigpo"]["critic"] is None


def test_a_critic_of_tokens_has_its_values_and_advantages_shown_by_token(run: Path) -> None:
    ends = 2 * np.arange(13)  # each of twelve rows has two tokens
    values = np.arange(24, dtype=np.float64) ** 2
    page = page_of(with_critic(run, values.tolist(), gae="token"), updates=(3,))
    table, ppo = RowTable([played(), played()]), build("ppo", gae="token", whiten=False)
    given = ppo(step_batch(table, needs(ppo), embedding=None, values=values.astype(np.float32)))
    assert given.token_value is not None
    for number in (0, 1):
        credit = page[f"group-3-{number}"]["credit"]["ppo"]
        parts = [slice(*pair) for pair in zip(ends[6 * number :], ends[6 * number + 1 :], strict=False)][:6]
        assert credit["token_critic"] == [values[part].tolist() for part in parts]
        assert credit["token_value"] == [pytest.approx(given.token_value[part], rel=1e-4) for part in parts]
        assert credit["critic"] == [values[part][0] for part in parts]
        assert credit["value"] == pytest.approx(given.value[6 * number : 6 * number + 6], rel=1e-4)


@pytest.mark.parametrize("entries", [12, 24])
def test_the_critic_of_an_estimator_of_ones_own_hides_no_other_credit(run: Path, entries: int) -> None:
    with_critic(run, entries * [0.0], _target_="mine:Mine")
    assert page_of(run, "gigpo", updates=(3,))["group-3-0"]["credit"].keys() == {"gigpo"}


def test_turns_that_the_run_did_not_learn_from_are_marked(tmp_path: Path) -> None:
    run, cut = tmp_path / "run", completion("go", finish_reason="length")
    write_groups(run / "rollouts" / "update-000001.jsonl.zst", [group((step("go"), step("go", said=cut)), (step(),))])
    for truncated, live in (("keep", None), ("mask", [True, False, True])):
        (run / "config.json").write_text(json.dumps({"rollout": {"truncated": truncated}}))
        assert page_of(run, "gigpo")["group-1-0"]["credit"]["gigpo"]["live"] == live


def test_a_critic_that_was_not_recorded_is_named_as_missing_and_one_that_does_not_fit_is_refused(run: Path) -> None:
    head = page_of(with_critic(run, 12 * [0.0]))["page"]  # of update 3 alone, and update 1 is shown too
    assert [one["label"] for one in head["estimators"]] == ["gigpo", "grpo"]
    assert "What the run's critic said was not recorded" in " ".join(head["missing"])
    assert "critic" not in " ".join(page_of(run, updates=(3,))["page"]["missing"])
    with pytest.raises(ConfigError, match=r"update-000003\.values\.npy has 5 entries, .* needs 12 or 24: delete it"):
        page_of(with_critic(run, 5 * [0.0]), updates=(3,))


def test_a_line_says_what_was_not_recorded(tmp_path: Path) -> None:
    records = page_of(recorded(tmp_path / "run", 1, embeddings=False, logprobs=False), "gigpo")
    said = " ".join(records["page"]["missing"])
    assert all(words in said for words in ("No config.json", "record=embeddings", "log-probs", "No tokenizer"))
    assert (records["group-1-0"]["hidden"], records["group-1-0"]["tokens"]["gap"]) == (None, None)


def test_without_a_choice_the_runs_own_estimator_comes_first_with_its_options(run: Path) -> None:
    settings = {"estimator": {"name": "bipace", "gamma": 0.5, "eps": 0.2}, "env": {"world": "corridor"}}
    (run / "config.json").write_text(json.dumps(settings))
    head = page_of(run)["page"]
    assert [one["label"] for one in head["estimators"]] == ["bipace", "gigpo", "grpo"]
    assert (head["estimators"][0]["gamma"], head["own"], head["world"]) == (0.5, "bipace", "corridor")
    assert "0.2" in head["estimators"][0]["states"]


@pytest.mark.parametrize("own", [{"name": "ppo"}, {"name": "bipace"}, {"name": "mine", "_target_": "my.Own"}])
def test_an_own_estimator_that_cannot_be_computed_again_is_left_out(tmp_path: Path, own: dict[str, str]) -> None:
    run = recorded(tmp_path / "run", 1, embeddings=False)
    (run / "config.json").write_text(json.dumps({"estimator": own}))
    head = page_of(run)["page"]
    assert ([one["label"] for one in head["estimators"]], head["own"]) == (["gigpo", "grpo"], own["name"])


def test_updates_are_shown_in_the_order_asked_for_with_what_their_groups_did(run: Path) -> None:
    head = page_of(run, "gigpo", updates=(3, 1))["page"]
    assert [update["update"] for update in head["updates"]] == [3, 1]
    assert head["updates"][0]["groups"] == [{"task": "cross", "rollouts": 3, "won": 1}] * 2


def test_an_estimated_truth_stands_beside_its_rows_with_its_interval(run: Path) -> None:
    (first, _) = recordings(run, None)
    truth = Continued(advantage=np.arange(12, dtype=np.float64), error=np.full(12, 0.5))
    write_truth(first, truth, count=16)
    records = page_of(run, "gigpo")
    assert records["group-1-1"]["truth"] == [6, 7, 8, 9, 10, 11]
    assert records["group-1-1"]["truth_error"] == pytest.approx([0.98] * 6, rel=1e-3)
    assert records["group-3-0"]["truth"] is None
    write_truth(first, Continued(advantage=np.zeros(3), error=np.zeros(3)), count=16)
    with pytest.raises(ConfigError, match="is of other rollouts: delete it"):
        page_of(run, "gigpo")
    file = truth_file(first.groups)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"update-000001\.truth\.npz is no whole estimate .*: delete it"):
        page_of(run, "gigpo")


def test_no_text_of_a_rollout_can_end_a_script_of_the_page(run: Path) -> None:
    group = page_of(run, "gigpo")["group-1-1"]
    assert "</script><b>" in group["texts"]


def test_an_array_that_does_not_fit_its_rollouts_is_refused(run: Path) -> None:
    np.save(run / "rollouts" / "update-000001.logprobs.npy", np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match=r"update-000001\.logprobs\.npy has 3 entries, .* needs 24: delete it"):
        page_of(run, "gigpo")
    (run / "rollouts" / "update-000001.logprobs.npy").write_bytes(b"half")
    with pytest.raises(ConfigError, match="is no whole array"):
        page_of(run, "gigpo")


def test_the_path_of_the_page_is_printed_with_its_brackets(run: Path) -> None:
    page, printed = run.parent / "estimators=[gigpo,bipace]" / "page.html", io.StringIO()
    config = InspectConfig(run=str(run), output=str(page), estimators=("gigpo",))
    inspect(plan_inspect(config), Display(Console(file=printed, soft_wrap=True)))
    assert printed.getvalue() == f"page: {page}\n"
    assert page.is_file()


def test_a_run_that_learned_from_retries_says_that_its_credit_here_is_of_rollouts_alone(run: Path) -> None:
    (run / "config.json").write_text(json.dumps({"revise": {"mode": "retry"}}))
    assert any("(revise.mode=retry)" in line for line in page_of(run, "gigpo")["page"]["missing"])


def test_a_kill_while_the_truth_is_written_leaves_the_one_before(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first, _) = recordings(run, None)
    write_truth(first, Continued(advantage=np.ones(12), error=np.ones(12)), count=16)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.inspect.truth.np.savez", killed)
    with pytest.raises(KeyboardInterrupt):
        write_truth(first, Continued(advantage=np.zeros(12), error=np.zeros(12)), count=16)
    assert np.load(truth_file(first.groups))["advantage"].tolist() == [1.0] * 12


def test_a_hidden_state_of_zeros_is_near_nothing_and_moves_no_other() -> None:
    with_zeros = hidden_record(np.array([[0, 0], [1, 0], [2, 0]], np.float32))
    assert with_zeros.cosine == [[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    assert np.isfinite([*with_zeros.x, *with_zeros.y, with_zeros.kept]).all()


@pytest.mark.parametrize("updates", [(1, 1), ()])
def test_updates_that_are_named_twice_or_not_at_all_are_refused(run: Path, updates: tuple[int, ...]) -> None:
    for config, named in ((InspectConfig, {"output": "page.html"}), (MonteCarloConfig, {})):
        with pytest.raises(ConfigError, match=r"updates=\[.*\]: give one or more, each once, or null for all"):
            config(run=str(run), updates=updates, **named)
