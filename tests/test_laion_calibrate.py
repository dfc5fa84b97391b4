"""Operating points by their exact answers, and a calibration of a few clips."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from ode_vgan.data.clips import decode_clip
from ode_vgan.data.concepts import split_of
from ode_vgan.errors import UserError
from ode_vgan.laion.calibrate import calibrate
from ode_vgan.laion.calibration_report import draw_calibration, markdown
from ode_vgan.laion.labelled import EDITS, HARMLESS, TOXIC, labelled_clips
from ode_vgan.laion.operating import auroc, auroc_interval, operating_points, point_at, recommended, wilson
from ode_vgan.laion.toxicity import why_absent


@pytest.mark.parametrize(
    ("passed", "count", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)]
)
def test_wilson_s_interval_is_the_published_one(passed, count, low, high):
    found = wilson(passed, count)
    assert (found.value, found.low, found.high) == pytest.approx((passed / count, low, high), abs=1e-4)


def test_wilson_s_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        draws = [wilson(int(k), 60) for k in rng.binomial(60, share, 2000)]
        assert 0.93 < np.mean([one.low <= share <= one.high for one in draws]) < 0.98


def test_auroc_counts_pairs_and_ties_as_half():
    assert auroc([3, 2], [1, 2]) == (1 + 1 + 1 + 0.5) / 4
    assert auroc([1.0], [2.0]) == 0.0


def test_clips_of_one_concept_are_drawn_together():
    rng = np.random.default_rng(1)
    positives, negatives = rng.normal(1, 1, 20), rng.normal(0, 1, 20)
    names = [str(i) for i in range(20)]
    once = auroc_interval(positives, negatives, (names, names))
    often = auroc_interval(np.repeat(positives, 9), np.repeat(negatives, 9), (np.repeat(names, 9), np.repeat(names, 9)))
    apart = [str(i) for i in range(180)]
    naive = auroc_interval(np.repeat(positives, 9), np.repeat(negatives, 9), (apart, apart))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)
    assert once.low < once.value < once.high


def test_a_point_tells_recall_false_positives_and_precision():
    point = point_at(0.5, [0.5, 0.9, 0.1, 0.7], [0.6, 0.2, 0.1, 0.0])
    assert (point.recall.value, point.false_positives.value) == (0.75, 0.25)
    assert point.precision.value == 0.75
    assert point.precision_at(0.1).value == pytest.approx(0.075 / (0.075 + 0.225))
    assert point.precision.low < 0.75 < point.precision.high
    below = point_at(0.5, [0.5, 0.9], [0.6, 0.2], above=False)
    assert (below.recall.value, below.false_positives.value) == (0.5, 0.5)
    assert math.isnan(point_at(2.0, [1.0], [1.0]).precision.value)


@pytest.mark.parametrize("above", [True, False])
def test_scores_that_separate_are_separated_in_the_middle(above):
    sign = 1 if above else -1
    positives, negatives = sign * np.array([0.8, 0.9]), sign * np.array([0.1, 0.4])
    points = operating_points(positives, negatives, above=above)
    best = recommended(points, positives, negatives, above=above)
    assert best.threshold == pytest.approx(sign * 0.6)
    assert (best.recall.value, best.false_positives.value, best.f1) == (1.0, 0.0, 1.0)


def test_recall_never_rises_with_the_threshold():
    rng = np.random.default_rng(2)
    points = operating_points(rng.normal(1, 1, 500), rng.normal(0, 1, 500))
    assert 95 <= len(points) <= 102
    assert all(a.recall.value >= b.recall.value for a, b in zip(points, points[1:], strict=False))
    assert all(a.false_positives.value >= b.false_positives.value for a, b in zip(points, points[1:], strict=False))


@pytest.fixture(scope="module")
def clips():
    return list(labelled_clips(limit=2))


def test_labelled_clips_are_of_held_out_concepts_and_the_seed_s_alone(clips):
    assert {split_of(clip.concept) for clip in clips} == {"test"}
    assert [clip.label for clip in clips] == 2 * ["clean", *["marked"] * 3, "passing", "still", *EDITS]
    again = list(labelled_clips(limit=2))
    assert [clip.content for clip in again] == [clip.content for clip in clips]
    assert next(clip for clip in labelled_clips(limit=2, seed=1) if clip.label == "marked").content != clips[1].content


def test_labels_are_true(clips):
    made = {clip.label: decode_clip(clip.content) for clip in clips[: len(clips) // 2]}
    clean = made["clean"].frames.astype(float)
    assert np.ptp(made["still"].frames[1:].astype(float), axis=0).mean() < 1
    assert made["scaled to 48 px"].frames.shape[1:3] == (48, 48)
    assert len(made["half the frames"].frames) == -(-len(clean) // 2)
    passing, marked = (np.abs(made[label].frames - clean).mean((1, 2, 3)) for label in ("passing", "marked"))
    assert abs((passing > (passing.min() + passing.max()) / 2).mean() - 0.5) < 0.1
    assert marked.min() > 1.2 * passing.min()


def test_toxic_and_harmless_texts_are_others():
    assert not set(TOXIC) & set(HARMLESS)
    assert len(set(TOXIC)) == len(TOXIC) == len(set(HARMLESS)) == 24


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("calibration")
    return out, calibrate(out, limit=4, embedder=None)


def test_a_calibration_writes_a_report_a_page_and_a_figure(report):
    out, found = report
    assert json.loads((out / "calibration.json").read_text()) == found
    assert list(found["tasks"])[:4] == ["pwatermark", "watermark_persistence", "static_share", "phash distance"]
    assert ("ptoxic" in found["missing"]) == (why_absent() is not None)
    page = (out / "calibration.md").read_text()
    assert page == markdown(found)
    assert "| static_share | one picture held, from the clip that moves | 4 + 4 | 1.000" in page
    assert "| pwatermark | LAION-5B | 0.8 |" in page
    with Image.open(out / "calibration.png") as image:
        assert image.width > 1200


def test_what_is_easy_is_told_without_error(report):
    tasks = report[1]["tasks"]
    for name in ("static_share", "phash distance"):
        assert tasks[name]["auroc"]["value"] == 1.0
        assert tasks[name]["recommended"]["recall"]["value"] == 1.0
        assert tasks[name]["recommended"]["false_positives"]["value"] == 0.0
    assert set(tasks["phash distance"]["recall_by_kind"]) == set(EDITS)
    assert tasks["pwatermark"]["auroc"]["value"] > 0.8
    assert tasks["pwatermark"]["positives"] == 3 * tasks["pwatermark"]["negatives"] == 12


def test_the_figure_is_told_in_words(report):
    found = draw_calibration(report[1])
    assert "static_share: AUROC 1.000" in found.alt
    assert found.png == draw_calibration(report[1]).png


def test_too_few_clips_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        calibrate(tmp_path, limit=1)
    assert not list(tmp_path.iterdir())
