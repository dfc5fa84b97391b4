"""What the studio's page asks for, read from a request's JSON and checked before anything is rendered."""

import math
from dataclasses import dataclass

from ode_vgan.errors import UserError

MAX_FRAMES = 512
MAX_PIXELS = 2**25  # of all frames of one answer: 512 frames at 256 px
MAX_TEXT = 500
REACH_SECONDS = 600.0
SEEDS = 2**31
MAX_RUNS = 8


@dataclass(frozen=True)
class Asked:
    """One clip of one run.

    Attributes:
        run: its name in the studio. times: seconds from the clip's start, rising; below 0 is before it.
        text, text_to: captions at both ends of a walk, text_mix in [0, 1] where on it.
        seed, seed_to, seed_mix: of the latents, likewise. noise: seed of the noise along the path; None takes the
            clip's own.
        page, turn: who asks, and how many-eth time; an older turn is dropped.
    """

    run: str
    times: tuple[float, ...]
    text: str
    text_to: str
    text_mix: float
    seed: int
    seed_to: int
    seed_mix: float
    noise: int | None
    page: str
    turn: int

    def at(self, times: tuple[float, ...]) -> "Asked":
        """The same clip at other times."""
        return Asked(**{**self.__dict__, "times": times})


def asked_clip(body: dict) -> Asked:
    """One clip of a request.

    Raises:
        UserError: a field is missing, of another kind, or out of its range.
    """
    unknown = sorted(set(body) - set(Asked.__dataclass_fields__))
    if unknown:
        raise UserError(f"{', '.join(unknown)[:80]} is nothing the studio knows. Leave it out.")
    text = _text(body, "text")
    seed = _whole(body, "seed", 0)
    return Asked(
        run=_text(body, "run"),
        times=_times(body.get("times")),
        text=text,
        text_to=_text(body, "text_to", text),
        text_mix=_share(body, "text_mix"),
        seed=seed,
        seed_to=_whole(body, "seed_to", seed),
        seed_mix=_share(body, "seed_mix"),
        noise=None if body.get("noise") is None else _whole(body, "noise", 0),
        page=_text(body, "page", ""),
        turn=_whole(body, "turn", 0),
    )


def asked_clips(body: dict) -> list[Asked]:
    """The clips of a film, `{"clips": [...]}`, which share their times.

    Raises:
        UserError: none or more than 8, or their times differ.
    """
    clips = body.get("clips")
    if not isinstance(clips, list) or not 1 <= len(clips) <= MAX_RUNS or not all(isinstance(c, dict) for c in clips):
        raise UserError(f"clips must be a list of 1 to {MAX_RUNS} objects.")
    asked = [asked_clip(clip) for clip in clips]
    if len({clip.times for clip in asked}) > 1:
        raise UserError("the clips of a film must have the same times.")
    return asked


def check_pixels(frames: int, size: int) -> None:
    """Refuse an answer that would not fit in memory.

    Raises:
        UserError: more pixels than 512 frames of 256 px have.
    """
    if frames * size * size > MAX_PIXELS:
        raise UserError(f"{frames} frames at {size} px are too many; at most {MAX_PIXELS // size**2} at this size.")


def _times(found) -> tuple[float, ...]:
    numbers = isinstance(found, list) and all(_is_number(one) for one in found)
    if not numbers or not 1 <= len(found) <= MAX_FRAMES:
        raise UserError(f"times must be a list of 1 to {MAX_FRAMES} seconds.")
    times = tuple(float(one) for one in found)
    if any(abs(one) > REACH_SECONDS for one in times):
        raise UserError(f"times reach {max(map(abs, times)):.4g} s; stay within {REACH_SECONDS:g} s of the start.")
    if any(after <= here for here, after in zip(times, times[1:], strict=False)):
        raise UserError("times must rise. Sort them and drop repeats.")
    return times


def _is_number(one) -> bool:
    if isinstance(one, bool) or not isinstance(one, int | float):
        return False
    return isinstance(one, int) and abs(one) < 2**53 or isinstance(one, float) and math.isfinite(one)


def _text(body: dict, name: str, otherwise: str | None = None) -> str:
    text = body.get(name, otherwise)
    if not isinstance(text, str):
        raise UserError(f"{name} must be given as a text.")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{name} has half a character (a lone surrogate). Type it again.")
    if len(text) > MAX_TEXT:
        raise UserError(f"{name} has {len(text)} characters, at most {MAX_TEXT}. Shorten it.")
    return text


def _whole(body: dict, name: str, otherwise: int) -> int:
    number = body.get(name, otherwise)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < SEEDS:
        raise UserError(f"{name}={str(number)[:40]} must be a whole number from 0 to {SEEDS - 1}.")
    return number


def _share(body: dict, name: str) -> float:
    number = body.get(name, 0.0)
    if not _is_number(number) or not 0 <= number <= 1:
        raise UserError(f"{name}={str(number)[:40]} must be from 0 to 1.")
    return float(number)
