import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from ode_vgan.errors import UserError
from ode_vgan.metrics.pickles import read_arrays


class Sneaky:
    """Unpickled the usual way, this makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused_and_does_not_run(tmp_path):
    target = tmp_path / "made"
    content = pickle.dumps({"params": {"kernel": np.zeros(3)}, "more": Sneaky(target)})
    with pytest.raises(UserError, match=r"x.ckpt asks for pathlib\S*\.Path\.touch|x.ckpt asks for .*getattr"):
        read_arrays(io.BytesIO(content), "x.ckpt")
    assert not target.exists()
    pickle.loads(content)
    assert target.exists()


@pytest.mark.parametrize("protocol", (3, 4))
def test_arrays_come_out_of_a_pickle_as_they_went_in(protocol):
    arrays = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}, "c": np.float64([1, 2])}
    found = read_arrays(io.BytesIO(pickle.dumps(arrays, protocol)), "x")
    assert list(found) == ["a/b", "c"] and np.array_equal(found["a/b"], arrays["a"]["b"])


def test_broken_pickles_and_other_content_are_told_in_one_line():
    content = pickle.dumps({"a": np.zeros(300)})
    for broken in (b"", b"\x80", content[:200], content[:-1], b"nonsense"):
        with pytest.raises(UserError, match="no pickle of arrays, or is cut short"):
            read_arrays(io.BytesIO(broken), "x")
    for other, told in (({"a": "text"}, "holds str at a"), ([1], "holds list"), ({"a": np.array([{}])}, "object")):
        with pytest.raises(UserError, match=told):
            read_arrays(io.BytesIO(pickle.dumps(other)), "x")
