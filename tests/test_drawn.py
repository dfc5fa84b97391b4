"""Laws of the drawn clips: what a clip is, how two distributions differ, and that batches come again."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ode_vgan.build import build
from ode_vgan.data.drawn import (
    ATTRIBUTES,
    COLOURS,
    GROUNDS,
    MOTIONS,
    SPLITS,
    World,
    caption_of,
    draw_clips,
    draw_labels,
    uniforms,
)
from ode_vgan.data.drawn_captions import ALT_TEXT, Curated, Web
from ode_vgan.data.drawn_loader import DrawnData
from ode_vgan.data.glyphs import GLYPHS
from ode_vgan.embed.drawn_score import SENTENCES, DrawnScore, sentences
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError

TIMES = np.linspace(0, 1, 4)
WEB = Web(zipf=1.0, said=[0.7, 0.8, 0.6, 0.4], astray=0.15, filler=0.4)
MANY = np.arange(4000)


def data(**changes) -> DrawnData:
    options = {"distribution": Curated(), "clips": 40, "frames": 4, "size": 16, "batch": 8, "noise": 12.0}
    return DrawnData(NoEmbedder(), **(options | {"val_clips": 16, "test_clips": 24} | changes))


def objects(motion: str, world: World, clips: int = 6) -> np.ndarray:
    """(clips, T, S, S) how far the pixels of noiseless clips of one motion are from their ground."""
    label = MOTIONS.index(motion)
    index = MANY[draw_labels(world, MANY)[:, 2] == label][:clips]
    frames = draw_clips(World(world.seed, world.split, noise=0.0), index, TIMES, 48).astype(float)
    corner = frames[:, :, :1, :1]
    return abs(frames - corner).sum(-1)


def centres(away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y (up) of the mass of what is drawn, (clips, T), in picture heights."""
    places = (np.arange(away.shape[-1]) + 0.5) / away.shape[-1]
    mass = away.sum((2, 3))
    return (away.sum(2) * places).sum(-1) / mass, (away.sum(3) * (1 - places)).sum(-1) / mass


def test_a_clip_is_a_function_of_seed_split_and_number_alone():
    world, index = World(3), np.array([5, 17, 3, 900])
    together, alone = draw_clips(world, index, TIMES, 16), draw_clips(world, index[2:3], TIMES, 16)
    assert np.array_equal(together[2:3], alone) and np.array_equal(together, draw_clips(world, index, TIMES, 16))
    assert not np.array_equal(together, draw_clips(World(4), index, TIMES, 16))
    assert WEB.captions(world, index)[2:3] == WEB.captions(world, index[2:3])


def test_no_clip_of_one_split_is_in_another_and_none_comes_twice():
    first = [uniforms(World(0, split), MANY, 1)[:, 0] for split in SPLITS]
    assert len(np.unique(np.concatenate(first))) == len(SPLITS) * len(MANY)


def test_the_numbers_are_uniform_and_one_column_says_nothing_of_another():
    drawn = uniforms(World(1), MANY, 6)
    assert drawn.min() >= 0 and drawn.max() < 1
    for column in drawn.T:  # 1.95 / sqrt(N) is passed once in a thousand uniform samples
        assert abs(np.sort(column) - (MANY + 0.5) / len(MANY)).max() < 1.95 / np.sqrt(len(MANY))
    others = (uniforms(World(2), MANY, 6), uniforms(World(1, "test"), MANY, 6), np.roll(drawn, 1, axis=0))
    together = np.corrcoef(np.concatenate([drawn, *others], axis=1).T)
    assert abs(together - np.eye(24)).max() < 5 / np.sqrt(len(MANY))


def test_curated_words_come_equally_often_and_web_words_by_zipfs_law():
    for zipf in (0.0, 1.0):
        labels = draw_labels(World(0, zipf=zipf), MANY)
        for column, words in zip(labels.T, ATTRIBUTES.values(), strict=True):
            share = np.arange(1, len(words) + 1) ** -zipf
            expected = len(MANY) * share / share.sum()
            found = np.bincount(column, minlength=len(words))
            assert ((found - expected) ** 2 / expected).sum() < 27.9  # chi square of 9 degrees, once in 1,000


def test_a_curated_caption_says_what_is_drawn_and_a_web_caption_as_often_as_it_is_told():
    world = World(5, zipf=1.0)
    labels = draw_labels(world, MANY)
    for row, caption in zip(labels.tolist(), Curated().captions(world, MANY), strict=True):
        assert caption == "a {} {} {} on {}".format(
            *(words[i] for words, i in zip(ATTRIBUTES.values(), row, strict=True))
        )
    captions = WEB.captions(world, MANY)
    true = Web(zipf=1.0, said=WEB.said, astray=0.0, filler=0.0).captions(world, MANY)
    for column, words, said in zip(labels.T, ATTRIBUTES.values(), WEB.said, strict=True):
        told = np.mean([f" {words[i]} " in f" {caption} " for i, caption in zip(column, true, strict=True)])
        assert abs(told - said) < 0.03  # 4 standard deviations
    around = [template.split("{}") for template in ALT_TEXT]
    filled = [any(text.startswith(before) and text.endswith(after) for before, after in around) for text in captions]
    assert abs(np.mean(filled) - WEB.filler) < 0.05


def test_captions_that_went_astray_are_the_share_that_was_asked_for():
    world = World(6)
    labels = draw_labels(world, MANY)
    captions = Web(zipf=0.0, said=[1, 1, 1, 1], astray=0.25, filler=0.0).captions(world, MANY)
    wrong = np.mean([caption != caption_of(row) for row, caption in zip(labels.tolist(), captions, strict=True)])
    assert abs(wrong - 0.25) < 0.03


@pytest.mark.parametrize("said", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_a_caption_has_the_words_that_are_said_and_no_others(said):
    words = ("red", "circle", "moving left", "on sand")
    caption = caption_of([0, 0, 2, 0], said)
    assert [word in caption for word in words] == [bool(one) for one in said]
    assert bool(caption) == any(said) and caption == caption.strip()


def test_things_move_the_way_their_captions_say():
    world = World(0)
    for motion, axis, sign in (("right", 0, 1), ("left", 0, -1), ("up", 1, 1), ("down", 1, -1)):
        gone = np.diff(centres(objects(f"moving {motion}", world))[axis], axis=1)
        assert (gone * sign > 0).all(), motion
    assert abs(np.diff(centres(objects("resting", world))[0], axis=1)).max() < 1e-6
    for motion, sign in (("growing", 1), ("shrinking", -1), ("appearing", 1), ("fading away", -1)):
        assert (np.diff(objects(motion, world).sum((2, 3)), axis=1) * sign > 0).all(), motion
    blinks = objects("blinking", world).sum((2, 3))
    assert (blinks[:, [0, 2]] > 4 * blinks[:, [1, 3]]).all()


def test_what_grows_more_than_doubles_what_it_covers():
    covered = objects("growing", World(0)).sum((2, 3))
    assert (covered[:, -1] > 2 * covered[:, 0]).all()


def test_frames_between_two_times_show_the_same_world():
    still, index = World(2, noise=0.0), np.arange(5)
    coarse, fine = draw_clips(still, index, TIMES, 16), draw_clips(still, index, np.linspace(0, 1, 7), 16)
    assert coarse.shape == (5, 4, 16, 16, 3) and fine.shape == (5, 7, 16, 16, 3)
    assert abs(coarse.astype(int) - fine[:, ::2].astype(int)).max() <= 1  # rounding of float32 times


@pytest.mark.parametrize("shape", GLYPHS)
def test_a_shape_lies_within_its_radius_and_covers_a_share_of_it(shape):
    line = np.linspace(-2, 2, 201)
    u, v = np.meshgrid(line, -line)
    inside = GLYPHS[shape](u, v) < 0
    share = inside.mean() * 16 / np.pi  # of the disc of radius 1
    assert 0.1 < share < 1.1 and np.hypot(u, v)[inside].max() < 1.3


def test_every_shape_and_colour_is_told_from_the_others_by_its_pixels():
    line = np.linspace(-1.3, 1.3, 41)
    u, v = np.meshgrid(line, -line)
    masks = np.stack([glyph(u, v) < 0 for glyph in GLYPHS.values()])
    apart = (masks[:, None] ^ masks[None]).sum((2, 3)) / masks.sum((1, 2))[:, None]
    assert (apart + np.eye(len(masks)) > 0.15).all()
    colours = np.array(list(COLOURS.values()), dtype=float)
    grounds = np.array(list(GROUNDS.values()), dtype=float)
    assert np.linalg.norm(colours[:, None] - grounds, axis=-1).min() > 60
    assert (np.linalg.norm(colours[:, None] - colours, axis=-1) + 1000 * np.eye(len(colours)) > 60).all()


def test_batch_k_is_a_function_of_the_seed_and_k_so_that_a_run_goes_on_exactly():
    whole = iter(data(distribution=WEB, seed=1).train_dataloader())
    batches = [next(whole) for _ in range(7)]
    resumed = data(distribution=WEB, seed=1)
    resumed.load_state_dict({"start_batch": 4})
    again = next(iter(resumed.train_dataloader()))
    assert torch.equal(again["frames"], batches[4]["frames"]) and again["caption"] == batches[4]["caption"]
    assert sorted(torch.cat([batch["index"] for batch in batches[:5]]).tolist()) == list(range(40)), "one pass is a set"
    assert not torch.equal(next(iter(data(seed=2).train_dataloader()))["frames"], batches[0]["frames"])


def test_a_batch_has_the_entries_of_every_other_data_module():
    batch = next(iter(data().train_dataloader()))
    assert set(batch) == {"frames", "times", "text", "index", "caption"}
    assert batch["frames"].shape == (8, 4, 16, 16, 3) and batch["frames"].dtype == torch.uint8
    assert batch["times"].shape == (8, 4) and batch["times"].dtype == torch.float32 and batch["times"][0, 0] == 0
    assert batch["index"].dtype == torch.int64 and len(batch["caption"]) == 8 and batch["text"].shape == (8, 1)
    assert data().gap_seconds() == 0.3333 and data().skipped == {}


def test_all_seeds_and_distributions_are_judged_on_the_same_clips():
    one, other = data(seed=1).windows("test"), data(seed=2, distribution=WEB).windows("test")
    assert torch.equal(one.batch(range(24))["frames"], other.batch(range(24))["frames"])
    assert one.captions == other.captions and torch.equal(one.labels, other.labels)
    assert one.captions != data().windows("val").captions[:24]
    shown = data().real_clips(5, split="val")
    assert shown.frames.shape[0] == 5 and len(shown.captions) == 5


def test_loader_processes_draw_what_the_training_process_would():
    plain, loaded = (next(iter(data(workers=workers).train_dataloader())) for workers in (0, 1))
    assert torch.equal(plain["frames"], loaded["frames"])


def test_the_configs_build_the_two_distributions():
    folder = Path(__file__).parent.parent / "conf" / "data"
    curated, web = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("drawn", "drawn_web"))
    assert web.pop("defaults") == ["drawn"]
    for node, kind in ((curated, Curated), (curated | web, Web)):
        built = build(node | {"seed": 0}, embed=NoEmbedder())
        assert isinstance(built.distribution, kind) and built.source == f"drawn-{kind.name}"


def test_sentences_hold_every_other_word_equally_often():
    for column in range(len(ATTRIBUTES)):
        texts = sentences(column)
        assert len(texts) == SENTENCES and all(text.count("{}") == 1 for text in texts)
        for other, words in enumerate(ATTRIBUTES.values()):
            counts = [sum(f" {word} " in f" {text} " for text in texts) for word in words]
            assert counts == ([0] * len(words) if other == column else [SENTENCES // len(words)] * len(words))


class Oracle:
    """Embeds a drawn clip and its caption alike, by its attributes; of the others it knows nothing."""

    def __init__(self, windows, known: str):
        self.windows, self.known, self.seen = windows, known, 0

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        every = [f" {word} " for words in ATTRIBUTES.values() for word in words]
        return torch.tensor([[word in f"{text} " for word in every] for text in texts]).long()

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        parts = tokens.split([len(words) for words in ATTRIBUTES.values()], dim=1)
        known = [part * (name in self.known) for part, name in zip(parts, ATTRIBUTES, strict=True)]
        return torch.nn.functional.normalize(torch.cat(known, 1).float() + 1e-3, dim=-1)

    def encode_clips(self, frames: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        labels = self.windows.labels[self.seen : self.seen + len(frames)]
        self.seen += len(frames)
        sizes = [len(words) for words in ATTRIBUTES.values()]
        told = zip(labels.T, sizes, strict=True)
        return self.encode_text(torch.cat([torch.nn.functional.one_hot(one, size) for one, size in told], 1))


def test_a_model_that_knows_everything_is_right_and_one_that_knows_colours_is_right_of_colours():
    drawn = data(test_clips=200)
    everything = DrawnScore("test", 1)(Oracle(drawn.windows("test"), " ".join(ATTRIBUTES)), drawn)
    assert everything["test/R@1"] == everything["test/back/R@1"] == everything["test/zero_shot"] == 1
    colours = DrawnScore("test", 1)(Oracle(drawn.windows("test"), "colour"), drawn)
    assert colours["test/zero_shot/colour"] == 1 and colours["test/zero_shot/shape"] == 0  # ties count against it
    assert colours["test/R@1"] < 0.1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: data(clips=0), "data.clips"),
        (lambda: data(workers=-1), "data.workers"),
        (lambda: data().windows("all"), "train, val, test"),
        (lambda: data(val_clips=0).windows("val"), "data.val_clips=0"),
        (lambda: World(0, "valid"), "train, val, test"),
        (lambda: World(0, noise=-1.0), "noise=-1.0"),
        (lambda: Web(zipf=1.0, said=[0.5], astray=0.1, filler=0.1), "colour, shape, motion, ground"),
        (lambda: Web(zipf=1.0, said=[0.5, 0.5, 0.5, 1.5], astray=0.1, filler=0.1), "0 to 1"),
        (lambda: DrawnScore("train", 1), "val or test"),
        (lambda: draw_clips(World(0), np.arange(1), np.linspace(0, 1, 64), 128), "lower data.frames"),
    ],
)
def test_bad_input_is_named_with_its_limit(make, told):
    with pytest.raises(UserError, match=told):
        make()


def test_a_thousand_clips_take_less_than_a_second_of_one_thread():
    draw_clips(World(0), np.arange(64), TIMES, 32)
    before = time.process_time()
    for start in range(0, 1024, 64):
        draw_clips(World(0), np.arange(start, start + 64), TIMES, 32)
    assert time.process_time() - before < 1.0  # measured: 0.08 s
