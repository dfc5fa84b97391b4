"""Heads: one number for each embedding. LAION's own by their published files, and ours, fitted on our embeddings.

| file | head | embeddings |
|---|---|---|
| sa_0_4_vit_*_linear.pth | aesthetic v1: one linear layer | OpenAI CLIP, its model in the name |
| sac+logos+ava1-l14-linearMSE.pth | aesthetic v2: five linear layers, nothing between | OpenAI CLIP ViT-L/14 |
| clip_autokeras_*.zip | NSFW: categories, normalisation, ReLU layers, sigmoid | OpenAI CLIP ViT-L/14 or ViT-B/32 |
| nsfw_violence_detection_*.npy | violence: the nearer of two prompts | OpenAI CLIP ViT-L/14 or ViT-B/32 |
| a folder that `FittedHead.save` wrote | ours: linear or logistic | those of the embedder it was fitted on |

LAION's heads say nothing true of other embeddings, even of the same width.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError

UNIT_SLACK = 2e-3  # float16 moves a unit row's length by less
LOGIT_SCALE = 100.0  # CLIP's own, by which the cosines of the violence prompts become a probability
V2_LAYERS, V2_WIDTHS = (0, 2, 4, 6, 7), (768, 1024, 128, 64, 16, 1)
EXPECTS = {512: "OpenAI CLIP ViT-B/32 or B/16", 768: "OpenAI CLIP ViT-L/14"}


class Head:
    """A number for each embedding.

    Attributes:
        name: the column it fills: aesthetic, punsafe or pviolence for LAION's.
        dim: E, the width of the embeddings that it reads.
        scorer: what it is, with the first digits of its file's sha256.
        expects: whose embeddings it was trained on: in words, or the embedder's fingerprint where `exact`.
        exact: whether embeddings of another fingerprint are refused.
    """

    def __init__(
        self,
        name: str,
        dim: int,
        rows: Callable[[np.ndarray], np.ndarray],
        *,
        scorer: str,
        expects: str,
        exact: bool = False,
    ):
        self.name, self.dim, self.rows = name, dim, rows
        self.scorer, self.expects, self.exact = scorer, expects, exact

    def score(self, embeddings: np.ndarray | Tensor, fingerprint: str | None = None) -> np.ndarray:
        """(N,) float32 from (N, E) unit rows.

        Args:
            fingerprint: of the embedder that made them; None checks their width only.

        Raises:
            UserError: another width, rows that are not unit, or embeddings of another embedder than ours was fitted on.
        """
        embeddings = np.asarray(embeddings)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise UserError(
                f"{self.scorer} reads (N, {self.dim}) embeddings of {self.expects}, not {embeddings.shape}. "
                "Embed with that model, or give another head."
            )
        if self.exact and fingerprint is not None and fingerprint != self.expects:
            raise UserError(f"{self.scorer} was fitted on {self.expects}, not {fingerprint}. Fit a head on these.")
        rows = embeddings.astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_SLACK))  # also where not finite
        if len(wrong):
            raise UserError(f"row {wrong[0]} has length {lengths[wrong[0]]:.4g}, not 1. Give unit rows.")
        return self.rows(rows).astype(np.float32).reshape(len(rows))


def load_head(path: str | Path) -> Head:
    """The head of a file or folder, told by what is in it; nothing in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is none of the known heads, or not whole.
    """
    path = Path(path)
    if path.is_dir():
        from ode_vgan.laion.fitted import read_fitted

        return read_fitted(path)
    if not path.is_file():
        raise FileNotFoundError(f"no head at {path}. Check the path.")
    openers = {".zip": _nsfw, ".npy": _violence, ".pth": _aesthetic, ".pt": _aesthetic}
    if path.suffix.lower() not in openers:
        raise UserError(f"{path} is no head: give {', '.join(openers)} as LAION publishes them, or a fitted folder.")
    return openers[path.suffix.lower()](path)


def _aesthetic(path: Path) -> Head:
    from ode_vgan.metrics.states import read_state

    state = {name: tensor.float().numpy() for name, tensor in read_state(path).items() if isinstance(tensor, Tensor)}
    if set(state) == {"weight", "bias"}:
        version, layers = 1, [(state["weight"], state["bias"])]
    elif set(state) == {f"layers.{i}.{part}" for i in V2_LAYERS for part in ("weight", "bias")}:
        version, layers = 2, [(state[f"layers.{i}.weight"], state[f"layers.{i}.bias"]) for i in V2_LAYERS]
    else:
        raise UserError(f"{path} holds {sorted(state)[:4]}, no aesthetic head. Take LAION's v1 or v2 file.")
    widths = V2_WIDTHS if version == 2 else (*layers[0][0].shape[1:], 1)
    shapes = [(weight.shape, bias.shape) for weight, bias in layers]
    if shapes != [((high, low), (high,)) for low, high in zip(widths, widths[1:], strict=False)]:
        raise UserError(f"{path} has layers {shapes}, not those of aesthetic v{version}. Take LAION's file.")

    def rows(x: np.ndarray) -> np.ndarray:
        for weight, bias in layers:
            x = x @ weight.T + bias
        return x

    return _laion("aesthetic", widths[0], rows, f"laion-aesthetic-v{version}", path)


def _nsfw(path: Path) -> Head:
    from ode_vgan.laion.savedmodel import read_saved_model

    network = read_saved_model(path)
    return _laion("punsafe", network.mean.size, network, "laion-nsfw", path)


def _violence(path: Path) -> Head:
    try:
        prompts = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is no whole .npy of numbers ({' '.join(str(error).split())[:120]}).") from error
    if prompts.ndim != 2 or len(prompts) != 2 or prompts.dtype.kind != "f" or not np.isfinite(prompts).all():
        raise UserError(f"{path} is {prompts.dtype} {prompts.shape}; two prompts are float (2, E). Take LAION's file.")
    towards = (prompts[1].astype(np.float64) - prompts[0]).astype(np.float32)

    def rows(x: np.ndarray) -> np.ndarray:
        logits = LOGIT_SCALE * (x @ towards).astype(np.float64)
        return 0.5 * (1 + np.tanh(logits / 2))  # above a half where the second prompt, violence, is the nearer

    return _laion("pviolence", prompts.shape[1], rows, "laion-violence", path)


def _laion(name: str, dim: int, rows: Callable[[np.ndarray], np.ndarray], kind: str, path: Path) -> Head:
    told = re.search(r"[_-](b|l)_?(32|16|14)\b", path.stem.replace("_linear", ""))
    model = f"OpenAI CLIP ViT-{told[1].upper()}/{told[2]}" if told else EXPECTS.get(dim, "OpenAI CLIP")
    return Head(name, dim, rows, scorer=f"{kind}-{file_sha256(path)[:16]}", expects=model)
