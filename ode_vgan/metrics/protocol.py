"""Protocols by key: what is measured on how many clips of how many frames, and whose published number it is like."""

import difflib
import re
from dataclasses import dataclass

from ode_vgan.errors import UserError


@dataclass(frozen=True)
class Metric:
    """A kind of number.

    Attributes:
        extractor: the one it is made on unless a key names another. better: "lower" or "higher".
        says: what it is, in words. needs_text: it reads the captions.
        like, differs: as a `Protocol`'s.
    """

    extractor: str
    says: str
    better: str = "lower"
    needs_text: bool = False
    like: str = ""
    differs: str = ""


FVD_I3D = "i3d:half_pixel"
METRICS = {
    "fvd": Metric(FVD_I3D, "Fréchet distance on I3D's 400 logits"),
    "fd": Metric("hog3d", "Fréchet distance on any extractor, standardised by the real clips"),
    "fid": Metric("effnet_frames", "Fréchet distance over single frames; not Inception's FID"),
    "kvd": Metric(
        FVD_I3D, "unbiased kernel distance, polynomial of degree 3",
        like="TATS", differs="I3D with batch norm eps 1e-3, theirs has 1e-5; kvdN_Tf_i3d:tats has theirs",
    ),
    "prdc": Metric(
        FVD_I3D, "precision, recall, density and coverage, k = 5", "higher",
        like="Naeem et al. (2020)", differs="on video features",
    ),
    "is": Metric(
        "c3d", "Inception Score of C3D's class probabilities", "higher",
        like="TGAN-v2, with --repeats 10", differs="frames are resized by torch, not chainer",
    ),
    "clipsim": Metric(
        "clip_frames", "100 x cosine of caption and frames, mean over frames; also of shuffled captions", "higher", True
    ),
    "tempcons": Metric("clip_frames", "cosine of consecutive frames' CLIP embeddings", "higher"),
    "motion": Metric("motion", "distances of flow histograms and of motion scalars"),
    "jedi": Metric(
        "vjepa", "100 x polynomial kernel distance of degree 2 on V-JEPA features; also unbiased",
        like="JEDi (Luo et al., 2024)", differs="5,000 clips there",
    ),
    "cmmd": Metric(
        "clip_frames:ViT-L-14-336", "1000 x Gaussian kernel distance on CLIP frames; also unbiased",
        like="CMMD (Jayasumana et al., 2024)", differs="on frames of clips",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """How one number is made.

    Attributes:
        key: the name in tables and logs.
        metric: a key of METRICS. extractor: as `find_extractor` takes it.
        clips: N on each side. frames: T; None is the window of the run or data set.
        every: source frames from one frame to the next, times the data's own stride.
        correction: covariances are over N - correction.
        first: real clips are the first N by name, instead of N drawn by seed.
        splits: of the Inception Score.
        like: whose published protocol it reproduces. differs: in what it still differs from it.
    """

    key: str
    metric: str
    extractor: str
    clips: int
    frames: int | None = None
    every: int = 1
    correction: int = 1
    first: bool = False
    splits: int = 1
    like: str = ""
    differs: str = ""


FVD_STYLES = {  # suffix of an fvd key -> what changes
    "": {
        "extractor": FVD_I3D,
        "correction": 0,
        "like": "StyleGAN-V, Long Video GAN",
        "differs": "real clips are drawn by seed, not the first N by name; our conversion of the TF-Hub weights",
    },
    "first": {
        "extractor": FVD_I3D,
        "correction": 0,
        "first": True,
        "like": "StyleGAN-V as released (real clips are the first N by name)",
        "differs": "the offset of each window is seeded; our conversion of the TF-Hub weights",
    },
    "google": {
        "extractor": "i3d",
        "like": "Unterthiner et al. (2018), the reference code",
        "differs": "float64 instead of float32 covariances",
    },
    "tats": {
        "extractor": "i3d:tats",
        "like": "TATS",
        "differs": "float64 and exact, where theirs is 0.2 % high (float32 SVD)",
    },
    "videogpt": {
        "extractor": "i3d:videogpt",
        "like": "VideoGPT, the BAIR protocol",
        "differs": "float64 and exact, where theirs is 0.2 % high (float32 SVD); use --repeats for its trials",
    },
}
PUBLISHED = {  # another's key -> ours, and what changes
    "fvd256_16f": ("fvd256_16f_videogpt", {}),
    "isv2048_ucf": ("is2048_16f", {"splits": 10, "like": "StyleGAN-V"}),
    "isv10k_ucf": ("is10000_16f", {"splits": 10, "like": "TATS, DIGAN, MoCoGAN-HD (10,000 clips)"}),
}
KEY = re.compile(
    r"(?P<metric>[a-z]+?)(?P<clips>\d+)(?:_(?P<frames>\d+)f)?(?:_subsample(?P<every>\d+)f)?(?:_(?P<suffix>[A-Za-z0-9_:./-]+))?"
)


def parse_protocol(key: str) -> Protocol:
    """The protocol of a key: `METRIC N [_ T f] [_subsample K f] [_EXTRACTOR]`, as in fvd2048_16f or fd512_hog3d.

    With `_subsampleKf` the window spans T source frames, of which every K-th is taken.

    Raises:
        UserError: no such metric, style, or numbers that make no window.
    """
    ours, changes = PUBLISHED.get(key, (key, {}))
    parts = KEY.fullmatch(ours)
    if not parts or parts["metric"] not in METRICS:
        word = re.match(r"[a-z]*", key)[0]
        near = difflib.get_close_matches(word, METRICS, 1)
        hint = f"did you mean {near[0]}...?" if near else f"metrics are {', '.join(METRICS)}."
        raise UserError(f"protocol {key!r} is not METRIC N _ T f, such as fvd2048_16f; {hint}")
    metric, clips = parts["metric"], int(parts["clips"])
    frames, every = (int(parts[name]) if parts[name] else None for name in ("frames", "every"))
    if every is not None:
        if frames is None or every < 1 or frames // every < 1:
            raise UserError(
                f"protocol {key!r}: every {every}th of {frames} frames makes no window; use _128f_subsample8f."
            )
        frames = frames // every
    if clips < 20 or frames == 0:
        raise UserError(
            f"protocol {key!r}: {clips} clips of {frames} frames; use 20 clips or more and 1 frame or more."
        )
    kind, suffix = METRICS[metric], parts["suffix"] or ""
    given = {"extractor": kind.extractor, "like": kind.like, "differs": kind.differs}
    given |= (
        _style(key, suffix) if metric == "fvd" else {"extractor": suffix, "like": "", "differs": ""} if suffix else {}
    )
    return Protocol(key=key, metric=metric, clips=clips, frames=frames, every=every or 1, **(given | changes))


def parse_protocols(keys: str) -> list[Protocol]:
    """Protocols of keys with commas between them, each once."""
    names = [key.strip() for key in keys.split(",") if key.strip()]
    if not names:
        raise UserError("no protocol named; try --protocol fd512_hog3d or fvd2048_16f.")
    return [parse_protocol(key) for key in dict.fromkeys(names)]


def _style(key: str, suffix: str) -> dict:
    if suffix not in FVD_STYLES:
        styles = ", ".join(filter(None, FVD_STYLES))
        raise UserError(f"protocol {key!r}: FVD has no style {suffix!r}; there are {styles}, or none.")
    return FVD_STYLES[suffix]
