import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics import quality
from ode_vgan.metrics.quality import inception_score, prdc, prdc_ceiling


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [512, 7])
def test_prdc_is_that_of_the_published_package(k, block, monkeypatch, capsys):
    theirs = pytest.importorskip("prdc")
    monkeypatch.setattr(quality, "BLOCK", block)
    real, fake = torch.randn(90, 6).double(), torch.randn(70, 6).double() * 0.7 + 0.4
    expected = theirs.compute_prdc(real.numpy(), fake.numpy(), k)
    found = prdc(real, fake, k=k)
    assert found.keys() == expected.keys()
    assert all(found[name] == pytest.approx(float(value), rel=1e-12) for name, value in expected.items())
    assert 0.05 < min(found.values()) and found["precision"] != found["recall"]  # the case tells them apart


def test_precision_and_recall_are_torch_fidelitys_of_the_same_features():
    theirs = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = torch.randn(80, 5).double(), torch.randn(80, 5).double() * 0.6
    found = prdc(real, fake, k=3)
    expected = theirs.calculate_precision_recall_full(fake, real)
    assert (found["precision"], found["recall"]) == pytest.approx(expected, rel=1e-6)  # theirs are float32 means


def test_a_copy_of_the_real_set_is_as_precise_dense_and_covering_as_can_be():
    real = torch.randn(60, 4)
    assert prdc(real, real, k=3) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}


def test_sets_of_one_law_have_the_known_density_and_coverage():
    found = prdc(torch.randn(600, 3), torch.randn(600, 3), k=2)
    assert found["density"] == pytest.approx(1, abs=0.1)
    assert found["coverage"] == pytest.approx(1 - 2**-2, abs=0.06)  # 3 standard errors of a share of 600


def test_sets_apart_have_nothing_in_common_and_a_collapsed_one_covers_nothing():
    real = torch.randn(50, 4)
    assert prdc(real, real + 100) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    collapsed = prdc(real, real[:1].expand(50, -1) + 1e-3)
    assert collapsed["precision"] == 1 and collapsed["recall"] == 0 and collapsed["coverage"] < 0.5


def test_four_points_on_a_line_have_the_known_answer():
    real, fake = torch.tensor([[0.0], [1], [3], [6]]), torch.tensor([[0.5], [3.5], [20]])
    # with k = 1 the real ones reach 1, 1, 2 and 3; the fake ones 3, 3 and 16.5
    found = prdc(real, fake, k=1)
    assert found == pytest.approx({"precision": 2 / 3, "recall": 1, "density": 4 / 3, "coverage": 1})
    on_the_edge = torch.tensor([[-1.0], [20], [30]])  # -1 is as far from 0 as 0 reaches
    assert prdc(real, on_the_edge, k=1)["precision"] == 0


def test_the_ceiling_is_that_of_two_real_halves():
    real = torch.randn(40, 4)
    assert prdc_ceiling(real) == prdc(real[::2], real[1::2])
    clips = real.unflatten(1, (2, 2))
    assert prdc_ceiling(clips) == prdc(clips[::2].flatten(0, 1), clips[1::2].flatten(0, 1))


def test_a_uniform_guess_scores_one_and_perfect_classes_score_their_number():
    assert inception_score(torch.full((50, 7), 1 / 7)) == pytest.approx((1, 0))
    assert inception_score(torch.eye(6).repeat(10, 1)) == pytest.approx((6, 0))
    assert inception_score(torch.eye(6).repeat(10, 1), splits=10) == pytest.approx((6, 0))
    assert inception_score(torch.eye(6).repeat_interleave(10, 0), splits=6) == pytest.approx((1, 0))


def test_a_classifier_right_with_probability_p_has_the_score_of_its_entropy():
    p, classes = 0.7, 4
    rest = (1 - p) / (classes - 1)
    rows = torch.eye(classes, dtype=torch.float64) * (p - rest) + rest
    entropy = -(p * torch.tensor(p).log() + (1 - p) * torch.tensor(rest).log())
    assert inception_score(rows.repeat(3, 1))[0] == pytest.approx(classes * float((-entropy).exp()), rel=1e-6)


def test_the_inception_score_is_torch_fidelitys_of_the_same_logits():
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.randn(103, 9).double() * 3
    theirs = isc.isc_features_to_metric(logits, splits=5, shuffle=False)
    expected = theirs[isc.KEY_METRIC_ISC_MEAN], theirs[isc.KEY_METRIC_ISC_STD]
    assert inception_score(logits.softmax(1), splits=5) == pytest.approx(expected, rel=1e-9)


def test_bad_input_is_refused_in_one_line():
    rows = torch.randn(6, 3)
    with pytest.raises(UserError, match="k=6 with 6 real"):
        prdc(rows, rows, k=6)
    with pytest.raises(UserError, match="one extractor"):
        prdc(rows, rows[:, :2], k=1)
    with pytest.raises(UserError, match="not finite"):
        prdc(rows, rows / 0, k=1)
    with pytest.raises(UserError, match="not logits"):
        inception_score(rows)
    with pytest.raises(UserError, match="number of splits"):
        inception_score(rows.softmax(1), splits=7)
