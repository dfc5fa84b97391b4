"""Heads of our own, fitted on our own embeddings: a linear number by ridge regression, a probability by logistic."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ode_vgan.data.clips import write_atomic
from ode_vgan.errors import UserError
from ode_vgan.laion.heads import Head

LINKS = ("linear", "logistic")
STRENGTHS = tuple(10.0**power for power in range(-6, 4))  # of the penalty, per clip and unit of a weight's square
FOLDS, STEPS = 5, 50


@dataclass(frozen=True)
class Fit:
    """weight (E,) and bias of a fit, the penalty that was chosen, and its measure on clips left out."""

    weight: np.ndarray
    bias: float
    strength: float
    left_out: dict[str, float]


class FittedHead(Head):
    """A head of our own; it reads the embeddings of one embedder only, and its scorer begins with "own-".

    Args:
        link: "linear", or "logistic" for a probability.
        fingerprint: of the embedder.
        notes: plain data for its config: where the labels are from, how many clips, what it reached.
    """

    def __init__(self, name: str, weight: np.ndarray, bias: float, *, link: str, fingerprint: str, notes: dict):
        self.weight, self.bias = weight.astype(np.float32), np.float32(bias)
        self.link, self.notes = link, notes
        digest = hashlib.sha256(self.weight.tobytes() + self.bias.tobytes() + f"{link} {fingerprint}".encode())
        scorer = f"own-{link}-{digest.hexdigest()[:16]} on {fingerprint}"
        super().__init__(name, len(weight), self._rows, scorer=scorer, expects=fingerprint, exact=True)

    def _rows(self, x: np.ndarray) -> np.ndarray:
        found = x @ self.weight + self.bias
        return found if self.link == "linear" else sigmoid(found.astype(np.float64))

    def save(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json; `ode_vgan.laion.heads.load_head` reads the folder."""
        config = {"kind": "head", "name": self.name, "dim": self.dim, "link": self.link, "embedder": self.expects}
        write_atomic(Path(folder) / "model.safetensors", save({"weight": self.weight, "bias": self.bias.reshape(1)}))
        content = json.dumps(config | {"notes": self.notes}, indent=2) + "\n"
        write_atomic(Path(folder) / "config.json", content.encode())


def fit_head(
    embeddings: np.ndarray, labels: np.ndarray, *, name: str, fingerprint: str, source: str, link: str = "linear"
) -> FittedHead:
    """Fit a head; the penalty is chosen by what each does on clips that it left out.

    Args:
        embeddings: (N, E) unit rows of one embedder.
        labels: (N,) numbers, or 0 and 1 where logistic.
        name: the column it fills.
        fingerprint: of the embedder.
        source: where the labels are from, for the config.
        link: "linear" (ridge, each clip left out once) or "logistic" (five folds).

    Raises:
        UserError: fewer than ten clips, shapes that do not fit, labels that are constant or not finite, or for
            logistic not 0 and 1 with five of each.
    """
    x, y = np.asarray(embeddings, np.float64), np.asarray(labels, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(y) < 10 or not np.isfinite(x).all() or not np.isfinite(y).all():
        raise UserError(f"embeddings {x.shape}, labels {y.shape}: give finite (N, E) and (N,) of ten clips or more.")
    if link not in LINKS:
        raise UserError(f"link={link!r} is none of {', '.join(LINKS)}. Choose one.")
    if y.std() == 0:
        raise UserError(f"all {len(y)} labels are {y[0]:g}; a head has nothing to tell apart. Label others.")
    if link == "logistic" and (set(np.unique(y)) != {0.0, 1.0} or min(y.sum(), (1 - y).sum()) < FOLDS):
        raise UserError(f"{int(y.sum())} of {len(y)} labels; logistic needs 0 and 1, {FOLDS} of each. Label more.")
    fit = ridge(x, y) if link == "linear" else logistic(x, y)
    notes = {"labels": source, "clips": len(y), "strength": fit.strength, "left_out": fit.left_out}
    return FittedHead(name, fit.weight, fit.bias, link=link, fingerprint=fingerprint, notes=notes)


def ridge(x: np.ndarray, y: np.ndarray) -> Fit:
    """Ridge regression with the penalty that is best when each clip is left out once.

    Args:
        x: (N, E) float64. y: (N,) float64, not constant.

    Source: Golub, Heath and Wahba (1979), the residual of a clip left out is its residual over 1 - leverage.
    """
    centre, level = x.mean(0), y.mean()
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    towards = u.T @ (y - level)
    best = None
    for strength in STRENGTHS:
        kept = s**2 / (s**2 + strength * len(y))
        residual = y - level - u @ (kept * towards)
        left_out = residual / (1 - 1 / len(y) - (u**2) @ kept).clip(1e-12)
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = (error, strength)
    error, strength = best
    weight = vt.T @ (s / (s**2 + strength * len(y)) * towards)
    spread = float(((y - level) ** 2).mean()) * (len(y) / (len(y) - 1)) ** 2  # of the mean of the others, left out too
    told = {"rmse": round(error**0.5, 4), "r2": round(1 - error / spread, 4)}
    return Fit(weight, float(level - centre @ weight), strength, told)


def logistic(x: np.ndarray, y: np.ndarray) -> Fit:
    """Logistic regression with the penalty of the least log loss over five folds, each class dealt out in turn.

    Args:
        x: (N, E) float64. y: (N,) of 0 and 1, five of each or more.
    """
    fold = np.empty(len(y), dtype=int)
    for value in (0, 1):
        rows = np.flatnonzero(y == value)
        fold[rows] = np.arange(len(rows)) % FOLDS
    best = None
    for strength in STRENGTHS:
        logits = np.empty(len(y))
        for i in range(FOLDS):
            weight, bias = _newton(x[fold != i], y[fold != i], strength)
            logits[fold == i] = x[fold == i] @ weight + bias
        loss = float((np.logaddexp(0, logits) - y * logits).mean())
        if best is None or loss < best[0]:
            best = (loss, strength, logits)
    loss, strength, logits = best
    weight, bias = _newton(x, y, strength)
    return Fit(weight, bias, strength, {"log_loss": round(loss, 4), "auc": round(auc(logits, y), 4)})


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The chance that a clip of class 1 scores above one of class 0, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # the mean place of those that tie
    positive = labels == 1
    ones = int(positive.sum())
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)), without overflow."""
    return 0.5 * (1 + np.tanh(logits / 2))


def read_fitted(folder: Path) -> FittedHead:
    """The head that `FittedHead.save` wrote.

    Raises:
        UserError: a file is missing or is not what it writes.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "model.safetensors")
        weight, bias = tensors["weight"], tensors["bias"]
        name, dim, link, fingerprint = (config[key] for key in ("name", "dim", "link", "embedder"))
        notes = dict(config["notes"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        told = " ".join(repr(error).split())[:160]
        raise UserError(f"{folder} is no fitted head ({told}). Give one that FittedHead.save wrote.") from error
    shapes = weight.shape == (dim,) and bias.shape == (1,) and np.isfinite(weight).all() and np.isfinite(bias).all()
    if config.get("kind") != "head" or link not in LINKS or not shapes:
        raise UserError(f"{folder}: kind {config.get('kind')!r}, link {link!r}, weight {weight.shape}. Fit it again.")
    return FittedHead(str(name), weight, bias[0], link=link, fingerprint=str(fingerprint), notes=notes)


def _newton(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """Weight and bias of the least mean log loss + strength / 2 * |weight|^2, by Newton steps that are halved."""
    ones = np.concatenate([x, np.ones((len(x), 1))], 1)
    penalty = np.append(np.full(x.shape[1], strength), 0.0)

    def loss(beta: np.ndarray) -> float:
        logits = ones @ beta
        return float((np.logaddexp(0, logits) - y * logits).mean() + (penalty * beta**2).sum() / 2)

    beta, value = np.zeros(ones.shape[1]), np.log(2.0)
    for _ in range(STEPS):
        p = sigmoid(ones @ beta)
        gradient = ones.T @ (p - y) / len(y) + penalty * beta
        hessian = (ones * (p * (1 - p))[:, None]).T @ ones / len(y) + np.diag(penalty + 1e-10)
        step, scale = np.linalg.solve(hessian, gradient), 1.0
        while scale > 1e-6 and loss(beta - scale * step) > value:
            scale /= 2
        beta = beta - scale * step
        if value - loss(beta) < 1e-12:
            break
        value = loss(beta)
    return beta[:-1], float(beta[-1])
