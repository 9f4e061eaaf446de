# SPDX-License-Identifier: MIT
"""The problem of the forward benchmark: ∂_t f = tanh(K f + b) with a smooth kernel, 500 nodes, 200 initial states."""

from __future__ import annotations

import numpy as np

__all__ = ["HORIZON", "NODES", "SAMPLES", "bias", "initial", "kernel", "largest_error"]

NODES, SAMPLES, HORIZON = 500, 200, 4.0


def kernel(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """w(y, z), neither symmetric nor of a sign: states turn, and do not run straight to saturation."""
    return 9.0 * np.exp(-((y - z) ** 2) / 0.08) * np.cos(4.0 * (y - 2.0 * z))


def bias(y: np.ndarray) -> np.ndarray:
    """b(y)."""
    return 0.5 * np.sin(2.0 * np.pi * y)


def initial(y: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """f_j^I(y), shape (nodes, samples)."""
    s = samples / SAMPLES
    return (0.5 + s) * np.cos((1 + samples % 5) * y[:, None] + 6.0 * s)


def largest_error(found: np.ndarray, reference: np.ndarray, mass: np.ndarray) -> float:
    """The largest L² norm of the samples' errors; states of shape (nodes, samples)."""
    return float(np.sqrt(mass @ (found - reference) ** 2).max())
