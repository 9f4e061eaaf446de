# SPDX-License-Identifier: MIT
"""Where a kernel is not smooth: found in its formula, declared by the user, or measured on the diagonal.

On an interval `product_integration` integrates kernels with kinks, jumps and weak singularities.  In more dimensions
the quadrature does not know them: its errors then fall with order two at a kink and with order one at a jump, whatever
the degree, and a kernel that is infinite on the diagonal is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.coefficients import KernelSource, evaluate_kernel
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput
from fem_selection.functions.breaks import break_functions
from fem_selection.functions.formulas import Formula
from fem_selection.typing import Floats

__all__ = [
    "Singularities",
    "check_exponent",
    "find_singularities",
    "is_line",
    "observed_exponent",
    "refuse_infinite_diagonal",
]

_PLACES = (0.137, 0.271, 0.414, 0.618, 0.853)  # of the interval, where the diagonal is looked at
_DISTANCES = (1e-5, 1e-4, 1e-3)  # of its length
_AGREES = 0.1  # exponents may differ by so much: far from the diagonal other terms of w show
_UNBOUNDED = -0.05  # a logarithm has the exponent 0


@dataclass(frozen=True, kw_only=True)
class Singularities:
    """Where a kernel on an interval is not smooth.

    Attributes:
        breaks: Functions g of t, y and z; w is smooth where none of them vanishes.
        exponent: a if w grows like |y − z|^{−a}, 0 if like log|y − z|; None for kinks and jumps.
    """

    breaks: tuple[KernelSource, ...]
    exponent: float | None


def is_line(space: StateSpace) -> bool:
    """Return whether the domain is an interval, on which kernels may have singularities."""
    return space.domain.dimension == 1 and space.domain.cell == "interval"


def find_singularities(
    space: StateSpace,
    source: KernelSource,
    *,
    breaks: Sequence[KernelSource] | None = None,
    exponent: float | None = None,
) -> Singularities | None:
    """Return what is known about a kernel's singularities; None if it counts as smooth.

    Args:
        space: The state space.
        source: The kernel w.
        breaks: The functions g; if None those that a formula shows (see `functions.breaks`), on an interval.
        exponent: a, for a kernel that is singular on the diagonal y = z.

    Raises:
        InvalidInput: if singularities are declared where no quadrature knows them, or a is not below 1.
    """
    if not is_line(space):
        if breaks or exponent is not None:
            raise InvalidInput(
                "singularities of a kernel are integrated on intervals only; in more dimensions the kernel is taken at "
                "the nodes, where it must be finite"
            )
        return None
    if exponent is not None and not exponent < 1:
        raise InvalidInput(f"a kernel that grows like |y - z|^-{exponent:g} has no integral: expected an exponent < 1")
    if breaks is None:
        breaks = break_functions(source) if isinstance(source, Formula) else ()
    if exponent is not None:
        breaks = (*breaks, _difference)
    return Singularities(breaks=tuple(breaks), exponent=exponent) if breaks else None


def _difference(_: float, y: Floats, z: Floats) -> Floats:
    """Return y − z."""
    return np.asarray(y[0] - z[0])


def observed_exponent(space: StateSpace, source: KernelSource, time: float) -> float | None:
    """Return a if w grows like |y − z|^{−a}, about 0 if like log|y − z|; None if w is constant near the diagonal.

    Differences of w at three distances from the diagonal show it: those of |x|^{−a} fall by 10^a, and constants do not
    matter.  A smooth kernel has a ≤ −1.

    Args:
        space: A space on an interval.
        source: The kernel w.
        time: t.
    """
    low, high = (float(bound[0]) for bound in space.domain.bounds)
    y = low + (high - low) * np.array(_PLACES)[:, None]
    found = []
    for side in (-1.0, 1.0):
        z = y + side * (high - low) * np.array(_DISTANCES)
        with np.errstate(all="ignore"):
            values = evaluate_kernel(space, source, time, y=y[None], z=z[None])
            steps = np.abs(np.diff(values, axis=1))
            found.append(np.log10(steps[:, 0] / steps[:, 1]))
    known = np.concatenate(found)
    known = known[np.isfinite(known)]
    return float(np.max(known)) if known.size else None


def check_exponent(space: StateSpace, source: KernelSource, time: float, *, exponent: float) -> None:
    """Raise an error if a kernel grows faster than declared.

    Args:
        space: A space on an interval.
        source: The kernel w.
        time: t.
        exponent: The declared a.

    Raises:
        InvalidInput: if it does.
    """
    seen = observed_exponent(space, source, time)
    if seen is not None and seen > exponent + _AGREES:
        raise InvalidInput(
            f"near the diagonal the kernel grows like |y - z|^-{seen:.2g}, faster than the declared singularity = "
            f"{exponent:g}"
        )


def refuse_infinite_diagonal(space: StateSpace, source: KernelSource, time: float, *, values: Floats) -> None:
    """Raise an error if a kernel is infinite where y = z, and not declared so (collective).

    Args:
        space: The state space.
        source: The kernel w.
        time: t.
        values: w at the owned nodes y_i and all nodes z_k, shape (num_local, N).

    Raises:
        InvalidInput: on all ranks; the message says what to declare.
    """
    own = space.owned
    diagonal = values[np.arange(space.num_local), np.arange(own.start, own.stop)]
    if space.comm.allreduce(bool(np.all(np.isfinite(diagonal))), op=MPI.LAND):
        return
    if not is_line(space):
        if space.comm.allreduce(bool(not np.any(np.isfinite(diagonal))), op=MPI.LAND):
            raise InvalidInput(
                "the kernel is not finite where y = z; in more than one dimension no quadrature here knows "
                "singularities: give a finite kernel, such as (|y - z|^2 + c)^(-a/2)"
            )
        return
    seen = observed_exponent(space, source, time)
    if seen is not None and seen > _UNBOUNDED:
        _demand(round(seen, 2) + 0.0)


def _demand(exponent: float) -> NoReturn:
    if exponent >= 1 - 1e-6:
        raise InvalidInput(f"the kernel grows like |y - z|^-{exponent:g} at the diagonal and has no integral")
    grows = "log|y - z|" if abs(exponent) < -_UNBOUNDED else f"|y - z|^-{exponent:g}"
    declared = 0 if abs(exponent) < -_UNBOUNDED else exponent
    raise InvalidInput(
        f"the kernel is infinite where y = z and grows like {grows}: declare it by singularity = {declared:g} "
        "(dynamics.singularity in a case file)"
    )
