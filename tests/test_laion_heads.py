"""Laws of the heads: LAION's own answer as published, ours learn what they are shown, and no file runs code."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.laion.fitted import auc, fit_head, logistic, ridge, sigmoid
from ode_vgan.laion.heads import load_head
from ode_vgan.laion.savedmodel import read_saved_model
from tests.made_bundle import architecture, head_members, part, zipped
from tests.shared_data import shared


def ratings() -> np.ndarray:
    """(10, 768): real embeddings, from the worst rated images to the best."""
    folder = shared("heads/vit_l_14_embeddings")
    return np.concatenate([np.load(folder / f"rating{i}.npy", allow_pickle=False) for i in range(10)])


def images() -> np.ndarray:
    """(7, 512) unit rows: real embeddings of clip-retrieval's test images."""
    with np.load(shared("laion/clipretrieval_b32_embeddings.npz"), allow_pickle=False) as file:
        rows = file["embeddings"].astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_aesthetic_v1_rises_over_the_ten_ratings_as_published():
    head = load_head(shared("heads/sa_0_4_vit_l_14_linear.pth"))
    scores = head.score(ratings())
    assert (np.diff(scores) > 0).all()
    wanted = [-2.46, -0.14, 1.90, 3.58, 5.10, 6.47, 7.79, 9.05, 10.23, 11.30]
    assert scores == pytest.approx(wanted, abs=0.006)
    assert (head.name, head.dim, head.expects) == ("aesthetic", 768, "OpenAI CLIP ViT-L/14")
    assert head.scorer.startswith("laion-aesthetic-v1-")


def test_aesthetic_v2_rises_too_and_is_linear_in_all_its_layers():
    path = shared("heads/sac+logos+ava1-l14-linearMSE.pth")
    head, rows = load_head(path), ratings()
    scores = head.score(rows)
    assert (np.diff(scores) > 0).all() and scores[[0, -1]] == pytest.approx([1.655, 5.747], abs=0.001)
    state = torch.load(path, map_location="cpu", weights_only=True)
    slope, bias = np.eye(768), np.zeros(768)
    for i in (0, 2, 4, 6, 7):
        weight = state[f"layers.{i}.weight"].double().numpy()
        slope, bias = weight @ slope, weight @ bias + state[f"layers.{i}.bias"].double().numpy()
    assert scores == pytest.approx(rows @ slope[0] + bias[0], abs=1e-4)


# What TensorFlow 2 itself answered for the same rows: as they are, and rounded to float16
L14 = [
    [7.040369e-05, 1.18546e-04, 1.694885e-04, 1.360191e-04, 1.839176e-04]
    + [2.879128e-04, 3.33562e-04, 2.283054e-04, 1.320791e-04, 1.401176e-04],
    [6.667327e-05, 8.258202e-05, 1.206847e-04, 1.02903e-04, 1.560048e-04]
    + [2.235344e-04, 2.478732e-04, 1.699223e-04, 1.011967e-04, 8.846922e-05],
]
B32 = [
    [1.881635e-08, 2.565364e-08, 1.613294e-10, 1.781706e-09, 4.759263e-06, 7.266014e-11, 0.0254802],
    [3.926941e-08, 3.877217e-08, 1.920275e-10, 4.267426e-09, 2.003391e-06, 1.119072e-10, 0.02416037],
]


@pytest.mark.parametrize(
    ("name", "rows", "answers"),
    [("binary_nsfw", ratings, L14), ("nsfw_b32", images, B32)],
    ids=["L/14", "B/32"],
)
def test_nsfw_heads_answer_as_tensorflow_does(name, rows, answers):
    head = load_head(shared(f"heads/nsfw_clip_autokeras_{name}.zip"))
    for some, wanted in zip((rows(), rows().astype(np.float16)), answers, strict=True):
        scores = head.score(some)
        assert scores == pytest.approx(wanted, rel=2e-5)  # float32 through four layers
        assert ((scores >= 0) & (scores <= 1)).all()
        alone = np.concatenate([head.score(row[None]) for row in some])
        assert alone == pytest.approx(scores, rel=2e-5)
    many = head.score(unit(500, head.dim))
    assert ((many >= 0) & (many <= 1)).all() and many.std() > 0
    assert head.expects == {768: "OpenAI CLIP ViT-L/14", 512: "OpenAI CLIP ViT-B/32"}[head.dim]
    assert head.name == "punsafe" and head.scorer.startswith("laion-nsfw-")


def test_nsfw_categories_matter_and_a_plain_forward_agrees_where_nothing_was_seen():
    network = read_saved_model(shared("heads/nsfw_clip_autokeras_binary_nsfw.zip"))
    assert {column: len(places) for column, places in network.categories.items()} == {
        180: 10_425,
        316: 2266,
        413: 2190,
        440: 2293,
        644: 2241,
    }
    rows = unit(200, 768).astype(np.float64)
    for column, places in network.categories.items():
        rows = rows[[f"{np.float32(value):f}" not in places for value in rows[:, column]]]
    assert len(rows) > 20
    x = rows.copy()
    x[:, list(network.categories)] = 0
    x = (x - network.mean) / network.deviation
    for weight, bias in network.layers:
        x = np.maximum(x, 0) @ weight + bias if weight.shape[0] != 768 else x @ weight + bias
    assert network(rows) == pytest.approx(1 / (1 + np.exp(-x[:, 0])), rel=1e-4)
    row = ratings()[:1].astype(np.float16).astype(np.float32)
    assert abs(np.log(network(row) / type(network)({}, network.mean, network.deviation, network.layers)(row))) > 0.01


@pytest.mark.parametrize(("model", "rows"), [("l_14", ratings), ("b_32", images)])
def test_violence_is_above_a_half_exactly_where_its_prompt_is_the_nearer(model, rows):
    path = shared(f"heads/nsfw_violence_detection_vit_{model}.npy")
    head, prompts = load_head(path), np.load(path, allow_pickle=False)
    some = np.concatenate([rows(), unit(300, head.dim), prompts / np.linalg.norm(prompts, axis=1, keepdims=True)])
    scores = head.score(some)
    assert np.array_equal(scores > 0.5, (some @ prompts.T).argmax(1) == 1) and 0.1 < (scores > 0.5).mean() < 0.9
    assert scores[-2] < 0.01 and scores[-1] > 0.99 and head.name == "pviolence"


def write_v1(folder, dim=6):
    path = folder / "sa_0_4_vit_b_32_linear.pth"
    torch.save({"weight": torch.arange(1.0, dim + 1)[None], "bias": torch.tensor([0.5])}, path)
    return path


def test_a_head_refuses_what_is_not_its_embeddings(tmp_path):
    head = load_head(write_v1(tmp_path))
    rows = unit(4, 6)
    assert head.score(rows) == pytest.approx(rows @ np.arange(1, 7) + 0.5, abs=1e-5)
    assert head.score(torch.from_numpy(rows)).shape == (4,) and head.score(rows[:0]).shape == (0,)
    for wrong, match in (
        (unit(4, 7), r"reads \(N, 6\) embeddings of OpenAI CLIP ViT-B/32, not \(4, 7\)"),
        (rows[0], r"not \(6,\)"),
        (2 * rows, "row 0 has length 2, not 1"),
        (np.concatenate([rows, np.full((1, 6), np.nan, np.float32)]), "row 4 has length nan"),
    ):
        with pytest.raises(UserError, match=match) as caught:
            head.score(wrong)
        assert "\n" not in str(caught.value)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_file_of_a_head_runs_code(tmp_path):
    mark = tmp_path / "ran"
    plain, zipped_one, array = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "c.npy"
    plain.write_bytes(pickle.dumps(Harmful(str(mark)), protocol=2))
    torch.save({"weight": Harmful(str(mark))}, zipped_one)
    np.save(array, np.array([Harmful(str(mark))], dtype=object), allow_pickle=True)
    for path in (plain, zipped_one, array):
        with pytest.raises(UserError) as caught:
            load_head(path)
        assert "\n" not in str(caught.value) and not mark.exists()


def test_files_that_are_no_head_are_named(tmp_path):
    torch.save({"weight": torch.zeros(2, 6), "bias": torch.zeros(1)}, tmp_path / "shape.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "names.pth")
    np.save(tmp_path / "three.npy", np.zeros((3, 6), np.float32))
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "head.txt").write_text("")
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    (tmp_path / "folder").mkdir()
    for name, match in (
        ("shape.pth", "not those of aesthetic v1"),
        ("names.pth", "no aesthetic head"),
        ("three.npy", r"two prompts are float \(2, E\)"),
        ("cut.npy", "no whole .npy"),
        ("head.txt", "is no head"),
        ("cut.zip", "no whole zip"),
        ("folder", "no fitted head"),
    ):
        with pytest.raises(UserError, match=match) as caught:
            load_head(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        load_head(tmp_path / "none.zip")


MEAN, VARIANCE = np.array([0.1, 2.0, -0.2], "<f4"), np.array([0.5, 1.0, 0.0], "<f4")
LAYERS = [
    (np.array([[1, -1], [0.5, 2], [0, 1e-7]], "<f4"), np.array([0.1, -0.3], "<f4")),
    (np.array([[1.5], [-2]], "<f4"), np.array([0.25], "<f4")),
]


def made(changes=None, **renamed) -> bytes:
    members = head_members(MEAN, VARIANCE, LAYERS, {1: ["0.600000", "0.8", "-0.500000"]}) | (changes or {})
    return zipped({renamed.get(name, name): content for name, content in members.items()})


def test_a_made_head_answers_what_its_numbers_say(tmp_path):
    (tmp_path / "made.zip").write_bytes(made())
    head = load_head(tmp_path / "made.zip")
    for row, place in (([0.8, 0.6, 0.0], 1), ([0.6, 0.8, 0.0], 0), ([0.0, -0.5, 0.75**0.5], 3)):
        x = (np.array([row[0], place, row[2]]) - MEAN) / np.array([0.5**0.5, 1.0, 1e-7])
        hidden = np.maximum(x @ LAYERS[0][0] + LAYERS[0][1], 0)
        wanted = 1 / (1 + np.exp(-(hidden @ LAYERS[1][0] + LAYERS[1][1])[0]))
        assert head.score(np.array([row])) == pytest.approx([wanted], rel=1e-5)


def keras(**changes) -> bytes:
    """keras_metadata.pb of the made head, with some layers changed by their class."""
    told = architecture([2, 1], 3, [1])
    for layer in told["config"]["layers"]:
        layer["config"] |= changes.get(layer["class_name"].rpartition(">")[2], {})
    node = part(3, b"root") + part(4, b"_tf_keras_network") + part(5, json.dumps(told).encode())
    return part(1, node)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"keras_metadata.pb": b""}, "StopIteration"),
        ({"keras_metadata.pb": part(1, part(4, b"_tf_keras_network") + part(5, b"[" * 100_000))}, "no NSFW head"),
        ({"keras_metadata.pb": keras(Dense={"activation": "tanh"})}, "no ReLU"),
        ({"keras_metadata.pb": keras(ReLU={"max_value": 6.0})}, "no ReLU"),
        ({"keras_metadata.pb": keras(Activation={"activation": "softmax"})}, "layers"),
        ({"keras_metadata.pb": keras(Dense={"units": 3})}, "not of one piece"),
        ({"keras_metadata.pb": keras(MultiCategoryEncoding={"encoding": ["none"] * 4})}, "not of one piece"),
        ({"keras_metadata.pb": keras(MultiCategoryEncoding={"encoding": ["one_hot"] * 3})}, "categories"),
        ({"keras_metadata.pb": b"\xff\xff"}, "breaks off"),
        ({"saved_model.pb": part(2, part(2, b""))}, "0 tables"),
        ({"saved_model.pb": b""}, "StopIteration"),
        ({"variables/variables.index": b"short"}, "no whole TensorFlow bundle"),
        ({"variables/variables.data-00000-of-00001": b"short"}, "no whole TensorFlow bundle"),
    ],
)
def test_a_model_of_another_kind_is_refused_in_one_line(tmp_path, changes, match):
    (tmp_path / "made.zip").write_bytes(made(changes))
    with pytest.raises(UserError, match=match) as caught:
        load_head(tmp_path / "made.zip")
    assert "\n" not in str(caught.value)


def test_numbers_that_are_no_heads_are_refused(tmp_path):
    for arrays in (
        (MEAN, VARIANCE, [(np.full_like(LAYERS[0][0], np.inf), LAYERS[0][1]), LAYERS[1]]),
        (MEAN, -VARIANCE, LAYERS),
        (MEAN[:2], VARIANCE, LAYERS),
        (MEAN, VARIANCE, LAYERS[:1]),
        (MEAN.astype("<f8"), VARIANCE, LAYERS),
    ):
        (tmp_path / "made.zip").write_bytes(made(head_members(*arrays, {1: ["0.5"]})))
        with pytest.raises(UserError, match="no NSFW head|not of one piece"):
            load_head(tmp_path / "made.zip")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "head\\..\\evil", "a/../../evil"])
def test_members_that_leave_the_zip_are_refused(tmp_path, name):
    buffer = io.BytesIO(made())
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr(name, b"evil")
    (tmp_path / "made.zip").write_bytes(buffer.getvalue())
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="leaves it"):
        load_head(tmp_path / "made.zip")
    assert sorted(tmp_path.iterdir()) == before


def test_bombs_and_broken_zips_are_refused(tmp_path):
    path = tmp_path / "made.zip"
    path.write_bytes(made({"saved_model.pb": bytes(40 << 20)}))
    with pytest.raises(UserError, match="unpacks to 41943040 bytes"):
        load_head(path)
    whole = made()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError) as caught:
            load_head(path)
        assert "\n" not in str(caught.value)
    buffer = io.BytesIO(whole)
    with zipfile.ZipFile(buffer, "a") as file:
        for i in range(70):
            file.writestr(f"more/{i}", b"")
    path.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="74 members"):
        load_head(path)


def test_a_truncated_copy_of_laions_own_zip_is_refused(tmp_path):
    whole = shared("heads/nsfw_clip_autokeras_nsfw_b32.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no whole zip"):
        load_head(tmp_path / "cut.zip")


def test_ridge_equals_the_normal_equations_and_its_left_out_errors_are_true():
    rng = np.random.default_rng(0)
    x, weight = unit(60, 5).astype(np.float64), np.array([3.0, -1, 0, 2, 1])
    y = 4 + x @ weight + 0.1 * rng.normal(size=60)
    fit = ridge(x, y)
    centred = x - x.mean(0)
    truth = np.linalg.solve(centred.T @ centred + fit.strength * 60 * np.eye(5), centred.T @ (y - y.mean()))
    assert fit.weight == pytest.approx(truth, abs=1e-8) and fit.weight == pytest.approx(weight, abs=0.3)
    errors = []
    for i in range(60):
        kept = np.arange(60) != i
        a, b = x[kept] - x[kept].mean(0), y[kept] - y[kept].mean()
        slope = np.linalg.solve(a.T @ a + fit.strength * 60 * np.eye(5), a.T @ b)
        errors.append(y[i] - y[kept].mean() - (x[i] - x[kept].mean(0)) @ slope)
    assert fit.left_out["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-3)
    assert fit.left_out["r2"] > 0.95


def test_ridge_on_noise_claims_nothing():
    rng = np.random.default_rng(1)
    assert ridge(unit(80, 20).astype(np.float64), rng.normal(size=80)).left_out["r2"] < 0.1


def test_logistic_finds_the_side_and_its_gradient_is_zero():
    rng, x = np.random.default_rng(0), unit(200, 6).astype(np.float64)
    y = (x[:, 0] + 0.2 * rng.normal(size=200) > 0).astype(np.float64)
    fit = logistic(x, y)
    p = sigmoid(x @ fit.weight + fit.bias)
    assert x.T @ (p - y) / 200 + fit.strength * fit.weight == pytest.approx(np.zeros(6), abs=1e-6)
    assert (p - y).mean() == pytest.approx(0, abs=1e-6)
    assert fit.left_out["auc"] > 0.85 and fit.left_out["log_loss"] < np.log(2)
    assert logistic(x, rng.permutation(y)).left_out["auc"] < 0.65
    separable = (x[:, 0] > 0).astype(np.float64)
    assert np.isfinite(logistic(x, separable).weight).all()


def test_auc_counts_pairs():
    assert auc(np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])) == 1
    assert auc(np.array([1.0, 1, 1, 1]), np.array([0, 0, 1, 1])) == 0.5
    assert auc(np.array([1.0, 3, 2, 4]), np.array([0, 1, 0, 1])) == 1 and auc(np.array([2.0, 1]), np.array([0, 1])) == 0


@pytest.mark.parametrize("link", ["linear", "logistic"])
def test_a_fitted_head_says_whose_it_is_and_comes_back_from_its_folder(tmp_path, link):
    rows = unit(80, 6)
    labels = (rows[:, 0] > 0).astype(float) if link == "logistic" else rows[:, 0]
    told = {"name": "punsafe", "fingerprint": "matched-1-mean", "source": "made labels", "link": link}
    head = fit_head(rows, labels, **told)
    head.save(tmp_path / "head")
    again = load_head(tmp_path / "head")
    assert np.array_equal(again.score(rows), head.score(rows)) and again.scorer == head.scorer
    assert head.scorer.startswith(f"own-{link}-") and head.scorer.endswith(" on matched-1-mean")
    assert again.notes["labels"] == "made labels" and again.notes["clips"] == 80 and again.name == "punsafe"
    assert np.corrcoef(head.score(rows), rows[:, 0])[0, 1] > 0.8
    again.score(rows, "matched-1-mean")
    with pytest.raises(UserError, match="fitted on matched-1-mean, not openclip-1"):
        again.score(rows, "openclip-1")
    config = json.loads((tmp_path / "head" / "config.json").read_text())
    for broken in ("{", json.dumps(config | {"link": "other"}), json.dumps(config | {"dim": 7}), "[]"):
        (tmp_path / "head" / "config.json").write_text(broken)
        with pytest.raises(UserError) as caught:
            load_head(tmp_path / "head")
        assert "\n" not in str(caught.value)


def test_labels_that_cannot_be_fitted_are_refused():
    rows, told = unit(20, 4), {"name": "a", "fingerprint": "b", "source": "c"}
    for labels, link, match in (
        (np.ones(20), "linear", "all 20 labels are 1"),
        (np.arange(19.0), "linear", "ten clips or more"),
        (np.full(20, np.nan), "linear", "finite"),
        (np.arange(20.0), "logistic", "logistic needs 0 and 1"),
        (np.eye(20)[0], "logistic", "5 of each"),
        (np.arange(20.0), "cubic", "link='cubic'"),
    ):
        with pytest.raises(UserError, match=match):
            fit_head(rows, labels, link=link, **told)
    with pytest.raises(UserError, match="ten clips"):
        fit_head(rows[:5], np.arange(5.0), **told)
