"""Laws over drawn times, words, values and tables (hypothesis): what is read is right, what is refused is one line."""

import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ode_vgan.build import build
from ode_vgan.cli.sample import parse_times
from ode_vgan.data.clips import decode_clip, encode_clip
from ode_vgan.data.shards import Sample, read_index, write_shard
from ode_vgan.errors import UserError
from ode_vgan.temporal.ode import OdePath
from ode_vgan.temporal.path import anchored_path
from ode_vgan.temporal.rnn import RnnPath
from ode_vgan.web.playable import on_arc
from ode_vgan.web.studio_asked import asked_clip
from tests.known import FIELD

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GAPS = st.lists(st.floats(1e-3, 3.0), min_size=1, max_size=6)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
COLUMNS = ["url", "URL", "caption", "macs", "value", "", "a b", "x" * 300]
TYPES = [pa.int64(), pa.string(), pa.float32(), pa.list_(pa.int8()), pa.binary(), pa.null(), pa.date32()]


@pytest.fixture(scope="module")
def ode():
    torch.manual_seed(0)
    return OdePath(4, 2, **FIELD, order=1, solver="midpoint", step_seconds=0.05).double().requires_grad_(False)


def one_line(refuse) -> None:
    """Whatever is refused is refused by a `UserError` of one line."""
    try:
        refuse()
    except UserError as error:
        assert str(error) and str(error).isprintable()


@FEW
@given(GAPS, st.floats(-2.0, 2.0))
def test_a_continuous_path_at_one_time_does_not_depend_on_the_others(ode, gaps, first):
    times = first + torch.cumsum(torch.tensor([0.0, *gaps], dtype=torch.float64), 0)
    z0, c = torch.ones(1, 4, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    path = anchored_path(ode, z0, times, c)
    alone = anchored_path(ode, z0, times[-1:], c)
    assert path.shape == (1, len(times), 4) and bool(path.isfinite().all())
    assert torch.allclose(path[:, -1:], alone, atol=0.02)  # of the solver, whose steps end at the asked times


@FEW
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=5))
def test_times_of_any_kind_are_followed_or_refused_in_one_line(times):
    model = RnnPath(3, 2, noise_dim=0, text_dim=2).requires_grad_(False)
    given_times = torch.tensor(times)

    def follow() -> None:
        path = model(torch.zeros(1, 3), given_times, torch.zeros(1, 2))
        assert path.shape == (1, len(times), 3)
        assert len(times) == 1 or bool((given_times.diff() > 0).all())

    one_line(follow)


@FEW
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8, unique=True))
def test_rising_seconds_on_a_command_line_come_back_as_they_were(times):
    rising = sorted(times)
    assert parse_times(",".join(map(repr, rising))) == rising
    if len(rising) > 1:
        with pytest.raises(UserError):
            parse_times(" ".join(map(repr, rising[::-1])))


@FEW
@given(st.text(max_size=40))
def test_any_text_for_times_is_read_or_refused_in_one_line(text):
    one_line(lambda: parse_times(text))


@FEW
@given(WORDS)
def test_a_caption_goes_through_a_shard_and_comes_back(tmp_path, caption):
    write_shard(tmp_path, "00000", [Sample("0", b"\0", caption)])
    assert (read_index(tmp_path)[0].caption or "").strip() == caption.strip()


@FEW
@given(st.lists(st.floats(1e-3, 2.0), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 9))
def test_a_clip_of_any_size_and_gaps_comes_back_at_its_times(gaps, half_height, half_width):
    times = np.cumsum([0.0, *gaps])
    frames = np.zeros((len(times), 2 * half_height, 2 * half_width, 3), np.uint8)
    clip = decode_clip(bytes(encode_clip(None, frames, times)))
    assert clip.frames.shape == frames.shape and np.allclose(clip.times, times, atol=1e-3)


@FEW
@given(st.dictionaries(st.sampled_from(["dim", "embed_dim", "hidden", "depth", "order", "solver", "rate", "x"]), ANY))
def test_a_config_of_any_values_is_built_or_refused_in_one_line(changes):
    assume(not any(isinstance(value, int) and not isinstance(value, bool) and value > 64 for value in changes.values()))
    node = {"_target_": "ode_vgan.temporal.ode.OdePath", "dim": 4, "embed_dim": 2, **FIELD, "order": 1, "solver": "rk4"}
    one_line(lambda: build(node | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden": "abc"}, "hidden='abc' must be a whole number"),
        ({"hidden": 1.5}, "must be a whole number"),
        ({"hidden": True}, "must be a whole number"),
        ({"hidden": 10**30}, "must be a whole number"),
        ({"rate": math.nan}, "must be a number"),
        ({"solver": 3}, "must be a text"),
        ({"adjoint": "yes"}, "must be true or false"),
        ({"rate": -1.0}, "give a number above 0"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_it_must_be(changes, says):
    node = {"_target_": "ode_vgan.temporal.ode.OdePath", "dim": 4, "embed_dim": 2, **FIELD, "order": 1, "solver": "rk4"}
    with pytest.raises(UserError, match=says):
        build(node | changes)


@FEW
@given(st.dictionaries(st.sampled_from(["times", "text", "seed", "noise", "turn", "text_mix", "z"]), ANY))
def test_a_request_of_any_values_is_taken_or_refused_in_one_line(body):
    one_line(lambda: asked_clip({"run": "a", "text": "b", "times": [0.0]} | body))


@FEW
@given(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=5), st.sampled_from(TYPES))
def test_a_table_of_any_columns_is_read_or_refused_in_one_line(tmp_path, names, kind):
    from ode_vgan.laion.listing import Listing
    from ode_vgan.scaling.table import Wanted, read_table, select

    buffer = io.BytesIO()
    pq.write_table(pa.table({name: pa.nulls(3, kind) for name in names}), buffer)
    path = tmp_path / "table.parquet"
    path.write_bytes(buffer.getvalue())
    one_line(lambda: Listing(path).rows(0, 3))
    one_line(lambda: select(read_table(path), Wanted(x="macs", y="value")))


@FEW
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.floats(0, 1))
def test_a_walk_stays_between_the_lengths_of_its_ends(numbers, share):
    start, end = torch.tensor([numbers]), torch.tensor([[1.0, 0.0, 0.0]])
    assume(float(start.norm()) > 0.1 and float((start / start.norm() - -end).norm()) > 0.1)  # not opposite
    low, high = sorted((float(start.norm()), 1.0))
    assert low - 1e-3 <= float(on_arc(start, end, share).norm()) <= high + 1e-3
