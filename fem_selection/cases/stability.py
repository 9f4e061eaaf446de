# SPDX-License-Identifier: MIT
"""The inputs of a stability analysis that a case gives: a start, a finer space, a parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fem_selection.cases.field import FieldProblem, build_field
from fem_selection.cases.kernel import is_random
from fem_selection.discretization.elements import MAX_DEGREE
from fem_selection.dynamics import SelectionField
from fem_selection.kernels import DenseKernel
from fem_selection.typing import Floats

__all__ = ["family_of", "finer_start", "start_state", "third_start", "value_of", "why_not_finer"]

_LARGEST_MATRIX = 4e9  # bytes of the finer space's dense kernel
_NODES_OF_THIRD = 400


def start_state(problem: FieldProblem) -> Floats:
    """Nodal values of `stability.state`, shape (num_local,) (collective).

    Raises:
        InvalidInput: if the formula is faulty or not finite at some node.
    """
    return problem.values("stability.state", problem.case.stability.state)


def family_of(problem: FieldProblem) -> Callable[[float], SelectionField] | None:
    """The equation as a function of `stability.parameter`; None if the case names no parameter or no range."""
    name, limits = problem.case.stability.parameter, problem.case.stability.range
    if name is None or limits is None:
        return None
    return lambda value: problem.field_at({name: value})


def value_of(problem: FieldProblem) -> float | None:
    """The value that the case gives `stability.parameter`; None if the case names no parameter or has none so named."""
    name = problem.case.stability.parameter
    return None if name is None else problem.case.parameters.get(name)


def why_not_finer(problem: FieldProblem) -> str | None:
    """The reason why there are no error bars from a finer space for this case; None if there can be some."""
    case = problem.case
    if is_random(case):
        return "a random kernel is another one on another mesh"
    degree = case.space.degree
    factor = 2.0 if case.domain.file is None else (degree + 1) / max(degree, 1)
    nodes = int(problem.space.num_nodes * factor**problem.space.domain.mesh.topology.dim)
    if isinstance(problem.field.kernel, DenseKernel) and 16.0 * nodes**2 > _LARGEST_MATRIX:
        return f"the dense kernel of a finer space, {nodes} nodes, would be too large"
    if case.domain.file is not None and degree >= MAX_DEGREE:
        return f"there is no degree above {MAX_DEGREE}, and a mesh file holds one mesh"
    return None


def finer_start(problem: FieldProblem) -> tuple[SelectionField, Floats]:
    """The equation of a case on a finer space, and `stability.state` there (collective).

    A shape gets twice the cells in every direction.  A mesh file holds one mesh only; there the degree is raised by
    one, in Galerkin mode, so that the error bars do not include the error of the mesh's approximation of a curved
    domain.
    """
    return _on_other_space(problem, 1)


def third_start(problem: FieldProblem) -> Callable[[], tuple[SelectionField, Floats]] | None:
    """A function that returns the equation and `stability.state` on a third space, or None (collective).

    With `finer_start` it shows the order of the eigenvalues' errors.  The third space has four times the cells, or a
    degree higher by two, if it has at most 400 nodes; if not, a shape gets half of the cells.  There is none on a mesh
    file if the higher degree has more nodes, and none on a shape with fewer than four cells in a direction.
    """
    domain, dimension = problem.case.domain, problem.space.domain.mesh.topology.dim
    degree = problem.case.space.degree
    if domain.file is None:
        if problem.space.num_nodes * 4**dimension <= _NODES_OF_THIRD:
            return lambda: _on_other_space(problem, 2)
        return (lambda: _on_other_space(problem, -1)) if min(domain.cells) >= 4 else None
    intervals = degree if problem.space.family == "lagrange" else degree + 1  # of nodes along the edge of a cell
    if degree + 2 <= MAX_DEGREE and problem.space.num_nodes * (1 + 2 / intervals) ** dimension <= _NODES_OF_THIRD:
        return lambda: _on_other_space(problem, 2)
    return None


def _on_other_space(problem: FieldProblem, levels: int) -> tuple[SelectionField, Floats]:
    """The equation and `stability.state` after so many doublings of the cells, or increments of the degree."""
    case = problem.case
    if case.domain.file is None:
        cells = tuple(n * 2**levels if levels > 0 else n // 2**-levels for n in case.domain.cells)
        other = build_field(replace(case, domain=replace(case.domain, cells=cells)), problem.ensemble.world)
    else:
        more = replace(case.space, degree=case.space.degree + levels, mode="galerkin", quadrature_degree=None)
        other = build_field(replace(case, space=more), problem.ensemble.world)
    return other.field, start_state(other)
