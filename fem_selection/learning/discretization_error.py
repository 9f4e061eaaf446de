# SPDX-License-Identifier: MIT
"""The discretization error of the objective in depth and in width, at given controls, by dual weights.

    J(x; Δt, h) − J(x; 0, h) ≈ −δ / (1 − 2^{-q}),    δ ≈ J(x; Δt/2, h) − J(x; Δt, h)       depth, q the scheme's order
    J(x; Δt, h) − J(x; Δt, 0) ≈ −δ / (1 − 2^{-r}),   δ ≈ J(x; Δt, h/2) − J(x; Δt, h)       width, r of `width_order`

δ is estimated without a solution on the finer level: states f̃ and costates p̃ of the level at hand are carried there,
and the residuals of the state equation are weighted by the costates,

    δ ≈ J'(f̃_L) − J(f_L) + Σ_n ⟨p̃_{n+1}, Φ'_n(f̃_n) − f̃_{n+1}⟩,    Φ'_n, J': layer n and objective of the finer level,

up to a product of the errors of states and costates.

* *Depth*: Φ'_n is two steps of half the size from f_n, and weighted with p_{n+1} the local errors add up.  The controls
  keep their intervals.
* *Width*: f̃_n = f'_0 + P (f_n − f_0), P the interpolation, f'_0 the initial states on the finer mesh; p̃ likewise from
  the derivative of J' at f̃_L.  These increments are smooth in y where data are not.  The controls are P x.

Terms belong to a layer and a node; those of the finer mesh's nodes go to coarse ones by the basis functions, which sum
to one (Richter, Wick, J. Comput. Appl. Math. 279 (2015) 192, doi:10.1016/j.cam.2014.11.008), and from nodes to their
cells in equal parts.  Beside δ stands the difference that one sweep on the finer level *measures*.

At a stationary control, J'(x) = 0, the error of the optimal *value* is this to leading order: the controls' own errors
enter squared.  `why_not_of_value` tells where these squares are of the same order, and not counted here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from dolfinx import la
from mpi4py import MPI

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.discretization.transfer import Transfer
from fem_selection.dynamics.stepper import Stepper
from fem_selection.errors import InvalidInput
from fem_selection.kernels.convolution import ConvolutionKernel
from fem_selection.kernels.sums import SumKernel
from fem_selection.learning.functional import Functional
from fem_selection.learning.kkt import solve_triple
from fem_selection.learning.problem import LearningProblem
from fem_selection.learning.prolongation import prolong_controls
from fem_selection.objectives import ReadoutCost
from fem_selection.typing import Block, Floats

__all__ = ["DiscretizationEstimate", "estimate_in_depth", "estimate_in_width", "width_order"]

_MOVES = "the kernel moves with the states: residuals of carried states are not those of a fixed kernel"


@dataclass(frozen=True, kw_only=True, eq=False)
class DiscretizationEstimate:
    """The estimated error of the objective at fixed controls, in depth or in width.

    Attributes:
        parameter: "depth" or "width".
        order: The order with which the difference of two levels is extrapolated.
        error: J − its limit; None if declined.
        weighted_difference: J on the next finer level − J, by dual weights: the sum of all terms.
        measured_difference: The same by a sweep on the finer level.
        by_layer: The share of each layer's residuals in `error`.
        final: The share of the terminal cost's own discretization in `error`.
        penalty: That of the regularization.
        by_cell: The share of each of this rank's cells in `error`, all terms included.
        why_not_of_value: Why the error of the optimal value is another at a stationary control too; None if it is this.
        declined: Why there is no estimate.
        measured_declined: Why there is no measured difference.
    """

    parameter: Literal["depth", "width"]
    order: int
    error: float | None = None
    weighted_difference: float | None = None
    measured_difference: float | None = None
    by_layer: tuple[float, ...] | None = None
    final: float | None = None
    penalty: float | None = None
    by_cell: Floats | None = None
    why_not_of_value: str | None = None
    declined: str | None = None
    measured_declined: str | None = None

    @property
    def spread(self) -> float | None:
        """Twice the distance of the error from that which the measured difference gives: an indication, and no bound.

        Of a scheme of order one this is what is left out, up to the next order but one.  With E = a Δt + c Δt² the
        measured difference gives a Δt + 3/2 c Δt², and weights, derivatives at Δt, give Δt E' = a Δt + 2c Δt².
        With few layers this falls short, and at higher orders it does not see the extrapolation's own next order.
        """
        if self.weighted_difference is None or self.measured_difference is None:
            return None
        return 2.0 * abs(self.weighted_difference - self.measured_difference) / (1.0 - 2.0**-self.order)

    def content(self) -> dict[str, Any]:
        """All numbers and reasons by name, with the spread; without those of the cells."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "by_cell"}
        return {**named, "spread": self.spread}


def estimate_in_depth(functional: Functional, controls: Floats) -> DiscretizationEstimate:
    """The error of J(x) by finitely many layers, the mesh and the control intervals kept (collective).

    Args:
        functional: J; its controls are set to x.
        controls: Shard of x.

    Returns:
        The estimate; for a kernel that moves with the states the measured difference alone.

    Note:
        Takes a sweep forward and back, and two sweeps forward through twice as many layers; memory as `solve_triple`.
    """
    f, layers = functional, functional.stepper.grid.layers
    triple = solve_triple(f, controls)
    finer = _with_half_the_step(f.stepper)
    moves, terms, data = f.stepper.anchors is not None, np.zeros((layers, len(f.initial))), 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in f.blocks(f.initial.shape[1]):
            for n in () if moves else range(layers):
                state = triple.states[n][:, columns].copy(order="F")
                finer.advance_in_place(state, range(2 * n, 2 * n + 2))
                state -= triple.states[n + 1][:, columns]
                terms[n] += np.einsum("ij,ij->i", triple.costates[n + 1][:, columns], state)
            final, _ = finer.advance_without_tape(f.initial[:, columns])
            data += _data_of(f, final, columns) - _data_of(f, triple.states[layers][:, columns], columns)
    return _result("depth", f, f.stepper.scheme.order, terms=terms, data=data, declined=_MOVES if moves else None)


def estimate_in_width(problem: LearningProblem, controls: Floats) -> DiscretizationEstimate:
    """The error of J(x) by a mesh of finite width, the layers kept (collective).

    Args:
        problem: The problem, whose `finer` builds it on the next finer mesh; its controls are set to x.
        controls: Shard of x.

    Returns:
        The estimate; for a kernel that moves with the states the measured difference alone, and neither if the problem
        cannot be built on a finer mesh.

    Note:
        Takes a sweep forward and back, and two sweeps forward on the finer mesh.
    """
    order, f = width_order(problem.space), problem.functional
    if problem.finer is None:
        return _none_in_width(order, "the problem is known on its own mesh alone (LearningProblem.finer is None)")
    try:
        fine = problem.finer().functional
        moved = prolong_controls(f.control_space, fine.control_space, controls)
    except InvalidInput as error:
        return _none_in_width(order, str(error))
    if problem.ensemble.any(fine.initial.shape[1] != f.initial.shape[1]):
        return _none_in_width(order, "the problem on the finer mesh has other samples on some rank")
    fine.set_controls(moved)
    triple = solve_triple(f, controls)
    transfer = Transfer(f.control_space.space, fine.control_space.space)
    layers, moves, data = f.stepper.grid.layers, f.stepper.anchors is not None, 0.0
    terms, at_end = (np.zeros((rows, len(f.initial))) for rows in (layers, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in f.blocks(f.initial.shape[1]):
            states, costates = ([b[:, columns] for b in blocks] for blocks in (triple.states, triple.costates))
            if not moves:
                own, ended = _width_terms(f, fine, transfer, columns, states=states, costates=costates)
                terms += own
                at_end += ended
            final, _ = fine.stepper.advance_without_tape(fine.initial[:, columns])
            data += _data_of(fine, final, columns) - _data_of(f, states[layers], columns)
    penalty = _to_coarse(transfer, _penalty_by_node(fine, moved)) - _penalty_by_node(f, controls)
    declined = _MOVES if moves else None
    return _result("width", f, order, terms=terms, data=data, at_end=at_end, penalty=penalty, declined=declined)


def width_order(space: StateSpace) -> int:
    """The order in h of the objective at fixed controls, for smooth data.

    It is an integral over Y, which nodes of Gauß–Lobatto–Legendre compute with order 2p, and midpoints with order 2;
    other nodes, those on simplices of degree 2 and more, with order p + 1 at least.
    """
    if space.degree <= 1:
        return 2
    return 2 * space.degree if space.domain.cell in ("interval", "quadrilateral", "hexahedron") else space.degree + 1


def _none_in_width(order: int, reason: str) -> DiscretizationEstimate:
    return DiscretizationEstimate(parameter="width", order=order, declined=reason, measured_declined=reason)


def _why_not_of_value(parameter: Literal["depth", "width"], f: Functional) -> str | None:
    """Why squares of the controls' own errors are of the order of the error at fixed controls; None if they are not."""
    space, grid = f.control_space.space, f.stepper.grid
    if parameter == "depth":
        if f.stepper.scheme.order > 1 and grid.intervals == grid.layers:
            return "controls that are constant in each layer add an error of order 2"
        return None
    if space.degree == 0:
        return "controls that are constant on each cell add an error of order 2"
    if not space.is_collocated:
        return f"in Galerkin mode the controls add an error of order {2 * (space.degree + 1)}, which may be the larger"
    return None


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _with_half_the_step(stepper: Stepper) -> Stepper:
    """The same dynamics through twice as many layers; kernel and equation are shared."""
    grid = stepper.grid
    return Stepper(
        stepper.space,
        stepper.kernel,
        stepper.bias,
        activation=stepper.equation.given,
        scheme=stepper.scheme,
        grid=DepthGrid(layers=2 * grid.layers, horizon=grid.horizon, intervals=int(grid.intervals)),
        evaluation=stepper.evaluation,
        equation=lambda space, activation: stepper.equation,
    )


def _data_of(functional: Functional, final: Block, columns: slice) -> float:
    """The data term of a block, with its factor."""
    scale = functional.weight / functional.num_samples
    return scale * functional.cost.value(np.asfortranarray(final), functional.targets[:, columns])


def _width_terms(
    f: Functional, fine: Functional, transfer: Transfer, columns: slice, *, states: list[Block], costates: list[Block]
) -> tuple[Floats, Floats]:
    """Residuals weighted by costates, shape (layers, nodes), and the terminal cost's terms, shape (1, nodes)."""
    space, finer, scale = f.control_space.space, fine.control_space.space, f.weight / f.num_samples
    start, targets = fine.initial[:, columns], fine.targets[:, columns]
    last = start + transfer.apply(states[-1] - states[0])
    _, dual = fine.cost.evaluate(last, targets, scale)
    last_costate, end = finer.riesz(dual), space.riesz(costates[-1])
    terms, before = [], start
    for n in range(len(states) - 1):
        after = start + transfer.apply(states[n + 1] - states[0])
        state = before.copy(order="F")
        fine.stepper.advance_in_place(state, range(n, n + 1))
        state -= after
        costate = last_costate + transfer.apply(space.riesz(costates[n + 1]) - end)
        terms.append(np.einsum("ij,ij->i", finer.apply_mass(costate), state))
        before = after
    own = np.array([_to_coarse(transfer, term) for term in terms])
    if not isinstance(f.cost, ReadoutCost):
        below = np.einsum("ij,ij->i", costates[-1], states[-1] - f.targets[:, columns])
        above = np.einsum("ij,ij->i", dual, last - targets)
        return own, 0.5 * (_to_coarse(transfer, above) - below)[None, :]
    assert isinstance(fine.cost, ReadoutCost)
    slopes = [
        cost.loss.value_and_derivative(cost.outputs(np.asfortranarray(final)), targets)[1]
        for cost, final in ((f.cost, states[-1]), (fine.cost, last))
    ]
    slope = 0.5 * scale * (slopes[0] + slopes[1])  # the trapezoidal rule between the outputs on the two levels
    below, above = (
        np.einsum("ic,ic->i", cost.moments, at_end @ slope.T)
        for cost, at_end in ((f.cost, states[-1]), (fine.cost, last))
    )
    return own, (_to_coarse(transfer, above) - below)[None, :]


def _penalty_by_node(functional: Functional, controls: Floats) -> Floats:
    """R(x) as a sum over this rank's nodes, without μ, which is the same on any mesh."""
    control_space = functional.control_space
    _, dual = functional.penalty.evaluate(controls)
    parts = control_space.unpack(control_space.gather(0.5 * dual * controls))
    space, result = control_space.space, np.zeros(control_space.space.num_local)
    for name in control_space.parts:
        if name == "kernel" and not _has_rows(functional):
            whole = float(parts[name].sum())  # of a mesh that is whole on this rank
            result += whole * space.weights / space.weights.sum()
        else:
            result += parts[name].reshape(-1, space.num_local).sum(axis=0)
    return result


def _has_rows(functional: Functional) -> bool:
    """Whether each parameter of the kernel belongs to a node."""
    kernel = functional.stepper.kernel
    parts = kernel.parts if isinstance(kernel, SumKernel) else (kernel,)
    return not any(isinstance(part, ConvolutionKernel) for part in parts)


def _to_coarse(transfer: Transfer, values: Floats) -> Floats:
    """Pᵀ v: terms of the finer mesh's nodes at this rank's coarse nodes; their sum is the same (collective)."""
    everywhere = np.asarray(transfer.matrix.T @ values)
    transfer.source.comm.Allreduce(MPI.IN_PLACE, everywhere)
    return everywhere[transfer.source.owned]


def _to_cells(space: StateSpace, values: Floats) -> Floats:
    """Terms of nodes in equal parts at their cells, for this rank's own cells (collective)."""
    mesh = space.domain.mesh
    nodes = space.V.dofmap.list[: mesh.topology.index_map(mesh.topology.dim).size_local]
    count, terms = space.function(), space.function(values)
    np.add.at(count.x.array, nodes.ravel(), 1.0)
    count.x.scatter_reverse(la.InsertMode.add)
    count.x.scatter_forward()
    return np.asarray((terms.x.array[nodes] / count.x.array[nodes]).sum(axis=1))


def _result(
    parameter: Literal["depth", "width"],
    f: Functional,
    order: int,
    *,
    terms: Floats,
    data: float,
    at_end: Floats | None = None,
    penalty: Floats | None = None,
    declined: str | None = None,
) -> DiscretizationEstimate:
    """Add up the members' terms, and extrapolate."""
    space, ensemble = f.control_space.space, f.control_space.ensemble
    none = np.zeros(space.num_local)
    everything = np.vstack([terms, none[None, :] if at_end is None else at_end])
    ensemble.sample_comm.Allreduce(MPI.IN_PLACE, everything)
    everything = np.vstack([everything, none if penalty is None else penalty])
    rows = everything.sum(axis=1)
    space.comm.Allreduce(MPI.IN_PLACE, rows)
    measured, reason = float(ensemble.sample_comm.allreduce(data)) + float(rows[-1]), None
    if not np.isfinite(measured):
        reason = "the objective is not finite on the next finer level"
        declined = declined or reason
    if declined is None and not np.isfinite(rows.sum()):
        declined = "the residuals on the next finer level are not finite"
    found = DiscretizationEstimate(
        parameter=parameter,
        order=order,
        measured_difference=None if reason else measured,
        why_not_of_value=_why_not_of_value(parameter, f),
        declined=declined,
        measured_declined=reason,
    )
    if declined is not None:
        return found
    factor = -1.0 / (1.0 - 2.0**-order)
    shares: list[float] = (factor * rows + 0.0).tolist()  # no −0
    return replace(
        found,
        error=float(factor * rows.sum() + 0.0),
        weighted_difference=float(rows.sum()),
        by_layer=tuple(shares[:-2]),
        final=shares[-2],
        penalty=shares[-1],
        by_cell=_to_cells(space, factor * everything.sum(axis=0)),
    )
