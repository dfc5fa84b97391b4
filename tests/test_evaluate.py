import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ode_vgan.data.clips import Clip
from ode_vgan.data.shards import Entry
from ode_vgan.data.shards import Source as Bytes
from ode_vgan.data.store import ClipStore
from ode_vgan.data.windows import ClipWindows, Sampling
from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import Batch, ClipSet, Source
from ode_vgan.metrics.controls import frozen
from ode_vgan.metrics.evaluate import evaluate, work
from ode_vgan.metrics.features import find_extractor
from ode_vgan.metrics.protocol import parse_protocols

FRAMES, PX, CLIPS = 4, 16, 128


def moving(count: int, seed: int, px: int = PX) -> torch.Tensor:
    """(N, 4, 16, 16, 3) uint8: discs of random colour that move in random directions."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:px, :px]
    start, step = draw.uniform(4, 12, (count, 2)), draw.normal(0, 0.8, (count, 2))
    centre = start[:, None] + step[:, None] * np.arange(FRAMES)[None, :, None]
    square = (x - centre[..., 0, None, None]) ** 2 + (y - centre[..., 1, None, None]) ** 2
    shade = np.exp(-square / 10)[..., None] * draw.uniform(80, 255, (count, 1, 1, 1, 3))
    return torch.from_numpy(shade.astype(np.uint8))


class Made(ClipSet):
    """Clips in memory."""

    def __init__(self, frames):
        self.all, self.clips, self.frames, self.skipped = frames, len(frames), frames.shape[1], {}

    def batches(self, size):
        times = torch.arange(self.frames).expand(len(self.all), -1) / 24
        for i in range(0, self.clips, size):
            part, count = slice(i, i + size), len(self.all[i : i + size])
            names = [f"made {j}" for j in range(i, i + count)]
            yield Batch(self.all[part], times[part], names, [""] * count, None)


def discs(count: int) -> Source:
    """A source of real clips: discs."""
    entries = [Entry(f"disc {i}", "a disc", {}, Bytes(Path())) for i in range(count)]
    store = ClipStore(entries, PX)
    store.kept = {i: Clip(clip.numpy(), np.arange(FRAMES) / 24) for i, clip in enumerate(moving(count, 100))}
    return Source(ClipWindows(store, torch.ones(count, 1), frames=FRAMES, sampling=Sampling(), seed=0), "discs", "all")


def perfect(protocol, other, seed):
    return Made(moving(protocol.clips, 7 + seed))


def still(protocol, other, seed):
    return Made(frozen(moving(protocol.clips, 7 + seed), torch.Generator().manual_seed(seed)))


def blank(protocol, other, seed):
    return Made(torch.full((protocol.clips, FRAMES, PX, PX, 3), 128, dtype=torch.uint8))


def judged(keys, subjects, videos=2 * CLIPS, **options):
    protocols = parse_protocols(keys)
    extractors = {one.extractor: find_extractor(one.extractor) for one in protocols}
    return evaluate(discs(videos), subjects, protocols, extractors, **options)


@pytest.fixture(scope="module")
def found():
    subjects = {"perfect": perfect, "still": still, "blank": blank}
    return judged(f"fd{CLIPS}_hog3d,kvd{CLIPS}_hog3d", subjects, repeats=2, controls=("frozen", "shuffled"))


def results(found, name):
    return {one.subject: one for one in found.results if one.name == name}


def test_a_perfect_generator_scores_as_other_real_clips_and_worse_ones_rank_below(found):
    scores = results(found, f"fd{CLIPS}_hog3d")
    assert abs(scores["perfect"].value / scores["perfect"].real - 1) < 0.25  # N=128 varies by 15 %
    assert scores["perfect"].value < 0.5 * min(scores["still"].value, scores["blank"].value)


def test_the_unbiased_kernel_distance_of_a_perfect_generator_is_near_0(found):
    scores = results(found, f"kvd{CLIPS}_hog3d")
    assert abs(scores["perfect"].value) < 0.1 * scores["still"].value
    assert scores["still"].debiased is None and scores["still"].low < scores["still"].value < scores["still"].high


def test_a_generator_of_held_frames_scores_the_frozen_control(found):
    scores = results(found, f"fd{CLIPS}_hog3d")
    assert abs(scores["still"].value / scores["frozen"].value - 1) < 0.15
    assert scores["shuffled"].value > 1.5 * scores["shuffled"].real


def test_every_result_has_an_interval_a_spread_and_its_whole_protocol(found):
    for one in found.results:
        assert one.low < one.high and one.sd is not None and one.real_sd is not None
        plain = json.loads(json.dumps(one.to_json()))["protocol"]
        stated = {"clips_real": CLIPS, "clips_fake": CLIPS, "frames": FRAMES, "size_px": "16", "seed": 0, "repeats": 2}
        assert stated.items() <= plain.items()
        assert {"extractor_sha256", "stride", "gap_seconds", "resize", "split", "like"} <= plain.keys()
        assert ("covariance" in plain) == one.name.startswith("fd")


def test_subjects_are_compared_in_pairs_with_a_sign(found):
    pairs = {(one["a"], one["b"]): one for one in found.differences if one["name"] == f"fd{CLIPS}_hog3d"}
    assert pairs.keys() == {("perfect", "still"), ("perfect", "blank"), ("still", "blank")}
    assert pairs["perfect", "still"]["high"] < 0 and pairs["perfect", "still"]["significant"]


def test_the_same_call_gives_the_same_numbers_and_another_seed_others():
    one, again, other = (judged("fd40_hog3d", {"still": still}, seed=seed).results[0] for seed in (0, 0, 5))
    assert one == again and one.value != other.value


def test_windows_that_share_videos_are_counted_and_nothing_is_debiased():
    apart, shared = (judged("fd80_colour", {"still": still}, videos=videos).results[0] for videos in (160, 150))
    assert apart.protocol["windows_sharing_videos"] == 0 and apart.debiased is not None
    assert shared.protocol["windows_sharing_videos"] == 10 and shared.debiased is None


def test_all_subjects_judge_the_same_clips_and_the_work_is_told_ahead():
    done, protocols = [], "fd40_hog3d,fd40_colour,fd60_hog3d"
    judged(protocols, {"still": still}, repeats=2, controls=("frozen",), advance=done.append)
    assert sum(done) == work(1, parse_protocols(protocols), repeats=2, controls=1) == 2 * (40 + 60) * 4


def test_windows_too_short_or_too_long_for_an_extractor_are_refused_before_any_work():
    protocols = parse_protocols("fd40_4f_hog3d")
    asked = {"x": lambda *_: pytest.fail("asked for clips")}
    for least, most, told in (
        (9, None, "9 or more; use fd40_16f"),
        (2, 3, "2 to 3; use fd40_3f"),
        (16, 16, "needs 16;"),
    ):
        extractor = find_extractor("hog3d")
        extractor.min_frames, extractor.max_frames = least, most
        with pytest.raises(UserError, match=f"windows of 4 frames, hog3d needs .*{told.removeprefix('needs ')}"):
            evaluate(discs(80), asked, protocols, {"hog3d": extractor})


def test_clips_of_another_size_than_the_real_ones_are_refused():
    with pytest.raises(UserError, match="large has clips of 24x24 px, the real ones 16x16; give --size PX"):
        judged("fd40_hog3d", {"large": lambda *_: Made(moving(40, 0, px=24))})


def test_no_repeats_are_refused():
    with pytest.raises(UserError, match="0 repeats"):
        judged("fd40_hog3d", {"still": still}, repeats=0)
