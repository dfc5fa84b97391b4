"""Laws of the timing table."""

import argparse
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from ode_vgan.cli.bench import (
    REPOSITORY,
    Contender,
    check_arguments,
    compose,
    measure,
    rows,
    spread,
    training_and_sampling,
)
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
def test_bench_prints_a_row_for_each_model_and_writes_every_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "times.json"
    assert main(["bench", "--repeats", "2", "--json", str(target), *TINY]) == 0
    printed = capsys.readouterr().out
    for name in ("ode", "sde", "rnn", "discrete"):
        assert f"| {name} " in printed
    assert target.exists()
