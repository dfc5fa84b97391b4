"""Laws of what is judged: clips that share no concept, subjects by name, and the tasks as a whole."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from ode_vgan.embed.captioned import read_sides, read_split
from ode_vgan.embed.direction import probed, told_apart
from ode_vgan.embed.evaluate import Plan, embed_side, judge, protocol
from ode_vgan.embed.labels import labels_of
from ode_vgan.embed.neighbours import nearest
from ode_vgan.embed.standings import gaps, ledger_scores, standings
from ode_vgan.embed.subject import Subject, open_subject
from ode_vgan.errors import UserError
from tests.coloured import COLOURS, ColourEmbedder, write_coloured


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coloured")
    write_coloured(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sides(source):
    return read_sides(source, "test", frames=3, val_share=0.3)


PLAN = Plan(classes=("colour", "shade"), least=2, draws=200)


def test_no_concept_lies_on_two_sides_and_every_clip_on_one(source):
    for split in ("test", "val"):
        sides = read_sides(source, split, frames=2, val_share=0.2)
        parts = [set(clips.concepts.tolist()) for clips in (sides.held, sides.train, sides.choose)]
        assert all(parts) and sides.disjoint
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    held = read_sides(source, "test", frames=2).held
    assert {clip["split"] for clip in held.meta} == {"test"}
    aside = read_sides(source, "val", frames=2, val_share=0.2)
    assert {clip["split"] for clip in aside.held.meta + aside.train.meta} == {"train"}


def test_clips_of_a_held_concept_are_taken_off_the_training_side(tmp_path):
    from ode_vgan.data.shapes import write_shapes

    write_shapes(tmp_path, 24, seed=0, frames=4, size=16)
    sides = read_sides(str(tmp_path), "test", frames=2, val_share=0.2)
    assert sides.disjoint and len(sides.held) + len(sides.train) + len(sides.choose) == 24


def test_frames_are_even_with_their_true_times_and_the_digest_is_of_every_pixel(source):
    clips = read_split(source, "all", frames=3)
    assert clips.frames.shape == (72, 3, 16, 16, 3) and clips.frames.dtype == torch.uint8
    assert np.allclose(clips.times[0], [0, 2 / 24, 5 / 24], atol=1e-3)
    again = read_split(source, "all", frames=3)
    assert clips.digest == again.digest
    again.frames[5, 1, 2, 3, 0] ^= 1
    assert clips.digest != again.digest


def test_a_clip_played_backwards_twice_is_itself(sides):
    twice = sides.held.reversed().reversed()
    assert torch.equal(twice.frames, sides.held.frames) and torch.allclose(twice.times, sides.held.times, atol=1e-6)
    assert (sides.held.reversed().times.diff(dim=1) > 0).all()


def test_clips_of_different_sizes_and_empty_splits_are_refused_with_a_remedy(tmp_path, source):
    write_coloured(tmp_path, each=2, sizes=(16, 32))
    with pytest.raises(UserError, match="give --size 128"):
        read_sides(str(tmp_path), "test")
    assert read_sides(str(tmp_path), "test", size=16, frames=2).held.frames.shape[2:4] == (16, 16)
    with pytest.raises(UserError, match="give one of test, val, train"):
        read_sides(source, "dev")
    with pytest.raises(UserError, match="no clip in split 'val' to judge by"):
        read_sides(source, "val", val_share=0.0)


def test_classes_are_the_same_on_all_sides_and_rare_ones_are_counted(source, sides):
    labels = labels_of("colour", sides, 2)
    assert labels.names == sorted(COLOURS) and not labels.left_out
    assert [sides.held.meta[i]["colour"] for i in labels.held[0]] == [labels.names[i] for i in labels.held[1]]
    alone = read_sides(source, "test", frames=1, val_share=0.3, training=False)
    assert alone.train is None and labels_of("colour", alone, 2).names == labels.names
    with pytest.raises(UserError, match="no 'texture' to make classes of. Give --classes of: .*colour"):
        labels_of("texture", sides, 2)
    with pytest.raises(UserError, match="colour has 0 classes of 99"):
        labels_of("colour", sides, 99)


def test_an_embedder_of_colours_knows_colours_and_nothing_of_shades_or_time(sides):
    judged = judge(Subject("colours", ColourEmbedder()), sides, PLAN)
    found = {f"{score.task} {score.metric}": score for score in judged.scores}
    assert found["probe colour accuracy"].value == found["zero-shot colour, 8 templates accuracy"].value == 1
    assert found["zero-shot shade, name alone accuracy"].value == 0  # all its rows are one: ties count against
    assert found["probe shade accuracy"].value < 0.8
    assert found["direction own words"].value == found["direction linear probe"].value == 0.5
    assert found["direction cosine of both ways"].value == pytest.approx(1)
    assert found["text to clip R@10"].value > found["text to clip R@10"].chance
    assert judged.facts["probe colour"]["l2"] in judged.facts["probe colour"]["validation loss"]


def test_every_number_of_a_protocol_is_plain_data_and_names_its_clips(sides):
    told = json.loads(json.dumps(protocol("coloured", "test", sides, PLAN)))
    assert told["held"]["clips"] == len(sides.held) and told["held"]["digest"] == sides.held.digest
    assert told["disjoint"] and told["seed"] == 0 and told["frames"] == 3 and len(told["templates"]) == 8
    assert told["classes"]["colour"]["names"] == sorted(COLOURS)


def test_runs_of_one_family_are_averaged_and_compared_in_pairs(sides):
    embedder = ColourEmbedder()
    judged = [judge(Subject(name, embedder), sides, PLAN) for name in ("a", "runs/b-seed0", "runs/b-seed1")]
    rows, between = standings(judged, PLAN), gaps(judged, PLAN)
    assert {row.family for row in rows} == {"a", "runs/b"}
    pair = [row for row in rows if row.family == "runs/b"]
    assert all(len(row.runs) == 2 and row.sd == 0 for row in pair) and len(rows) == 2 * len(pair)
    assert len(between) == len(pair) and not any(gap.apart for gap in between)
    assert all(row.interval.low <= row.interval.value <= row.interval.high for row in rows)
    json.dumps([one.to_json() for one in [*rows, *between]])
    told = ledger_scores(judged[0], "test", PLAN)
    assert told["test/text_to_clip/R@1"]["low"] <= told["test/text_to_clip/R@1"]["value"]


def test_probe_and_direction_need_training_clips(source):
    alone = read_sides(source, "train", frames=2)
    with pytest.raises(UserError, match="learn from training clips"):
        judge(Subject("colours", ColourEmbedder()), alone, Plan(tasks=("direction",)))
    with pytest.raises(UserError, match="no task retreival; choose among retrieval"):
        Plan(tasks=("retreival",))


def test_an_embedding_of_the_change_tells_the_ways_apart_and_one_of_the_mean_does_not(sides):
    def rows(clips, sees_order: bool):
        colours = clips.frames.float().mean((2, 3, 4))
        change = (colours[:, -1] - colours[:, 0]) if sees_order else torch.zeros(len(clips))
        return normalize(torch.stack([change / 50, colours.mean(1) / 200, torch.ones(len(clips))], 1), dim=-1)

    for sees_order, share in ((True, 1.0), (False, 0.5)):
        both = {name: getattr(sides, name) for name in ("held", "train", "choose")}
        ways = {name: (rows(one, sees_order), rows(one.reversed(), sees_order)) for name, one in both.items()}
        score, _ = probed(ways["train"], ways["choose"], (*ways["held"], sides.held.concepts))
        assert score.value == share

        def text(texts, lean=1.0):
            return torch.tensor([[-lean if "in reverse" in one else lean, 0, 0] for one in texts])

        words = told_apart(text, sides.held.captions, *ways["held"], sides.held.concepts)
        assert words[0].value == share


def test_pooling_of_single_frames_gives_what_encode_frames_gives():
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    subject = open_subject("matched")
    clips = np.random.default_rng(0).integers(0, 256, (2, 2, 64, 64, 3), dtype=np.uint8)
    pooled = subject.pool(subject.rows(torch.from_numpy(clips)), torch.zeros(2, 2))
    assert torch.allclose(pooled, subject.embedder.encode_frames(clips), atol=1e-5)


def test_a_subject_that_is_nothing_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist .*Choose clip_tiny, matched"):
        open_subject("nowhere")
    with pytest.raises(UserError, match="openclip:MODEL:CHECKPOINT"):
        open_subject("openclip:ViT-B-32")


def test_seed_and_family_are_read_from_the_name():
    def told(name):
        subject = Subject(name, ColourEmbedder())
        return subject.family, subject.seed

    assert told("runs/clip_tiny/clip-tiny-seed3") == ("runs/clip_tiny/clip-tiny", 3)
    assert told("runs/x/clip-xs-seed12-wide/") == ("runs/x/clip-xs-wide", 12)
    assert told("matched") == ("matched", None)


def test_nearest_is_by_cosine_and_takes_the_first_of_equals():
    clips = torch.tensor([[1.0, 0], [0, 1], [1, 0], [-1, 0]])
    found = nearest(torch.tensor([[1.0, 0], [0, -1]]), clips, 4)
    assert found.index.tolist() == [[0, 2, 1, 3], [0, 2, 3, 1]]
    assert found.cosine[0].tolist() == [1, 1, 0, -1]
    with pytest.raises(UserError, match="9 nearest of 4"):
        nearest(torch.ones(1, 2), clips, 9)


def test_drawn_clips_have_their_attributes_as_classes():
    sides = read_sides("drawn", "val", frames=2, limit=40)
    assert len(sides.held) == len(sides.train) == 40 and not sides.held.skipped
    assert all(value in sides.held.captions[0] for value in sides.held.meta[0].values())
    labels = labels_of("motion", sides, 1)
    assert len(labels.names) > 5
    first = embed_side(Subject("colours", ColourEmbedder()), sides.held)
    assert first.forward.shape == (40, 3)
    with pytest.raises(UserError, match="drawn clips: give test"):
        read_sides("drawn", "train")


def test_a_locked_tower_gives_the_same_rows_whether_it_is_asked_or_remembered():
    pytest.importorskip("timm", reason="timm is not installed")
    from ode_vgan.embed.clip_model import ClipModel
    from ode_vgan.embed.pooling import MomentPooling

    model = ClipModel("clip-tiny", MomentPooling(128), lock_image=True, lock_text=True, weights=False).eval()
    draw = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 32, 32, 3), generator=draw).to(torch.uint8)
    times = torch.tensor([[0.0, 0.1, 0.4]]).expand(2, -1)
    with torch.no_grad():
        truth = model.encode_clips(frames, times)
    for subject in (Subject("fresh", ColourEmbedder(), model=model), Subject("later", ColourEmbedder(), model=model)):
        rows = subject.rows(frames)
        assert torch.allclose(subject.pool(rows, times), truth, atol=1e-5)
        back = subject.pool(rows.flip(1), times[:, -1:] - times.flip(1))
        assert not torch.allclose(back, truth, atol=1e-5)
