"""Laws of building objects from plain dicts."""

import pytest

from ode_vgan.build import build
from ode_vgan.data.windows import Sampling
from ode_vgan.errors import UserError


def test_children_are_built_first_and_plain_values_pass_through():
    made = build({"a": [1, {"_target_": "ode_vgan.data.windows.Sampling", "strides": [2]}], "b": None})
    assert made == {"a": [1, Sampling(strides=(2,))], "b": None}


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "ode_vganx.evil", "subprocess.run"])
def test_a_config_from_elsewhere_cannot_name_code_outside_the_package(target):
    with pytest.raises(UserError, match="outside"):
        build({"_target_": target, "args": "true"})


def test_a_misspelt_option_fails_and_is_named():
    with pytest.raises(UserError, match="stride"):
        build({"_target_": "ode_vgan.data.windows.Sampling", "stride": [2]})


def test_a_missing_target_is_one_line():
    with pytest.raises(UserError, match="cannot be imported") as caught:
        build({"_target_": "ode_vgan.temporal.nothing.Path"})
    assert "\n" not in str(caught.value)
