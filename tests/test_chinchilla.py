"""The parametric law of model size and data: known laws recovered, and the published refit of Chinchilla's points."""

import csv

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.scaling.chinchilla import Plane, objective
from ode_vgan.scaling.fit import fit
from ode_vgan.scaling.laws import Points
from tests.shared_data import shared

LAW = {"E": 0.2, "A": 40.0, "B": 90.0, "alpha": 0.35, "beta": 0.4}


def grid(noise: float = 0.0, seeds: int = 1) -> Points:
    """Errors of LAW for 4 sizes and 5 amounts of data, 6 operations a parameter and sample."""
    n, d = (one.ravel() for one in np.meshgrid(1e5 * 4.0 ** np.arange(4), 1e4 * 4.0 ** np.arange(5)))
    n, d = np.repeat(n, seeds), np.repeat(d, seeds)
    error = LAW["E"] + LAW["A"] / n ** LAW["alpha"] + LAW["B"] / d ** LAW["beta"]
    error = error * np.exp(noise * np.random.default_rng(0).standard_normal(len(n)))
    run = np.array([f"{a:g} {b:g}" for a, b in zip(n, d, strict=True)])
    return Points(6 * n * d, error, run, parameters=n, samples=d)


def test_a_law_without_noise_is_recovered():
    found = fit(grid(), "chinchilla", bootstrap=10)
    for name, value in LAW.items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-3)
    assert found.select == "all" and found.parameters["size"] == pytest.approx(0.4 / 0.75, rel=1e-3)


def test_the_best_split_of_compute_is_least_over_every_split():
    found = fit(grid(), "chinchilla", bootstrap=10)
    compute = np.array([1e11, 1e13])
    n = 10 ** np.linspace(2, 11, 20001)[:, None]
    every = LAW["E"] + LAW["A"] / n ** LAW["alpha"] + LAW["B"] / (compute / 6 / n) ** LAW["beta"]
    assert found.predict(compute) == pytest.approx(every.min(axis=0), rel=1e-3)


def test_the_gradient_of_the_loss_is_its_slope():
    points, theta = grid(noise=0.01), np.array([3.0, 4.0, -1.5, 0.3, 0.45])
    plane = Plane(np.log(points.parameters) - 13, np.log(points.samples) - 11, np.log(points.error)[None])
    slope = objective(theta, plane)[1]
    for i in range(5):
        step = 1e-6 * np.eye(5)[i]
        rise = objective(theta + step, plane)[0] - objective(theta - step, plane)[0]
        assert slope[i] == pytest.approx(rise / 2e-6, rel=1e-4, abs=1e-9)


def test_one_bad_run_hardly_moves_the_law():
    points = grid(noise=0.002, seeds=2)
    spoilt = np.where(np.arange(len(points)) == 7, 3 * points.error, points.error)
    bad = Points(points.compute, spoilt, points.run, parameters=points.parameters, samples=points.samples)
    before, after = (fit(one, "chinchilla", bootstrap=10).parameters for one in (points, bad))
    assert after["alpha"] == pytest.approx(before["alpha"], rel=0.05)
    assert after["beta"] == pytest.approx(before["beta"], rel=0.05)


def test_the_largest_runs_are_foretold_at_their_own_size_and_data():
    found = fit(grid(), "chinchilla", bootstrap=10, hold_out=2)
    assert len(found.held_out) == 2 and found.held.sum() == 3  # the largest alone, then two of equal compute
    assert all(abs(one.off) < 1e-3 for one in found.held_out)


def test_chinchilla_s_points_give_the_published_refit():
    """Besiroglu et al. (2024): E 1.8172, alpha 0.3478, beta 0.3658, without the five points of least data to size."""
    with shared("scaling/epoch_chinchilla_svg.csv").open() as file:
        rows = [[float(row[key]) for key in ("Model Size", "Training FLOP", "loss")] for row in csv.DictReader(file)]
    n, compute, loss = np.array(rows).T
    every = Points(compute, loss, parameters=n, samples=compute / 6 / n)
    found = fit(every.take(np.argsort(every.samples / n)[5:]), "chinchilla")
    assert found.parameters["E"] == pytest.approx(1.8172, rel=0.01)
    assert found.parameters["alpha"] == pytest.approx(0.3478, rel=0.01)
    assert found.parameters["beta"] == pytest.approx(0.3658, rel=0.01)
    for name, value in (("E", 1.8172), ("alpha", 0.3478), ("beta", 0.3658)):
        low, high = found.intervals[name]
        assert low < value < high and high - low < 0.12


def test_it_takes_sizes_and_data_and_enough_of_them():
    points = grid()
    with pytest.raises(UserError, match="takes parameters of each point"):
        fit(Points(points.compute, points.error), "chinchilla")
    with pytest.raises(UserError, match="2 sizes of model; the chinchilla law takes 3"):
        fit(points.take(points.parameters < 1e6), "chinchilla")
