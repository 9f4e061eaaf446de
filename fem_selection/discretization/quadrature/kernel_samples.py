# SPDX-License-Identifier: MIT
"""The values of a kernel at the sample times of its intervals, at the nodes or by product integration.

The integrals are linear in w.  Those of a formula w = Σ_k a_k(t) w_k(y, z) are computed once for each w_k, and where
they depend on time kept with the space for later times: nearly all of their cost is the geometry of cells and points.
Kernels that do not separate are integrated anew at each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from mpi4py import MPI

from fem_selection.discretization.coefficients import KernelSource, kernel_values
from fem_selection.discretization.quadrature.mesh_integration import integrate_on_mesh
from fem_selection.discretization.quadrature.product_integration import integrate_kernel
from fem_selection.discretization.quadrature.singularities import (
    Singularities,
    check_exponent,
    find_singularities,
    is_line,
    refuse_infinite_diagonal,
)
from fem_selection.discretization.spaces import StateSpace
from fem_selection.functions.formulas import Formula
from fem_selection.functions.separation import separate
from fem_selection.typing import Floats

__all__ = ["KernelSamples", "sample_kernel"]


@dataclass(frozen=True, kw_only=True)
class KernelSamples:
    """A kernel at some times.

    Attributes:
        values: W or B = M W M, shape (number of times, N, num_local), the second axis is that of the columns.
        are_integrals: Whether the values are B.
        declined: Where the quadrature does not know the kinks or jumps of w, in a sentence; None if it does.
    """

    values: Floats
    are_integrals: bool
    declined: str | None


def sample_kernel(
    space: StateSpace,
    source: KernelSource,
    times: Sequence[float],
    *,
    breaks: Sequence[KernelSource] | None = None,
    singularity: float | None = None,
) -> KernelSamples:
    """Return nodal values of w or, if w is not smooth, its integrals against the basis functions (collective).

    Args:
        space: The state space.
        source: The kernel w.
        times: The sample times.
        breaks: As in `find_singularities`.
        singularity: The exponent there.

    Raises:
        InvalidInput: as `find_singularities` does; if w has a wrong shape; if it is infinite where y = z and this is
            not declared, or if it grows faster there than declared.
    """
    places = find_singularities(space, source, breaks=breaks, exponent=singularity)
    parts = None if places is None else _parts(space, source, places)
    found, declined = [], None
    for time in times:
        nodal = None
        if singularity is None:
            with np.errstate(all="ignore"):
                nodal = kernel_values(space, source, time)
            refuse_infinite_diagonal(space, source, time, values=nodal)
        else:
            check_exponent(space, source, time, exponent=singularity)
        if places is None:
            assert nodal is not None
            found.append(nodal.T)
            continue
        if parts is not None:
            moments, undecided = _sum_of(parts, time)
        else:
            moments, undecided = _integrate(space, source, time, places=places, nodal=nodal)
        found.append(moments.T)
        declined = declined or undecided
    return KernelSamples(values=np.stack(found), are_integrals=places is not None, declined=declined)


_Integrals = tuple[Floats, str | None]
_KEPT = 8  # matrices of integrals that are kept with a space
_kept: WeakKeyDictionary[StateSpace, dict[Any, _Integrals]] = WeakKeyDictionary()


def _integrate(
    space: StateSpace, source: KernelSource, time: float, *, places: Singularities, nodal: Floats | None
) -> _Integrals:
    """B, shape (num_local, N), and what is not decided (collective)."""
    breaks, exponent = places.breaks, places.exponent
    if is_line(space):
        return integrate_kernel(space, source, time, breaks=breaks, exponent=exponent, nodal=nodal), None
    return integrate_on_mesh(space, source, time, breaks=breaks, exponent=exponent, nodal=nodal)


def _parts(space: StateSpace, source: KernelSource, places: Singularities) -> list[tuple[Formula, _Integrals]] | None:
    """The factors a_k and the integrals of the w_k; None if w or the places where it breaks do not separate."""
    pairs = separate(source, "t") if isinstance(source, Formula) and not places.may_move else None
    if pairs is None:
        return None
    kept = _kept.setdefault(space, {}) if len(pairs) > 1 or "t" in pairs[0][0].names else {}
    found = []
    for factor, part in pairs:
        key = (part.text, tuple(sorted(part.parameters.items())), places.exponent, tuple(map(_name, places.breaks)))
        if key not in kept:
            nodal = None
            if places.exponent is None:
                with np.errstate(all="ignore"):
                    nodal = kernel_values(space, part)
                if not space.comm.allreduce(bool(np.all(np.isfinite(nodal))), op=MPI.LAND):
                    return None  # the poles of the parts may cancel
            if len(kept) >= _KEPT:
                del kept[next(iter(kept))]
            kept[key] = _integrate(space, part, 0.0, places=places, nodal=nodal)
        found.append((factor, kept[key]))
    return found


def _name(g: KernelSource) -> str:
    return g.text if isinstance(g, Formula) else "y - z"


def _sum_of(parts: Sequence[tuple[Formula, _Integrals]], time: float) -> _Integrals:
    """Σ_k a_k(t) B_k."""
    values = [float(factor.evaluate(**({"t": time} if "t" in factor.names else {}))) for factor, _ in parts]
    moments = sum((a * integrals for a, (_, (integrals, _)) in zip(values, parts, strict=True)), np.zeros(()))
    return np.asarray(moments), next((why for _, (_, why) in parts if why is not None), None)
