"""Laws of the loader's bench: every way gives the frames that it is compared by, and what is absent is named."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ode_vgan.bench import decode, loader
from ode_vgan.bench.contest import Asked
from ode_vgan.data.shapes import write_shapes
from ode_vgan.errors import UserError
from tests.test_bench import tiny_config


@cache
def composed(*overrides: str) -> dict:
    return tiny_config("embed_dim=12", *overrides)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> Asked:
    folder = write_shapes(tmp_path_factory.mktemp("shapes"), 12, frames=10, size=16)
    given = {"frames": (4,), "batches": (2,), "compose": lambda overrides: composed(), "quick": True}
    return Asked(**given, data=str(folder))


def test_decoders_give_the_same_pixels_where_the_files_have_the_size(asked):
    found = decode.contests(asked)
    assert found[0].against == "bare PyAV" and found[0].target == 1.25
    assert all(one.differ() <= one.tolerance for one in found)
    absent = set(decode.OTHERS) - {one.against for one in found}
    assert all(name in found[0].note for name in absent)


def test_scaled_pixels_are_not_compared_and_the_note_says_why(asked):
    config = composed()
    smaller = replace(asked, compose=lambda overrides: config | {"data": config["data"] | {"size": 8}})
    one = decode.contests(smaller)[0]
    assert one.differ is None and "scaled" in one.note
    assert [frames.shape for frames in one.ours()] == [frames.shape for frames in one.theirs()]


def test_loaders_give_the_frames_of_clips_decoded_whole(asked):
    found = loader.contests(asked)
    assert all(one.differ() == 0 for one in found)
    names = [one.name.split(",")[0] for one in found]
    assert names[:3] == ["thread", "1 workers", "2 workers"] and "webdataset" in {one.against for one in found}


def test_webdataset_gives_as_many_frames_of_the_same_shards(asked):
    data = decode.clip_data(asked, cache_mb=0)
    batches = loader.by_webdataset(data, 3)()
    assert [batch.shape for batch in batches] == [(2, 4, 16, 16, 3)] * 3 and batches[0].numpy().dtype == np.uint8


def test_clips_that_are_drawn_are_refused_in_one_line(asked):
    node = {"_target_": "ode_vgan.data.drawn_loader.DrawnData", "clips": 8, "frames": 4, "size": 16, "batch": 2}
    node |= {"noise": 0.0, "val_clips": 2, "test_clips": 2}
    node["distribution"] = {"_target_": "ode_vgan.data.drawn_captions.Curated"}
    config = composed() | {"data": node}
    with pytest.raises(UserError, match="reads no files"):
        decode.contests(replace(asked, data="", compose=lambda overrides: config))
