"""How clips move, to be compared between real and generated sets: flow histograms and scalars.

Speeds are px a frame at the size given, not px a second: both sides share their size and frame gap, so that distances
between them would only be scaled.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ode_vgan.errors import UserError
from ode_vgan.metrics.features import Extractor, standardise
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.hog3d import LUMA, ORIENTATIONS

CELLS = 2  # on each axis
SLOWEST, RATIO, SPEEDS = 0.2, 3.0, 5  # centres 0.2, 0.6, 1.8, 5.4, 16 px a frame, and one bin for 0
CELL_BINS = 1 + ORIENTATIONS * SPEEDS
ROUND_TRIP_PX = 0.5  # a pixel that flows forth and back to further than this is not tracked: occluded, or no match
DYNAMIC_SHARE = 0.05  # the fastest pixels of a frame, which a small moving thing fills
STATIC_CHANGE = 0.1  # grey levels a frame; one of 20 values changing by two
CHUNK_PIXELS = 1 << 16  # pixels of all frames looked at together
# Settings of DIS. A finest scale of 1 takes a quarter of the time, but on emoji under a known warp of 0.3 px its median
# error is 0.12 px where these have 0.06.
SEARCH = {"FinestScale": 0, "PatchSize": 8, "PatchStride": 4, "GradientDescentIterations": 16}
SEARCH |= {"VariationalRefinementIterations": 5}
SCALARS = ("mean_change", "warp_error", "untracked", "dynamic_degree", "flicker")


class FlowHistogram(Extractor):
    """Where and how fast pixels move, and how that changes, on 2x2 cells: square roots of shares of pixels.

    Half of the row is a histogram of velocity over a bin for rest and 8 directions x 5 speeds; half is the same of
    acceleration, the change of velocity from a frame to the next along the path of the pixel. Votes are shared
    linearly between the two nearest directions and speeds.

    Differs: the histograms of FVMD (Liu et al., 2024) weigh a tracked point by its speed, and its code takes those of
    velocity twice.
    """

    name, id = "flow", "flow_v1"
    dim = 2 * CELLS * CELLS * CELL_BINS
    min_frames, min_px = 3, 12
    preprocessing = "luma, rounded to uint8"

    @property
    def parameters(self) -> dict:
        return {"slowest": SLOWEST, "ratio": RATIO, "luma": LUMA, "flow": SEARCH}

    def preprocess(self, clips: Tensor) -> Tensor:
        return luma(clips)

    def describe(self, x: Tensor) -> Tensor:
        return flow_histograms(dense_flow(x))

    def self_test(self) -> None:
        """A texture that moves 1 px to the right each frame has velocity bins of that and acceleration 0."""
        y, x, t = torch.meshgrid(torch.arange(24), torch.arange(24), torch.arange(4), indexing="ij")
        shade = 128 + 60 * torch.sin((x - t) * 0.9) * torch.cos(y * 0.7) + 50 * torch.sin((x - t + y) * 0.4)
        clip = shade.permute(2, 0, 1)[None, ..., None].expand(-1, -1, -1, -1, 3).round().to(torch.uint8)
        velocity, acceleration = self(clip).square().view(2, -1, CELL_BINS).sum(1)
        right = float(velocity[1 : 1 + SPEEDS].sum())
        if min(right, float(acceleration[0])) < 0.8:
            raise UserError(
                f"{self.id} fails its self test: {right:.2f} of a texture moves right and {float(acceleration[0]):.2f} "
                "steadily where more than 0.8 is known. Reinstall opencv-python-headless."
            )


@torch.no_grad()
def motion_features(clips: Tensor) -> dict[str, Tensor]:
    """Motion of uint8 clips (N, T, H, W, 3), T >= 3, H and W >= 12.

    Returns:
        float64 by name, one row or number a clip:
        flow: (N, 328), see `FlowHistogram`.
        mean_change: (N,), mean absolute difference of consecutive frames, grey levels.
        warp_error: (N,), that difference where the next frame is looked up along the flow, grey levels, over tracked
            pixels; over all pixels that stay in the frame where a clip has no tracked one.
        untracked: (N,), share of pixels that the flow forth and back does not return to within 0.5 px.
        dynamic_degree: (N,), mean speed of the fastest 5 % of pixels of each frame, px a frame.
        flicker: (N,), share of the energy over time, less the mean, above half of the Nyquist frequency; 0 for a clip
            without change.
        static: (N,), bool, mean_change below 0.1 grey levels.

    Raises:
        UserError: not such clips, or OpenCV is not installed.
    """
    FlowHistogram().check(clips)
    parts = [_describe(part) for part in clips.split(max(1, CHUNK_PIXELS // clips[0, ..., 0].numel()))]
    features = {name: torch.cat([part[name] for part in parts]).double() for name in parts[0]}
    return features | {"static": features["mean_change"] < STATIC_CHANGE}


def motion_distances(real: dict[str, Tensor], fake: dict[str, Tensor]) -> dict[str, float]:
    """Distances between the motion of two sets, from their `motion_features`.

    Returns:
        fmd_flow: Frechet distance of flow histograms, in units of the real deviations.
        w1_<scalar>: Wasserstein-1 distance of each scalar, in its unit.
        static_share_real, static_share_fake: shares of static clips.
    """
    from scipy.stats import wasserstein_distance

    found = {"fmd_flow": float(frechet_from_features(*standardise(real["flow"], fake["flow"])))}
    found |= {f"w1_{name}": float(wasserstein_distance(real[name], fake[name])) for name in SCALARS}
    sides = {"real": real, "fake": fake}
    return found | {f"static_share_{side}": float(rows["static"].double().mean()) for side, rows in sides.items()}


def luma(clips: Tensor) -> Tensor:
    """(N, T, H, W, 3) uint8 -> (N, T, H, W) uint8."""
    return torch.einsum("nthwc,c->nthw", clips.float(), torch.tensor(LUMA, device=clips.device)).round().to(torch.uint8)


def dense_flow(grey: Tensor) -> Tensor:
    """Displacement of every pixel from each frame to the next, by inverse search in patches (OpenCV's DIS).

    The same on every call and for any number of OpenCV's threads, which is left as it is.

    Args:
        grey: (N, T, H, W) uint8, H and W >= 12.

    Returns:
        (N, T-1, 2, H, W) float32, x and y, px a frame: `frame[t][p]` is found at `frame[t+1][p + flow[t][p]]`.
    """
    search = _search()  # it has buffers, so that threads may not share one
    pictures = grey.cpu().numpy()
    steps = [
        torch.from_numpy(search.calc(first, second, None)).permute(2, 0, 1)
        for clip in pictures
        for first, second in zip(clip[:-1], clip[1:], strict=True)
    ]
    return torch.stack(steps).unflatten(0, (len(grey), -1))


def follow(maps: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Look maps up where a flow leads, linearly between pixels.

    Args:
        maps: (M, C, H, W) float. flow: (M, 2, H, W), px.

    Returns:
        (M, C, H, W), edges repeated outside; and (M, H, W) bool, whether the place is inside.
    """
    height, width = maps.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    at = torch.stack([x, y]).to(flow) + flow
    last = torch.tensor([width - 1, height - 1]).to(flow)[:, None, None]
    inside = ((at >= 0) & (at <= last)).all(1)
    grid = (2 * at / last - 1).permute(0, 2, 3, 1)
    return functional.grid_sample(maps, grid, padding_mode="border", align_corners=True), inside


def acceleration(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Change of velocity along the path of each pixel: `flow[t+1][p + flow[t][p]] - flow[t][p]`.

    At one place instead, the edge of a thing that moves steadily would accelerate.

    Args:
        flow: (N, T-1, 2, H, W) px a frame.

    Returns:
        (N, T-2, 2, H, W) px a frame, per frame; and (N, T-2, H, W) bool, whether the path stays in the frame.
    """
    before, after = flow[:, :-1].flatten(0, 1), flow[:, 1:].flatten(0, 1)
    carried, inside = follow(after, before)
    shape = (len(flow), -1)
    return (carried - before).unflatten(0, shape), inside.unflatten(0, shape)


def flow_histograms(flow: Tensor) -> Tensor:
    """(N, T-1, 2, H, W) px a frame -> (N, 328) square roots of shares: velocity, then acceleration."""
    everywhere = torch.ones(1, dtype=torch.bool).expand_as(flow[:, :, 0])
    return torch.cat([_histogram(flow, everywhere), _histogram(*acceleration(flow))], 1).sqrt()


def flicker_share(clips: Tensor) -> Tensor:
    """(N, T, ...) -> (N,): share of the energy over time, less the mean, above a quarter cycle a frame.

    A window (sin^2) keeps a slow drift, which ends elsewhere than it began, out of the high frequencies.
    """
    values = clips.flatten(2).float()
    values = values - values[:, :1]  # exact zeros where nothing changes
    frames = values.shape[1]
    window = torch.sin(torch.pi * (torch.arange(frames, device=values.device) + 0.5) / frames).square()[:, None]
    mean = (values * window).sum(1, keepdim=True) / window.sum()
    energy = torch.fft.rfft((values - mean) * window, dim=1).abs().square().sum(2)
    energy[:, 1 : (frames + 1) // 2] *= 2  # each stands for two frequencies, but 0 and Nyquist's
    fast = torch.arange(energy.shape[1], device=values.device) / frames > 0.25
    total = energy.sum(1)
    return torch.where(total > 0, (energy * fast).sum(1) / total.clamp_min(1e-12), 0.0)


def _describe(clips: Tensor) -> dict[str, Tensor]:
    grey = luma(clips)
    forth, back = dense_flow(grey), dense_flow(grey.flip(1)).flip(1)
    flow = forth.flatten(0, 1)
    frames = clips.cpu().movedim(-1, 2).float()
    change = (frames[:, 1:] - frames[:, :-1]).abs()
    ahead, inside = follow(frames[:, 1:].flatten(0, 1), flow)
    residual = (ahead.view_as(change) - frames[:, :-1]).abs().mean(2)
    returned = flow + follow(back.flatten(0, 1), flow)[0]
    tracked = (inside & (torch.hypot(*returned.unbind(1)) < ROUND_TRIP_PX)).view_as(residual).flatten(1)
    counted = torch.where(tracked.any(1, keepdim=True), tracked, inside.view_as(residual).flatten(1))
    speed = torch.hypot(*forth.unbind(2)).flatten(2)  # norm(dim=2) takes twenty times as long
    fastest = speed.topk(max(1, round(DYNAMIC_SHARE * speed.shape[2])), 2, sorted=False).values
    return {
        "flow": flow_histograms(forth),
        "mean_change": change.flatten(1).mean(1),
        "warp_error": (residual.flatten(1) * counted).sum(1) / counted.sum(1).clamp_min(1),
        "untracked": 1 - tracked.float().mean(1),
        "dynamic_degree": fastest.mean((1, 2)),
        "flicker": flicker_share(frames),
    }


def _histogram(vectors: Tensor, votes: Tensor) -> Tensor:
    """Shares of the pixels that vote: (N, K, 2, H, W), (N, K, H, W) bool -> (N, cells * bins)."""
    x, y = vectors.unbind(2)
    size = torch.hypot(x, y) / SLOWEST
    level = torch.where(size < 1, size, 1 + size.clamp_min(1).log() / math.log(RATIO)).clamp_max(SPEEDS)
    turn = torch.atan2(y, x) * (ORIENTATIONS / math.tau)
    slow, way = level.floor().clamp_max(SPEEDS - 1), turn.floor()
    faster, later = level - slow, turn - way
    rows, columns = (torch.arange(n) * CELLS // n for n in votes.shape[-2:])
    cell = (torch.arange(len(votes)) * CELLS**2)[:, None, None, None] + CELLS * rows[:, None] + columns
    cell = cell.expand_as(votes) * ORIENTATIONS
    bins, counts = len(votes) * CELLS**2 * ORIENTATIONS * (SPEEDS + 1), 0
    for step, along in ((0, 1 - later), (1, later)):
        place = (cell + (way.long() + step) % ORIENTATIONS) * (SPEEDS + 1) + slow.long()
        for up, share in ((0, 1 - faster), (1, faster)):
            counts = counts + torch.bincount((place + up).flatten(), (votes * along * share).flatten(), bins)
    counts = counts.view(len(votes), CELLS**2, ORIENTATIONS, SPEEDS + 1)
    rest, moving = counts[..., :1].sum(2), counts[..., 1:].flatten(2)  # what is at rest has no direction
    return torch.cat([rest, moving], 2).flatten(1) / votes.flatten(1).sum(1, keepdim=True).clamp_min(1)


def _search():
    """An optical flow search whose settings do not depend on OpenCV's defaults."""
    try:
        import cv2
    except ImportError as error:
        raise UserError("motion needs OpenCV, which is not installed. Run: pip install 'ode_vgan[metrics]'") from error
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for name, value in SEARCH.items():
        getattr(search, f"set{name}")(value)
    return search
