"""The page of protocols says what the code does."""

import re
from pathlib import Path

import pytest

from ode_vgan.cli.main import build_parser
from ode_vgan.metrics.features import KNOWN
from ode_vgan.metrics.protocol import FVD_STYLES, METRICS, PUBLISHED, parse_protocol

PAGE = (Path(__file__).parents[1] / "ode_vgan" / "metrics" / "README.md").read_text()
KEYS = sorted(set(re.findall(r"`([a-z]+\d+k?(?:_[A-Za-z0-9_:.-]+)?)`", PAGE)))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_on_the_page_is_a_protocol(key):
    parse_protocol(key)


def test_every_style_published_key_metric_and_extractor_is_on_the_page():
    assert set(PUBLISHED) | {"fvd2048_16f", "kvd2048_16f"} <= set(KEYS)
    assert all(f"_{style}`" in PAGE for style in FVD_STYLES if style)
    assert all(re.search(rf"`{metric}(N|v?\d)", PAGE) for metric in METRICS)
    assert all(f"`{name}" in PAGE for name in KNOWN)


def test_every_command_on_the_page_is_accepted():
    commands = [line.split("#")[0].split() for line in PAGE.splitlines() if line.startswith("ode-vgan ")]
    assert len(commands) >= 5
    for _, *words in commands:
        build_parser().parse_args(words)
