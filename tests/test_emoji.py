"""Laws of the embedded set, and of its builder on packages of a few drawn emoji."""

import hashlib
import io
import json
import tarfile
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ode_vgan.cli.main import main
from ode_vgan.data import emoji
from ode_vgan.data.clips import decode_clip
from ode_vgan.data.concepts import concept_codes, split_of, tones_of, untoned_codes
from ode_vgan.data.shards import read_index
from ode_vgan.errors import UserError

SIDE, COUNT = 32, 26
DOT, STILL, SHORT, SURFER, TONED = "1f534", "1f535", "1f536", "1f3c4", "1f3c4-1f3fd-200d-2640-fe0f"


@pytest.fixture(scope="module")
def embedded():
    return read_index(emoji.embedded_folder())


def test_the_embedded_set_is_whole_and_small(embedded):
    folder = emoji.embedded_folder()
    assert len(embedded) == 732
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000
    rows = pq.read_table(folder / "00000.parquet").to_pylist()
    assert [row["key"] for row in rows] == [entry.key for entry in embedded] == sorted(e.key for e in embedded)
    assert json.loads((folder / "00000_stats.json").read_text())["successes"] == len(embedded)
    assert "Copyright (c) Microsoft Corporation" in (folder / "LICENSE").read_text()
    readme = (folder / "README.md").read_text()
    assert all(name in readme and version in readme for name, (version, _) in emoji.PACKAGES.items())


def test_no_concept_straddles_the_split_and_no_test_caption_is_trained_on(embedded):
    sides, captions = defaultdict(set), defaultdict(set)
    for entry in embedded:
        sides[entry.meta["concept"]].add(entry.meta["split"])
        captions[entry.meta["split"]].add(entry.caption)
    assert all(len(side) == 1 for side in sides.values())
    assert not captions["train"] & captions["test"]
    assert all(split_of(concept) == side.pop() for concept, side in sides.items())
    assert 0.08 < len(captions["test"]) / len(embedded) < 0.12


def test_people_of_one_kind_are_one_concept(embedded):
    kinds = ("surfing", "juggling", "red hair", "cook", "holding hands", "family")
    for kind in kinds:
        assert len({e.meta["concept"] for e in embedded if kind in e.caption}) == 1, kind


@pytest.mark.parametrize("part", range(4))
def test_every_embedded_clip_is_what_its_row_says(embedded, part):
    for entry in embedded[part::16]:  # a quarter in all; the slow test has every one
        check_clip(entry)


@pytest.mark.slow
def test_every_embedded_clip_is_what_its_row_says_without_exception(embedded):
    for entry in embedded:
        check_clip(entry)


def check_clip(entry) -> None:
    content = entry.read()
    clip, meta = decode_clip(content), entry.meta
    assert hashlib.sha256(content).hexdigest() == meta["sha256"]
    assert clip.frames.shape == (meta["num_frames"], 64, 64, 3) and meta["num_frames"] >= 24
    assert clip.times[0] == 0 and (np.diff(clip.times) > 0).all() and clip.times[-1] < meta["duration_seconds"]
    assert np.allclose(np.rint(clip.times * 1000), clip.times * 1000, atol=1e-9)  # whole milliseconds
    assert (clip.frames != clip.frames[:1]).any()
    assert entry.caption == meta["caption"] and entry.caption.strip()


def artwork(colours: list[tuple], milliseconds: list[int]) -> bytes:
    frames = [Image.new("RGBA", (SIDE, SIDE), colour) for colour in colours]
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": milliseconds} if len(frames) > 1 else {}
    frames[0].save(buffer, "webp", lossless=True, exact=True, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder of fake tgz files and what they should be."""
    gaps = [40 + i % 3 for i in range(COUNT)]
    fading = [(255, 4 * i, 0, 51 + 8 * i) for i in range(COUNT)]
    art = {
        DOT: artwork(fading, gaps),
        STILL: artwork([(0, 0, 255, 255)], [40]),
        SHORT: artwork(fading[:10], gaps[:10]),
        SURFER: artwork(fading[::-1], gaps),
        TONED: artwork(fading, gaps),
        "1f600": b"RIFF\x10\0\0\0WEBPbroken",
        "0031": artwork(fading, gaps),  # has no name
    }
    signs = {"🔴": "red circle", "🔵": "blue circle", "🔶": "orange diamond", "😀": "grinning face"}
    people = {"🏄": "person surfing", "🏄\u200d♀\ufe0f": "woman surfing"}
    names = {key: {"name": name, "group": "Drawn"} for key, name in (signs | people).items()}
    trees = {
        "@fake/art": {f"assets/{stem}.webp": content for stem, content in art.items()},
        "names": {"data-by-emoji.json": json.dumps(names).encode()},
        "words": {"dist/emoji-en-US.json": json.dumps({"🔴": ["round", "red"]}).encode()},
    }
    folder = tmp_path_factory.mktemp("packages")
    return folder, {name: ("1.0.0", pack(folder, name, tree)) for name, tree in trees.items()}


def pack(folder, name: str, tree: dict[str, bytes]) -> str:
    path = folder / f"{name.lstrip('@').replace('/', '-')}-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for member_name, content in tree.items():
            member = tarfile.TarInfo(f"package/{member_name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def built(packages, tmp_path_factory):
    folder, expected = packages
    out = tmp_path_factory.mktemp("built")
    emoji.build(out, size=16, skin_tones=True, packages=folder, workers=1, expected=expected)
    return out


def test_the_builder_drops_what_does_not_move(built):
    assert [entry.key for entry in read_index(built)] == sorted([DOT, SURFER, TONED])


def test_the_builder_names_what_it_cannot_read(built):
    rows = pq.read_table(built / "00000.parquet").to_pylist()
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["key"] for row in failed] == ["1f600"] and failed[0]["error_message"]
    assert json.loads((built / "00000_stats.json").read_text())["failed_to_download"] == 1


def test_alpha_lies_on_white_and_times_are_the_sources(built):
    entry = {entry.key: entry for entry in read_index(built)}[DOT]
    clip = decode_clip(entry.read())
    alpha = (51 + 8 * np.arange(COUNT)) / 255
    colour = np.stack([np.full(COUNT, 255), 4 * np.arange(COUNT), np.zeros(COUNT)], -1)
    expected = alpha[:, None] * colour + (1 - alpha[:, None]) * 255
    assert clip.frames.shape == (COUNT, 16, 16, 3)
    assert np.abs(clip.frames.mean((1, 2)) - expected).max() < 12  # the encoding is lossy
    gaps = np.array([40 + i % 3 for i in range(COUNT)])
    assert np.array_equal(clip.times, np.concatenate([[0], np.cumsum(gaps[:-1])]) / 1000)
    assert entry.meta["duration_seconds"] == gaps.sum() / 1000


def test_captions_words_and_concepts_reach_the_rows(built):
    entries = {entry.key: entry for entry in read_index(built)}
    assert entries[DOT].caption == "red circle" and entries[DOT].meta["keywords"] == ["round", "red"]
    assert entries[SURFER].caption == "person surfing"
    assert entries[TONED].caption == "woman surfing, medium skin tone"
    assert entries[TONED].meta["concept"] == entries[SURFER].meta["concept"] == "person surfing"
    assert entries[TONED].meta["split"] == entries[SURFER].meta["split"]


def test_the_same_build_twice_gives_the_same_bytes(packages, built, tmp_path):
    folder, expected = packages
    emoji.build(tmp_path, size=16, skin_tones=True, packages=folder, workers=2, expected=expected)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in built.iterdir()
    }


def test_a_package_that_is_missing_or_not_the_expected_one_is_refused(packages, tmp_path):
    folder, expected = packages
    with pytest.raises(UserError, match="sha256"):
        emoji.build(tmp_path, packages=folder, expected=expected | {"names": ("1.0.0", "0" * 64)})
    with pytest.raises(UserError, match="npm pack names@2"):
        emoji.build(tmp_path, packages=folder, expected=expected | {"names": ("2.0.0", "0" * 64)})
    assert not list(tmp_path.iterdir())


def test_without_npm_there_is_one_line_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["data", "emoji", "--out", str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err
    assert "--packages" in complaint and complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 257])
def test_sizes_beyond_the_artwork_are_refused(tmp_path, size):
    with pytest.raises(UserError, match="1 to 256"):
        emoji.build(tmp_path, size=size)


def test_info_counts_clips_and_captions(built, capsys):
    assert main(["data", "info", str(built), "--decode"]) == 0
    printed = capsys.readouterr().out
    assert "clips     3 (" in printed and "captions  3, 3 different, 0 missing" in printed
    assert main(["data", "info", str(built / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("variant", "neutral"),
    [
        ("🏄🏽‍♀️", "🏄"),
        ("👩🏿‍🚒", "🧑‍🚒"),
        ("👨‍👩‍👧", "👪"),
        ("👩‍❤️‍💋‍👨", "💏"),
        ("👫", "🧑‍🤝‍🧑"),
        ("👩🏻‍🤝‍👨🏽", "🧑‍🤝‍🧑"),
        ("👵", "🧓"),
        ("🚶‍♂️‍➡️", "🚶"),
        ("❤️", "❤"),
    ],
)
def test_a_variant_has_the_concept_of_its_neutral_emoji(variant, neutral):
    assert concept_codes(untoned_codes(variant)) == concept_codes(untoned_codes(neutral)) == neutral


def test_skin_tones_are_told_once_and_in_words():
    assert tones_of("🏄🏽‍♀️") == "medium skin tone" and tones_of("🏄") == ""
    assert tones_of("👩🏻‍🤝‍👨🏽") == "light skin tone and medium skin tone"
    assert tones_of("👩🏻‍🤝‍👨🏻") == "light skin tone"
