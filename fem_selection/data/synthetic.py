# SPDX-License-Identifier: MIT
"""Small data sets by formula, for tests and demonstrations."""

from __future__ import annotations

import numpy as np

from fem_selection.data.samples import Samples
from fem_selection.errors import InvalidInput

__all__ = ["sine_square"]


def sine_square(num_samples: int, num_values: int = 33, noise: float = 0.1, seed: int = 0) -> Samples:
    """Two classes of signals on [0, 1]: a sine and its sign, of random frequency and phase, with noise.

        f_j^I(y) = s_j(sin(2π (ω_j y + φ_j))) + noise · N(0, 1),    s_j ∈ {identity, sign},  ω_j ∈ [1, 2], φ_j ∈ [0, 1]

    Args:
        num_samples: Number of signals; the classes alternate.
        num_values: Values per signal, at y = i/(num_values − 1).
        noise: Standard deviation of the noise at each value.
        seed: Seed of the generator; the same seed gives the same signals.

    Returns:
        Samples with inputs of shape (num_samples, num_values) and the classes "sine" and "square".

    Raises:
        InvalidInput: If there are fewer than two samples or two values, or the noise is negative.
    """
    if num_samples < 2 or num_values < 2 or not noise >= 0:
        raise InvalidInput(
            f"sine_square was given {num_samples=}, {num_values=}, {noise=}: at least two samples of two values and "
            "noise ≥ 0 are expected"
        )
    rng = np.random.default_rng(seed)
    labels = np.arange(num_samples) % 2
    frequency, phase = rng.uniform(1.0, 2.0, (num_samples, 1)), rng.uniform(0.0, 1.0, (num_samples, 1))
    signals = np.sin(2 * np.pi * (frequency * np.linspace(0.0, 1.0, num_values) + phase))
    signals = np.where(labels[:, None] == 1, np.sign(signals), signals)
    signals += noise * rng.standard_normal(signals.shape)
    return Samples(inputs=signals, targets=labels, classes=("sine", "square"), grid=(num_values,))
