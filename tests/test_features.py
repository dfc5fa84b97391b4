import pytest
import torch

from ode_vgan.errors import UserError
from ode_vgan.metrics.colour import ColourLayout
from ode_vgan.metrics.features import find_extractor, standardise
from ode_vgan.metrics.hog3d import Hog3d


@pytest.mark.parametrize("kind", [Hog3d, ColourLayout])
def test_every_extractor_keeps_its_contract(kind):
    extractor = kind()
    clips = torch.randint(0, 256, (3, 4, 20, 20, 3), dtype=torch.uint8)
    rows = extractor(clips)
    assert rows.shape == (3, extractor.dim) and rows.dtype == torch.float64
    assert torch.equal(extractor(clips.numpy()), rows)
    assert find_extractor(extractor.name).fingerprint() == extractor.fingerprint()
    assert extractor.id.startswith(extractor.name)


def test_a_thread_a_part_gives_the_same_rows_and_leaves_the_threads_as_they_were(monkeypatch):
    clips = torch.randint(0, 256, (6, 4, 20, 20, 3), dtype=torch.uint8)
    monkeypatch.setattr(Hog3d, "chunk_pixels", 1)
    alone, threads = Hog3d()(clips), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(Hog3d()(clips), alone) and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_a_fingerprint_changes_with_any_parameter(monkeypatch):
    before = Hog3d().fingerprint()
    monkeypatch.setattr("ode_vgan.metrics.hog3d.SLOWEST", 0.05)
    assert Hog3d().fingerprint() != before
    assert len(before) == 64


def test_the_colour_layout_is_means_then_deviations_by_cell():
    clip = torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)
    clip[0, :, :2, 2:, 1] = 100  # green, top right, still
    clip[0, 1, 2:, :2, 2] = 60  # blue, bottom left, only in the second frame
    mean, deviation = ColourLayout()(clip).view(2, 3, 2, 2)
    assert mean[1, 0, 1] == 100 and mean[2, 1, 0] == 30
    assert deviation[2, 1, 0] == 30
    assert (mean.count_nonzero(), deviation.count_nonzero()) == (2, 1)


def test_the_colour_layout_sees_the_brightness_that_hog3d_does_not():
    clip = torch.randint(40, 200, (1, 3, 16, 16, 3), dtype=torch.uint8)
    assert torch.allclose(Hog3d()(clip), Hog3d()(clip + 30), atol=1e-4)
    assert torch.allclose(ColourLayout()(clip + 30)[:, :12], ColourLayout()(clip)[:, :12] + 30)


def test_standardising_makes_the_reference_unit_and_keeps_the_units_of_the_others():
    reference = torch.randn(500, 3).double() * torch.tensor([1.0, 2.0, 4.0])
    unit, other = standardise(reference, 2 * reference)
    assert torch.allclose(unit.std(0), torch.ones(3).double())
    assert torch.allclose(other, 2 * unit)


def test_a_dimension_that_is_steady_in_the_reference_does_not_outweigh_the_rest():
    reference = torch.randn(50, 2).double()
    reference[:, 1] = 5
    _, other = standardise(reference, reference + 0.01)
    assert float((other - standardise(reference)[0])[:, 1].abs().max()) < 0.2
    constant = torch.ones(5, 2).double()
    assert torch.equal(*standardise(constant, constant))


def test_an_unknown_extractor_names_those_there_are():
    with pytest.raises(UserError, match="no extractor 'i3e'; there are i3d, hog3d, colour"):
        find_extractor("i3e")
