"""V-JEPA: a video transformer with an attentive pooler trained on Something-Something v2, the features of JEDi."""

from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from ode_vgan.embed.embedder import file_sha256
from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor
from ode_vgan.metrics.states import fill, read_state
from ode_vgan.metrics.weights import WeightFile

FRAMES, SIDE_PX, TUBELET, PATCH_PX = 16, 224, 2, 16
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _file(name: str) -> WeightFile:
    return WeightFile(
        name="vjepa",
        file=name,
        sha256="",  # never seen here; the fingerprint of each row has the sha256 of the file in use
        source="dl.fbaipublicfiles.com/jepa/vith16/",
        licence="CC-BY-NC-4.0",
        get="Put vith16 and ssv2-probe in $ODE_VGAN_WEIGHTS, or side by side and give the first's path.",
        instead="hog3d and colour run without them; JEDi's distance runs on any extractor's rows.",
    )


class Attention(nn.Module):
    """Multi-head attention of tokens (N, L, W) to themselves."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend(*self.qkv(x).chunk(3, -1), self.heads))


class CrossAttention(nn.Module):
    """Multi-head attention of queries (N, Q, W) to tokens (N, L, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        return self.proj(attend(self.q(queries), *self.kv(x).chunk(2, -1), self.heads))


class Mlp(nn.Module):
    """Two layers, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """A transformer block, normalised before each part."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Clips (N, 3, 16, 224, 224) -> tokens (N, 8 * 14 * 14, width). Names are those of the published file."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        box = (TUBELET, PATCH_PX, PATCH_PX)
        tokens = FRAMES // TUBELET * (SIDE_PX // PATCH_PX) ** 2
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, width, box, box)})
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))  # sines and cosines, which the file holds
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class CrossBlock(nn.Module):
    """A transformer block in which queries read tokens; only the tokens are normalised before that."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.xattn, self.mlp = CrossAttention(width, heads), Mlp(width)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        queries = queries + self.xattn(queries, self.norm1(x))
        return queries + self.mlp(self.norm2(queries))


class Pooler(nn.Module):
    """Tokens (N, L, width) -> (N, width), by one learned query."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.cross_attention_block = CrossBlock(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.cross_attention_block(self.query_tokens.expand(len(x), -1, -1), x)[:, 0]


class Vjepa(Extractor):
    """The 1280 numbers of V-JEPA's ViT-H/16 that JEDi compares.

    JEDi leaves the resize to its caller; here the whole frame becomes 224x224.

    Args:
        path: of vith16.pth.tar, with ssv2-probe.pth.tar beside it; None looks in the usual places.
        width, depth, heads: of the encoder in the file.

    Raises:
        UserError: a file is missing, or is not this net's.
    """

    name, id, dim = "vjepa", "vjepa_vith16_ssv2_v1", 1280
    min_frames, max_frames, min_px = FRAMES, FRAMES, 8
    standardised, comparable = False, "JEDi"
    chunk_pixels = 1 << 17
    weights = (_file("vith16.pth.tar"), _file("ssv2-probe.pth.tar"))
    preprocessing = f"bilinear antialiased resize to {SIDE_PX}x{SIDE_PX}, aspect ignored; ImageNet's mean and deviation"

    def __init__(self, path: str | None = None, *, width: int = 1280, depth: int = 32, heads: int = 16):
        encoder_file, probe_file = self.weights
        self.file = encoder_file.locate(path)
        beside = self.file.parent / probe_file.file
        self.probe_file = probe_file.locate(beside if path or beside.is_file() else None)
        self.dim = width
        encoder = fill(Encoder(width, depth, heads), encoder_state(read_state(self.file)), self.file)
        pooler = fill(Pooler(width, heads), pooler_state(read_state(self.probe_file)), self.probe_file)
        self.net = nn.Sequential(encoder, pooler)

    @cached_property
    def sha256(self) -> list[str]:
        return [file_sha256(file) for file in (self.file, self.probe_file)]

    @property
    def parameters(self) -> dict:
        return {"weights": self.sha256, "side_px": SIDE_PX, "mean": list(MEAN), "deviation": list(DEVIATION)}

    def preprocess(self, clips: Tensor) -> Tensor:
        x = clips.flatten(0, 1).movedim(-1, 1).float()
        x = functional.interpolate(x, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True) / 255
        mean, deviation = (x.new_tensor(part).view(3, 1, 1) for part in (MEAN, DEVIATION))
        return ((x - mean) / deviation).unflatten(0, clips.shape[:2]).transpose(1, 2)

    def describe(self, x: Tensor) -> Tensor:
        return self.net(x)

    def self_test(self) -> None:
        """Laws that hold for these weights; their answers are not known, as the files were never seen here."""
        first = self.net[0].pos_embed[0, 0]
        if not torch.minimum(first.abs(), (first - 1).abs()).max() < 1e-4:
            raise UserError(f"{self.file} is not V-JEPA's: its first position is not sin 0 and cos 0. Fetch it again.")
        draw = torch.Generator().manual_seed(0)
        clip = torch.randint(0, 256, (1, FRAMES, 16, 16, 3), generator=draw, dtype=torch.uint8)
        rows = self(torch.cat([clip, clip.flip(1)]))
        if not rows.isfinite().all() or torch.allclose(rows[0], rows[1]):
            raise UserError(f"{self.id} fails its self test: rows are not finite, or blind to order. Fetch its files.")


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention of (N, Q, W) to (N, L, W), W shared among the heads."""
    parts = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (queries, keys, values))
    return functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)


def encoder_state(state: dict) -> dict[str, Tensor]:
    """The averaged encoder of a V-JEPA checkpoint, or its plain one, with the names of `Encoder`."""
    found = state.get("target_encoder", state.get("encoder", state))
    return {name.replace("module.", "").replace("backbone.", ""): tensor for name, tensor in found.items()}


def pooler_state(state: dict) -> dict[str, Tensor]:
    """The pooler of an attentive probe's checkpoint, with the names of `Pooler`."""
    found = {name.replace("module.", ""): tensor for name, tensor in state.get("classifier", state).items()}
    return {name.removeprefix("pooler."): tensor for name, tensor in found.items() if name.startswith("pooler.")}
