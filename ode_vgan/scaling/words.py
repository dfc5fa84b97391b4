"""Laws in words: for legends, tables and the sentences of a conclusion."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ode_vgan.scaling.fit import Difference, Fit
    from ode_vgan.scaling.fits import Fitted

SIGNS = {"beta": "β", "alpha": "α", "e_inf": "E∞", "alpha_after": "α after", "break": "break at"}
SIGNS |= {"frontier": "α of compute", "size": "share of size"}
EXPONENTS = {"chinchilla": "frontier"}  # of compute, where it is not alpha


def told(name: str, value: float, interval: tuple[float, float] | None = None) -> str:
    """A parameter with its interval: exponents to four decimals, others to four digits."""
    if name.startswith("alpha") or name in EXPONENTS.values():
        return f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
    return f"{value:.4g}" + (f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else "")


def parameters(fit: "Fit") -> Mapping[str, str]:
    """Each parameter by its sign, with its interval."""
    return {SIGNS.get(name, name): told(name, value, fit.intervals[name]) for name, value in fit.parameters.items()}


def short(fitted: "Fitted", name: str) -> str:
    """A group and its exponent, for a legend."""
    label = "" if len(fitted.chosen.groups) == 1 else f"{name}: "
    if name not in fitted.fits:
        return f"{name}: no law" if label else "no law"
    fit = fitted.fits[name]
    low, high = fit.intervals[EXPONENTS.get(fit.law, "alpha")]
    return f"{label}α = {fit.exponent:.3f} [{low:.3f}, {high:.3f}]{' (few)' if fit.few else ''}"


def rests(fit: "Fit") -> str:
    """How much compute a law rests on."""
    return f"{fit.levels} levels over {fit.decades:.1f} decades"


def scatter(fit: "Fit") -> str:
    """How far what a law rests on lies off it, as the root mean square of the logarithm; a law of two axes has none."""
    if fit.law in EXPONENTS:  # points need not lie on its best split of compute
        return "-"
    compute, error = fit.rests_on
    gap = np.log(error / fit.predict(compute))
    return f"{np.expm1(np.sqrt(np.mean(gap**2))):.1%}"


def conclusion(fitted: "Fitted", pairs: Sequence["Difference"]) -> str:
    """One line: the exponents, how far held-out compute was missed, and how groups differ."""
    laws = "; ".join(short(fitted, group.name) for group in fitted.chosen.groups)
    held = [one for fit in fitted.fits.values() for one in fit.held_out]
    missed = f" Held-out compute is foretold within {max(abs(one.off) for one in held):.0%}." if held else ""
    return f"{fitted.chosen.y}: {laws}.{missed} {differing(pairs)}".strip()


def differing(pairs: Sequence["Difference"]) -> str:
    """Which groups differ in what: one pair with its numbers, of several the verdicts."""
    if len(pairs) == 1:
        return f"{pairs[0].sentence()}."
    verdicts: dict[str, list[str]] = {}
    for one in pairs:
        verdicts.setdefault(one.verdict, []).append(f"{one.a} and {one.b}")
    return " ".join(f"{', '.join(named)} {verdict}." for verdict, named in verdicts.items())
