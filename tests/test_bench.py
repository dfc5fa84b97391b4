"""Laws of the bench: what is asked of it, and the table of models."""

import argparse
import json
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from ode_vgan.bench.clock import measure, spread
from ode_vgan.bench.contender import Contender
from ode_vgan.bench.contest import AREAS
from ode_vgan.cli.bench import check_arguments, numbers
from ode_vgan.cli.bench_config import REPOSITORY, compose
from ode_vgan.cli.bench_models import rows, training_and_sampling
from ode_vgan.cli.main import build_parser, main
from ode_vgan.errors import UserError

PARTS = ("decoder", "discriminator.frame", "discriminator.clip")
TINY = [
    *("data.size=16", "data.frames=4", "data.batch=2", "embed=none", "motion_dim=8", "style_dim=16"),
    *(f"{part}.{limit}" for part in PARTS for limit in ("channel_base=128", "channel_max=16")),
]
SIZES = {"a": 1.0, "b": 2.0}


def arguments(*given: str) -> argparse.Namespace:
    return build_parser(["bench"]).parse_args(["bench", *given])


def tiny_config(*more: str) -> dict:
    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("train", overrides=[*TINY, *more]), resolve=True)


def test_models_take_turns_in_every_round_and_the_first_is_not_counted():
    calls, now = [], [0.0]

    def job(name: str, kind: str, seconds: float):
        def work() -> None:
            calls.append(kind[0] + name)
            now[0] += seconds * (100 if len(calls) <= 4 else 1)  # the first round is slow

        return work

    jobs = {name: {kind: job(name, kind, size) for kind in ("plain", "sampling")} for name, size in SIZES.items()}
    seconds = measure(jobs, repeats=2, clock=lambda: now[0])
    assert calls == ["pa", "pb", "sa", "sb"] * 3
    assert seconds == {name: {kind: [size] * 2 for kind in ("plain", "sampling")} for name, size in SIZES.items()}


def test_an_average_training_step_has_its_share_of_penalties():
    own = {"plain step": [1.0, 2.0], "penalty step": [5.0, 6.0], "sampling": [0.5, 0.5]}
    assert training_and_sampling(own, 4) == {"training": [2.0, 3.0], "sampling": [0.5, 0.5]}
    assert training_and_sampling(own, 1)["training"] == [5.0, 6.0]


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
        (["--fps", "0"], "--fps 0 is no frame rate"),
        (["--frames", "16,x"], "--frames 16,x must be whole numbers"),
        (["--batches", "1"], "--batches 1 must be whole numbers above 1"),
        (["--json", "."], "is a folder"),
        (["--figures", "README.md"], "--figures README.md is a file"),
        (["--json", "nowhere/times.json"], "its folder does not exist"),
        (["--areas", "paths,lodaer"], "--areas has no 'lodaer'; there are paths, step"),
        (["--areas", "models", "--against", "lstm"], "--against lstm is not among --models ode,sde,rnn,discrete"),
        (["--growth", "weeds"], "--growth weeds: there are models"),
        (["--compare", "README.md", "README.md"], "README.md is no file of ode-vgan bench --json"),
        (["--compare", "nowhere.json", "README.md"], "nowhere.json: No such file"),
    ],
)
def test_a_bad_argument_is_one_line(given: list[str], says: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", *given]) == 2
    told = capsys.readouterr()
    assert says in told.err and told.err.count("\n") == 1 and not told.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("areas", [[], ["--areas", "models"]])
def test_a_gpu_that_is_not_there_is_refused_in_one_line(areas: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "--gpu", *areas]) == 2
    told = capsys.readouterr()
    assert "leave --gpu out" in told.err and told.err.count("\n") == 1 and not told.out


def test_quick_is_small_unless_told_otherwise():
    args = arguments("--quick")
    check_arguments(args)
    assert (args.repeats, args.frames, args.batches) == (3, (8,), (4,))
    args = arguments("--repeats", "5", "--models", "ode, sde,ode")
    check_arguments(args)
    assert (args.repeats, args.frames, args.batches, args.models) == (5, (16, 64, 256), (8, 32), ("ode", "sde"))
    assert numbers("frames", "8, 16,8") == (8, 16)


def test_bench_outside_the_repository_says_what_it_needs(tmp_path: Path):
    with pytest.raises(UserError, match="needs the repository"):
        compose([], repository=tmp_path)


def test_a_training_step_is_the_real_one_and_sampling_makes_the_batch():
    one = Contender(tiny_config("embed_dim=1"), fps=12.0)
    before = [weight.clone() for weight in one.module.parameters()]
    one.plain_step()
    assert one.module.clips_seen == 4
    one.penalty_step()
    assert one.module.clips_seen == 2
    moved = [not torch.equal(old, new) for old, new in zip(before, one.module.parameters(), strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    assert one.sample().shape == (2, 4, 16, 16, 3)
    assert one.counts()["nfe"] == 6  # midpoint, three gaps of one step


@pytest.mark.slow
def test_the_config_is_the_one_that_training_would_have():
    assert compose([*TINY, "temporal=sde"]) == tiny_config("temporal=sde", "embed_dim=1")
    with pytest.raises(UserError, match="experiment=nosuch does not exist") as caught:
        compose(["+experiment=nosuch"])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_table_of_models_has_a_row_for_each_and_writes_every_time(tmp_path: Path, capsys):
    target = tmp_path / "times.json"
    assert main(["bench", "--areas", "models", "--repeats", "2", "--json", str(target), *TINY]) == 0
    printed = capsys.readouterr().out
    for name in ("ode", "sde", "rnn", "discrete"):
        assert f"| {name} " in printed
    assert target.exists()


@pytest.mark.slow
def test_bench_times_every_area_and_compares_with_itself(tmp_path: Path, capsys):
    target = tmp_path / "times.json"
    assert main(["bench", "--quick", "--repeats", "2", "--threads", "1", "--json", str(target), *TINY]) == 0
    printed, found = capsys.readouterr().out, json.loads(target.read_text())
    assert {row["area"] for row in found["rows"]} | set(found["skipped"]) == set(AREAS)
    assert all(f"| {row['area']} " in printed and row["name"] in printed for row in found["rows"])
    assert all(len(row["seconds"]["ours"]) == 2 and row["equal"] for row in found["rows"])
    assert main(["bench", "--compare", str(target), str(target)]) == 0
    same = capsys.readouterr().out
    assert same.count("as before") == len(found["rows"]) and "dearer" not in same
