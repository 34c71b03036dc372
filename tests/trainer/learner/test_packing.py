from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.tokens import TokenBatch
from trainer.learner.packing import (
    MAX_PADDING,
    Chain,
    MicroBatch,
    collate,
    find_chains,
    pack_chains,
    split_by_trajectory,
)


def rows(*table: tuple[int, int, list[int], list[int]]) -> TokenBatch:
    """(trajectory, time, prompt, response) per row."""
    return TokenBatch(
        tokens=np.concatenate([np.array(prompt + response) for _, _, prompt, response in table]),
        prompt_lens=[len(prompt) for _, _, prompt, _ in table],
        response_lens=[len(response) for *_, response in table],
        trajectory=[trajectory for trajectory, *_ in table],
        time=[time for _, time, *_ in table],
    )


@st.composite
def batches(draw: st.DrawFn) -> TokenBatch:
    """Dialogues over two token ids, so that prompts repeat what came before by chance and by design."""
    ids = st.lists(st.integers(1, 2), min_size=1, max_size=5)
    table: list[tuple[int, int, list[int], list[int]]] = []
    for trajectory in range(draw(st.integers(1, 5))):
        context: list[int] = []
        for time in range(draw(st.integers(1, 4))):
            prompt = (context if draw(st.booleans()) else []) + draw(ids)
            response = draw(ids)
            table.append((trajectory, time, prompt, response))
            context = prompt + response
    return rows(*draw(st.permutations(table)))


def flat(chains: list[Chain]) -> list[int]:
    return sorted(row for chain in chains for row in chain)


def test_a_row_that_repeats_its_predecessor_joins_its_chain() -> None:
    batch = rows((0, 0, [1, 2], [3]), (0, 1, [1, 2, 3, 4], [5]), (0, 2, [1, 2, 3, 4, 5], [6]))
    assert find_chains(batch) == [(0, 1, 2)]


@pytest.mark.parametrize(
    "second",
    [
        (0, 1, [1, 2, 9, 4], [5]),  # a response token came back as another id
        (0, 1, [1, 2], [3, 4]),  # the same prompt again: nothing of row 0's response in it
        (1, 1, [1, 2, 3, 4], [5]),  # another trajectory
        (0, 1, [2, 3, 4], [5]),  # the window moved on
    ],
)
def test_a_row_that_does_not_repeat_its_predecessor_starts_a_chain(
    second: tuple[int, int, list[int], list[int]],
) -> None:
    assert find_chains(rows((0, 0, [1, 2], [3]), second)) == [(0,), (1,)]


def test_a_row_left_out_does_not_break_a_chain() -> None:
    batch = rows((0, 0, [1], [2]), (0, 1, [1, 2], [3]), (0, 2, [1, 2, 3], [4]))
    assert find_chains(batch, np.array([0, 2])) == [(0, 2)]


@given(batches())
def test_every_row_is_in_one_chain_whose_last_row_contains_the_others(batch: TokenBatch) -> None:
    chains = find_chains(batch)
    assert flat(chains) == list(range(batch.num_rows))
    for chain in chains:
        last = batch.row(chain[-1]).tolist()
        assert all(last[: len(batch.row(row))] == batch.row(row).tolist() for row in chain)
        assert (np.diff(batch.time[list(chain)]) > 0).all()


@given(batches(), st.integers(4, 60), st.integers(1, 3), st.booleans())
def test_every_chain_goes_to_one_rank_and_the_limits_hold(
    batch: TokenBatch, budget: int, world: int, packed: bool
) -> None:
    chains = find_chains(batch)
    packing = pack_chains(batch, chains, token_budget=budget, world_size=world, packed=packed)
    micros = [micro for rank in packing.ranks for micro in rank]
    assert sorted(chain for micro in micros for chain in micro) == sorted(chains)
    assert len({len(rank) for rank in packing.ranks}) == 1
    cells = [collate(batch, micro, packed=packed).input_ids.size for micro in micros]
    real = [sum(len(batch.row(chain[-1])) for chain in micro) for micro in micros]
    assert all(len(micro) == 1 or size <= budget for micro, size in zip(micros, cells, strict=True) if micro)
    # The limit holds in total, not for each micro-batch: halving one for an idle rank moves its padding into one half.
    used = sum(size for micro, size in zip(micros, cells, strict=True) if micro)
    assert used - sum(real) <= (0 if packed else MAX_PADDING * used)
    assert (packing.padded_tokens, packing.real_tokens) == (sum(cells), sum(real))
    assert packing.row_tokens == batch.tokens.size


def context_at(micro: MicroBatch, cell: int) -> list[int]:
    """What a flat cell sees: its sequence up to itself."""
    width = micro.input_ids.shape[1]
    begins = np.arange(len(micro.input_ids)) * width if micro.bounds is None else micro.bounds[:-1]
    first = max(begin for begin in begins.tolist() if begin <= cell)
    return micro.input_ids.reshape(-1)[first : cell + 1].tolist()


@given(batches(), st.integers(4, 60), st.integers(1, 3), st.booleans())
def test_every_response_token_is_predicted_once_in_its_own_context(
    batch: TokenBatch, budget: int, world: int, packed: bool
) -> None:
    packing = pack_chains(batch, find_chains(batch), token_budget=budget, world_size=world, packed=packed)
    seen: list[int] = []
    for micro in (collate(batch, chains, packed=packed) for rank in packing.ranks for chains in rank if chains):
        seen += micro.token_index.tolist()
        for at, target, place, segment in zip(
            micro.predict_at, micro.targets, micro.token_index, micro.segment, strict=True
        ):
            row = int(micro.rows[segment])
            within = int(place - batch.response_starts[row])
            assert context_at(micro, at) == batch.row(row)[: batch.prompt_lens[row] + within].tolist()
            assert target == batch.response(row)[within]
        for row, at in zip(micro.rows, micro.prompt_end_at, strict=True):
            assert context_at(micro, at) == batch.prompt(row).tolist()
    assert sorted(seen) == list(range(batch.num_response_tokens))


def test_ranks_get_about_the_same_work() -> None:
    random = np.random.default_rng(0)
    batch = rows(*[(index, 0, [1] * int(random.integers(20, 200)), [2]) for index in range(64)])
    packing = pack_chains(batch, find_chains(batch), token_budget=1024, world_size=2)
    first, second = [[collate(batch, micro).input_ids.size for micro in rank] for rank in packing.ranks]
    assert abs(sum(first) - sum(second)) <= 0.05 * sum(first)
    assert packing.padded_tokens <= 1.05 * packing.real_tokens


def test_packed_micro_batches_of_mixed_lengths_fill_the_budget_evenly() -> None:
    random = np.random.default_rng(0)
    batch = rows(*[(index, 0, [1] * int(random.integers(20, 200)), [2]) for index in range(64)])
    packing = pack_chains(batch, find_chains(batch), token_budget=1024, world_size=2, packed=True)
    cells = [collate(batch, micro, packed=True).input_ids.size for rank in packing.ranks for micro in rank]
    assert packing.padded_tokens == packing.real_tokens == sum(cells)
    assert max(cells) - min(cells) <= 0.05 * max(cells)
    assert len(cells) == 2 * -(-packing.real_tokens // 2048)


def test_one_micro_batch_is_halved_for_two_ranks() -> None:
    batch = rows((0, 0, [1], [2]), (1, 0, [1], [3]), (2, 0, [1], [4]), (3, 0, [1], [5]))
    packing = pack_chains(batch, find_chains(batch), token_budget=100, world_size=2)
    assert packing.ranks == ((((0,), (1,)),), (((2,), (3,)),))


@pytest.mark.parametrize("packed", [False, True])
def test_a_rank_without_work_gets_a_filler(packed: bool) -> None:
    batch = rows((0, 0, [1], [2]))
    packing = pack_chains(batch, find_chains(batch), token_budget=100, world_size=2, packed=packed)
    assert packing.ranks == ((((0,),),), ((),))
    filler = collate(batch, packing.ranks[1][0], packed=packed)
    assert (filler.live, filler.input_ids.shape, len(filler.targets), len(filler.rows)) == (False, (1, 2), 1, 0)


@given(batches(), st.integers(1, 5), st.integers(0, 3))
def test_a_split_keeps_trajectories_whole_and_is_balanced(batch: TokenBatch, parts: int, seed: int) -> None:
    chains = find_chains(batch)
    trajectories = len(np.unique(batch.trajectory))
    if trajectories < parts:
        with pytest.raises(ValueError, match=f"set optimizer_steps to at most {trajectories}"):
            split_by_trajectory(batch, chains, parts=parts, seed=seed)
        return
    split = split_by_trajectory(batch, chains, parts=parts, seed=seed)
    assert flat([chain for part in split for chain in part]) == list(range(batch.num_rows))
    owners = [{int(batch.trajectory[chain[0]]) for chain in part} for part in split]
    assert sum(len(owner) for owner in owners) == trajectories
    tokens = [sum(len(batch.row(chain[-1])) for chain in part) for part in split]
    of_trajectory = [
        sum(len(batch.row(chain[-1])) for chain in chains if batch.trajectory[chain[0]] == trajectory)
        for trajectory in range(trajectories)
    ]
    assert max(tokens) - min(tokens) <= max(of_trajectory)
    assert split == split_by_trajectory(batch, chains, parts=parts, seed=seed)


def test_the_seed_decides_which_trajectories_go_together(dialogue: Callable[..., TokenBatch]) -> None:
    batch = dialogue(trajectories=12)
    chains = find_chains(batch)
    splits = [split_by_trajectory(batch, chains, parts=2, seed=seed) for seed in (0, 1)]
    assert sorted(map(sorted, splits[0])) != sorted(map(sorted, splits[1]))
