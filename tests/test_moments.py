import pytest
import torch
from torch import distributed

from ode_vgan.errors import UserError
from ode_vgan.metrics.moments import Moments


def assert_same(found: Moments, expected: Moments, tolerance: float = 1e-12) -> None:
    assert found.count == expected.count
    assert torch.allclose(found.mean, expected.mean, rtol=tolerance, atol=tolerance)
    scale = float(expected.scatter.diagonal().max())
    assert torch.allclose(found.scatter, expected.scatter, rtol=0, atol=tolerance * scale)


def test_moments_are_those_of_all_rows():
    rows = torch.randn(50, 4).double()
    found = Moments.of(rows)
    assert found.count == 50
    assert torch.allclose(found.mean, rows.mean(0))
    assert torch.allclose(found.covariance(), torch.cov(rows.T))
    assert torch.allclose(found.covariance(0), torch.cov(rows.T, correction=0))


def test_eight_merged_shards_equal_one_pass():
    rows = torch.randn(403, 20).double() * torch.arange(1, 21) + 5
    shards = [Moments.of(part) for part in rows.tensor_split(8)]
    assert_same(Moments.merged(shards), Moments.of(rows))
    assert [shard.count for shard in shards] == [51] * 3 + [50] * 5  # the parts stay as they were


def test_updates_of_any_size_equal_one_pass():
    rows = torch.randn(60, 7).double()
    streamed = Moments.empty(7)
    for part in rows.split([1, 2, 30, 27]):
        streamed.update(part)
    assert_same(streamed, Moments.of(rows))
    assert_same(streamed.merge(Moments.empty(7)), Moments.of(rows))
    assert_same(Moments.empty(7).merge(streamed), Moments.of(rows))


def test_rows_of_many_blocks_equal_one_pass(monkeypatch):
    rows = torch.randn(100, 5).double()
    expected = Moments.of(rows)
    monkeypatch.setattr("ode_vgan.metrics.moments.BLOCK", 9)
    assert_same(Moments.of(rows), expected)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_an_offset_of_many_deviations_costs_the_digits_of_the_rows_alone(offset):
    rows = torch.randn(2000, 6).double()
    moved = rows + offset
    exact = moved - offset  # what is left of the rows after rounding at the offset
    shards = Moments.merged([Moments.of(part) for part in moved.split(100)])
    rounding = 1e-16 * offset  # of the means of the shards
    assert torch.allclose(shards.covariance(), torch.cov(exact.T), rtol=0, atol=rounding + 1e-14)


def test_frames_of_clips_are_rows():
    clips = torch.randn(5, 3, 4)
    assert_same(Moments.of(clips), Moments.of(clips.flatten(0, 1)))


def test_moments_without_ranks_sync_to_themselves():
    found = Moments.of(torch.randn(5, 2))
    assert found.synced() is found


ROWS = torch.linspace(-1, 2, 90, dtype=torch.float64).reshape(30, 3).sin()


def sync_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        found = Moments.of(ROWS[:10] if rank == 0 else ROWS[10:]).synced()
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
    torch.save((found.count, found.mean, found.scatter), f"{folder}/{rank}.pt")


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this torch has no gloo")
def test_two_ranks_sync_to_the_same_bits_which_are_those_of_all_rows(tmp_path):
    other = torch.multiprocessing.get_context("spawn").Process(target=sync_rank, args=(1, str(tmp_path)))
    other.start()
    sync_rank(0, str(tmp_path))
    other.join(60)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first[0] == second[0] == 30
    assert torch.equal(first[1], second[1]) and torch.equal(first[2], second[2])
    assert_same(Moments(*first), Moments.of(ROWS))


def test_bad_rows_are_refused_and_leave_the_sum_as_it_was():
    total = Moments.of(torch.randn(5, 3))
    broken = torch.randn(4, 3)
    broken[2, 1] = torch.inf
    before = total.mean.clone()
    with pytest.raises(UserError, match="1 of 4 feature rows are not finite"):
        total.update(broken)
    with pytest.raises(UserError, match="one extractor"):
        total.update(torch.randn(4, 2))
    with pytest.raises(UserError, match="one extractor"):
        total.merge(Moments.empty(2))
    assert total.count == 5 and torch.equal(total.mean, before)
    with pytest.raises(UserError, match="no covariance"):
        Moments.of(torch.randn(1, 3)).covariance()
