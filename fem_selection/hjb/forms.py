# SPDX-License-Identifier: MIT
"""UFL forms of one time step of the Hamilton–Jacobi–Bellman equation: P1 with viscosity on the edges of each simplex.

    M_L (V⁺ − V)/Δτ = ∫ H_K φ dx − ∫ D_K∇V·∇φ dx + ∮ χ (D_K∇V·n) φ ds,   D_K = Σ_{e = ij} max(S_i, S_j) d_e e eᵀ,
    d_ij = max(D_i, D_j) / (n+1),   D_k = max over v of (−v·∇φ_k)⁺,   v = ∂_ξ H, the optimal velocity

On a simplex, with S = 1, D_K∇V·∇φ_i = Σ_j d_ij (V_i − V_j).  In V⁺_i no coefficient of another node's value is then
negative, whatever the shape of the simplices; isotropic diffusion cannot achieve this on right-angled ones.  The
viscosity is of order h|v|.

The roughness S_i = |Σ_j (V_i − V_j)| / Σ_j |V_i − V_j| ∈ [0, 1], with sums over the edges at node i, limits the
viscosity.  S is 1 at extrema and on the boundary of the box.  Where V is smooth and not flat, S is of order h, so that
the viscosity is of order h² there.

For n = 1 the maximum over v is taken over K alone: if σ(0) = 0, |v| grows with the slope, and the scheme is monotone.
For n > 1 this choice would amplify rough perturbations, since v, and with it D, follows them.  Therefore
D_k = Σ_l B_l |∂_l φ_k| with the largest |v_l| of the surrounding cells (local Lax–Friedrichs).  With fixed bounds B,
S = 1 and χ = 0 the scheme is monotone in any dimension.

At a facet with opposite vertex o, χ = min(1, max(0, min_i (d_io + v·∇φ_o/(n+1)) / Σ_j d_oj)) is the largest part of
the consistent flux with which the coefficients stay nonnegative.  Where the velocity points into the box and n = 1,
χ = 1: the scheme is one-sided there, its viscosity vanishes for affine V, and no error enters from the boundary.  Where
the velocity points out at full speed χ = 0: there is no viscous flux, as if V were constant beyond the boundary.
Errors enter there; `ValueFunction.outflow_share` says on how much of the boundary.

References:
    J.-L. Guermond, B. Popov, SIAM J. Numer. Anal. 54 (2016) 2466, doi:10.1137/16M1074291 (viscosity on edges).
    G. R. Barrenechea, E. Burman, F. Karakatsani, Numer. Math. 135 (2017) 521, doi:10.1007/s00211-016-0808-z (limited
    by such an indicator).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import ufl
from dolfinx import fem

from fem_selection.typing import UflExpression

__all__ = ["StepForms", "step_forms"]


@dataclass(frozen=True)
class StepForms:
    """The UFL forms of one step.

    Attributes:
        rate: The right-hand side of the scheme, linear in φ.
        leaving: An upper bound of minus the coefficient of V_i in `rate`; divided by the mass, its largest value is the
            inverse of the step bound.
        mass: The lumped mass.
        outflow: The measure of the part of the boundary where v points out.
        boundary: The measure of the boundary.
    """

    rate: UflExpression
    leaving: UflExpression
    mass: UflExpression
    outflow: UflExpression
    boundary: UflExpression


def step_forms(
    V: fem.Function, H: fem.Function, v: fem.Function, *, D: fem.Function, S: fem.Function, keep_flux: bool
) -> StepForms:
    """The forms of one step; they read the current values of the given functions when they are assembled.

    Args:
        V: The value function, in P1.
        H: H_K, in DG0.
        v: The velocity in each cell, in vector DG0.
        D: D_k for the n + 1 vertices of each cell, in vector DG0.
        S: S_k for the n + 1 vertices of each cell, in vector DG0.
        keep_flux: Whether to use χ as defined above; χ = 0 otherwise.
    """
    mesh, phi = V.function_space.mesh, ufl.TestFunction(V.function_space)
    n, normal, one = mesh.topology.dim, ufl.FacetNormal(mesh), fem.Constant(mesh, 1.0)
    F, inverse = ufl.Jacobian(mesh), ufl.inv(ufl.Jacobian(mesh))
    slopes = [ufl.as_vector([inverse[j, k] for k in range(n)]) for j in range(n)]
    slopes = [-_sum(slopes), *slopes]  # ∇φ_0, …, ∇φ_n
    ends = [ufl.as_vector([0.0] * n), *(ufl.as_vector([F[k, j] for k in range(n)]) for j in range(n))]
    rates = [ufl.dot(v, slope) / (n + 1) for slope in slopes]
    against = [D[k] / (n + 1) for k in range(n + 1)]
    d, flux = {}, []
    for i, j in combinations(range(n + 1), 2):
        d[i, j] = d[j, i] = ufl.max_value(against[i], against[j])
        edge = ends[j] - ends[i]
        flux.append(ufl.max_value(S[i], S[j]) * d[i, j] * ufl.dot(edge, ufl.grad(V)) * edge)
    diagonal = [_sum([d[i, j] for j in range(n + 1) if j != i]) for i in range(n + 1)]
    rate = (H * phi - ufl.dot(_sum(flux), ufl.grad(phi))) * ufl.dx
    if keep_flux:
        chi = [_is_opposite(slopes[o], normal) * _kept_part(o, d, rates[o], diagonal[o]) for o in range(n + 1)]
        rate += _sum(chi) * ufl.dot(_sum(flux), normal) * phi * ufl.ds
    fastest = reduce(ufl.max_value, diagonal) + reduce(ufl.max_value, against)
    return StepForms(
        rate=rate,
        leaving=(n + 1) * fastest * phi * ufl.dx,
        mass=one * phi * ufl.dx,
        outflow=ufl.conditional(ufl.gt(ufl.dot(v, normal), 1e-10), one, 0.0) * ufl.ds,
        boundary=one * ufl.ds(mesh),
    )


def _kept_part(
    o: int, d: dict[tuple[int, int], UflExpression], rate: UflExpression, diagonal: UflExpression
) -> UflExpression:
    """χ of the facet opposite to vertex o; 0 if there is no viscosity and no inward velocity."""
    weakest = reduce(ufl.min_value, [d[i, j] for i, j in d if j == o])
    part = (weakest + rate) / ufl.max_value(diagonal, 1e-300)
    return ufl.min_value(1.0, ufl.max_value(0.0, part))


def _is_opposite(slope: UflExpression, normal: UflExpression) -> UflExpression:
    """Return 1 on the facet opposite to the vertex whose basis function has this gradient, and 0 on other facets."""
    return ufl.conditional(ufl.lt(ufl.dot(slope, normal), -0.999 * ufl.sqrt(ufl.dot(slope, slope))), 1.0, 0.0)


def _sum(terms: Sequence[UflExpression]) -> UflExpression:
    return reduce(lambda a, b: a + b, terms)
