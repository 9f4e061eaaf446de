# SPDX-License-Identifier: MIT
"""Steady states found from several starts, whether they are isolated, and how they depend on the bias.

    σ(K f + b) = 0;      F'(f*) ∂f* = −Π σ'(g*) ∂b      where F'(f*) = Π σ'(g*) K is regular

For a kernel in L² the operator K is compact: on a fine mesh F' always has a numerical null space.  If σ'(g*) has no
zero, this is ker K, and f* is a point of the affine family f* + ker K of steady states.  The derivative in b exists
only if the state is isolated, and is declined otherwise.

A kernel with a local part has as many singular values as there are nodes, and products with F' do not find the smallest
ones.  In this case the eigenvalue nearest to zero decides whether a state is isolated, and
`local_newton.solve_linearized` computes the derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from fem_selection.dynamics.field import Linearization, SelectionField
from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.errors import InvalidInput, NotConverged
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.linalg.singular import SingularExpansion, expand
from fem_selection.settings import NewtonSettings, SteadySettings
from fem_selection.settings.tables import settings_or_default
from fem_selection.steady.equilibria.deflation import is_known
from fem_selection.steady.equilibria.local_newton import nearest_to_zero, solve_linearized
from fem_selection.steady.equilibria.steady_state import SteadyState, find_steady_state
from fem_selection.typing import Block, Floats, create_block

__all__ = ["Equilibrium", "differentiate_in_bias", "find_equilibria"]

_PARTS = np.linspace(0.0, 1.0, 9)  # of the way between two steady states
_FLAT = 1e-8  # |σ'| that counts as zero, relative to 1 + max |σ'|


@dataclass(frozen=True)
class Equilibrium:
    """A steady state that Newton's method found.

    Attributes:
        state: Nodal values of f*, shape (space.num_local,).
        preactivation: Nodal values of g* = K f* + b, shape (space.num_local,).
        newton: The result of Newton's method.
        start: Number of the start from which it was found.
        jacobian: The singular values of F'(f*) and their functions.
        regular: Whether σ'(g*) has no zero.
        nearest: |λ| of the eigenvalue of F'(f*) nearest to zero, if K has a local part with more singular values than
            were asked for.  None in other cases, and if the linear systems that find it are not solved.
    """

    state: Floats
    preactivation: Floats
    newton: SteadyState
    start: int
    jacobian: SingularExpansion
    regular: bool
    nearest: float | None = None

    @property
    def is_isolated(self) -> bool:
        """Whether F'(f*) is regular at the expansion's tolerance."""
        if self.nearest is None:
            return self.jacobian.nullity == 0
        return self.nearest > self.jacobian.tolerance * float(self.jacobian.values[0])

    @property
    def is_decided(self) -> bool:
        """Whether it is known if the state is isolated."""
        return self.jacobian.nullity is not None or self.nearest is not None

    @property
    def kind(self) -> str:
        """Whether the state is isolated, as a phrase for reports and errors."""
        tolerance, nullity = self.jacobian.tolerance, self.jacobian.nullity
        if self.is_isolated:
            return "isolated"
        if self.nearest is not None:
            return (
                f"degenerate: the linearization has an eigenvalue of modulus {self.nearest:.1e}, which counts as zero"
            )
        if nullity is None:
            return (
                f"undecided: {self.jacobian.rank} singular values of the linearization were asked for, and all are "
                f"above {tolerance:g} of the largest; with more of them (steady.triplets) it may be decided"
            )
        if self.regular:
            return f"in an affine family of dimension {nullity}, f* + ker K (at tolerance {tolerance:g})"
        return f"degenerate: σ'(g*) has zeros; the linearization has a null space of dimension {nullity}"


def find_equilibria(
    field: SelectionField,
    starts: Sequence[Floats],
    settings: SteadySettings | None = None,
    *,
    limits: int = 0,
    coordinates: IsometricCoordinates | None = None,
) -> list[Equilibrium]:
    """Find steady states by Newton's method from each start, with deflation of those already found (collective).

    States with the same g count as one, and so do states between which the residual stays below what Newton's method
    accepts, for a multiple zero of σ is known no better; states where σ' is not finite are left out.  The limits of
    runs are refined first, each once, so that what the dynamics select is among the states, however many there are.
    Each other start is used until Newton's method finds no new state from it.  The search is not exhaustive.

    Args:
        field: The right-hand side; it must not depend on time.
        starts: Nodal values of the starts, each of shape (num_local,).
        settings: When Newton's method stops, the largest numbers of states and of singular values, and which singular
            values of the linearization count as zero; `SteadySettings()` if None.
        limits: Number of the first starts that are limits of runs; they do not count against the largest number of
            states.
        coordinates: The isometric coordinates of the space; created if None.

    Raises:
        InvalidInput: if the right-hand side depends on time.
    """
    if not field.is_autonomous:
        raise InvalidInput("kernel or bias depends on time: the equation has no steady states")
    settings = settings_or_default(settings, SteadySettings)
    c = IsometricCoordinates(field.space) if coordinates is None else coordinates
    found: list[Equilibrium] = []
    for number, start in enumerate(starts[:limits]):
        result = _new_state(field, start, settings, [e.state for e in found], c, deflated=False)
        if result is not None and _is_differentiable(field, result):
            found.append(_describe(field, result, number, settings, c))
    for number, start in enumerate(starts[limits:], start=limits):
        while len(found) < settings.states:
            result = _new_state(field, start, settings, [e.state for e in found], c, deflated=True)
            if result is None or not _is_differentiable(field, result):
                break
            found.append(_describe(field, result, number, settings, c))
    return found


def _new_state(
    field: SelectionField,
    start: Floats,
    settings: NewtonSettings,
    known: list[Floats],
    c: IsometricCoordinates,
    *,
    deflated: bool,
) -> SteadyState | None:
    """A state that Newton's method reaches from a start and that is not a known one; None if there is none."""

    def find(known: Sequence[Floats]) -> SteadyState | None:
        try:
            return find_steady_state(
                field, start, settings, known=known, strategies=("sparse", "full"), restart=False, coordinates=c
            )
        except NotConverged:
            return None

    def is_new(found: SteadyState | None) -> bool:
        if found is None or is_known(field, found.state, known, coordinates=c):
            return False
        return not any(_are_one(field, found.state, other, settings.residual) for other in known)

    found = find(())
    if deflated and known and not is_new(found):
        found = find(known)
    return found if is_new(found) else None


def _are_one(field: SelectionField, f: Floats, other: Floats, residual: float) -> bool:
    """Whether ‖F‖ on the way from one steady state to another is no larger than accepted at its ends (collective)."""
    way = np.asfortranarray(f[:, None] + (other - f)[:, None] * _PARTS)
    sizes = field.space.norm(field.rate(way))
    return bool(np.all(sizes <= max(residual, float(sizes[0]), float(sizes[-1]))))


def _is_differentiable(field: SelectionField, result: SteadyState) -> bool:
    """Whether σ' is finite at a state (collective)."""
    slope = field.linearize(np.asfortranarray(result.state[:, None])).derivative()
    return bool(field.space.comm.allreduce(bool(np.all(np.isfinite(slope))), op=MPI.LAND))


def _describe(
    field: SelectionField, result: SteadyState, start: int, settings: SteadySettings, c: IsometricCoordinates
) -> Equilibrium:
    at = field.linearize(np.asfortranarray(result.state[:, None]))
    comm, slope = field.space.comm, np.abs(at.derivative())
    smallest = comm.allreduce(float(np.min(slope, initial=np.inf)), op=MPI.MIN)
    largest = comm.allreduce(float(np.max(slope, initial=0.0)), op=MPI.MAX)
    jacobian = expand(IsometricOperator(coordinates=c, operator=at), settings.tolerance, settings.triplets)
    sparse = not jacobian.is_complete and has_local_part(field.kernel)
    return Equilibrium(
        state=result.state,
        preactivation=at.preactivation[:, 0],
        newton=result,
        start=start,
        jacobian=jacobian,
        regular=bool(smallest > _FLAT * (1.0 + largest)),
        nearest=_nearest(at) if sparse else None,
    )


def _nearest(at: Linearization) -> float | None:
    """|λ| of the eigenvalue nearest to zero; None if the linear systems that find it are not solved."""
    try:
        return nearest_to_zero(at)
    except NotConverged:
        return None


def differentiate_in_bias(field: SelectionField, equilibrium: Equilibrium, directions: Block) -> Block:
    """The derivatives of an isolated steady state in directions of the bias (collective).

    Args:
        field: The right-hand side.
        equilibrium: f*; it must be isolated.
        directions: Nodal values of ∂b, shape (num_local, k).

    Returns:
        Nodal values of ∂f*, shape (num_local, k).

    Raises:
        InvalidInput: if the state is not isolated, with the reason.
        NotConverged: if K has a local part and a linear system is not solved.
    """
    if not equilibrium.is_isolated:
        raise InvalidInput(f"the steady state has no derivative in the bias: it is {equilibrium.kind}")
    at = field.linearize(np.asfortranarray(equilibrium.state[:, None]))
    turned = create_block(*directions.shape)
    slope = np.broadcast_to(at.slope, (len(at.slope), directions.shape[1]))
    field.superposition.move(slope, None, np.asfortranarray(directions), out=turned, turn=None)
    if equilibrium.nearest is not None:
        return solve_linearized(at, np.asfortranarray(-turned))
    c = equilibrium.jacobian.operator.coordinates
    return c.to_function(equilibrium.jacobian.pseudo_solve(-c.to_euclidean(turned)))
