# SPDX-License-Identifier: MIT
"""The essential spectrum of a linearization whose kernel multiplies: K f = a f + compact.

    A = σ'(g*) (a + compact),      essential spectrum = closure of the values of σ'(g*) a        (Weyl)

Where a varies this is a *continuous spectrum*: its numbers are no eigenvalues, though on a mesh the matrix has one at
each node.  Outside there are eigenvalues only.  With convection or diffusion the operator is unbounded, and this module
says nothing; nor does it of a kernel without a local part, whose essential spectrum is {0}.

References:
    T. Kato, Perturbation Theory for Linear Operators, Springer 1966, section IV.5.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fem_selection.dynamics.field import Linearization
from fem_selection.kernels import Kernel, LocalKernel, SumKernel
from fem_selection.typing import Complexes, Floats, create_block

__all__ = ["EssentialSpectrum", "essential_spectrum"]

_POINTS = 4  # up to so many different values they are named one by one
_SAME = 1e-9  # relative difference of values that count as one
_GAP = 10.0  # times the median: a larger distance of neighbouring values is a gap of the spectrum


@dataclass(frozen=True, kw_only=True)
class EssentialSpectrum:
    """The values of σ'(g*) a on the mesh.

    Attributes:
        intervals: From the smallest values on; if there are at most four values, each is an interval of length 0.
        spacing: The largest distance of neighbouring values in an interval, which is what the mesh resolves.
    """

    intervals: tuple[tuple[float, float], ...]
    spacing: float

    @property
    def upper(self) -> float:
        """The largest value."""
        return self.intervals[-1][1]

    @property
    def is_continuous(self) -> bool:
        """Whether it holds an interval of positive length."""
        return any(high > low for low, high in self.intervals)

    @property
    def name(self) -> str:
        """What it is, with its values."""
        if not self.is_continuous:
            numbers = ", ".join(f"{value:.6g}" for value, _ in self.intervals)
            return f"essential spectrum {{{numbers}}} (of infinite multiplicity)"
        parts = " ∪ ".join(f"[{low:.6g}, {high:.6g}]" for low, high in self.intervals)
        return f"continuous spectrum {parts} (seen to {self.spacing:.1g} on this mesh)"

    def holds(self, values: Complexes, tolerance: float) -> np.ndarray:
        """Return which of some numbers belong to it, as far as the mesh resolves it, as a mask.

        Args:
            values: The numbers.
            tolerance: Largest distance from it, if the spacing is smaller.
        """
        reach = max(tolerance, self.spacing)
        inside = np.zeros(len(values), bool)
        for low, high in self.intervals:
            inside |= (values.real >= low - reach) & (values.real <= high + reach) & (np.abs(values.imag) <= reach)
        return inside


def essential_spectrum(linearization: Linearization) -> EssentialSpectrum | None:
    """Return the essential spectrum; None if K has no local part, or convection or diffusion (collective over space).

    Args:
        linearization: The linearization at f*.
    """
    field = linearization.field
    factor = _multiplication(field.kernel, field.interval)
    if factor is None:
        return None
    g = linearization.preactivation
    value, slope = create_block(*g.shape), create_block(*g.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        field.activation.value_and_derivative(np.asfortranarray(g), value, slope)
    own = (slope[:, 0] * factor).tolist()
    values = np.sort(np.concatenate([np.asarray(part, float) for part in field.space.comm.allgather(own)])) + 0.0
    size = float(np.max(np.abs(values)))
    if size == 0.0:
        return EssentialSpectrum(intervals=((0.0, 0.0),), spacing=0.0)
    points = values[np.concatenate([[True], np.diff(values) > _SAME * size])]
    if len(points) <= _POINTS < len(values):
        return EssentialSpectrum(intervals=tuple((value, value) for value in points.tolist()), spacing=0.0)
    gaps = np.diff(points)
    is_gap = gaps > _GAP * float(np.median(gaps)) if len(gaps) else np.zeros(0, bool)
    lows, highs = points[np.concatenate([[True], is_gap])], points[np.concatenate([is_gap, [True]])]
    return EssentialSpectrum(
        intervals=tuple(zip(lows.tolist(), highs.tolist(), strict=True)),
        spacing=float(np.max(gaps[~is_gap], initial=0.0)),
    )


def _multiplication(kernel: Kernel, interval: int) -> Floats | None:
    """Nodal values of a; None if there is no local part, or one that differentiates."""
    parts = kernel.parts if isinstance(kernel, SumKernel) else (kernel,)
    total: Floats | None = None
    for part in parts:
        if not isinstance(part, LocalKernel):
            continue
        number = interval if part.num_intervals > 1 else 0
        for name, values in zip(part.names, part.coefficients[number], strict=True):
            if name == "multiplication":
                total = values.copy() if total is None else total + values
            elif part.space.comm.allreduce(float(np.max(np.abs(values), initial=0.0))) > 0.0:
                return None
    return total
