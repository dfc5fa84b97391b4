"""Laws of the timing table."""

import argparse
from pathlib import Path

import pytest
import torch

from ode_vgan.cli.bench import Contender, check_arguments, compose, measure, rows, spread
from ode_vgan.cli.main import build_parser, main
from ode_vgan.errors import UserError

TINY = ["data.size=16", "data.frames=4", "data.batch=2", "embed=none", "discriminator.frames_per_clip=2"]


def arguments(*given: str) -> argparse.Namespace:
    return build_parser(["bench"]).parse_args(["bench", *given])


def test_models_take_turns_in_every_round_and_the_first_is_not_counted():
    calls, now = [], [0.0]

    def job(name: str, kind: str, seconds: float):
        def work() -> None:
            calls.append(kind[0] + name)
            now[0] += seconds * (100 if len(calls) <= 4 else 1)  # the first round is slow

        return work

    jobs = {
        name: {"training": (job(name, "training", 4.0 * factor), 4), "sampling": (job(name, "sampling", factor), 1)}
        for name, factor in (("a", 1.0), ("b", 2.0))
    }
    seconds = measure(jobs, repeats=2, clock=lambda: now[0])
    assert calls == ["ta", "tb", "sa", "sb"] * 3
    assert seconds == {
        "a": {"training": [1.0, 1.0], "sampling": [1.0, 1.0]},
        "b": {"training": [2.0, 2.0], "sampling": [2.0, 2.0]},
    }


def test_a_factor_is_taken_within_a_round_so_that_a_slow_round_cancels():
    seconds = {"a": {"training": [1.0, 10.0, 1.0]}, "b": {"training": [2.0, 20.0, 2.0]}}
    counts = {name: {"nfe": 3, "temporal": 1000, "generator": 20000} for name in seconds}
    first, second = rows(seconds, counts, 8, "b", {"threads": 2})
    assert first.cells["training x b"] == "2.00" and second.cells["training x b"] == "1.00"
    assert first.cells["training clips/s"] == "8.0 (4.4 to 8.0)"
    assert first.cells["temporal weights"] == "1,000" and first.cells["nfe"] == 3
    assert first.protocol == {"threads": 2}


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == "3.0 (2.0 to 4.0)"
    assert spread([2.0]) == "2.0"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--repeats", "0"], "--repeats 0 is below 1"),
        (["--threads", "0"], "--threads 0 is below 1"),
        (["--batch", "1"], "--batch 1 has no other caption"),
        (["--fps", "0"], "--fps 0 is no frame rate"),
        (["--against", "lstm"], "--against lstm is not among"),
        (["--json", "."], "is a folder"),
    ],
)
def test_a_bad_argument_is_one_line(given: list[str], says: str):
    with pytest.raises(UserError, match=says):
        check_arguments(arguments(*given))


def test_bench_outside_the_repository_says_what_it_needs(tmp_path: Path):
    with pytest.raises(UserError, match="needs the repository"):
        compose([], repository=tmp_path)


def test_a_training_step_is_the_real_one_and_sampling_makes_the_batch():
    one = Contender(compose([*TINY, "temporal=ode"]), fps=12.0)
    before = [weight.clone() for weight in one.module.parameters()]
    one.train()
    assert one.module.clips_seen == 2 * one.steps
    moved = [not torch.equal(old, new) for old, new in zip(before, one.module.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert one.sample().shape == (2, 4, 16, 16, 3)
    assert one.counts()["nfe"] == 6  # midpoint, three gaps of one step


@pytest.mark.slow
def test_bench_prints_a_row_for_each_model_and_writes_every_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "times.json"
    assert main(["bench", "--repeats", "2", "--batch", "2", "--json", str(target), "data.size=16"]) == 0
    printed = capsys.readouterr().out
    for name in ("ode", "sde", "rnn", "discrete"):
        assert f"| {name} " in printed
    assert target.exists()
