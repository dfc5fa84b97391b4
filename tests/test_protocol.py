import pytest

from ode_vgan.errors import UserError
from ode_vgan.metrics.protocol import FVD_STYLES, METRICS, PUBLISHED, parse_protocol, parse_protocols


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("fvd2048_16f", ("fvd", "i3d:half_pixel", 2048, 16, 1, 0)),
        ("fvd2048_128f", ("fvd", "i3d:half_pixel", 2048, 128, 1, 0)),
        ("fvd2048_128f_subsample8f", ("fvd", "i3d:half_pixel", 2048, 16, 8, 0)),
        ("fvd256_16f", ("fvd", "i3d:videogpt", 256, 16, 1, 1)),
        ("fvd512_16f_google", ("fvd", "i3d", 512, 16, 1, 1)),
        ("kvd2048_16f", ("kvd", "i3d:half_pixel", 2048, 16, 1, 1)),
        ("prdc2048_16f", ("prdc", "i3d:half_pixel", 2048, 16, 1, 1)),
        ("fd512_hog3d", ("fd", "hog3d", 512, None, 1, 1)),
        ("fd512_8f_effnet", ("fd", "effnet", 512, 8, 1, 1)),
        ("fd64_16f_tv:r3d_18", ("fd", "tv:r3d_18", 64, 16, 1, 1)),
        ("clipsim128_16f_clip_frames:ViT-L-14", ("clipsim", "clip_frames:ViT-L-14", 128, 16, 1, 1)),
        ("isv2048_ucf", ("is", "c3d", 2048, 16, 1, 1)),
    ],
)
def test_a_key_says_the_whole_protocol(key, expected):
    one = parse_protocol(key)
    assert (one.metric, one.extractor, one.clips, one.frames, one.every, one.correction) == expected
    assert one.key == key


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("fvd", "is not METRIC N _ T f"),
        ("vfd2048_16f", "did you mean fd...?"),
        ("fvd2048_16f_stylegan", "there are first, google, tats, videogpt, or none"),
        ("fvd8_16f", "use 20 clips or more"),
        ("fvd2048_4f_subsample8f", "makes no window"),
        ("", "is not METRIC"),
    ],
)
def test_a_key_that_says_no_protocol_is_refused_with_a_remedy(key, told):
    with pytest.raises(UserError, match=told.replace("?", r"\?").replace("...", r"\.\.\.")):
        parse_protocol(key)


def test_published_inception_scores_have_ten_splits_and_ours_one():
    assert [parse_protocol(key).splits for key in ("isv2048_ucf", "isv10k_ucf", "is2048_16f")] == [10, 10, 1]
    assert [parse_protocol(key).clips for key in ("isv2048_ucf", "isv10k_ucf")] == [2048, 10_000]


def test_keys_with_commas_are_each_taken_once_and_none_is_an_error():
    assert [one.key for one in parse_protocols("fd64_hog3d, kvd64,fd64_hog3d")] == ["fd64_hog3d", "kvd64"]
    with pytest.raises(UserError, match="no protocol named"):
        parse_protocols(" , ")


def test_every_published_key_and_style_names_whose_it_is():
    keys = [f"fvd2048_16f_{style}".rstrip("_") for style in FVD_STYLES] + list(PUBLISHED)
    assert all(parse_protocol(key).like and parse_protocol(key).differs for key in keys)


def test_a_metric_on_another_extractor_is_like_nobodys():
    assert parse_protocol("kvd2048_16f").like and not parse_protocol("kvd2048_16f_hog3d").like


def test_every_metric_parses_with_its_own_extractor():
    for name in METRICS:
        assert parse_protocol(f"{name}256_16f").metric == name
