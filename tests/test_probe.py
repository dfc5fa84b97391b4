"""Laws of the linear probe."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch.nn.functional import cross_entropy

from ode_vgan.embed.probe import L2_GRID, choose_probe, fit_probe
from ode_vgan.errors import UserError


def clouds(count: int, seed: int, width: int = 6, classes: int = 3, spread: float = 1.0):
    """Rows around one centre a class, and their labels; the centres are the same for every seed."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(42))
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    return centres[labels] + spread * torch.randn(count, width, generator=draw), labels


def loss(probe, rows, labels):
    return float(cross_entropy(probe(rows), labels))


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-5])
def test_the_fit_is_the_minimum_that_scipy_finds(l2):
    rows, labels = clouds(60, 0)
    probe = fit_probe(rows, labels, 3, l2)
    x = ((rows.double() - probe.mean) / probe.scale).numpy()

    def objective(flat):
        weight, bias = flat[:18].reshape(3, 6), flat[18:]
        logits = x @ weight.T + bias
        own = logits[np.arange(60), labels.numpy()]
        return (logsumexp(logits, axis=1) - own).mean() + l2 / 2 * (weight**2).sum()

    best = minimize(objective, np.zeros(21), method="BFGS", options={"gtol": 1e-8})
    ours = objective(np.concatenate([probe.weight.flatten().numpy(), probe.bias.numpy()]))
    assert ours == pytest.approx(best.fun, abs=1e-9)
    if l2 >= 1e-2:  # below, the minimum is too flat for scipy's weights to be exact
        assert np.allclose(probe.weight.numpy(), best.x[:18].reshape(3, 6), atol=1e-4)


def test_the_gradient_is_zero_at_the_fit_and_the_start_does_not_matter():
    rows, labels = clouds(60, 0, spread=3.0)
    cold = fit_probe(rows, labels, 3, 1e-3)
    warm = fit_probe(rows, labels, 3, 1e-3, start=fit_probe(rows, labels, 3, 10.0))
    assert torch.allclose(cold.weight, warm.weight, atol=1e-4)
    weight = cold.weight.clone().requires_grad_()
    x = (rows.double() - cold.mean) / cold.scale
    (cross_entropy(x @ weight.T + cold.bias, labels) + 1e-3 / 2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-6


def test_turning_shifting_and_scaling_the_rows_changes_no_answer():
    rows, labels = clouds(90, 1)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5)).double())
    other = 7 * rows.double() @ turn + 3
    assert torch.allclose(fit_probe(rows, labels, 3, 1e-2)(rows), fit_probe(other, labels, 3, 1e-2)(other), atol=1e-4)


def test_more_regularisation_never_has_the_better_training_loss():
    rows, labels = clouds(60, 2)
    losses = [loss(fit_probe(rows, labels, 3, l2), rows, labels) for l2 in sorted(L2_GRID)]
    assert all(a <= b + 1e-9 for a, b in zip(losses, losses[1:], strict=False))


def test_separable_clouds_are_learned_and_shuffled_labels_are_not():
    train, validation, test = (clouds(n, seed, spread=0.2) for n, seed in ((90, 0), (45, 1), (300, 2)))
    probe = choose_probe(train, validation, 3).probe
    assert (probe(test[0]).argmax(1) == test[1]).double().mean() > 0.99
    draw = torch.Generator().manual_seed(0)
    sides = [(rows, labels[torch.randperm(len(labels), generator=draw)]) for rows, labels in (train, validation)]
    shuffled = choose_probe(*sides, 3)
    assert min(shuffled.validation.values()) > 0.95 * math.log(3)  # what a guess without looking loses


def test_regularisation_is_the_one_of_least_validation_loss_and_the_fit_is_on_both():
    train, validation = clouds(30, 0, width=20, spread=2.0), clouds(60, 1, width=20, spread=2.0)
    grid = [l2 for l2 in L2_GRID if l2 >= 1e-4]  # below, the minimum is flat and the path to it shows
    chosen = choose_probe(train, validation, 3, grid)
    again = {l2: loss(fit_probe(*train, 3, l2), *validation) for l2 in grid}
    assert chosen.validation == pytest.approx(again, abs=1e-4)
    assert chosen.probe.l2 == min(again, key=again.get)
    both = [torch.cat(pair) for pair in zip(train, validation, strict=True)]
    assert torch.allclose(chosen.probe.weight, fit_probe(*both, 3, chosen.probe.l2).weight, atol=1e-4)


def test_a_class_without_rows_is_never_named_for_rows_like_those_seen():
    rows, labels = clouds(60, 3, spread=0.5)
    probe = fit_probe(rows, labels, 4, 1e-2)
    assert 3 not in probe(rows).argmax(1).tolist()


def test_what_has_no_answer_is_refused():
    rows, labels = clouds(30, 0)
    with pytest.raises(UserError, match="two classes or more"):
        fit_probe(rows, torch.zeros(30, dtype=torch.int64), 3, 1.0)
    with pytest.raises(UserError, match="must be above 0"):
        fit_probe(rows, labels, 3, 0.0)
    with pytest.raises(UserError, match="no validation clip"):
        choose_probe((rows, labels), (rows[:0], labels[:0]), 3)
