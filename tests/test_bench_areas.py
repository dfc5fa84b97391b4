"""Laws of what is compared: on small sizes both ways give the same, and every contest can be run."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ode_vgan.bench import features, frechet, path_contests, sampling, search
from ode_vgan.bench.contest import Asked, Contest
from ode_vgan.bench.paths import ask, jobs
from ode_vgan.bench.traffic import count_work
from ode_vgan.errors import UserError
from tests.test_bench import tiny_config


@cache
def composed(*overrides: str) -> dict:
    return tiny_config("embed_dim=12", *overrides)


QUICK = Asked(frames=(5,), batches=(2,), compose=lambda overrides: composed(*overrides), quick=True)


def checked(contests: list[Contest]) -> None:
    """Both ways of each run, and where they can be compared they agree."""
    for one in contests:
        if one.differ is None:
            one.ours()
            one.theirs()
            assert one.note, f"{one.name} against {one.against} should say why it is not compared"
        else:
            assert 0 <= one.differ() <= one.tolerance, (one.name, one.against)


@pytest.fixture(scope="module")
def paths() -> list[Contest]:
    return path_contests.contests(QUICK)


def test_paths_agree_with_the_libraries_that_they_replace(paths: list[Contest]):
    checked([one for one in paths if one.name.startswith(("ode_dense", "sde")) and "forward + backward" in one.name])
    compared = {one.against for one in paths if one.differ is not None}
    assert compared >= {"ode", "odeint rk4", "odeint_adjoint rk4", "odeint dopri5"}


def test_every_model_meets_the_rnn_in_both_ways(paths: list[Contest]):
    met = {one.name for one in paths if one.against == "rnn"}
    for name in ("ode", "ode_dense", "sde", *path_contests.FURTHER):
        assert {f"{name}, 5 x 2, forward", f"{name}, 5 x 2, forward + backward"} <= met


def test_a_price_per_evaluation_counts_evaluations(paths: list[Contest]):
    (one,) = (one for one in paths if one.against.endswith("per evaluation"))
    ours, theirs = (int(word) for word in one.note.replace(" evaluations", "").split(", "))
    assert one.share == theirs / ours


def test_prices_are_asked_for_where_they_were_promised():
    models = path_contests.build_models(QUICK)
    path = ask(32, 16, 12, models["rnn"].dim, models["rnn"].embed_dim)
    asked = {(one.name.partition(",")[0], one.against): one.target for one in path_contests.contests_of(models, path)}
    assert asked["ode_dense", "rnn"] == 1.0 and asked["ode_dense", "odeint_adjoint rk4"] == 1 / 3
    assert asked["sde", "ode_dense, per evaluation"] == 1.5 and asked["ode", "rnn"] is None


def test_a_run_of_another_model_of_time_is_refused_in_one_line(tmp_path, monkeypatch: pytest.MonkeyPatch):
    other = SimpleNamespace(generator=SimpleNamespace(temporal=torch.nn.Linear(1, 1)))
    monkeypatch.setattr(path_contests, "load", lambda run: other)
    with pytest.raises(UserError, match="is not temporal=ode of this size") as told:
        path_contests.build_models(Asked(compose=QUICK.compose, run=str(tmp_path)))
    assert "\n" not in str(told.value)


def test_paths_need_what_they_are_compared_with():
    with pytest.raises(UserError, match="needs ode_dense, a OdePath"):
        jobs({}, ask(2, 3, 12, 4, 5))


def test_sampling_is_the_plain_call_of_the_generator():
    checked(sampling.contests(QUICK))


def test_features_are_those_of_the_plain_ways():
    checked(features.contests(QUICK))


def test_hog3d_is_its_bincount_at_odd_sizes_too():
    clips = features.clips_of(2, 3, 17)
    clips[1, :, :8] = 0
    expected = features.counted_hog3d(clips)
    found = features.Hog3d()(clips)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_a_drawn_i3d_neither_fades_nor_grows():
    clips = features.clips_of(1, 9, 32)
    assert 1e-2 < float(features.DrawnI3d()(clips).std()) < 1e2


def test_frechet_distances_are_those_of_the_matrix_square_root():
    checked(frechet.contests(QUICK))


def test_search_finds_what_brute_force_finds():
    found = search.contests(QUICK)
    checked(found)
    assert {one.against for one in found} == {"numpy", "faiss, flat"}


def test_a_share_that_is_missed_is_counted():
    made = search.make(300, 16, flat_below=1000)
    assert made.missed(made.by_numpy) == 0
    wrong = [rows[::-1] for rows in made.by_numpy()]
    blind = search.Made(made.search, made.vectors, made.queries)
    object.__setattr__(blind, "ours", lambda: wrong)
    assert blind.missed(made.by_numpy) == 1


def test_made_up_vectors_are_unit_rows_around_shared_centres():
    some, more = search.clustered(40, 8), search.clustered(40, 8, seed=1)
    np.testing.assert_allclose(np.linalg.norm(some, axis=1), 1, rtol=1e-5)
    assert (some @ more.T).max() > 0.8 and not np.array_equal(some, more)


def test_training_is_counted_three_times_its_forward(paths: list[Contest]):
    forward, both = (
        next(one for one in paths if one.name == f"lstm, 5 x 2, {way}") for way in ("forward", "forward + backward")
    )
    once, whole = (count_work(one.ours, 2**20).flops for one in (forward, both))
    assert 2.4 * once < whole <= 3 * once
