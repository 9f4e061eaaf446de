# SPDX-License-Identifier: MIT
"""The values of a kernel at the sample times of its intervals, at the nodes or by product integration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fem_selection.discretization.coefficients import KernelSource, kernel_values
from fem_selection.discretization.quadrature.mesh_integration import integrate_on_mesh
from fem_selection.discretization.quadrature.product_integration import integrate_kernel
from fem_selection.discretization.quadrature.singularities import (
    check_exponent,
    find_singularities,
    is_line,
    refuse_infinite_diagonal,
)
from fem_selection.discretization.spaces import StateSpace
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
        breaks, exponent, undecided = places.breaks, places.exponent, None
        if is_line(space):
            moments = integrate_kernel(space, source, time, breaks=breaks, exponent=exponent, nodal=nodal)
        else:
            moments, undecided = integrate_on_mesh(space, source, time, breaks=breaks, exponent=exponent, nodal=nodal)
        found.append(moments.T)
        declined = declined or undecided
    return KernelSamples(values=np.stack(found), are_integrals=places is not None, declined=declined)
