# SPDX-License-Identifier: MIT
"""Lagrange elements on Gauss–Lobatto–Legendre nodes, and the quadrature that makes them collocated.

| mode | integrals | cells and degrees |
|---|---|---|
| collocated | quadrature at the element's own nodes: diagonal mass | tensor cells p = 1 … 6 and DG0; simplices p ≤ 1 |
| galerkin | full quadrature: consistent mass | all |

On simplices no quadrature at the Lagrange nodes of degree p ≥ 2 has only positive weights: at p = 2 those of the
vertices vanish.
"""

from __future__ import annotations

from typing import Any, Literal

import basix
import basix.ufl
import ufl

from fem_selection.errors import InvalidInput

__all__ = ["CELLS", "Family", "Mode", "create_element", "create_measure"]

Family = Literal["lagrange", "dg"]
Mode = Literal["collocated", "galerkin"]

_SIMPLICES = ("triangle", "tetrahedron")
CELLS = ("interval", "quadrilateral", "hexahedron", *_SIMPLICES)
MAX_DEGREE = 6


def create_element(cell: str, family: Family, degree: int, *, shape: tuple[int, ...] | None = None) -> Any:
    """Return the Lagrange element on Gauss–Lobatto–Legendre nodes, continuous ("lagrange") or not ("dg").

    Args:
        cell: Name of the cell type, as `Domain.cell`.
        family: "lagrange" or "dg".
        degree: Polynomial degree, at most 6, at least 1 for "lagrange" and 0 for "dg".
        shape: Shape of the values of a vector or tensor element; scalar if None, and always at degree 0.

    Raises:
        InvalidInput: if the cell, family or degree is not supported.
    """
    if cell not in CELLS:
        raise InvalidInput(f"unsupported cell type {cell!r}; supported are {', '.join(CELLS)}")
    if family not in ("lagrange", "dg"):
        raise InvalidInput(f"unsupported family {family!r}; supported are 'lagrange' and 'dg'")
    lowest = 1 if family == "lagrange" else 0
    if not lowest <= degree <= MAX_DEGREE:
        raise InvalidInput(f"degree {degree} of family {family!r} is outside {lowest} … {MAX_DEGREE}")
    if degree == 0:
        return basix.ufl.element("DG", cell, 0)
    return basix.ufl.element(
        "Lagrange", cell, degree, basix.LagrangeVariant.gll_warped, discontinuous=family == "dg", shape=shape
    )


def create_measure(
    mesh: Any, cell: str, mode: Mode, *, degree: int, quadrature_degree: int | None = None
) -> ufl.Measure:
    """Return the measure dy of all integrals of a mode.

    Args:
        mesh: The dolfinx mesh.
        cell: Name of its cell type.
        mode: "collocated" or "galerkin".
        degree: Polynomial degree p of the element.
        quadrature_degree: Degree of the full quadrature of Galerkin mode, 2p + 2 by default; not used in collocated
            mode.

    Raises:
        InvalidInput: for an unknown mode, or for collocated mode without a positive nodal rule; the message says why.
    """
    if mode == "galerkin":
        full = quadrature_degree if quadrature_degree is not None else max(2 * degree + 2, 2)
        return ufl.Measure("dx", domain=mesh, metadata={"quadrature_rule": "default", "quadrature_degree": full})
    if mode != "collocated":
        raise InvalidInput(f"unsupported mode {mode!r}; supported are 'collocated' and 'galerkin'")
    if degree == 0:
        metadata: dict[str, str | int] = {"quadrature_rule": "default", "quadrature_degree": 1}
        if cell not in _SIMPLICES:
            metadata = {"quadrature_rule": "Gauss-Jacobi", "quadrature_degree": 1}
    elif cell not in _SIMPLICES:
        metadata = {"quadrature_rule": "GLL", "quadrature_degree": 2 * degree - 1}
    elif degree == 1:
        metadata = {"quadrature_rule": "vertex", "quadrature_degree": 1}
    else:
        raise InvalidInput(
            f"collocated mode at degree {degree} on {cell} cells: no quadrature rule at these nodes has positive "
            "weights (at degree 2 those of the vertices are zero, at degree 4 negative); "
            "use mode='galerkin', or degree 1"
        )
    return ufl.Measure("dx", domain=mesh, metadata=metadata)
