"""A Ray cluster of several workers on this machine, or the reason why there is none."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import pytest

TRIES = 4  # Ray gives a node thirty seconds to start, which a busy machine may not have


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """Start one for the tests of a module; they are skipped where Ray is not installed."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install '.[laion-ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = import_module("ray")
    for left in reversed(range(TRIES)):
        try:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            break
        except Exception:
            ray.shutdown()
            if not left:
                raise
    try:
        yield
    finally:
        ray.shutdown()
