"""Laws of the splits: what is validated on is never trained on, by whole concepts."""

from pathlib import Path

import pytest

from ode_vgan.data.loader import ClipData
from ode_vgan.data.shapes import write_shapes
from ode_vgan.data.shards import Entry, Source
from ode_vgan.data.store import set_aside
from ode_vgan.embed.none import NoEmbedder
from ode_vgan.errors import UserError


def entries(count: int, concepts: int) -> list[Entry]:
    return [Entry(f"clip{i}", "", {"concept": f"thing {i % concepts}"}, Source(Path("none"))) for i in range(count)]


def test_whole_concepts_are_set_aside_and_stay_when_clips_are_added():
    kept, aside = set_aside(entries(600, 300), 0.1)
    assert not {one.meta["concept"] for one in kept} & {one.meta["concept"] for one in aside}
    assert 40 <= len(aside) <= 80 and len(kept) + len(aside) == 600  # a tenth, within two deviations
    fewer = {one.key for one in set_aside(entries(400, 300), 0.1)[1]}
    assert fewer == {one.key for one in aside} & {one.key for one in entries(400, 300)}


def test_nothing_is_set_aside_unless_asked():
    kept, aside = set_aside(entries(50, 50), 0.0)
    assert len(kept) == 50 and not aside


def test_validation_clips_leave_the_training_set_and_test_clips_stay(tmp_path):
    clips = write_shapes(tmp_path, 40, seed=0, frames=6, size=16)
    data, whole = (ClipData(str(clips), NoEmbedder(), frames=4, size=16, batch=4, val_share=s) for s in (0.3, 0.0))
    data.setup(), whole.setup()
    keys = {name: {e.key for e in data.windows(name).store.entries} for name in ("train", "val", "test")}
    assert keys["val"] and not keys["val"] & keys["train"] and not keys["val"] & keys["test"]
    assert keys["train"] | keys["val"] == {e.key for e in whole.windows("train").store.entries}
    assert keys["test"] == {e.key for e in whole.windows("test").store.entries}
    assert len(data.real_clips(8, split="val").frames) == 8
    with pytest.raises(UserError, match="data.val_share=0.0 sets no clip aside"):
        whole.windows("val")
    with pytest.raises(UserError, match="val_share=0.9"):
        ClipData(str(clips), NoEmbedder(), frames=4, size=16, batch=4, val_share=0.9)
