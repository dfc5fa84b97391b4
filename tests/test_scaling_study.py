"""The OpenCLIP scaling study refitted from its own results: the published exponents, and what they foretell."""

import csv

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.scaling.fit import Fit, fit
from ode_vgan.scaling.laws import Points
from tests.shared_data import shared

OPENAI = "CLIP-WIT"  # what OpenAI's models were trained on
H14_GMACS = 190.97
SAMPLES_34B = 34_215_895_056  # of the study's 34B runs


def points(subject: str, score: str, openai: bool = False) -> Points:
    """Errors of the study's models on a test set, against GMACs in all."""
    with shared("scaling/slo_zeroshot_results.csv").open() as file:
        rows = [
            (float(row["gmacs_total"]), 1 - float(row[score]), row["name"] + row["arch"])
            for row in csv.DictReader(file)
            if row["downstream_dataset"] == subject and (row["upstream_dataset"] == OPENAI) == openai
        ]
    compute, error, run = zip(*rows, strict=True)
    return Points(np.array(compute), np.array(error), np.array(run))


def study(subject: str, score: str, openai: bool = False, **more: object) -> Fit:
    """The study's own recipe: five bins, or all three points of OpenAI's models."""
    own = {"select": "all", "allow_few": True} if openai else {"select": "binned"}
    return fit(points(subject, score, openai), **{**own, **more})


@pytest.mark.parametrize(
    ("subject", "score", "openclip", "openai"),
    [
        ("imagenet1k", "acc1", -0.1114, -0.1638),
        ("mscoco_captions", "image_retrieval_recall@5", -0.0794, -0.0508),
        # The study's notebook computes its text retrieval from the column of image retrieval; these are the true ones.
        ("mscoco_captions", "text_retrieval_recall@5", -0.1023, -0.0767),
        ("flickr30k", "image_retrieval_recall@5", -0.1892, -0.1028),
        ("imagenet_robustness", "acc1", -0.1255, -0.2378),
    ],
)
def test_the_exponents_are_those_of_the_study(subject, score, openclip, openai):
    ours, theirs = study(subject, score, bootstrap=400), study(subject, score, openai=True, bootstrap=400)
    assert ours.exponent == pytest.approx(openclip, abs=1e-4) and theirs.exponent == pytest.approx(openai, abs=1e-4)
    assert theirs.few and not ours.few
    for one in (ours, theirs):  # both fall, whatever the scatter
        low, high = one.intervals["alpha"]
        assert low < high < 0


def test_the_study_s_largest_model_is_foretold_as_published():
    """figures.ipynb prints 78.107834 % for ViT-H/14 at 34 billion samples; 77.97 % was measured."""
    one = study("imagenet1k", "acc1")
    at = np.array([H14_GMACS * SAMPLES_34B])
    assert 100 * (1 - one.predict(at)[0]) == pytest.approx(78.107834, abs=1e-6)
    low, high = one.predict_interval(at)
    assert low[0] < 1 - 0.7797 < high[0]


def test_other_selections_of_the_study_s_points_agree_on_the_exponent():
    front = study("imagenet1k", "acc1", select="pareto", bootstrap=10)
    assert front.exponent == pytest.approx(-0.1110, abs=1e-4) and len(front.rests_on[0]) == 10
    assert study("imagenet1k", "acc1", select="all", bootstrap=10).exponent == pytest.approx(-0.1012, abs=1e-4)


def test_models_a_third_as_large_foretell_the_study_s_largest():
    """Fitted below 1.2e12 GMACs: 0.213 by bins, 0.224 by the front; 0.220 was measured."""
    every = points("imagenet1k", "acc1")
    small = every.take(every.compute < 1.2e12)
    most = every.compute.max()
    assert every.error[every.compute == most] == pytest.approx(0.220, abs=1e-3)
    for how, said in (("binned", 0.213), ("pareto", 0.224)):
        assert fit(small, select=how, bootstrap=10).predict(np.array([most]))[0] == pytest.approx(said, abs=1e-3)


def test_three_points_are_no_exponent_unless_asked_for():
    with pytest.raises(UserError, match="3 levels of compute over 1.1 decades; an exponent takes 5 over 1.*allow-few"):
        fit(points("imagenet1k", "acc1", openai=True), select="all")
