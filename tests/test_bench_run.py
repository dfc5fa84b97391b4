"""Laws of a contest: turns, ratios, equality, counted work, ceilings, and what changed between two days."""

import json
import math
import sys
import types
from dataclasses import asdict, replace

import pytest
import torch

from ode_vgan.bench import machine
from ode_vgan.bench.contest import Asked, Contest, Work
from ode_vgan.bench.machine import Ceilings, best, cache_bytes, describe, measure_ceilings, parse_size, timer
from ode_vgan.bench.report import compared, record, row
from ode_vgan.bench.roofline import reached
from ode_vgan.bench.roofline_plot import draw_roofline
from ode_vgan.bench.run import Outcome, gather, play, race, run_area
from ode_vgan.bench.traffic import Traffic, count_work
from ode_vgan.cli.bench_contests import table
from ode_vgan.errors import UserError

CEILINGS = Ceilings(fp32=100e9, bf16=200e9, copy=10e9, triad=8e9, cache_bytes=2**20)
ONE = Work(flops=1.0)


def nothing() -> None:
    pass


def contest(**given) -> Contest:
    return Contest("paths", "ours", "theirs", **({"ours": nothing, "theirs": nothing, "work": ONE} | given))


def outcome(ours: list[float], theirs: list[float], differ: float | None = None, **given) -> Outcome:
    one = contest(**given)
    return Outcome(one, ours, theirs, differ, one.work, reached(one.work, ours[0], CEILINGS), None)


def test_sides_take_turns_and_each_begins_every_other_round():
    calls = []
    one = contest(ours=lambda: calls.append("a"), theirs=lambda: calls.append("b"))

    def seconds(job, count: int) -> float:
        job()
        return 1.0

    ours, theirs = race(one, 4, seconds, least=0.1)
    assert calls == ["a", "b", *"ab", *"ba", *"ab", *"ba"]  # a warm-up each, then rounds
    assert ours == theirs == [1.0] * 4


def test_a_short_job_is_called_often_enough_to_be_timed():
    asked = []

    def seconds(job, calls: int) -> float:
        asked.append(calls)
        return 0.004

    race(contest(), 1, seconds, least=0.02)
    assert asked == [1, 1, 1, 1, 5, 5]  # cold and warm for each side, then five calls make 20 ms
    assert race(contest(), 1, seconds, least=0) and asked[6:] == [1, 1, 1, 1]


def test_a_ratio_is_taken_within_a_round_and_may_be_a_price_per_piece():
    slow_round = outcome([1.0, 10.0, 1.0], [2.0, 20.0, 2.0])
    assert slow_round.ratios == [0.5, 0.5, 0.5] and slow_round.held is None
    assert outcome([1.0], [2.0], share=3.0).ratios == [1.5]
    assert outcome([1.0], [2.0], target=0.5).held and not outcome([1.1], [2.0], target=0.5).held


def test_results_that_differ_are_loud():
    def made(differ):
        return play(contest(differ=differ), 1, lambda job, calls: 1.0, CEILINGS, Asked())

    assert made(lambda: 1e-5).equal and not made(lambda: 1e-3).equal and not made(lambda: math.nan).equal
    assert row(made(lambda: 1e-3), {}).cells["difference"] == "1e-03 DIFFERS"
    assert row(made(None), {}).cells["difference"] == "-"
    assert record(made(lambda: math.nan))["difference"] == "not finite"
    json.dumps(record(made(lambda: math.nan)), allow_nan=False)


@pytest.fixture
def area(monkeypatch):
    """A file of an area, with the contests that it is given."""

    def put(contests) -> None:
        found = types.ModuleType("ode_vgan.bench.decode")
        found.contests = contests
        monkeypatch.setitem(sys.modules, "ode_vgan.bench.decode", found)

    return put


def test_an_area_lives_in_the_file_of_its_name(area):
    area(lambda asked: [contest(ours=lambda: asked.frames)])
    (found,) = run_area("decode", Asked(frames=(3,)), CEILINGS, 2, print)
    assert len(found.ours) == len(found.theirs) == 2


def test_an_area_that_lacks_something_is_skipped_with_the_reason(area):
    def lacking(asked):
        import no_such_package  # noqa: F401

    area(lacking)
    with pytest.raises(UserError, match="^no_such_package is not installed$"):
        gather("decode", Asked())

    def broken(asked):
        import ode_vgan.no_such_part  # noqa: F401

    area(broken)
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):  # a fault of ours is not passed over
        gather("decode", Asked())
    area(lambda asked: [])
    with pytest.raises(UserError, match="nothing to compare"):
        gather("decode", Asked())
    with pytest.raises(UserError, match="nothing was timed: decode: no codec"):
        table([], {"skipped": {"decode": "no codec"}})


def test_work_is_what_operators_compute_read_and_write():
    a, b = torch.ones(64, 32), torch.ones(32, 16)
    found = count_work(lambda: a @ b, 0, Work(items=2, unit="products"))
    assert found == Work(2 * 64 * 32 * 16, 4 * (64 * 32 + 32 * 16 + 64 * 16), 2, "products", 0)
    assert count_work(lambda: a.bfloat16() @ b.bfloat16(), 0).half_flops == 2 * 64 * 32 * 16
    assert count_work(lambda: a.view(-1)[None].T, 0).bytes == 0  # views move nothing
    assert count_work(lambda: torch.empty(9), 0).bytes == 0
    out = torch.empty(64, 32)
    assert (
        count_work(lambda: out.copy_(a), 0).bytes == count_work(lambda: torch.neg(a, out=out), 0).bytes == 2 * a.nbytes
    )
    assert count_work(lambda: out.add_(a), 0).bytes == 3 * a.nbytes
    assert count_work(lambda: torch._foreach_mul_([a, b], 2.0), 0).bytes == 2 * (a.nbytes + b.nbytes)


def test_backward_passes_are_work_too():
    weight = torch.ones(8, 8, requires_grad=True)
    forward = count_work(lambda: weight @ weight, 0).flops
    assert count_work(lambda: (weight @ weight).sum().backward(), 0).flops == 3 * forward


def test_work_of_threads_of_its_own_is_counted():
    from ode_vgan.metrics.hog3d import Hog3d

    clips = torch.zeros(40, 4, 64, 64, 3, dtype=torch.uint8)  # in parts, so that threads would share them
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = count_work(lambda: Hog3d()(clips), 0)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert two == count_work(lambda: Hog3d()(clips), 0) and two.flops > 0
    finally:
        torch.set_num_threads(threads)


def test_what_the_cache_holds_is_read_once():
    a = torch.ones(1000)
    assert count_work(lambda: [a.sum() for _ in range(5)], 4100).bytes == a.nbytes
    assert count_work(lambda: [a.sum() for _ in range(5)], 0).bytes == 5 * (a.nbytes + 4)
    b = torch.ones(1000)  # the two of them drive each other out
    assert 0 <= count_work(lambda: [x.sum() for _ in range(5) for x in (a, b)], 4100).bytes - 10 * a.nbytes <= 40


def test_what_is_driven_out_of_the_cache_is_written_once():
    a, out = torch.ones(1000), torch.empty(1000)
    with Traffic(cache_bytes=8000) as seen:
        for _ in range(3):
            torch.neg(a, out=out)
    assert seen.bytes == a.nbytes  # the result lies in the cache
    with Traffic(cache_bytes=8000) as seen:
        torch.neg(a, out=out)
        torch.ones(2000)
    assert seen.bytes == a.nbytes + out.nbytes


def test_parts_of_a_tensor_are_read_as_often_as_they_are_there():
    a = torch.ones(10, 100)
    with Traffic(cache_bytes=2**20) as seen:
        for part in a.unbind(0):
            part.sum()
        a.sum()
        a[3].sum()
    assert seen.bytes == a.nbytes


def test_a_roofline_takes_the_ceiling_that_binds():
    heavy = reached(Work(flops=50e9, bytes=1e9), 1.0, CEILINGS)
    assert (heavy.bound, heavy.fraction, heavy.intensity) == ("arithmetic", 0.5, 50.0)
    assert reached(Work(flops=50e9, bytes=1e9, half_flops=50e9), 1.0, CEILINGS).fraction == 0.25
    light = reached(Work(flops=1e9, bytes=5e9), 2.0, CEILINGS)
    assert (light.bound, light.fraction, light.utilisation) == ("memory", 0.25, 0.005)
    assert (light.flops, light.bytes) == (0.5e9, 2.5e9)
    assert reached(Work(), 1.0, CEILINGS) is None
    assert reached(ONE, 1.0, CEILINGS).intensity == math.inf


def test_a_ceiling_is_the_best_of_several():
    spent = iter([2.0, 1.0, 3.0, 4.0, 5.0])
    assert best(nothing, 10.0, lambda job, calls: next(spent)) == 10.0


def test_ceilings_are_measured_in_plausible_units():
    found = measure_ceilings("cpu", timer("cpu", 1), quick=True)
    assert 1e9 < found.fp32 < 1e14 and 1e8 < found.bf16 < 1e15 and 1e8 < found.memory < 1e13
    assert found.cache_bytes == cache_bytes("cpu") >= 2**18
    assert parse_size("32768K") == parse_size("32M") == 32 * 2**20 and parse_size("512") == 512


def test_one_thread_is_timed_by_the_processor_and_several_by_the_wall():
    import time

    def idle() -> None:
        time.sleep(0.02)

    assert timer("cpu", 1)(idle, 1) < 0.01 < timer("cpu", 2)(idle, 1)
    assert timer("cpu", 1, wall=True)(idle, 1) > 0.01
    assert timer("cpu", 2)(idle, 2) == pytest.approx(0.02, abs=0.015)  # of one call
    assert timer("cuda", 1) is machine.event_seconds


class Gpu:
    """The clock and the memory of a GPU that is not there: each job takes 3 ms and 1000 bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now, self.used, self.peak, self.waits = 0.0, 500, 0, 0
        for name, stand_in in (
            ("Event", self.event),
            ("synchronize", self.wait),
            ("memory_allocated", lambda: self.used),
            ("max_memory_allocated", lambda: self.peak),
            ("reset_peak_memory_stats", self.reset),
        ):
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def event(self, enable_timing: bool):
        one = types.SimpleNamespace(at=None)
        one.record = lambda: setattr(one, "at", self.now)
        one.elapsed_time = lambda other: other.at - one.at
        return one

    def wait(self) -> None:
        self.waits += 1

    def reset(self) -> None:
        self.peak = self.used

    def job(self) -> None:
        self.now, self.peak = self.now + 3.0, max(self.peak, self.used + 1000)


def test_device_events_give_seconds_of_a_call_and_memory_counts_beyond_what_was_there(monkeypatch):
    gpu = Gpu(monkeypatch)
    assert machine.event_seconds(gpu.job, 4) == pytest.approx(0.003) and gpu.waits == 2
    assert machine.peak_bytes(gpu.job, "cuda") == 1000
    assert machine.peak_bytes(gpu.job, "cpu") is None


def test_the_machine_is_named():
    told = describe("cpu", 3)
    assert told["threads"] == 3 and told["torch"] == torch.__version__ and told["device"] and told["commit"]


def test_the_columns_of_a_gpu_appear_on_a_gpu_only():
    one = outcome([1.0], [2.0])
    assert not {"MFU", "peak MB"} & row(one, {}).cells.keys()
    cells = row(replace(one, peak=3_000_000), {}).cells
    assert cells["peak MB"] == "3" and cells["MFU"] == "0%"


def test_a_row_says_what_was_asked_and_how_fast():
    cells = row(outcome([0.5], [1.0], target=0.4, work=Work(flops=50e9, items=8, unit="clips")), {}).cells
    assert cells["asked"] == "0.40 MISSED" and cells["x its time"] == "0.50"
    assert cells["rate"] == "16 clips/s" and cells["ms"] == "500" and cells["GFLOP/s"] == "100.0"
    assert cells["of the ceiling"] == "100% arithmetic"


def file_of(*outcomes: Outcome, **told) -> dict:
    given = {"device": "a", "threads": 1, "torch": "2"} | told
    return json.loads(json.dumps({"machine": given, "rows": [record(one) for one in outcomes]}))


def test_a_row_changed_where_its_quartiles_no_longer_overlap():
    before = file_of(outcome([1.0, 1.1, 1.2], [1.0] * 3))
    for now, says in (([1.1, 1.2, 1.3], "as before"), ([1.5, 1.6, 1.7], "dearer"), ([0.5, 0.6, 0.7], "cheaper")):
        (found,) = compared(before, file_of(outcome(now, [1.0] * 3)))
        assert found.cells[""] == says
    assert found.cells["ms before"] == "1100" and found.cells["ms now"] == "600"
    (elsewhere,) = compared(before, file_of(outcome([1.5] * 3, [1.0] * 3), device="b"))
    assert "ms now" not in elsewhere.cells and elsewhere.cells[""] == "dearer"


def test_a_row_that_began_to_differ_is_told_whatever_its_time():
    (found,) = compared(file_of(outcome([1.0], [1.0], 0.0)), file_of(outcome([1.0], [1.0], 1.0)))
    assert found.cells[""] == "as before, but DIFFERS"


def test_rows_of_one_file_only_are_named():
    one, two = contest(), Contest("step", "new", "old", nothing, nothing, work=ONE)
    both = [Outcome(each, [1.0], [1.0], None, ONE, None, None) for each in (one, two)]
    assert [each.cells.get("") for each in compared(file_of(*both), file_of(both[0]))] == ["as before", "gone"]
    assert [each.cells.get("") for each in compared(file_of(both[0]), file_of(*both))] == ["as before", "new"]
    with pytest.raises(UserError, match="share no row"):
        compared(file_of(both[0]), file_of(both[1]))


def test_a_roofline_shows_each_piece_of_work_once_below_its_ceilings():
    first, again, other = (replace(contest(work=Work(flops=1e9, bytes=1e8)), against=name) for name in "abc")
    rows = [outcome_of(one) for one in (first, again, replace(other, area="step"), replace(other, work=ONE))]
    content = {"ceilings": asdict(CEILINGS), "rows": [record(one) for one in rows]}
    drawn = draw_roofline(json.loads(json.dumps(content)))
    assert drawn.png.startswith(b"\x89PNG") and "of 2 pieces of work" in drawn.alt and "at 2%" in drawn.alt
    assert draw_roofline(content | {"rows": content["rows"][-1:]}) is None


def outcome_of(one: Contest) -> Outcome:
    return Outcome(one, [0.5], [1.0], None, one.work, reached(one.work, 0.5, CEILINGS), None)
