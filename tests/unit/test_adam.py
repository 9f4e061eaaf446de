# SPDX-License-Identifier: MIT
"""One step of Adam: the compiled pass and NumPy's against the formula in numbers of another precision."""

from __future__ import annotations

import numpy as np
import pytest

from fem_selection.functions.programs import SMALLEST
from fem_selection.optimize import adam

NUMBERS = {"decays": (0.9, 0.999), "length": 0.013, "epsilon": 1e-7}


def moved(size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """x, m, v after a step, and the same in long doubles."""
    rng = np.random.default_rng(size)
    x, first, gradient = rng.standard_normal((3, size))
    second = rng.random(size)
    exact = [a.astype(np.longdouble) for a in (x, first, second, gradient)]
    m, v = 0.9 * exact[1] + exact[3], 0.999 * exact[2] + exact[3] ** 2
    expected = [exact[0] - 0.013 * m / (np.sqrt(v) + 1e-7), m, v]
    adam.step_by_adam(x, first, second, gradient=gradient, work=np.empty(size), **NUMBERS)
    return [x, first, second], expected


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("size", [1, SMALLEST - 1, SMALLEST, 1000, 4099])
def test_a_step_is_the_formula(monkeypatch, size, compiled):
    """Fails if a moment, a decay or the sign of the step is wrong, or the loop leaves entries at the end out."""
    if not compiled:
        monkeypatch.setattr(adam, "SMALLEST", size + 1)
    for found, expected in zip(*moved(size), strict=True):
        np.testing.assert_allclose(found, expected.astype(float), rtol=2e-15, atol=1e-15)


def test_values_that_are_not_finite_stay_in_their_places():
    """Fails if an overflow in one control reaches others, or is hidden: the caller names the step by it."""
    x, first, second, gradient = np.zeros((4, SMALLEST))
    gradient[7], gradient[9] = np.nan, 1e200
    adam.step_by_adam(x, first, second, gradient=gradient, work=np.empty(SMALLEST), **NUMBERS)
    assert np.isnan(x[7]) and np.isinf(second[9]) and x[9] == 0.0
    assert np.all(np.delete(x, (7, 9)) == 0.0)
