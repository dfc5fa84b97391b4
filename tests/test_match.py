"""Laws of matching sizes: every temporal model can be given the weights, or the cost, of another."""

from functools import cache

import pytest
import torch

from ode_vgan.build import build
from ode_vgan.errors import UserError
from ode_vgan.match import TOLERANCE, matched, nearest_width, resized
from ode_vgan.scaling.count import temporal_macs
from tests.test_conf import CONF, config

FRAMES, GAP = 4, 0.1
WHERE = {"frames": FRAMES, "gap_seconds": GAP}
TEMPORAL = sorted(path.stem for path in (CONF / "temporal").glob("*.yaml"))
PUBLISHED = ["tgan", "tgan_ode_lin", "tgan_ode_eq", "tgan_sde", "mocogan", "mocogan_ode_deep", "mocogan_ode_2"]


@cache
def node(name: str, dim: int = 64) -> dict:
    """The plain config of a temporal model; composed once, and nothing may change it."""
    sizes = (f"motion_dim={dim}", "embed_dim=384", f"data.frames={FRAMES}", f"gap_seconds={GAP}")
    return config(f"temporal={name}", *sizes)["temporal"]


def weights(made: dict) -> int:
    return sum(weight.numel() for weight in build(made).parameters() if weight.requires_grad)


@pytest.mark.parametrize("name", TEMPORAL)
def test_every_temporal_model_can_have_a_number_of_weights(name: str):
    for target in (70_000, 95_000, 250_000):
        try:
            made = matched(node(name), parameters=target, **WHERE)
        except UserError as error:
            assert target != 95_000, error  # the study's own number is in reach of all
            assert "cannot be met within 5%" in str(error) and "\n" not in str(error)
            continue
        assert abs(weights(made) / target - 1) <= TOLERANCE
        assert sum(value != node(name)[key] for key, value in made.items()) <= 1


@pytest.mark.parametrize("name", ["ode", "sde", "lstm", "rnn", "discrete"])
def test_a_model_can_cost_what_another_does(name: str):
    target = 2.5e5
    made = matched(node(name), macs=target, **WHERE)
    assert abs(temporal_macs(build(made), FRAMES, GAP) / target - 1) <= TOLERANCE
    if name == "ode":  # twice the steps leave half of the cost to the field
        twice = matched(node(name) | {"steps_per_frame": 2}, macs=target, **WHERE)
        assert twice["hidden"] < made["hidden"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_is_matched_or_refused_in_one_line(name: str):
    given = node(f"gordon2020/{name}", 100 if name.startswith("tgan") else 16)
    try:
        made = matched(given, parameters=120_000, **WHERE)
    except UserError as error:
        assert "\n" not in str(error) and "match.width" in str(error)
    else:
        assert abs(weights(made) / 120_000 - 1) <= TOLERANCE


def test_what_has_its_size_stays_as_it_is_and_nothing_asked_changes_nothing():
    given = node("ode")
    assert matched(given, **WHERE) is given
    assert matched(given, parameters=weights(given), **WHERE) == given


def test_the_search_draws_no_random_numbers():
    before = torch.get_rng_state()
    matched(node("ode"), macs=2.5e5, **WHERE)
    assert torch.equal(before, torch.get_rng_state())


def test_an_argument_can_be_named():
    made = matched(node("lstm"), parameters=90_000, width="text_dim", **WHERE)
    assert made["hidden"] == node("lstm")["hidden"] and made["text_dim"] != node("lstm")["text_dim"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"parameters": 90_000, "macs": 1e6}, "give one of them"),
        ({"parameters": 0}, "match.parameters=0; give 1 or more"),
        ({"parameters": 90_000, "width": "heads"}, "has no heads"),
        ({"parameters": 90_000, "width": "solver"}, "has no solver"),
        ({"parameters": 100}, "match.parameters=100 cannot be met within 5%"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(asked: dict, says: str):
    with pytest.raises(UserError, match=says) as refused:
        matched(node("ode"), **asked, **WHERE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("target", [1, 99, 100, 101, 640, 5000, 10**9])
@pytest.mark.parametrize("every", [1, 4, 7])
def test_the_nearest_width_is_the_nearest_of_all(target: int, every: int):
    def size(width: int) -> float | None:
        return None if width % every else width**2 / 10

    width, found = nearest_width(size, target)
    best = min((w for w in range(1, 2**14 + 1) if size(w) is not None), key=lambda w: abs(size(w) - target))
    assert found == size(width) and abs(found - target) == abs(size(best) - target)


def test_a_list_of_channels_keeps_its_proportions_in_multiples_of_8():
    given = {"widths": [128, 64, 32, 32]}
    assert resized(given, "widths", 256)["widths"] == [256, 128, 64, 64]
    assert resized(given, "widths", 70)["widths"] == [72, 32, 16, 16]
    assert resized(given, "widths", 1)["widths"] == [8, 8, 8, 8]
