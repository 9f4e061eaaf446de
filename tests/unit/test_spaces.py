# SPDX-License-Identifier: MIT
"""State spaces: weights of every supported combination, refusals, inner products, blocks and meshes."""

from __future__ import annotations

import basix
import numpy as np
import pytest
from dolfinx import fem, mesh
from mpi4py import MPI
from problems import make_domain, smooth_states

from fem_selection.discretization.coefficients import function_values
from fem_selection.discretization.elements import create_element, create_measure
from fem_selection.discretization.meshes import domains
from fem_selection.discretization.spaces import StateSpace
from fem_selection.errors import InvalidInput

TENSOR = ("interval", "quadrilateral", "hexahedron")
SIMPLICES = ("triangle", "tetrahedron")
ELEMENTS = [("lagrange", p) for p in range(1, 7)] + [("dg", p) for p in range(7)]
NODAL = [(cell, *e) for cell in TENSOR for e in ELEMENTS]
NODAL += [(cell, *e) for cell in SIMPLICES for e in (("lagrange", 1), ("dg", 0), ("dg", 1))]
NO_NODAL = [(cell, *e) for cell in SIMPLICES for e in ELEMENTS if e[1] > 1]
RULES = {"GLL": basix.QuadratureType.gll, "Gauss-Jacobi": basix.QuadratureType.gauss_jacobi}

# what is assembled: every cell, the degrees at which something changes
ASSEMBLED = [
    *[("interval", f, p, mode) for f, p in ELEMENTS if p in (0, 1, 2, 3, 6) for mode in ("collocated", "galerkin")],
    *[("quadrilateral", f, p, m) for f, p in ELEMENTS if p in (0, 1, 3) for m in ("collocated", "galerkin")],
    *[("triangle", f, p, "galerkin") for f, p in ELEMENTS if p < 5],
    *[("tetrahedron", f, p, "galerkin") for f, p in ELEMENTS if p < 3],
    *[(cell, f, p, "collocated") for cell in SIMPLICES for f, p in (("lagrange", 1), ("dg", 0), ("dg", 1))],
    *[("hexahedron", f, p, "collocated") for f, p in (("lagrange", 1), ("lagrange", 2), ("dg", 0))],
    ("hexahedron", "lagrange", 1, "galerkin"),
]
BOTH = [("interval", 4, 2, "collocated"), ("interval", 4, 2, "galerkin"), ("triangle", 2, 3, "galerkin")]


@pytest.mark.parametrize(("cell", "family", "degree"), NODAL)
def test_nodal_rule_has_the_elements_nodes_and_positive_weights(cell, family, degree):
    """Fails if the quadrature of a collocated combination is not at the element's nodes, or has a weight ≤ 0: the
    mass matrix would not be diagonal, or not positive."""
    element = create_element(cell, family, degree)
    metadata = create_measure(make_domain(cell, 1).mesh, cell, "collocated", degree=degree).metadata()
    volume = {"triangle": 1 / 2, "tetrahedron": 1 / 6}.get(cell, 1.0)
    if metadata["quadrature_rule"] == "vertex":
        points = basix.geometry(getattr(basix.CellType, cell))
        weights = np.full(len(points), volume / len(points))
    else:
        rule = RULES.get(metadata["quadrature_rule"], basix.QuadratureType.default)
        points, weights = basix.make_quadrature(getattr(basix.CellType, cell), metadata["quadrature_degree"], rule=rule)
    nodes = element.basix_element.points
    assert points.shape == nodes.shape
    distances = np.linalg.norm(points[:, None] - nodes[None], axis=-1)
    np.testing.assert_allclose(distances.min(axis=0), 0, atol=1e-14)
    assert np.all(weights > 0)
    assert weights.sum() == pytest.approx(volume, rel=1e-13)


@pytest.mark.parametrize(("cell", "family", "degree", "mode"), ASSEMBLED)
def test_weights_are_positive_and_sum_to_the_volume(cell, family, degree, mode):
    """Fails if the assembled mass is not diagonal in collocated mode, if lumping leaves a weight ≤ 0, or if the
    weights do not integrate 1."""
    options = {"lower": -1.0, "upper": 1.5} if cell == "interval" else {"grading": 1.5}
    space = StateSpace(
        make_domain(cell, 1 if cell in ("hexahedron", "tetrahedron") else 2, **options), degree, family, mode=mode
    )
    assert np.all(space.weights > 0)
    assert space.weights.sum() == pytest.approx(2.5 if cell == "interval" else 1.0, rel=1e-13)
    assert space.num_nodes == space.num_local == len(space.coordinates)
    if mode == "collocated":
        rows, columns, values = space.mass.getValuesCSR()
        row = np.repeat(np.arange(space.num_nodes), np.diff(rows))
        assert np.abs(values[row != columns]).max(initial=0.0) < 1e-14 * space.weights.max()


@pytest.mark.parametrize(("cell", "family", "degree"), NO_NODAL)
def test_collocated_simplices_are_refused_with_the_reason(cell, family, degree):
    """Fails if a nodal rule with zero or negative weights is accepted, or refused without a way out."""
    with pytest.raises(InvalidInput, match=rf"degree {degree} on {cell}.*positive weights.*mode='galerkin'"):
        create_measure(None, cell, "collocated", degree=degree)


def test_too_few_quadrature_points_are_refused():
    """Fails if a singular mass matrix ends in an error of PETSc, or a quadrature that is exact enough is refused."""
    domain = make_domain("interval", 4)
    with pytest.raises(InvalidInput, match=r"space\.quadrature_degree = 3 has too few points for space\.degree = 3"):
        StateSpace(domain, 3, mode="galerkin", quadrature_degree=3)
    space = StateSpace(domain, 3, mode="galerkin", quadrature_degree=6)
    ones = np.ones((space.num_local, 1), order="F")
    np.testing.assert_allclose(space.riesz(space.apply_mass(ones)), ones, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: create_element("prism", "lagrange", 1), "unsupported cell type 'prism'; supported are interval"),
        (lambda: create_element("interval", "hermite", 3), "unsupported family 'hermite'; supported are 'lagrange'"),
        (lambda: create_element("interval", "lagrange", 0), "degree 0 of family 'lagrange' is outside 1 … 6"),
        (lambda: create_element("interval", "dg", 7), "degree 7 of family 'dg' is outside 0 … 6"),
        (lambda: create_measure(None, "interval", "spectral", degree=1), "unsupported mode 'spectral'; supported are"),
        (lambda: make_domain("interval", 3, grading=0.0), "grading must be positive, 0.0"),
        (lambda: domains.rectangle(MPI.COMM_SELF, (1, 1), cell="hexahedron"), "quadrilateral or triangle cells, not"),
        (lambda: domains.box(MPI.COMM_SELF, (1, 1, 1), cell="prism"), "hexahedron or tetrahedron cells, not 'prism'"),
    ],
)
def test_refusals_say_what_is_supported(call, reason):
    """Fails if what cannot be used is accepted, or the message does not say what can."""
    with pytest.raises(InvalidInput, match=reason):
        call()


@pytest.mark.parametrize("key", BOTH)
def test_riesz_inverts_the_mass(spaces, key):
    """Fails if `riesz` and `apply_mass` are not inverse, or one of them mixes up columns."""
    space = spaces(*key)
    block = smooth_states(space, slice(0, 4))
    np.testing.assert_allclose(space.riesz(space.apply_mass(block)), block, atol=1e-13)
    np.testing.assert_allclose(space.apply_mass(space.riesz(block)), block, atol=1e-13)
    for k in range(4):
        one = np.asfortranarray(block[:, k : k + 1])
        np.testing.assert_allclose(space.apply_mass(one)[:, 0], space.apply_mass(block)[:, k], rtol=1e-14)


@pytest.mark.parametrize("key", BOTH)
def test_inner_product_and_norm(spaces, key):
    """Fails if the inner product is not ∫ f g dy: exact for f = 1 + y, g = y or 1 by either quadrature."""
    space = spaces(*key)
    y = space.coordinates[:, 0]
    f, g = (np.asfortranarray(np.column_stack(c)) for c in ((1 + y, 1 + y), (y, np.ones_like(y))))
    np.testing.assert_allclose(space.inner(f, g), [5 / 6, 3 / 2], rtol=1e-13)
    np.testing.assert_allclose(space.norm(f), np.sqrt(7 / 3), rtol=1e-13)
    np.testing.assert_allclose(space.inner(f, g), np.sum(space.apply_mass(f) * g, axis=0), rtol=1e-13)


def test_galerkin_mass_is_exact(spaces):
    """Fails if full quadrature is not full: (y², y²) = 1/5 and (y², y³ interpolated) at p = 2 against a Gauss rule."""
    space = spaces("interval", 4, 2, "galerkin")
    y2 = np.asfortranarray(space.coordinates**2)
    assert space.inner(y2, y2)[0] == pytest.approx(1 / 5, rel=1e-13)
    collocated = spaces("interval", 4, 2, "collocated")
    assert abs(collocated.norm(np.asfortranarray(collocated.coordinates**2))[0] ** 2 - 1 / 5) > 1e-6


@pytest.mark.parametrize("key", BOTH)
def test_function_and_block_round_trip(spaces, key):
    """Fails if nodal values change their order between a block and a dolfinx function."""
    space = spaces(*key)
    block = smooth_states(space, slice(0, 2))
    functions = [space.function(block[:, k]) for k in range(2)]
    np.testing.assert_array_equal(space.block(*functions), block)
    g = fem.Function(space.V)
    g.interpolate(lambda x: np.cos(x[0]) * (1 if space.domain.dimension == 1 else 1 + 0.5 * np.sin(x[1])))
    np.testing.assert_allclose(g.x.array, smooth_states(space, slice(0, 1))[:, 0], rtol=1e-13, atol=1e-15)
    assert np.all(space.function().x.array == 0)


def test_dense_shares_memory_and_wants_fortran_order(spaces):
    """Fails if PETSc works on a copy of a block, or a C-ordered one is silently transposed."""
    space = spaces("interval", 4, 2, "collocated")
    block = space.create_block(3)
    dense = space.dense(block)
    block[2, 1] = 5.0
    assert dense.getSize() == (space.num_nodes, 3)
    assert dense.getValue(2, 1) == 5.0
    dense.destroy()
    with pytest.raises(InvalidInput, match="Fortran order"):
        space.dense(np.zeros((space.num_local, 3)))


def test_gather_is_in_canonical_order(spaces):
    """Fails if a gathered block is in dolfinx's order: P2 numbers go cell by cell, vertices before midpoint."""
    space = spaces("interval", 4, 2, "collocated")
    np.testing.assert_allclose(space.gather(space.coordinates)[:5, 0], [0, 0.25, 0.125, 0.5, 0.375], atol=1e-15)


def test_graded_interval_has_the_ratio():
    """Fails if grading is not the ratio of the last cell's size to the first's, or moves an end point."""
    space = StateSpace(domains.interval(MPI.COMM_SELF, 5, lower=-1.0, upper=2.0, grading=16.0), 1)
    y = np.sort(space.coordinates[:, 0])
    sizes = np.diff(y)
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 2.0, rtol=1e-12)
    np.testing.assert_allclose(y[[0, -1]], [-1, 2], atol=1e-14)
    assert space.weights.sum() == pytest.approx(3.0, rel=1e-13)


def test_graded_rectangle_is_graded_both_ways():
    """Fails if a graded rectangle leaves one direction uniform or mixes up its bounds."""
    domain = domains.rectangle(MPI.COMM_SELF, (2, 3), lower=(0.0, 1.0), upper=(3.0, 8.0), grading=4.0)
    x = domain.mesh.geometry.x
    np.testing.assert_allclose(np.unique(x[:, 0].round(12)), [0, 0.6, 3])
    np.testing.assert_allclose(np.unique(x[:, 1].round(12)), [1, 2, 4, 8])
    assert "2×3 quadrilateral cells" in domain.name


def test_the_users_own_mesh():
    """Fails if a mesh made elsewhere is copied, or gives wrong bounds or weights."""
    cells = np.array([[0, 1, 2], [1, 3, 2]])
    points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    element = create_element("triangle", "lagrange", 1, shape=(2,))
    own = mesh.create_mesh(MPI.COMM_SELF, cells, element, points)
    domain = domains.from_mesh(own, "plate")
    assert domain.mesh is own
    assert (domain.name, domain.dimension, domain.cell) == ("plate", 2, "triangle")
    np.testing.assert_array_equal(domain.bounds, [[0, 0], [2, 1]])
    for degree, mode in ((1, "collocated"), (3, "galerkin")):
        space = StateSpace(domain, degree, mode=mode)
        assert space.weights.sum() == pytest.approx(2.0, rel=1e-13)


@pytest.mark.parametrize("key", BOTH)
def test_sources_of_functions_agree(spaces, key):
    """Fails if a number, array, callable, UFL expression, function or formula does not give its nodal values."""
    import ufl

    from fem_selection.functions.formulas import parse_formula

    space = spaces(*key)
    y = ufl.SpatialCoordinate(space.domain.mesh)
    wanted = 2 * np.sin(space.coordinates[:, 0]) + 0.25
    name = "y" if space.domain.dimension == 1 else "y0"
    formula = parse_formula(f"2*sin({name}) + t", ("t", "y", "y0", "y1"))
    sources = [lambda t, y: 2 * np.sin(y[0]) + t, 2 * ufl.sin(y[0]) + 0.25, formula, wanted, space.function(wanted)]
    for source in sources:
        np.testing.assert_allclose(function_values(space, source, 0.25), wanted, rtol=1e-14)
    np.testing.assert_array_equal(function_values(space, 3.0), np.full(space.num_local, 3.0))
    with pytest.raises(InvalidInput, match="do not fill"):
        function_values(space, np.zeros(space.num_local + 1))
