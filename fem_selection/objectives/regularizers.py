# SPDX-License-Identifier: MIT
"""Regularization of the controls: quadratic, in L² of the controls and in H¹ of their depth.

    ∫₀ᵀ ( α_w/2 ‖w‖² + α_b/2 ‖b‖² + β_w/2 ‖∂_t w‖² + β_b/2 ‖∂_t b‖² ) dt + α_c/2 (‖c‖² + |μ|²)

Controls are piecewise constant in depth with intervals of length Δ; ∂_t is their difference quotient, so that the
H¹ term reads β/2 Σ_c ‖w_{c+1} − w_c‖² / Δ.  The weights are those of `settings.Regularization`.
"""

from __future__ import annotations

import numpy as np

from fem_selection.typing import Floats

__all__ = ["depth_laplacian"]


def depth_laplacian(controls: Floats, length: float) -> Floats:
    """Return DᵀD x for the difference quotient D in depth.

    Args:
        controls: x, shape (intervals, …).
        length: Length Δ of an interval.

    Returns:
        y with ⟨x, y⟩ = Σ_c |x_{c+1} − x_c|² / Δ², shape of `controls`.
    """
    result = np.zeros_like(controls)
    difference = np.diff(controls, axis=0) / length**2
    result[:-1] -= difference
    result[1:] += difference
    return result
