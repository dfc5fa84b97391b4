"""A CLIP for clips: OpenCLIP's towers, and a pooling that makes one vector of a clip's frames."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from ode_vgan.embed.towers import LITE0, MINILM, build_towers, model_config, tokenizer
from ode_vgan.errors import UserError

TOWERS = {"image": "vision_cfg", "text": "text_cfg"}
LOCKED = {
    "image": "towers.visual.trunk.",
    "text": "towers.text.transformer.",
}  # what a lock keeps as the package has it


class ClipModel(nn.Module):
    """Texts and clips in one space of unit vectors.

    Args:
        model: a name among `embed/models/*.json` or of OpenCLIP.
        pooling: of `embed.pooling`, or any module that makes (B, E) of rows (B, T, E) and times (B, T).
        lock_image: keep the image tower as it is and learn its projection only; for towers that a package fills.
        lock_text: the same for the text.
        weights: fill the towers that packages bring weights for.
        bias: give the logits a bias, as SigLIP has it.

    Attributes:
        name: the model's. dim: E. locks: "image" and "text", whether locked.

    Raises:
        UserError: no such model, a lock on a tower that no package fills, or a pooling of another width.

    Source: Radford et al. (2021), "Learning transferable visual models from natural language supervision", section 2.3;
    locked towers: Zhai et al. (2022), "LiT". Differs: clips, and the pooling.
    """

    def __init__(
        self, model: str, pooling: nn.Module, *, lock_image: bool = False, lock_text: bool = False,
        weights: bool = True, bias: bool = False,
    ):  # fmt: skip
        super().__init__()
        config = model_config(model)
        self.name, self.dim = model, config["embed_dim"]
        self.locks = {"image": lock_image, "text": lock_text}
        for side, kind, packaged in (("image", "timm_model_name", LITE0), ("text", "hf_model_name", MINILM)):
            if self.locks[side] and config[TOWERS[side]].get(kind) != packaged:
                raise UserError(f"lock_{side}=true: no package has {model}'s {side} tower. Set lock_{side}=false.")
        self.towers = build_towers(model, weights=weights, bias=bias)
        self.pooling = pooling
        if pooled_width(pooling, self.dim) != self.dim:
            raise UserError(f"the pooling does not take vectors of {self.dim} numbers, as {model} makes. Set its dim.")
        self.tokens = tokenizer(model, config)
        for side, prefix in LOCKED.items():
            if self.locks[side]:
                for name, parameter in self.named_parameters():
                    parameter.requires_grad_(parameter.requires_grad and not name.startswith(prefix))
        self.train()

    @property
    def logit_scale(self) -> nn.Parameter:
        """(), the logarithm of what multiplies cosines."""
        return self.towers.logit_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """(), what is added to them; None without."""
        return self.towers.logit_bias

    @property
    def image_size(self) -> int:
        """Side of the picture that the image tower takes, px."""
        size = self.towers.visual.image_size
        return size if isinstance(size, int) else size[0]

    def train(self, mode: bool = True) -> "ClipModel":
        """Locked towers stay in eval mode: their batch statistics and dropout are part of what is locked."""
        super().train(mode)
        if self.locks["image"]:
            self.towers.visual.trunk.eval()
        if self.locks["text"]:
            self.towers.text.transformer.eval()
        return self

    def tokenize(self, texts: list[str]) -> Tensor:
        """(N, L) int64 on the model's device; longer texts are cut."""
        return self.tokens(list(texts)).to(self.logit_scale.device)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(N, E) unit rows from tokens (N, L)."""
        if self.locks["text"]:
            return self.project_text(self.text_features(tokens))
        return normalize(self.towers.encode_text(tokens), dim=-1)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, T, E) rows of each frame, of any length, from uint8 frames (B, T, H, W, C)."""
        if self.locks["image"]:
            return self.project_frames(self.image_features(frames))
        return self.towers.encode_image(self.prepare(frames)).unflatten(0, frames.shape[:2])

    def pool(self, rows: Tensor, times: Tensor) -> Tensor:
        """(B, E) unit rows of clips from their frames' rows (B, T, E) at times (B, T) seconds."""
        return normalize(self.pooling(rows, times), dim=-1)

    def encode_clips(self, frames: Tensor, times: Tensor) -> Tensor:
        """(B, E) unit rows from uint8 frames (B, T, H, W, C) at times (B, T) seconds."""
        return self.pool(self.encode_frames(frames), times)

    def image_features(self, frames: Tensor, batch: int = 8) -> Tensor:
        """(B, T, F) of the locked image tower before its projection, without gradients, `batch` frames at a time."""
        self._check_lock("image")
        flat = torch.as_tensor(frames).flatten(0, 1)
        with torch.no_grad():
            parts = [self.towers.visual.trunk(self.prepare(part.unsqueeze(0))) for part in flat.split(batch)]
        return torch.cat(parts).unflatten(0, frames.shape[:2])

    def project_frames(self, features: Tensor) -> Tensor:
        """(B, T, E) from (B, T, F) of `image_features`."""
        return self.towers.visual.head(features)

    def text_features(self, tokens: Tensor) -> Tensor:
        """(N, F) of the locked text tower before its projection, without gradients."""
        self._check_lock("text")
        text = self.towers.text
        mask = (tokens != text.config.pad_token_id).long()
        longest = int(mask.sum(1).max())  # columns that pad every text cost time and change nothing
        with torch.no_grad():
            return text.pooler(text.transformer(input_ids=tokens[:, :longest], attention_mask=mask[:, :longest]),
                               mask[:, :longest])  # fmt: skip

    def project_text(self, features: Tensor) -> Tensor:
        """(N, E) unit rows from (N, F) of `text_features`."""
        return normalize(self.towers.text.proj(features), dim=-1)

    def _check_lock(self, side: str) -> None:
        if not self.locks[side]:
            raise UserError(f"{self.name}'s {side} tower is learned; only a locked one has features apart.")

    def prepare(self, frames: Tensor) -> Tensor:
        """(B, T, H, W, C) uint8 to the tower's pictures (B * T, C, S, S): central square, scaled, standardised."""
        if frames.ndim != 5 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
            raise UserError(f"frames are {frames.dtype} {tuple(frames.shape)}; give uint8 (B, T, H, W, 3).")
        settings = self.towers.visual.preprocess_cfg
        x = frames.to(self.logit_scale.device).flatten(0, 1).permute(0, 3, 1, 2).float()
        height, width = x.shape[2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        x = x[..., top : top + side, left : left + side]
        if side != self.image_size:
            x = interpolate(x, (self.image_size, self.image_size), mode="bicubic", antialias=True)
            x = x.round().clamp(0, 255)  # as a picture of 8 bits
        mean, std = (x.new_tensor(settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        return (x / 255 - mean) / std

    def learned_state(self) -> dict[str, Tensor]:
        """The state without the locked towers, whose weights come with packages."""
        locked = tuple(prefix for side, prefix in LOCKED.items() if self.locks[side])
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(locked)}

    def described(self) -> dict:
        """The arguments that build it again, plain, as a config has them.

        Raises:
            UserError: its pooling does not say how to build it.
        """
        kind, settings = type(self.pooling), getattr(self.pooling, "settings", None)
        if settings is None:
            raise UserError(f"pooling {kind.__name__} has no `settings` to build it again from. Give it some.")
        pooling = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **settings}
        locks = {f"lock_{side}": locked for side, locked in self.locks.items()}
        return {"model": self.name, "pooling": pooling, **locks, "bias": self.logit_bias is not None}

    def load_learned(self, state: dict[str, Tensor]) -> None:
        """Fill what `learned_state` or `state_dict` gives.

        Raises:
            UserError: another architecture's, naming what does not fit, or a value that is not finite.
        """
        own = self.learned_state()
        if any(name not in own and name.startswith(tuple(LOCKED.values())) for name in state):
            own = self.state_dict()  # with the locked towers
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        wrong = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
        if missing or unknown or wrong:
            parts = {"lacks": missing, "has besides": unknown, "has of another shape": sorted(wrong)}
            told = "; ".join(
                f"{word} {', '.join(some[:2])} ({len(some)} in all)" for word, some in parts.items() if some
            )
            raise UserError(f"these weights are not {self.name}'s with this pooling: the file {told}. Give its own.")
        bad = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
        if bad:
            raise UserError(f"{bad[0]} holds a value that is not finite. Take another checkpoint.")
        self.load_state_dict(state, strict=False)


def pooled_width(pooling: nn.Module, dim: int) -> int | None:
    """Width of what a pooling makes of rows of width `dim`; None where it does not take them."""
    try:
        with torch.no_grad():
            return pooling(torch.zeros(1, 2, dim), torch.tensor([[0.0, 1.0]])).shape[-1]
    except RuntimeError:
        return None


def even_times(clips: int, frames: int) -> Tensor:
    """(B, T) seconds of frames evenly over one second, for clips whose own are not known."""
    return torch.from_numpy(np.linspace(0, 1, frames, dtype=np.float32)).expand(clips, -1)
