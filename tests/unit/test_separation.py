# SPDX-License-Identifier: MIT
"""Formulas as sums of products, and integrals of kernels that are computed once for all times."""

from __future__ import annotations

import numpy as np
import pytest
from mpi4py import MPI

import fem_selection as fs
from fem_selection.cases.variation import bounds_in_time
from fem_selection.discretization.quadrature import kernel_samples
from fem_selection.functions.formulas import coordinate_names, parse_formula
from fem_selection.functions.separation import separate

COMM = MPI.COMM_SELF


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("y - z", 1),
        ("exp(-t)", 1),
        ("(1 + 0.5*cos(t))*exp(y - z)", 1),
        ("t*y - cos(t)*(z + 2) + y/t", 3),
        ("-(t - y)*(z - t**2)/(1 + t**2)", 4),
        ("where(t < 1, 2, 3)*abs(y - z)/3 - y", 2),
        ("abs(y - z - t)", None),
        ("y/(1 + t*z)", None),
        ("(t + y)**2", None),
        ("(t+y)*(t+z)*(t+y)*(t+z)", None),
    ],
)
def test_formulas_are_separated(text, count):
    """Fails if the products do not add up to the formula, a factor holds the other's variables, or a formula that is no
    such sum is taken for one."""
    formula = parse_formula(text, ("t", "y", "z"))
    pairs = separate(formula, "t")
    assert (None if pairs is None else len(pairs)) == count
    if pairs is None:
        return
    at = dict(zip("tyz", np.random.default_rng(0).uniform(0.5, 2.0, (3, 20)), strict=True))
    total = sum(a.evaluate(t=at["t"]) * w.evaluate(**at) for a, w in pairs)
    np.testing.assert_allclose(total, formula.evaluate(**at), rtol=1e-13)
    assert all(a.names <= {"t"} and "t" not in w.names for a, w in pairs)


def kernel_and_counts(monkeypatch, space, text, times, *, singularity=None, parts=True):
    """The samples of a kernel at some times, each asked for by itself, and the number of integrations."""
    counts = []
    integrate = kernel_samples._integrate
    with monkeypatch.context() as patch:
        patch.setattr(kernel_samples, "_integrate", lambda *a, **k: counts.append(1) or integrate(*a, **k))
        if not parts:
            patch.setattr(kernel_samples, "separate", lambda *_: None)
        d = space.domain.dimension
        formula = parse_formula(text, ("t", *coordinate_names("y", d), *coordinate_names("z", d)))
        found = [kernel_samples.sample_kernel(space, formula, [t], singularity=singularity) for t in times]
    return np.concatenate([f.values for f in found]), len(counts)


PLANE = "sqrt((y0 - z0)**2 + (y1 - z1)**2)"


@pytest.mark.parametrize(
    ("cells", "text", "singularity", "count"),
    [
        (12, "(1 + t)*abs(y - z)**(-0.5) - cos(t)*y*z", 0.5, 2),
        (12, "t*where(y < z - 0.3, 1, y) + sin(t)*z", None, 2),
        ((3, 3), f"(2 + sin(t))*{PLANE}**(-0.5)", 0.5, 1),
        (12, "abs(y - z - 0.2*t)", None, 6),
        (12, "abs(y - z + t)**(-0.5)*t", 0.5, 6),
    ],
)
def test_integrals_are_computed_once_for_all_times(monkeypatch, cells, text, singularity, count):
    """Fails if the integrals of a kernel that is a sum of products are computed anew at each time, if those of another
    kernel are not, or if they are other numbers."""
    domain = fs.interval(COMM, cells=cells) if isinstance(cells, int) else fs.rectangle(COMM, cells)
    space, times = fs.StateSpace(domain, 1), np.linspace(0.1, 1.3, 6)
    found, done = kernel_and_counts(monkeypatch, space, text, times, singularity=singularity)
    assert done == count
    whole, every = kernel_and_counts(monkeypatch, space, text, times, singularity=singularity, parts=False)
    assert every == len(times)
    np.testing.assert_allclose(found, whole, rtol=1e-11, atol=1e-13 * np.abs(whole).max())
    again, none = kernel_and_counts(monkeypatch, space, text, times, singularity=singularity)
    assert none == (0 if count < 6 else 6) and np.array_equal(again, found)


def test_an_autonomous_kernel_is_integrated_once(monkeypatch):
    """Fails if a kernel that does not depend on t is integrated for each interval of depth, or kept for ever."""
    space = fs.StateSpace(fs.interval(COMM, cells=8), 1)
    calls = []
    integrate = kernel_samples._integrate
    monkeypatch.setattr(kernel_samples, "_integrate", lambda *a, **k: calls.append(1) or integrate(*a, **k))
    formula = parse_formula("abs(y - z)**(-0.5)", ("t", "y", "z"))
    found = kernel_samples.sample_kernel(space, formula, [0.1, 0.2, 0.3], singularity=0.5).values
    assert len(calls) == 1 and np.array_equal(found[0], found[2]) and space not in kernel_samples._kept


def test_a_singular_kernel_has_bounds_in_time():
    """Fails if the infinite value at y = z makes the steps of a run as short as the budget of pieces of time allows:
    here four thousand until t = 2 instead of some tens."""
    space = fs.StateSpace(fs.interval(COMM, cells=6), 1)
    formula = parse_formula("(1 + 0.5*cos(t))*abs(y - z)**(-0.5)", ("t", "y", "z"))
    low, high = bounds_in_time(space, [formula])(np.array([0.0]), np.array([1.0]))
    assert np.all(np.isfinite(low)) and np.all(np.isfinite(high))
    distance = np.abs(np.subtract.outer(*[space.coordinates[:, 0]] * 2)).ravel()
    apart = distance > 0
    np.testing.assert_allclose(high[0, : distance.size, 0][apart], 1.5 / np.sqrt(distance[apart]), rtol=1e-12)
    assert not high[0, : distance.size, 0][~apart].any()
