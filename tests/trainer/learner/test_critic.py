"""The critic: its loss on paper, its fit to known values, and its life among ranks, stages, checkpoints, publishes."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from tests.trainer.learner.reference import CONFIG, Learners, fresh, save, weights_of
from trainer.config.build import ConfigError
from trainer.config.learner import CriticConfig, LearnerConfig, LoraConfig, LossConfig
from trainer.data.tokens import Targets, TokenBatch
from trainer.lab.worlds.maze import MazeConfig, maze
from trainer.lab.worlds.tabular import sample
from trainer.learner.critic import Critic
from trainer.learner.driver import Learner
from trainer.learner.losses import LossTerms, likelihood_loss, with_value_loss

Starter = Callable[..., Learner]
ALONE = LossConfig(kl_coef=0.0)
QUICK = CriticConfig(learning_rate=0.5)
in_ranks = pytest.mark.slow


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of one."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def value_loss(values: list[float], clip: float | None) -> tuple[LossTerms, Tensor]:
    """The loss and the clipped share of two rows that weigh 1/2, with old values 0 and returns 4 and -4."""
    nothing = likelihood_loss(torch.zeros(1), torch.zeros(1))
    own = torch.tensor(values, requires_grad=True)
    terms = with_value_loss(nothing, own, torch.zeros(2), torch.tensor([4.0, -4.0]), torch.full((2,), 0.5), clip)
    terms.loss.backward()
    assert own.grad is not None
    return terms, own.grad


def test_the_loss_of_a_critic_on_paper() -> None:
    # errors 2 and -4: (4 + 16) / 2 / 2; gradient w (V - G) = -1, 2.
    terms, gradient = value_loss([2.0, 0.0], None)
    assert (terms.loss.item(), terms.value.item(), terms.value_clip_share.item()) == (5.0, 5.0, 0.0)
    assert gradient.tolist() == [-1.0, 2.0]


def test_a_value_that_moved_further_than_the_bound_has_no_gradient() -> None:
    # V = 2 counts as 1: (9 + 16) / 2 / 2, the larger loss; V = -0.5 is within the bound.
    terms, gradient = value_loss([2.0, -0.5], 1.0)
    assert (terms.loss.item(), terms.value_clip_share.item()) == ((9.0 + 3.5**2) / 4, 0.5)
    assert gradient.tolist() == [0.0, 1.75]


def test_a_value_that_moved_away_from_its_return_is_pulled_back_whatever_the_bound() -> None:
    _, gradient = value_loss([-2.0, 0.0], 1.0)
    assert gradient.tolist() == [-3.0, 2.0]


def test_a_critic_begins_at_0_and_its_values_do_not_depend_on_the_length_of_a_state() -> None:
    critic = Critic(8, QUICK, torch.device("cpu"))
    states = torch.randn(3, 8)
    assert critic(states).tolist() == [0.0] * 3
    torch.nn.init.normal_(critic.weight)
    torch.testing.assert_close(critic(100.0 * states), critic(states))
    assert critic(states.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("coef", [0.0, 0.25])
def test_so_much_of_the_gradient_reaches_the_body(coef: float) -> None:
    whole, part = (
        Critic(8, CriticConfig(body_coef=1.0), torch.device("cpu")),
        Critic(8, CriticConfig(body_coef=coef), torch.device("cpu")),
    )
    torch.nn.init.normal_(whole.weight)
    part.load_state_dict(whole.state_dict())
    states = torch.randn(3, 8, requires_grad=True)
    first, second = whole(states).sum(), part(states).sum()
    assert first.item() == second.item()
    (full,) = torch.autograd.grad(first, states)
    assert full.abs().max() > 0
    if coef == 0:
        assert not torch.autograd.grad(second, [states, part.weight], allow_unused=True)[0]
    else:
        torch.testing.assert_close(torch.autograd.grad(second, states)[0], coef * full)


@pytest.mark.usefixtures("alone")
def test_a_critic_learns_the_true_values_of_a_world_from_sampled_returns() -> None:
    """Of every state, to 0.25 of a reward of 10: the returns it sees are 10 or 0."""
    world = maze(MazeConfig(width=3, tasks=2, pits=1, horizon=6))
    draw = sample(world, groups=500, size=8, rng=np.random.default_rng(0))
    places, row = np.unique(np.stack([draw.turn, draw.state]), axis=1, return_inverse=True)
    states = F.one_hot(torch.from_numpy(row)).float()
    label = draw.batch.rollouts.label
    returns = torch.from_numpy(draw.batch.rollouts.sum(draw.batch.reward)[label]).float()
    critic = Critic(states.shape[1], CriticConfig(learning_rate=0.1), torch.device("cpu"))
    nothing = likelihood_loss(torch.zeros(1), torch.zeros(1))
    weight = torch.full((len(row),), 1.0 / len(row))
    for _ in range(500):
        with_value_loss(nothing, critic(states), returns, returns, weight, None).loss.backward()
        critic.step(taken=True)
    values, truth = critic(states).detach().numpy(), draw.batch.values
    seen = np.bincount(row)[row] >= 400  # the mean of 400 returns of 0 or 10 is off by 0.25 on average
    assert seen.mean() > 0.5
    assert np.abs(values - truth)[seen].mean() < 0.25
    assert places.shape[1] > 10


@pytest.mark.usefixtures("alone")
def test_a_step_that_the_policy_skips_leaves_the_critic_as_it_was() -> None:
    critic = Critic(8, QUICK, torch.device("cpu"))
    critic(torch.randn(3, 8)).sum().backward()
    critic.step(taken=False)
    assert not critic.weight.any()
    assert not critic.bias.any()
    assert critic.weight.grad is None
    (critic(torch.randn(3, 8)).sum() * torch.nan).backward()
    with pytest.raises(FloatingPointError, match=r"lower learner\.critic\.learning_rate"):
        critic.step(taken=True)


@pytest.fixture
def start(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    with closing(Learners(monkeypatch, model_folder)) as learners:
        yield lambda config=PLAIN, **options: learners.start(config, **{"critic": "turn", **options})


PLAIN = replace(CONFIG, loss=ALONE, critic=QUICK)


def targets(learner: Learner, batch: TokenBatch, *, advantage: float = 0.0) -> Targets:
    """Returns of 0 to 10 that the prompts do not explain, and an advantage of every row or token."""
    scores = learner.score(batch)
    assert scores.values is not None
    count = len(scores.values)
    return Targets(
        advantage=np.full(batch.num_rows, advantage),
        row_mask=np.arange(batch.num_rows) % 5 != 1,
        old_logprobs=scores.logprobs,
        token_advantage=np.full(count, advantage) if learner.critic == "token" else None,
        returns=np.random.default_rng(0).uniform(0, 10, count),
        values=scores.values,
    )


def slow_critic(folder: Path, batch: TokenBatch, goal: Targets, steps: int) -> tuple[np.ndarray, list[float]]:
    """Values after so many steps of torch's Adam on a forward of each row alone, and the losses on the way."""
    model, states = fresh(folder), list[Tensor]()
    with torch.no_grad():
        for row in range(batch.num_rows):
            ids, count = torch.from_numpy(batch.row(row).astype(np.int64))[None], int(batch.response_lens[row])
            hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1 - count : -1]
            states.extend(hidden if goal.critic == "token" else hidden[:1])
    unit = F.rms_norm(torch.stack(states), (states[0].shape[0],), eps=1e-6) / states[0].shape[0]
    head = torch.nn.Linear(unit.shape[1], 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=QUICK.learning_rate)
    live = torch.from_numpy(goal.live_tokens(batch) if goal.critic == "token" else goal.row_mask)
    losses: list[float] = []
    for _ in range(steps):
        loss = 0.5 * (head(unit)[:, 0] - torch.from_numpy(goal.returns))[live].square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head(unit)[:, 0].detach().numpy(), losses


@in_ranks
@pytest.mark.parametrize(
    ("layout", "world_size"),
    [
        ({"zero_stage": 0}, 2),
        ({"zero_stage": 1}, 1),
        ({"zero_stage": 2}, 2),
        ({"zero_stage": 3}, 2),
        ({"zero_stage": 1, "packing": "packed"}, 3),
        ({"zero_stage": 3, "lora": LoraConfig(rank=2)}, 2),
        ({"zero_stage": 1, "gradient_checkpointing": True}, 2),
    ],
    ids=str,
)
def test_a_critic_equals_the_row_by_row_reference_in_every_layout(
    start: Starter, batch: TokenBatch, model_folder: Path, layout: dict, world_size: int
) -> None:
    """Without credit the policy stays, and so do the states that the critic reads."""
    learner = start(replace(PLAIN, world_size=world_size, weight_decay=0.0, **layout))
    goal = targets(learner, batch)
    assert not goal.values.any()
    expected, losses = slow_critic(model_folder, batch, goal, 4)
    assert [learner.learn(batch, goal, seed=0).critic_loss for _ in losses] == pytest.approx(losses, rel=1e-4)
    np.testing.assert_allclose(learner.score(batch).values, expected, atol=1e-3)


@in_ranks
@pytest.mark.parametrize(
    ("layout", "world_size"), [({"zero_stage": 3}, 2), ({"packing": "packed"}, 3), ({"old_logprobs": "engine"}, 1)]
)
def test_a_critic_of_tokens_equals_the_reference_before_every_token(
    start: Starter, batch: TokenBatch, model_folder: Path, layout: dict, world_size: int
) -> None:
    """Also where nobody asks for the learner's own log-probs; three ranks have fillers, whose token weighs nothing."""
    loss = replace(ALONE, importance_cap=2.0) if "old_logprobs" in layout else ALONE
    learner = start(replace(PLAIN, world_size=world_size, weight_decay=0.0, loss=loss, **layout), critic="token")
    values = learner.score(batch).values
    assert values is not None
    assert len(values) == batch.num_response_tokens
    goal = Targets(
        advantage=np.zeros(batch.num_rows),
        row_mask=np.arange(batch.num_rows) % 5 != 1,
        old_logprobs=np.full(len(values), -1.0),
        rollout_logprobs=np.full(len(values), -1.0),
        token_advantage=np.zeros(len(values)),
        returns=np.random.default_rng(0).uniform(0, 10, len(values)),
        values=values,
    )
    expected, losses = slow_critic(model_folder, batch, goal, 3)
    assert [learner.learn(batch, goal, seed=0).critic_loss for _ in losses] == pytest.approx(losses, rel=1e-4)
    np.testing.assert_allclose(learner.score(batch).values, expected, atol=1e-3)


@in_ranks
def test_a_token_learns_from_the_advantage_of_its_own(start: Starter, batch: TokenBatch) -> None:
    """Credit that is alike within each row is the credit of the row; credit that is not, another gradient."""
    learners = start(critic="turn"), start(critic="token"), start(critic="token")
    goals = [targets(learner, batch) for learner in learners]
    of_rows = np.random.default_rng(1).standard_normal(batch.num_rows)
    spread = np.repeat(of_rows, batch.response_lens)
    goals[0] = replace(goals[0], advantage=of_rows)
    goals[1] = replace(goals[1], token_advantage=spread)
    goals[2] = replace(goals[2], token_advantage=spread * (np.arange(len(spread)) % 2))
    norms = [learner.learn(batch, goal, seed=0).grad_norm for learner, goal in zip(learners, goals, strict=True)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert abs(norms[2] - norms[0]) > 1e-3 * norms[0]


@in_ranks
def test_a_critic_whose_body_does_not_learn_from_it_leaves_the_policy_as_it_learns_without(
    start: Starter, batch: TokenBatch, tmp_path: Path
) -> None:
    with_critic, without = start(), start(critic=None)
    goal = targets(with_critic, batch, advantage=1.0)
    first, second = with_critic.learn(batch, goal, seed=0), without.learn(batch, goal, seed=0)
    assert (first.policy_loss, first.grad_norm) == pytest.approx((second.policy_loss, second.grad_norm), rel=1e-5)
    assert first.loss == pytest.approx(second.loss + first.critic_loss, rel=1e-5)
    assert second.critic_loss is None
    ours, theirs = weights_of(with_critic, tmp_path / "a"), weights_of(without, tmp_path / "b")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@in_ranks
@pytest.mark.parametrize("zero_stage", [1, 3])
def test_a_body_that_learns_from_its_critic_moves_without_any_credit(
    start: Starter, batch: TokenBatch, tmp_path: Path, zero_stage: int
) -> None:
    learner = start(replace(PLAIN, zero_stage=zero_stage, world_size=2, critic=replace(QUICK, body_coef=0.5)))
    goal = targets(learner, batch)
    learner.learn(batch, goal, seed=0)  # the head is 0 before it, and so is what comes through it
    report = learner.learn(batch, replace(goal, values=learner.score(batch).values), seed=0)
    assert report.grad_norm > 0
    assert report.policy_loss == pytest.approx(0.0, abs=1e-6)


@in_ranks
@pytest.mark.parametrize("old_logprobs", ["learner", "engine"])
def test_values_come_with_the_scores_whoevers_logprobs_are_the_old_ones(
    start: Starter, batch: TokenBatch, old_logprobs: str
) -> None:
    config: LearnerConfig = replace(PLAIN, old_logprobs=old_logprobs, loss=replace(ALONE, importance_cap=2.0))
    learner, taught = start(config), start(PLAIN)
    goal = targets(taught, batch)
    for one in (learner, taught):  # at its start the critic says 0 of everything
        one.learn(batch, replace(goal, rollout_logprobs=goal.old_logprobs), seed=0)
    scores, expected = learner.score(batch, layer=1), taught.score(batch, layer=1)
    assert scores.values is not None
    assert len(set(scores.values.tolist())) > 1
    np.testing.assert_array_equal(scores.values, expected.values)
    np.testing.assert_array_equal(scores.embedding, expected.embedding)
    assert start(config, critic=None).score(batch).values is None


@in_ranks
@pytest.mark.parametrize(
    ("dtype", "zero_stage", "ranks"), [("float32", 1, (2, 2)), ("bfloat16", 3, (2, 2)), ("float32", 1, (2, 1))]
)
def test_a_checkpoint_brings_the_critic_back(
    start: Starter, batch: TokenBatch, tmp_path: Path, dtype: str, zero_stage: int, ranks: tuple[int, int]
) -> None:
    config = replace(PLAIN, dtype=dtype, zero_stage=zero_stage, world_size=ranks[0], critic=replace(QUICK, clip=2.0))
    first = start(config)
    goal = targets(first, batch, advantage=1.0)
    first.learn(batch, goal, seed=0)
    save(first, tmp_path / "state")
    expected = first.learn(batch, goal, seed=1)
    values = first.score(batch).values
    first.close()
    again = start(replace(config, world_size=ranks[1]))
    again.load(tmp_path / "state")
    report = again.learn(batch, goal, seed=1)
    if ranks[0] == ranks[1]:
        assert report == expected
        assert again.score(batch).values.tolist() == values.tolist()
    else:
        assert report.critic_loss == pytest.approx(expected.critic_loss, rel=1e-4)
        np.testing.assert_allclose(again.score(batch).values, values, atol=1e-3)


@in_ranks
def test_a_checkpoint_without_a_critic_is_refused_by_a_learner_with_one(start: Starter, tmp_path: Path) -> None:
    save(start(critic=None), tmp_path / "state")
    with pytest.raises(ConfigError, match=r"this learner has .*'critic': True"):
        start().load(tmp_path / "state")


@in_ranks
def test_an_export_and_a_publish_hold_the_policy_alone(start: Starter, batch: TokenBatch, tmp_path: Path) -> None:
    learner = start(replace(PLAIN, world_size=2, zero_stage=3))
    learner.learn(batch, targets(learner, batch, advantage=1.0), seed=0)
    learner.export(tmp_path / "model")
    named = {name for name, _ in fresh(tmp_path / "model").named_parameters()}
    assert set(weights_of(learner, tmp_path / "published")) == named
    assert not [path for path in (tmp_path / "model").iterdir() if "critic" in path.name]


@in_ranks
def test_a_critic_without_returns_is_refused_and_leaves_the_learner_alive(start: Starter, batch: TokenBatch) -> None:
    learner = start()
    goal = replace(targets(learner, batch), returns=None)
    with pytest.raises(ValueError, match=r"lack the returns .* critic of a turn .* gives Advantages\(returns=\.\.\."):
        learner.learn(batch, goal, seed=0)
    assert learner.score(batch).values is not None
