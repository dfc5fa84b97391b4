import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ode_vgan.data.windows import Sampling
from ode_vgan.errors import UserError
from ode_vgan.metrics.controls import backwards, frozen, noisy, shuffled
from ode_vgan.metrics.evaluate import evaluate_generator, jackknife_error, merge_repeats, render_chunks, score
from ode_vgan.metrics.colour import ColourLayout
from ode_vgan.metrics.features import standardise
from ode_vgan.metrics.frechet import frechet_from_features
from ode_vgan.metrics.hog3d import Hog3d

FRAMES, PX = 4, 16


def moving(count: int, seed: int) -> torch.Tensor:
    """(N, 4, 16, 16, 3) uint8: discs of random colour that move in random directions."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:PX, :PX]
    start, step = draw.uniform(4, 12, (count, 2)), draw.normal(0, 0.8, (count, 2))
    centre = start[:, None] + step[:, None] * np.arange(FRAMES)[None, :, None]
    square = (x - centre[..., 0, None, None]) ** 2 + (y - centre[..., 1, None, None]) ** 2
    shade = np.exp(-square / 10)[..., None] * draw.uniform(80, 255, (count, 1, 1, 1, 3))
    return torch.from_numpy(shade.astype(np.uint8))


class Discs:
    """Stands in for a data module: real clips are discs, and text is their number."""

    source, sampling = "discs", Sampling()

    def real_clips(self, clips, *, split, seed):
        times = torch.arange(FRAMES).expand(clips, FRAMES) / 24
        text = torch.nn.functional.one_hot(torch.arange(clips) % 3, 3).float()
        names = [f"{split} {i % 3}" for i in range(clips)]
        return SimpleNamespace(frames=moving(clips, seed + 100), times=times, text=text, captions=names)


def perfect(text, times, seed):
    return moving(len(text), seed)


def still(text, times, seed):
    return frozen(moving(len(text), seed), torch.Generator().manual_seed(seed))


def blank(text, times, seed):
    return torch.full((len(text), FRAMES, PX, PX, 3), 128, dtype=torch.uint8)


@pytest.fixture(scope="module")
def scores():
    generators = {"perfect": perfect, "still": still, "blank": blank}
    return {
        name: evaluate_generator(render, Discs(), 128, repeats=2, extractors=(Hog3d(), ColourLayout()))
        for name, render in generators.items()
    }


def test_a_perfect_generator_scores_the_floor_and_worse_ones_rank_below_it(scores):
    found = {name: each["fd_hog3d"].value for name, each in scores.items()}
    assert abs(scores["perfect"]["fd_hog3d"].ratio - 1) < 0.25  # the floor of 128 discs varies by 15 %
    assert found["perfect"] < 0.5 * min(found["still"], found["blank"])


def test_a_generator_of_held_frames_scores_the_frozen_control(scores):
    found = scores["still"]["fd_hog3d"]
    assert abs(found.value / found.controls["frozen"] - 1) < 0.15
    assert found.controls["shuffled"] > 1.5 * found.floor


def test_the_interval_holds_the_value_and_the_spread_is_over_repeats(scores):
    found = scores["perfect"]["fd_hog3d"]
    assert found.low < found.value < found.high
    assert found.sd is not None and found.floor_sd is not None and found.protocol["repeats"] == 2


def test_a_score_is_plain_json_with_its_whole_protocol(scores):
    plain = json.loads(json.dumps(scores["perfect"]["fd_hog3d"].to_json()))
    assert plain["name"] == "fd_hog3d"
    protocol = plain["protocol"]
    stated = {"extractor": "hog3d_v1", "clips_real": 128, "clips_fake": 128, "frames": 4, "size_px": "16", "seed": 0}
    assert stated.items() <= protocol.items()
    assert {"extractor_sha256", "stride", "gap_seconds", "resize", "split", "source", "captions"} <= protocol.keys()


def test_a_score_is_the_same_again_and_another_with_another_seed():
    one, again, other = (evaluate_generator(perfect, Discs(), 40, seed=seed)["fd_hog3d"] for seed in (0, 0, 5))
    assert one == again
    assert one.value != other.value and one.floor != other.floor


def test_a_generator_is_asked_in_chunks_for_the_captions_and_times_of_the_second_half():
    asked = []

    def render(text, times, seed):
        asked.append((text, times, seed))
        return perfect(text, times, seed)

    evaluate_generator(render, Discs(), 50, chunk=20)
    real = Discs().real_clips(100, split="train", seed=0)
    assert [len(text) for text, _, _ in asked] == [20, 20, 10]
    assert torch.equal(torch.cat([text for text, _, _ in asked]), real.text[50:])
    assert torch.equal(torch.cat([times for _, times, _ in asked]), real.times[50:])
    assert len({seed for _, _, seed in asked}) == 3


def test_a_score_of_the_reference_itself_is_zero():
    real = moving(30, 0)
    found = score(real, moving(30, 1), real, Hog3d())
    assert found.value < 1e-9 and found.floor > 1


def test_the_jackknife_error_is_near_the_deviation_of_fresh_draws():
    def distance(seed):
        draw = torch.Generator().manual_seed(seed)
        a, b = torch.randn(2, 400, 4, generator=draw, dtype=torch.float64)
        return a, b + 0.5

    errors = [jackknife_error(*distance(seed)) for seed in range(20)]
    spread = torch.stack([frechet_from_features(*distance(seed)) for seed in range(100, 300)]).std()
    assert 0.7 < np.mean(errors) / float(spread) < 1.4  # 10 groups know their own error to a quarter; 20 draws average


def test_merging_keeps_one_score_as_it_is(scores):
    one = scores["perfect"]["fd_hog3d"]
    assert merge_repeats([one]) is one


def test_frozen_clips_hold_one_of_their_frames_and_shuffled_ones_keep_them_all():
    clips, draw = moving(20, 0), torch.Generator().manual_seed(0)
    held, mixed = frozen(clips, draw), shuffled(clips, draw)
    assert torch.equal(held, held[:, :1].expand_as(held))
    assert all((held[i, 0] == clips[i]).flatten(1).all(1).any() for i in range(20))
    assert not any(torch.equal(mixed[i], clips[i]) for i in range(20))
    assert torch.equal(mixed.flatten(2).sort(1).values, clips.flatten(2).sort(1).values)
    assert torch.equal(backwards(backwards(clips)), clips)


def test_noise_raises_the_distance_step_by_step():
    real, other, draw = moving(64, 0), moving(64, 1), torch.Generator().manual_seed(0)
    rows = [Hog3d()(noisy(other, draw, deviation)) for deviation in (0, 4, 16, 64)]
    reference, *rows = standardise(Hog3d()(real), *rows)
    distances = [float(frechet_from_features(reference, part)) for part in rows]
    assert distances == sorted(distances) and distances[-1] > 1.5 * distances[0]


def test_sets_that_cannot_be_compared_are_refused():
    real = moving(30, 0)
    with pytest.raises(UserError, match="make them equal"):
        score(real, real, real[:, :3], Hog3d())
    with pytest.raises(UserError, match="needs 20 or more"):
        score(real[:5], real[:5], real[:5], Hog3d())
    with pytest.raises(UserError, match="20 clips or more"):
        evaluate_generator(perfect, Discs(), 10)


def test_rendering_in_chunks_keeps_order():
    text = torch.arange(7.0)[:, None]
    out = render_chunks(lambda text, times, seed: text * 1, text, torch.zeros(7, 2), seed=0, chunk=3)
    assert torch.equal(out, text)
