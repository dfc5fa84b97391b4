"""Two linear maps into one space, learned from pairs of fixed features; and how well one side finds the other."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE, MAX_SCALE = 14.0, 100.0  # of the logits: where it starts, and CLIP's own bound
SAME = -1e4  # logit of a pair that is no negative: another clip of the same thing


@dataclass(frozen=True)
class Pairs:
    """Features of captioned clips.

    Attributes:
        text: (N, F) float.
        frames: (N, T, G) float; row i shows what row i of the text says.
        group: (N,) int64; clips of one group are never each other's negatives.
    """

    text: Tensor
    frames: Tensor
    group: Tensor

    def __getitem__(self, rows: Tensor) -> "Pairs":
        return Pairs(self.text[rows], self.frames[rows], self.group[rows])


@dataclass(frozen=True)
class Recipe:
    """How the maps are learned.

    Attributes:
        dim: E. steps: at most, each on all pairs. every: steps between looks at the validation pairs.
        dropout: share of the features left out, both sides, drawn anew for every pair.
    """

    dim: int = 128
    steps: int = 300
    every: int = 20
    lr: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.5


def clip_loss(text: Tensor, clips: Tensor, scale: Tensor, group: Tensor) -> Tensor:
    """Symmetric cross entropy of finding each text's clip and each clip's text among the others.

    Args:
        text, clips: (N, E) unit rows, row i of both one pair.
        scale: () that multiplies the cosines.
        group: (N,) pairs of one group are left out of each other's alternatives.

    Source: Radford et al. (2021), Learning transferable visual models from natural language supervision, figure 3.
    Differs: the groups.
    """
    logits = scale * text @ clips.T
    same = (group[:, None] == group).fill_diagonal_(False)
    logits = logits.masked_fill(same, SAME)
    own = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def ranks(text: Tensor, clips: Tensor) -> Tensor:
    """(N,) int64 place, from 1, of each text's own clip among all by cosine; a tie counts against it."""
    cosines = text @ clips.T
    return (cosines >= cosines.diagonal()[:, None]).sum(1)


def recall(found: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Share of ranks not below each place, "R@1" and so on, and the mean of their inverses, "MRR"."""
    shares = {f"R@{place}": round(float((found <= place).double().mean()), 4) for place in at}
    return shares | {"MRR": round(float((1 / found.double()).mean()), 4)}


def chance(candidates: int, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """What `recall` expects of a random order of the candidates."""
    shares = {f"R@{place}": round(min(1.0, place / candidates), 4) for place in at}
    return shares | {"MRR": round(sum(1 / place for place in range(1, candidates + 1)) / candidates, 4)}


class Maps(nn.Module):
    """The two maps and the scale of the logits; features are standardised by those it was made from.

    Args:
        generator: decides the first weights.
    """

    def __init__(self, pairs: Pairs, dim: int, generator: torch.Generator):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(math.log(SCALE)))
        for name, rows in (("text", pairs.text), ("frames", pairs.frames.flatten(0, 1))):
            deviation = rows.std(0)
            self.register_buffer(f"{name}_mean", rows.mean(0))
            self.register_buffer(f"{name}_deviation", deviation + 0.01 * deviation.mean() + 1e-6)
            width = rows.shape[1]
            weight = (2 * torch.rand(dim, width, generator=generator) - 1) / math.sqrt(width)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(dim)))

    def forward(self, name: str, rows: Tensor, keep: Tensor | None = None) -> Tensor:
        """(..., F) features to (..., E) unit rows; `keep` multiplies the standardised features."""
        mean, deviation, weight, bias = (
            getattr(self, f"{name}_{part}") for part in ("mean", "deviation", "weight", "bias")
        )
        x = (rows - mean) / deviation
        return functional.normalize(functional.linear(x if keep is None else x * keep, weight, bias), dim=-1)

    @torch.no_grad()
    def plain(self) -> dict[str, Tensor]:
        """Weights and biases that take the features as they are: the standardisation is folded in."""
        plain = {}
        for name in ("text", "frames"):
            weight = getattr(self, f"{name}_weight") / getattr(self, f"{name}_deviation")
            plain[f"{name}.weight"] = weight
            plain[f"{name}.bias"] = getattr(self, f"{name}_bias") - weight @ getattr(self, f"{name}_mean")
        return plain

    @torch.no_grad()
    def recall(self, pairs: Pairs) -> dict[str, float]:
        """How well texts find their clips, a clip being the mean of its frames' vectors."""
        clips = functional.normalize(self("frames", pairs.frames).mean(1), dim=-1)
        return recall(ranks(self("text", pairs.text), clips))


def learn(pairs: Pairs, recipe: Recipe, seed: int, validation: Pairs | None = None) -> tuple[Maps, int, dict]:
    """Maps, learned from the pairs alone: one frame of each clip a step, drawn anew.

    Args:
        validation: pairs looked at every few steps, which decide where to stop (the best MRR); None runs to the end.

    Returns:
        The maps after the steps that were best, how many those were, and the recall on the validation pairs ({}).
    """
    generator = torch.Generator().manual_seed(seed)
    maps = Maps(pairs, recipe.dim, generator)
    weights = [parameter for name, parameter in maps.named_parameters() if name != "scale"]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": [maps.scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    best = (recipe.steps, {}, None)
    for step in range(1, recipe.steps + 1):
        _step(maps, pairs, optimizer, recipe.dropout, generator)
        if validation is not None and step % recipe.every == 0:
            found = maps.recall(validation)
            if not best[1] or found["MRR"] > best[1]["MRR"]:
                best = (step, found, {name: tensor.clone() for name, tensor in maps.state_dict().items()})
    if best[2]:
        maps.load_state_dict(best[2])
    return maps, best[0], best[1]


def _step(maps: Maps, pairs: Pairs, optimizer: torch.optim.Optimizer, dropout: float, generator: torch.Generator):
    count, frames = pairs.frames.shape[:2]
    shown = pairs.frames[torch.arange(count), torch.randint(frames, (count,), generator=generator)]
    rows = {}
    for name, features in (("text", pairs.text), ("frames", shown)):
        keep = (torch.rand(features.shape, generator=generator) >= dropout) / (1 - dropout)
        rows[name] = maps(name, features, keep)
    loss = clip_loss(rows["text"], rows["frames"], maps.scale.exp().clamp(max=MAX_SCALE), pairs.group)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
