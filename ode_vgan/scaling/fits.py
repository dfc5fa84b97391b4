"""A law for each group of a table, beside what was refused; kept as a file and read back to predict."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ode_vgan.errors import UserError
from ode_vgan.runs import write_json
from ode_vgan.scaling.fit import Fit, fit
from ode_vgan.scaling.table import Chosen, Group

MINUS = "1 - "
RESTS = {"binned": "best of each of {bins} bins", "pareto": "Pareto front", "all": "all points"}


@dataclass(frozen=True)
class Recipe:
    """How laws are fitted; see `ode_vgan.scaling.fit.fit`. select: None is what suits the points."""

    law: str = "power"
    select: str | None = None
    bins: int = 5
    bootstrap: int = 1000
    level: float = 0.9
    hold_out: int = 0
    allow_few: bool = False
    seed: int = 0

    def told(self) -> str:
        """In words, for the head of a figure or a table."""
        return f"{self.law} law, {RESTS[self.select or 'all'].format(bins=self.bins)}, {self.level:.0%} intervals"

    def suited(self, chosen: Chosen) -> "Recipe":
        """With a selection: the law of size and data rests on all points."""
        return replace(self, select="all" if self.law == "chinchilla" else self.select or chosen.select)


@dataclass(frozen=True)
class Fitted:
    """The points of a table with the law of each group.

    Attributes:
        fits: group -> law. refused: group -> why it has none.
    """

    chosen: Chosen
    recipe: Recipe
    fits: Mapping[str, Fit]
    refused: Mapping[str, str]

    def group(self, name: str) -> Group:
        """A group by its name."""
        return next(group for group in self.chosen.groups if group.name == name)

    def held(self, name: str) -> np.ndarray:
        """(N,) which points of a group were held out."""
        return self.fits[name].held if name in self.fits else np.zeros(len(self.group(name).points), dtype=bool)


@dataclass(frozen=True)
class Saved:
    """Laws read from a file. x, y: what they are about. most: group -> largest compute among its points."""

    fits: Mapping[str, Fit]
    x: str
    y: str
    most: Mapping[str, float]

    def prediction(self, name: str, compute: float) -> dict[str, object]:
        """The cells of a table: the error at a compute, and the score where the error is one minus it."""
        fit, at = self.fits[name], np.array([compute])
        error = float(fit.predict(at)[0])
        low, high = (float(side[0]) for side in fit.predict_interval(at))
        cells = {"group": name, "compute": f"{compute:.4g}", self.y: f"{error:.4g} [{low:.4g}, {high:.4g}]"}
        if self.y.startswith(MINUS):
            cells[self.y.removeprefix(MINUS)] = f"{1 - error:.2%} [{1 - high:.2%}, {1 - low:.2%}]"
        beyond = compute / self.most[name]
        return cells | {"beyond the points": f"{beyond:.3g} times" if beyond > 1 else "no"}


def fit_groups(chosen: Chosen, recipe: Recipe, none_is_fine: bool = False) -> Fitted:
    """Fit each group; one that is refused does not keep the others from their law.

    Args:
        none_is_fine: do not raise where every group is refused.

    Raises:
        UserError: every group is refused: why the first is.
    """
    recipe = recipe.suited(chosen)
    fits, refused = {}, {}
    for group in chosen.groups:
        try:
            fits[group.name] = fit(group.points, **asdict(recipe))
        except UserError as error:
            refused[group.name] = str(error)
    if not fits and not none_is_fine:
        first, why = next(iter(refused.items()))
        raise UserError(why if len(refused) == 1 else f"no group has a law; {first}: {why}")
    return Fitted(chosen, recipe, fits, refused)


def content_of(fitted: Fitted) -> dict[str, object]:
    """The laws as plain data, with what they are about."""
    most = {name: float(fitted.group(name).points.compute.max()) for name in fitted.fits}
    content = {"x": fitted.chosen.x, "y": fitted.chosen.y, "notes": list(fitted.chosen.notes)}
    content |= {"recipe": asdict(fitted.recipe), "refused": dict(fitted.refused), "most": most}
    return content | {"fits": {name: one.to_json() for name, one in fitted.fits.items()}}


def save(fitted: Fitted, path: str | Path, said: Mapping[str, object]) -> None:
    """Write the laws as JSON, for `load`.

    Args:
        said: further facts, such as the table they come from.
    """
    write_json(Path(path), {**said, **content_of(fitted)})


def load(path: str | Path) -> Saved:
    """Laws that `save` wrote.

    Raises:
        UserError: no such file, or another one.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
        fits = {name: Fit.from_json(one) for name, one in content["fits"].items()}
        return Saved(fits, content["x"], content["y"], content["most"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `ode-vgan scale fit ... --json {path}` writes it.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no file of `ode-vgan scale fit --json` ({type(error).__name__}). Fit again."
        ) from None
