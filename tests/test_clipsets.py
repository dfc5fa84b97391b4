import numpy as np
import pytest
import torch

from ode_vgan.data.clips import encode_clip
from ode_vgan.data.shards import read_index
from ode_vgan.data.windows import Sampling
from ode_vgan.errors import UserError
from ode_vgan.metrics.clipsets import FolderSet, SpoiledSet, is_run, open_real
from ode_vgan.metrics.collect import collect
from ode_vgan.metrics.controls import frozen
from ode_vgan.metrics.features import Extractor, find_extractor
from ode_vgan.metrics.protocol import parse_protocol

FAST = {"preset": "ultrafast"}


def write_clips(folder, count, *, frames=6, px=16, first=0):
    folder.mkdir(exist_ok=True)
    for i in range(first, first + count):
        grey = (
            np.full((frames, px, px, 3), 20 + 7 * i, np.uint8)
            + 4 * np.arange(frames, dtype=np.uint8)[:, None, None, None]
        )
        encode_clip(folder / f"{i:03d}.mp4", grey, 24.0, crf=1, options=FAST)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("set") / "clips", 12)


def source(folder, **options):
    given = {"frames": 4, "sampling": Sampling(), "size": None, "split": "all"} | options
    return open_real(str(folder), **given)


def everything(clips, size=5):
    return [torch.cat(parts) if torch.is_tensor(parts[0]) else sum(parts, []) for parts in
            zip(*(batch[:4] for batch in clips.batches(size)), strict=True)]  # fmt: skip


def test_the_windows_depend_on_the_seed_and_not_on_how_many_are_read_at_once(folder):
    one = source(folder).real(parse_protocol("fd20_hog3d"), 0, seed=3)
    frames, times, names, _ = everything(one, 20)
    again = everything(source(folder).real(parse_protocol("fd20_hog3d"), 0, seed=3), 7)
    assert torch.equal(frames, again[0]) and names == again[2] and torch.equal(times, again[1])
    other = everything(source(folder).real(parse_protocol("fd20_hog3d"), 0, seed=4))
    assert names != other[2]
    assert len(set(names[:12])) == 12, "each video once before any twice"


def test_the_second_part_goes_on_where_the_reference_ends(folder):
    long = everything(source(folder).real(parse_protocol("fd40_hog3d"), 0, seed=0))
    second = everything(source(folder).real(parse_protocol("fd20_hog3d"), 1, seed=0))
    assert torch.equal(long[0][20:], second[0])


def test_first_takes_the_clips_in_the_order_of_their_names(folder):
    names = everything(source(folder).real(parse_protocol("fvd20_4f_first"), 0, seed=0))[2]
    assert names[:12] == sorted(names[:12])


def test_a_subsampled_window_takes_every_kth_frame(folder):
    clips = source(folder).real(parse_protocol("fd20_4f_subsample2f_hog3d"), 0, seed=0)
    times = everything(clips)[1]
    assert clips.frames == 2 and torch.allclose(times[:, 1], torch.tensor(2 / 24), atol=1e-4)


def test_a_generated_folder_is_read_from_the_start_in_the_order_of_names(folder):
    clips = FolderSet(read_index(folder), 3, frames=2, every=2, size=None, folder="x")
    frames, times, names, _ = everything(clips)
    assert names == ["000", "001", "002"] and frames.shape[:2] == (3, 2)
    assert abs(int(frames[1, 1].float().mean()) - (20 + 7 + 8)) <= 2


def test_clips_of_other_sizes_are_refused_by_name_on_either_side(folder, tmp_path):
    write_clips(tmp_path / "mixed", 2)
    write_clips(tmp_path / "mixed", 1, px=24, first=2)
    told = "000 is 16x16 px and 002 24x24 px; give --size PX"
    with pytest.raises(UserError, match=told):
        everything(FolderSet(read_index(tmp_path / "mixed"), 3, frames=2, size=None, folder="mixed"))
    with pytest.raises(UserError, match="give --size PX"):
        everything(source(tmp_path / "mixed").real(parse_protocol("fd20_hog3d"), 0, seed=0))
    frames = everything(FolderSet(read_index(tmp_path / "mixed"), 3, frames=2, size=8, folder="mixed"))[0]
    assert frames.shape == (3, 2, 8, 8, 3)


def test_a_corrupt_and_a_short_video_are_named_skipped_and_counted(tmp_path):
    write_clips(tmp_path / "clips", 28)
    (tmp_path / "clips" / "005.mp4").write_bytes(b"not a video")
    write_clips(tmp_path / "clips", 1, frames=1, first=7)
    generated = FolderSet(read_index(tmp_path / "clips"), 28, frames=4, size=None, folder="clips")
    assert len(everything(generated)[2]) == 26
    assert generated.skipped.keys() == {"005", "007"} and "1 frames where 4" in generated.skipped["007"]
    real = source(tmp_path / "clips").real(parse_protocol("fd28_hog3d"), 0, seed=0)
    assert len(everything(real)[2]) == 28, "a real window is replaced by another clip's"
    assert real.skipped.keys() == {"005", "007"}


def test_too_few_or_too_many_broken_videos_are_an_error(folder, tmp_path):
    with pytest.raises(UserError, match="has 12 clips, 20 are needed"):
        FolderSet(read_index(folder), 20, frames=2, size=None, folder="generated")
    write_clips(tmp_path / "bad", 10)
    for i in range(3):
        (tmp_path / "bad" / f"00{i}.mp4").write_bytes(b"")
    with pytest.raises(UserError, match="only 7 of 10 clips can be used"):
        everything(FolderSet(read_index(tmp_path / "bad"), 10, frames=2, size=None, folder="bad"))


def test_an_empty_folder_is_an_error_with_its_name(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        source(tmp_path / "empty")


def test_a_control_spoils_clips_batch_by_batch(folder):
    clean = source(folder).real(parse_protocol("fd20_hog3d"), 0, seed=0)
    frames = everything(SpoiledSet(clean, frozen, seed=0))[0]
    assert (frames == frames[:, :1]).all() and len(frames) == 20


def test_features_come_from_the_cache_the_second_time_and_are_the_same(folder, tmp_path, monkeypatch):
    clips, one = source(folder).real(parse_protocol("fd20_4f_hog3d"), 0, seed=0), {"colour": find_extractor("colour")}
    done = []
    first = collect(clips, one, cache=tmp_path, advance=done.append)
    assert sum(done) == 20 and len(list(tmp_path.glob("*.npz"))) == 1
    monkeypatch.setattr(type(clips), "batches", lambda *_: pytest.fail("decoded again"))
    second = collect(source(folder).real(parse_protocol("fd20_4f_hog3d"), 0, seed=0), one, cache=tmp_path)
    assert torch.equal(first.rows["colour"], second.rows["colour"])
    assert (first.names, first.shape, first.gap_seconds) == (second.names, second.shape, second.gap_seconds)


@pytest.mark.parametrize("change", ["clips", "seed", "frames", "part", "first", "extractor", "touched", "stride"])
def test_whatever_changes_a_pixel_or_a_feature_misses_the_cache(change, tmp_path):
    folder = write_clips(tmp_path / "clips", 20)
    extractor = {"colour": find_extractor("colour")}
    collect(source(folder).real(parse_protocol("fd20_4f_hog3d"), 0, seed=0), extractor, cache=tmp_path / "kept")
    key, part, seed, sampling = "fd20_4f_hog3d", 0, 0, Sampling()
    key = {"clips": "fd21_4f_hog3d", "frames": "fd20_3f_hog3d", "first": "fvd20_4f_first"}.get(change, key)
    seed, part = int(change == "seed"), int(change == "part")
    if change == "stride":
        key = "fd20_8f_subsample2f_hog3d"
    if change == "extractor":
        extractor = {"colour": find_extractor("hog3d")}
    if change == "touched":
        write_clips(folder, 1)
    clips = source(folder, sampling=sampling, frames=3 if change == "stride" else 4)
    if change == "stride":
        key = "fd20_6f_subsample2f_hog3d"
    collect(clips.real(parse_protocol(key), part, seed=seed), extractor, cache=tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 2


def test_a_broken_cache_file_is_computed_again(folder, tmp_path):
    clips, one = source(folder).real(parse_protocol("fd20_4f_hog3d"), 0, seed=0), {"colour": find_extractor("colour")}
    first = collect(clips, one, cache=tmp_path)
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(collect(clips, one, cache=tmp_path).rows["colour"], first.rows["colour"])


def test_features_that_are_not_finite_name_the_clip(folder):
    class Broken(Extractor):
        name, id, dim, min_frames, min_px = "broken", "broken_v1", 1, 1, 1

        def describe(self, x):
            return torch.full((len(x), 1), float("nan"))

        def self_test(self):
            pass

    clips = FolderSet(read_index(folder), 2, frames=2, size=None, folder="x")
    with pytest.raises(UserError, match="broken_v1 gives features that are not finite for 000, 001"):
        collect(clips, {"broken": Broken()})


def test_a_run_is_told_from_a_folder_of_videos(folder, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert is_run(tmp_path / "run") and not is_run(folder)
