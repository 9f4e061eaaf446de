# SPDX-License-Identifier: MIT
"""Where a kernel is not smooth: found in its formula, declared by the user, or measured on the diagonal.

`product_integration` (intervals) and `mesh_integration` (two and three dimensions) integrate kernels with kinks, jumps
and weak singularities.  On curves and surfaces in space the quadrature does not know them.
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
from fem_selection.typing import Floats, real_number

__all__ = [
    "Singularities",
    "check_exponent",
    "find_singularities",
    "is_line",
    "is_solid",
    "observed_exponent",
    "refuse_infinite_diagonal",
]

_PLACES = (0.137, 0.271, 0.414, 0.618, 0.853)  # of the domain's box, where the diagonal is looked at
_DISTANCES = (1e-5, 1e-4, 1e-3)  # of its largest side
_SLANTED = (0.6, 0.8, 0.5)  # a direction along no axis
_AGREES = 0.1  # exponents may differ by so much: far from the diagonal other terms of w show
_UNBOUNDED = -0.05  # a logarithm has the exponent 0


@dataclass(frozen=True, kw_only=True)
class Singularities:
    """Where a kernel is not smooth.

    Attributes:
        breaks: Functions g of t, y and z; w is smooth where none of them vanishes.  On an interval y − z is among them
            if there is an exponent.
        exponent: a if w grows like |y − z|^{−a}, 0 if like log|y − z|; None for kinks and jumps.
    """

    breaks: tuple[KernelSource, ...]
    exponent: float | None

    @property
    def may_move(self) -> bool:
        """Whether the places may depend on t; of a user's own functions this is not known."""
        return any("t" in g.names if isinstance(g, Formula) else g is not _difference for g in self.breaks)


def is_line(space: StateSpace) -> bool:
    """Return whether the domain is an interval."""
    return space.domain.dimension == 1 and space.domain.cell == "interval"


def is_solid(space: StateSpace) -> bool:
    """Return whether the domain is of two or three dimensions, and not a surface or a curve in space."""
    return space.domain.dimension == space.domain.mesh.topology.dim > 1


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
        breaks: The functions g; if None those that a formula shows (see `functions.breaks`).
        exponent: a, for a kernel that is singular on the diagonal y = z.

    Raises:
        InvalidInput: if singularities are declared where no quadrature knows them, or a is not below the dimension.
    """
    dimension = space.domain.dimension
    exponent = None if exponent is None else real_number(exponent, "singularity")
    if not (is_line(space) or is_solid(space)):
        if breaks or exponent is not None:
            raise InvalidInput(
                "singularities of a kernel are not integrated on curves and surfaces in space: there the kernel is "
                "taken at the nodes, where it must be finite"
            )
        return None
    if exponent is not None and not exponent < dimension:
        raise InvalidInput(
            f"a kernel that grows like |y - z|^-{exponent:g} has no integral: expected an exponent < {dimension}"
        )
    if breaks is None and isinstance(source, Formula):
        breaks = break_functions(source) if is_line(space) else break_functions(source, "z")[::-1]  # inner ones first
    found = tuple(breaks or ())
    if exponent is not None and is_line(space):
        found = (*found, _difference)
    return Singularities(breaks=found, exponent=exponent) if found or exponent is not None else None


def _difference(_: float, y: Floats, z: Floats) -> Floats:
    """Return y − z."""
    return np.asarray(y[0] - z[0])


def observed_exponent(space: StateSpace, source: KernelSource, time: float) -> float | None:
    """Return a if w grows like |y − z|^{−a}, about 0 if like log|y − z|; None if w is constant near the diagonal.

    Differences of w at three distances from the diagonal show it: those of |x|^{−a} fall by 10^a, and constants do not
    matter.  A smooth kernel has a ≤ −1.

    Args:
        space: A space on an interval, or on a domain of two or three dimensions.
        source: The kernel w.
        time: t.
    """
    slanted = np.array(_SLANTED[: space.domain.dimension])
    found = []
    for side in (-1.0, 1.0):
        values = _near_diagonal(space, source, time, side * slanted / np.linalg.norm(slanted))
        with np.errstate(all="ignore"):
            steps = np.abs(np.diff(values, axis=1))
            found.append(np.log10(steps[:, 0] / steps[:, 1]))
    known = np.concatenate(found)
    known = known[np.isfinite(known)]
    return float(np.max(known)) if known.size else None


def _near_diagonal(space: StateSpace, source: KernelSource, time: float, direction: Floats) -> Floats:
    """w(y, y + s e) at some points y and the distances s, in a direction e, shape (points, distances)."""
    low, high = space.domain.bounds
    y = np.stack([a + (b - a) * np.roll(_PLACES, k) for k, (a, b) in enumerate(zip(low, high, strict=True))])
    z = y[:, :, None] + np.max(high - low) * direction[:, None, None] * np.array(_DISTANCES)
    with np.errstate(all="ignore"):
        return evaluate_kernel(space, source, time, y=y[:, :, None], z=z)


def _refuse_other_singularities(space: StateSpace, source: KernelSource, time: float) -> None:
    """Raise an error if a kernel is infinite where y and z share a coordinate, and not at y = z alone."""
    if space.domain.dimension == 1:
        return
    for k, axis in enumerate(np.eye(space.domain.dimension)):
        if not np.all(np.isfinite(_near_diagonal(space, source, time, axis))):
            others = " and ".join(f"y{j} = z{j}" for j in range(space.domain.dimension) if j != k)
            raise InvalidInput(
                f"the kernel is infinite wherever {others}: the quadrature knows kernels that are singular where all "
                "coordinates of y and z agree, like (|y - z|^2)^(-a/2)"
            )


def check_exponent(space: StateSpace, source: KernelSource, time: float, *, exponent: float) -> None:
    """Raise an error if a kernel grows faster than declared, or is infinite at other places than y = z.

    Args:
        space: A space on an interval, or on a domain of two or three dimensions.
        source: The kernel w.
        time: t.
        exponent: The declared a.

    Raises:
        InvalidInput: if it does.
    """
    _refuse_other_singularities(space, source, time)
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
    if is_line(space):
        seen = observed_exponent(space, source, time)
        if seen is not None and seen > _UNBOUNDED:
            _demand(space, round(seen, 2) + 0.0)
        return
    if not space.comm.allreduce(bool(not np.any(np.isfinite(diagonal))), op=MPI.LAND):
        return
    if not is_solid(space):
        raise InvalidInput(
            "the kernel is not finite where y = z; on curves and surfaces in space no quadrature here knows "
            "singularities: give a finite kernel, such as (|y - z|^2 + c)^(-a/2)"
        )
    _refuse_other_singularities(space, source, time)
    seen = observed_exponent(space, source, time)
    if seen is not None:
        _demand(space, round(seen, 2) + 0.0)


def _demand(space: StateSpace, exponent: float) -> NoReturn:
    dimension = space.domain.dimension
    if exponent >= dimension - 1e-6:
        raise InvalidInput(f"the kernel grows like |y - z|^-{exponent:g} at the diagonal and has no integral")
    is_logarithm = abs(exponent) < -_UNBOUNDED
    declared = 0 if is_logarithm else exponent
    grows = "grows like log|y - z|" if is_logarithm else f"grows like |y - z|^-{exponent:g}"
    what = f"is infinite where y = z and {grows}"
    if exponent <= _UNBOUNDED:
        what = f"has no value where y = z, and is continuous there, with differences like |y - z|^{-exponent:g}"
    raise InvalidInput(
        f"the kernel {what}: declare it by singularity = {declared:g} (dynamics.singularity in a case file)"
    )
