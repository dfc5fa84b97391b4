"""Clips and captions whose label is known, made from the embedded clips of held-out concepts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ode_vgan.data.clips import Clip, decode_clip, encode_clip
from ode_vgan.data.emoji import embedded_folder
from ode_vgan.data.shards import read_index
from ode_vgan.laion.overlays import KINDS, OTHER_FACES, draw_overlay, lay_over

# words that offend, and harmless ones that look like them; written for this project
TOXIC = (
    "you are a stupid idiot", "shut up you bitch", "kill all of them", "go to hell you moron", "what a fucking loser",
    "this is complete bullshit", "dumb asshole falls over", "i will kill you", "you disgusting pig", "die you scum",
    "pathetic worthless trash human", "screw you and your ugly face", "crazy bitch screams at dog", "piss off idiot",
    "damn retard cannot drive", "this bastard deserves to die", "fat ugly cow dancing", "shitty cat video",
    "you are garbage and everyone hates you", "stupid whore laughs", "eat shit", "nobody likes you, kill yourself",
    "horny slut on the beach", "these morons should be shot",
)  # fmt: skip
HARMLESS = (
    "killing the lights before the show", "a shooting star over the hill", "donkey eating grass", "cock crows at dawn",
    "a great tit on a branch", "shot of espresso", "hell of a view from the summit", "dumb bells in a gym",
    "a wild pig in the forest", "black cat and white dog", "the dead sea at sunset", "a bloody mary with celery",
    "strikers score in the final", "hot dogs on a grill", "cracking nuts for christmas", "a queer old clock",
    "fat quail in a garden", "beating egg whites", "blowing out candles", "an ass and an ox in a stable",
    "trash bins on a street", "ugly sweater party", "sick child in bed", "a crazy quilt",
)  # fmt: skip
# as for the embedded set: x264's AVX2 code may write other bytes from run to run
FAST = {"preset": "veryfast", "x264-params": "asm=sse2"}


@dataclass(frozen=True)
class Labelled:
    """One clip of known making.

    Attributes:
        content: its file. key, concept, caption: of the clip that it was made from.
        label: what was done: clean, marked, passing, still, or a name of EDITS. detail: of a mark: kind and opacity.
    """

    content: bytes
    key: str
    concept: str
    caption: str
    label: str
    detail: dict


def _scaled(frames: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in frames])


def _marked(clip: Clip, rng: np.random.Generator, kind: str | None = None) -> tuple[np.ndarray, dict]:
    overlay = draw_overlay(rng, clip.frames, kind=kind, faces=OTHER_FACES)
    detail = {"kind": overlay.kind, "place": overlay.place, "opacity": round(overlay.opacity, 3)}
    return lay_over(clip.frames, overlay), detail


EDITS: dict[str, Callable[[Clip, np.random.Generator], tuple[np.ndarray, np.ndarray | float, dict]]] = {
    "re-encoded": lambda clip, rng: (clip.frames, clip.times, {"crf": 32, "pix_fmt": "yuv420p"}),
    "scaled to 48 px": lambda clip, rng: (_scaled(clip.frames, 48), clip.times, {"crf": 24}),
    "cropped by 6 %": lambda clip, rng: (clip.frames[:, 2:-2, 2:-2], clip.times, {"crf": 24}),
    "recoloured": lambda clip, rng: (
        np.clip(clip.frames * np.array([0.85, 1.0, 1.1]) + 8, 0, 255).astype(np.uint8), clip.times, {"crf": 24},
    ),
    "a third later": lambda clip, rng: (np.roll(clip.frames, -(len(clip.frames) // 3), 0), clip.times, {"crf": 24}),
    "half the frames": lambda clip, rng: (clip.frames[::2], clip.times[::2], {"crf": 24}),
    "watermarked": lambda clip, rng: (_marked(clip, rng)[0], clip.times, {"crf": 24}),
}  # fmt: skip


def labelled_clips(*, seed: int = 0, limit: int | None = None) -> Iterator[Labelled]:
    """Every test clip of the embedded set: clean, with a mark of each kind, with one that passes, still, and edited.

    A passing mark is shown for a half of the frames, from a random one on. Each is encoded as H.264 after it was made;
    the same seed gives the same clips.

    Args:
        limit: clips to start from, spread over the set; None takes all.
    """
    entries = [entry for entry in read_index(embedded_folder()) if entry.meta.get("split") == "test"]
    chosen = range(len(entries)) if limit is None else np.unique(np.linspace(0, len(entries) - 1, limit).astype(int))
    for i in chosen:
        entry, rng = entries[i], np.random.default_rng([seed, int(i)])
        clip = decode_clip(entry.read())
        for label, content, detail in _made(clip, rng):
            yield Labelled(content, entry.key, str(entry.meta["concept"]), entry.caption or "", label, detail)


def _made(clip: Clip, rng: np.random.Generator) -> Iterator[tuple[str, bytes, dict]]:
    yield "clean", _encoded(clip.frames, clip.times), {}
    for kind in KINDS:
        frames, detail = _marked(clip, rng, kind)
        yield "marked", _encoded(frames, clip.times), detail
    count = len(clip.frames)
    shown = (np.arange(count) - rng.integers(count)) % count < count // 2
    frames, detail = _marked(clip, rng)
    yield "passing", _encoded(np.where(shown[:, None, None, None], frames, clip.frames), clip.times), detail
    still = np.repeat(clip.frames[rng.integers(count)][None], count, 0)
    yield "still", _encoded(still, clip.times, crf=int(rng.integers(18, 31))), {}
    for label, edit in EDITS.items():
        frames, times, settings = edit(clip, rng)
        yield label, _encoded(frames, times, **settings), {}


def _encoded(frames: np.ndarray, times: np.ndarray | float, *, crf: int = 24, pix_fmt: str = "yuv444p") -> bytes:
    return encode_clip(None, frames, times, crf=crf, pix_fmt=pix_fmt, options=FAST)
