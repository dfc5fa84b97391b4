"""Laws of the numbers that an embedder of texts and clips is judged by."""

import itertools

import pytest
import torch
from torch.nn.functional import normalize

from ode_vgan.embed.retrieval import first_right, missed, retrieval
from ode_vgan.embed.score import Score, concept_weights, difference, interval, mean_interval
from ode_vgan.embed.zero_shot import TEMPLATES, class_rows, classified
from ode_vgan.errors import UserError


def by_name(scores: list[Score]) -> dict[str, Score]:
    return {f"{score.task} {score.metric}": score for score in scores}


def named(texts: list[str], width: int = 16) -> torch.Tensor:
    """A unit row a text, the same for the same text."""
    draws = [torch.Generator().manual_seed(sum(map(ord, text)) + 7 * len(text)) for text in texts]
    return normalize(torch.stack([torch.randn(width, generator=draw) for draw in draws]), dim=-1)


def test_a_perfect_embedder_finds_all_and_a_constant_one_nothing():
    rows, captions, concepts = torch.eye(12), [f"thing {i}" for i in range(12)], torch.arange(12)
    perfect = by_name(retrieval(rows, rows, captions, concepts))
    assert all(score.value == 1 for score in perfect.values()) and len(perfect) == 8
    flat = torch.eye(12)[[0] * 12]
    constant = by_name(retrieval(flat, flat, captions, concepts))
    assert constant["text to clip R@10"].value == 0  # every tie counts against it
    assert constant["clip to text MRR"].value == pytest.approx(1 / 12)


def test_recall_is_that_of_the_places_counted_by_hand():
    cosines = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.2, 0.7], [0.3, 0.2, 0.1]])
    right = torch.eye(3).bool()
    assert first_right(cosines, right).tolist() == [1, 3, 3]
    assert first_right(cosines, torch.tensor([[0, 1, 1], [1, 0, 1], [1, 0, 0]]).bool()).tolist() == [2, 1, 1]


@pytest.mark.parametrize("rights", [1, 2, 4])
def test_chance_is_the_mean_over_all_orders(rights):
    count, asked = 5, torch.tensor([rights])
    orders = [sorted(order[:rights])[0] + 1 for order in itertools.permutations(range(count))]
    for k in range(count + 1):
        assert 1 - missed(asked, count)[0, k] == pytest.approx(sum(first <= k for first in orders) / len(orders))
    captions = ["same"] * rights + [f"other {i}" for i in range(count - rights)]
    found = by_name(retrieval(torch.eye(count), torch.eye(count), captions, torch.arange(count)))
    reciprocal = sum(1 / first for first in orders) / len(orders)
    others = sum(1 / place for place in range(1, count + 1)) / count
    expected = (reciprocal + (count - rights) * others) / (count - rights + 1)
    assert found["text to clip MRR"].chance == pytest.approx(expected)


def test_any_clip_of_the_same_caption_is_right_and_the_caption_is_asked_once():
    captions = ["dog", "cat", "dog"]
    text = torch.eye(3)[[0, 1, 0]]
    clips = torch.eye(3)[[2, 1, 0]]  # of the two dogs, the second is found
    found = by_name(retrieval(text, clips, captions, torch.arange(3), at=(1,)))
    assert found["text to clip R@1"].values.tolist() == [1, 1]
    assert found["clip to text R@1"].values.tolist() == [0, 1, 1]


def test_retrieval_does_not_depend_on_the_order_of_the_clips():
    text, clips = named([f"a{i}" for i in range(20)]), named([f"b{i % 7}" for i in range(20)])
    captions, concepts, order = [f"c{i % 15}" for i in range(20)], torch.arange(20) // 2, torch.randperm(20)
    text = text[[captions.index(caption) for caption in captions]]
    there = by_name(retrieval(text, clips, captions, concepts))
    shuffled = [captions[i] for i in order]
    again = by_name(retrieval(text[order], clips[order], shuffled, concepts[order]))
    assert {name: score.value for name, score in there.items()} == pytest.approx(
        {name: score.value for name, score in again.items()}
    )


def test_retrieval_refuses_what_does_not_match_and_a_single_caption():
    with pytest.raises(UserError, match="do not match"):
        retrieval(torch.eye(3), torch.eye(3), ["a", "b"], torch.arange(3))
    with pytest.raises(UserError, match="1 different captions"):
        retrieval(torch.eye(3), torch.eye(3), ["a"] * 3, torch.arange(3))


def test_a_single_template_is_the_name_itself_and_more_are_their_mean_direction():
    assert torch.allclose(class_rows(named, ["dog", "cat"], ("{}",)), named(["dog", "cat"]), atol=1e-6)
    rows = class_rows(named, ["dog"], ("{}", "a clip of {}"))
    assert torch.allclose(rows[0], normalize(named(["dog", "a clip of dog"]).mean(0), dim=0), atol=1e-6)
    for templates in (("no name",), ("{} {}",), ()):
        with pytest.raises(UserError, match="needs one {}"):
            class_rows(named, ["dog"], templates)


def test_the_mean_over_templates_is_open_clips_own():
    pytest.importorskip("open_clip", reason="open-clip-torch is not installed")
    from ode_vgan.embed.openclip import open_clip

    text = {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8}
    model = open_clip().CLIP(embed_dim=8, vision_cfg=vision, text_cfg=text).eval()
    tokenizer = open_clip().SimpleTokenizer(context_length=8)
    names = ["dog", "sea horse", "star"]
    theirs = open_clip().build_zero_shot_classifier(model, tokenizer, names, TEMPLATES, num_classes_per_batch=2)
    with torch.inference_mode():
        ours = class_rows(lambda texts: model.encode_text(tokenizer(texts)), names)
    assert torch.allclose(ours, theirs.T, atol=1e-6)


def test_accuracy_and_class_recall_have_their_exact_values():
    nearness = torch.tensor([[2.0, 1, 0], [2, 1, 0], [2, 1, 0], [0, 1, 0], [1, 1, 0]])
    labels, concepts = torch.tensor([0, 0, 0, 1, 1]), torch.arange(5)
    found = by_name(classified("probe", nearness, labels, concepts))
    assert found["probe accuracy"].value == pytest.approx(4 / 5)  # the tie of the last one is wrong
    assert found["probe mean class recall"].value == pytest.approx((1 + 1 / 2) / 2)
    assert found["probe accuracy"].chance == pytest.approx(1 / 3) and "probe top 5" not in found


def test_a_stratum_that_a_draw_leaves_out_is_left_out_of_the_mean():
    score = Score("t", "m", torch.tensor([1.0, 0, 0]).double(), torch.arange(3), 0.5, strata=torch.tensor([0, 0, 1]))
    weights = torch.tensor([[1.0, 1, 1], [1, 1, 0], [0, 1, 3]]).double()
    assert score.weighted(weights).tolist() == pytest.approx([0.25, 0.5, 0.0])


def test_bootstrap_samples_hold_whole_concepts_and_are_the_same_for_the_same_seed():
    concepts = torch.tensor([4, 4, 9, 1, 9, 9])
    weights = concept_weights(concepts, draws=50, seed=3)
    assert torch.equal(weights[:, 0], weights[:, 1]) and torch.equal(weights[:, 2], weights[:, 5])
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()
    assert torch.equal(weights, concept_weights(concepts, draws=50, seed=3))
    assert not torch.equal(weights, concept_weights(concepts, draws=50, seed=4))


def test_the_interval_covers_the_truth_nine_times_in_ten_where_clips_of_a_concept_are_alike():
    """The same interval with each clip its own concept is too narrow: it takes copies for news."""
    truth, trials, draw = 0.4, 200, torch.Generator().manual_seed(0)
    concepts = torch.arange(60).repeat_interleave(4)
    covered = {"concepts": 0, "clips": 0}
    for trial in range(trials):
        hits = (torch.rand(60, generator=draw) < truth).double().repeat_interleave(4)
        for unit, kinds in (("concepts", concepts), ("clips", torch.arange(240))):
            found = interval(Score("t", "m", hits, kinds, None), draws=400, seed=trial)
            covered[unit] += found.low <= truth <= found.high
    assert 0.84 <= covered["concepts"] / trials <= 0.96  # 90 %, by three standard errors of 200 trials
    assert covered["clips"] / trials < 0.7


def test_a_share_of_none_or_all_still_has_an_interval():
    none = interval(Score("t", "m", torch.zeros(20).double(), torch.arange(20), None))
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(1 - 0.05 ** (1 / 20))
    every = interval(Score("t", "m", torch.ones(20).double(), torch.arange(20), None))
    assert (every.value, every.high) == (1, 1) and every.low == pytest.approx(0.05 ** (1 / 20))


def test_a_difference_is_paired_so_what_both_share_cancels():
    concepts, draw = torch.arange(50), torch.Generator().manual_seed(1)
    base = torch.rand(50, generator=draw).double()
    a, b = Score("t", "m", base + 0.1, concepts, None), Score("t", "m", base, concepts, None)
    found = difference([a], [b])
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    alone = interval(a)
    assert alone.high - alone.low > 0.05
    runs = mean_interval([a, b])
    assert runs.value == pytest.approx(float(base.mean()) + 0.05)


def test_different_items_or_numbers_are_not_compared():
    one = Score("t", "m", torch.zeros(3).double(), torch.arange(3), None)
    with pytest.raises(UserError, match="same items"):
        difference([one], [Score("t", "m", torch.zeros(4).double(), torch.arange(4), None)])
    with pytest.raises(UserError, match="same items"):
        mean_interval([one, Score("t", "other", torch.zeros(3).double(), torch.arange(3), None)])
    with pytest.raises(UserError, match="one item each"):
        Score("t", "m", torch.zeros(0).double(), torch.zeros(0), None)
