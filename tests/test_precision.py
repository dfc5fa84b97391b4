"""Laws of choosing a run's numbers."""

import pytest
import torch

from ode_vgan import precision
from ode_vgan.precision import chosen, device_of


@pytest.mark.parametrize("asked", ["32-true", "bf16-mixed", "64-true", 16])
def test_a_precision_that_is_named_is_taken_without_a_word(asked):
    assert chosen(asked, "auto") == (asked, "")


@pytest.mark.parametrize(("there", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_bf16_where_the_machine_has_it_and_says_so_in_a_line(monkeypatch, there, expected):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: there)
    found, told = chosen("auto", "cpu")
    assert found == expected and expected in told and "cpu" in told and "\n" not in told


def test_a_processor_without_the_instructions_has_no_bf16(monkeypatch):
    for name in ("avx512_bf16", "amx_tile", "arm_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: False, raising=False)
    assert not precision.multiplies_bf16("cpu") and not precision.multiplies_bf16("mps")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert precision.multiplies_bf16("cpu")


def test_the_accelerator_auto_is_what_there_is():
    assert device_of("cpu") == "cpu"
    assert device_of("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
