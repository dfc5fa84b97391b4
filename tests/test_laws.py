"""Curves of error against compute: their points, exact recovery, and what a change of units does."""

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.scaling.fit import fit
from ode_vgan.scaling.laws import BREAK_DECADES, Points
from ode_vgan.scaling.selection import levels

COMPUTE = np.logspace(9, 13, 9)
TRUE = {
    "power": {"beta": 30.0, "alpha": -0.17},
    "saturating": {"e_inf": 0.08, "beta": 900.0, "alpha": -0.35},
    "broken": {"beta": 2.0, "alpha": -0.05, "alpha_after": -0.3, "break": 1e11},
}


def errors(law: str, compute: np.ndarray) -> np.ndarray:
    """The published form of each law."""
    its = TRUE[law]
    power = its["beta"] * compute ** its["alpha"]
    if law == "saturating":
        return its["e_inf"] + power
    if law == "broken":  # beta C^alpha before, a bend of BREAK_DECADES either side, then C^alpha_after
        bend = BREAK_DECADES * np.log(10)
        return power * (1 + (compute / its["break"]) ** (1 / bend)) ** (bend * (its["alpha_after"] - its["alpha"]))
    return power


@pytest.mark.parametrize("law", TRUE)
@pytest.mark.parametrize("select", ["all", "pareto"])
def test_a_curve_without_noise_is_recovered_and_extended(law, select):
    found = fit(Points(COMPUTE, errors(law, COMPUTE)), law, select, bootstrap=20)
    for name, value in TRUE[law].items():
        assert found.parameters[name] == pytest.approx(value, rel=1e-3)
    beyond = np.array([1e15])
    assert found.predict(beyond) == pytest.approx(errors(law, beyond), rel=1e-3)
    low, high = found.predict_interval(beyond)  # no scatter, no doubt
    assert low == pytest.approx(high, rel=1e-3)


@pytest.mark.parametrize("law", TRUE)
def test_units_of_compute_and_error_change_no_exponent(law):
    noisy = errors(law, COMPUTE) * 1.05 ** np.array([1, -1, 1, 1, -1, -1, 1, -1, 1])
    one = fit(Points(COMPUTE, noisy), law, "all", bootstrap=20).parameters
    other = fit(Points(COMPUTE / 1e9, 100 * noisy), law, "all", bootstrap=20).parameters
    for name in {"alpha", "alpha_after"} & set(one):
        assert other[name] == pytest.approx(one[name], rel=1e-3)
    assert other["beta"] == pytest.approx(100 * one["beta"] * 1e9 ** one["alpha"], rel=0.03)
    assert other.get("e_inf", 0.0) == pytest.approx(100 * one.get("e_inf", 0.0), rel=1e-3)


def test_a_power_law_fitted_as_saturating_has_no_floor_and_as_broken_no_break():
    points = Points(COMPUTE, errors("power", COMPUTE))
    floor = fit(points, "saturating", "all", bootstrap=20)
    assert 0 <= floor.parameters["e_inf"] < 1e-3 * points.error.min()
    assert all(low >= 0 for low in floor.intervals["e_inf"])
    broken = fit(points, "broken", "all", bootstrap=20).parameters
    assert broken["alpha"] == pytest.approx(broken["alpha_after"], rel=1e-3) == pytest.approx(-0.17, rel=1e-3)


def test_points_are_one_finite_positive_number_each():
    assert len(set(Points(COMPUTE, COMPUTE).run)) == 9  # without labels each is a run of its own
    with pytest.raises(UserError, match="9 values of compute and 8 of error"):
        Points(COMPUTE, COMPUTE[1:])
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(UserError, match="1 of 9 values of error are not finite and above 0"):
            Points(COMPUTE, np.where(COMPUTE > 9e12, bad, 1.0))
    with pytest.raises(UserError, match="at least one point"):
        Points(np.array([]), np.array([]))


def test_computes_within_5_percent_are_one_level():
    assert levels(np.array([4.0, 1.0, 1.04, 2.0, 1.02])).tolist() == [2, 0, 0, 1, 0]
