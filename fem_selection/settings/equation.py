# SPDX-License-Identifier: MIT
"""Settings of the equation: domain, finite element space, dynamics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from fem_selection.derived import derived
from fem_selection.discretization.meshes.mesh_files import describe
from fem_selection.errors import InvalidInput
from fem_selection.settings.fields import Anchors, Factors, ListOrScalar, SumOrList, TomlList, name_or_formula, one_of
from fem_selection.settings.names import (
    ACTIVATIONS,
    CELLS,
    DIMENSIONS,
    EVALUATIONS,
    FAMILIES,
    LOCAL_TERMS,
    MODES,
    REPRESENTATIONS,
    SCHEME_ALIASES,
    SCHEMES,
    SHAPES,
)
from fem_selection.settings.tables import settings_class

__all__ = [
    "DomainSettings",
    "DynamicsSettings",
    "SpaceSettings",
]


@settings_class
class DomainSettings:
    """`[domain]`: the feature domain and its mesh.

    Attributes:
        shape: `interval`, `rectangle` or `box`.
        cells: Cells in each direction; one number stands for every direction.
        lower: Lower corner; one number stands for every direction.
        upper: Upper corner, above `lower` in every direction.
        cell: Cell type of the mesh, which must fit the shape; interval, quadrilateral or hexahedron if left out.
        grading: Size of the last cell over the size of the first, in every direction.
        group: With a gmsh file: the named group of cells that form the domain; all cells if left out.
        file: A gmsh (.msh) or XDMF (.xdmf) file with the mesh, relative to the case file's folder; instead of all other
            keys but `group`.
    """

    shape: Annotated[str, one_of(SHAPES)] = "rectangle"
    cells: Annotated[tuple[Annotated[int, Field(ge=1)], ...], ListOrScalar] = Field(default=(7,), validate_default=True)
    lower: Annotated[tuple[float, ...], ListOrScalar] = Field(default=(0.0,), validate_default=True)
    upper: Annotated[tuple[float, ...], ListOrScalar] = Field(default=(1.0,), validate_default=True)
    cell: Annotated[str, one_of(tuple(cell for cells in CELLS.values() for cell in cells))] = ""
    grading: float = Field(default=1.0, gt=0)
    group: str | None = None
    file: str | None = None

    @property
    def dimension(self) -> int:
        """Return the number of space coordinates."""
        return DIMENSIONS[self.shape] if self.file is None else describe(self.file, self.group).dimension

    @property
    def is_solid(self) -> bool:
        """Return whether the cells have the dimension of the space: the domain is no curve or surface in it."""
        return self.cell in CELLS[{1: "interval", 2: "rectangle", 3: "box"}[self.dimension]]

    @field_validator("cells", "lower", "upper")
    @classmethod
    def _in_every_direction(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if "shape" not in info.data:
            return value
        dimension = DIMENSIONS[info.data["shape"]]
        if len(value) not in (1, dimension):
            needed = "one number" if dimension == 1 else f"one number or a list of {dimension}"
            raise ValueError(f"domain.shape = {info.data['shape']!r} needs {needed}, got a list of {len(value)}")
        value = derived(value * dimension, given=value) if len(value) == 1 < dimension else value
        if info.field_name == "upper" and "lower" in info.data:
            for axis, (low, high) in enumerate(zip(info.data["lower"], value, strict=True)):
                if not low < high:
                    raise ValueError(f"must be above domain.lower = {low} in direction {axis}, got {high}")
        return value

    @field_validator("cell")
    @classmethod
    def _fits_shape(cls, value: str, info: ValidationInfo) -> str:
        if (shape := info.data.get("shape")) and value not in CELLS[shape]:
            raise ValueError(f"{value!r} does not fit domain.shape = {shape!r} (allowed: {', '.join(CELLS[shape])})")
        return value

    @field_validator("file")
    @classmethod
    def _can_be_used(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            try:
                describe(value, info.data.get("group"))
            except InvalidInput as error:
                group = info.data.get("group")
                where = "" if group is None else f" (domain.group = {group!r})"
                raise ValueError(f"{error}{where}") from error
        return value

    def __post_init__(self) -> None:
        if self.file is not None:
            object.__setattr__(self, "shape", derived("mesh"))
            object.__setattr__(self, "cell", derived(describe(self.file, self.group).cell))
        elif not self.cell:
            object.__setattr__(self, "cell", derived(CELLS[self.shape][0]))


@settings_class
class SpaceSettings:
    """`[space]`: the finite element space of states and controls.

    Attributes:
        family: `lagrange` (continuous, degree ≥ 1) or `dg`.
        degree: Polynomial degree, 0 to 6.
        mode: `collocated` evaluates the activation at the nodes, `galerkin` at quadrature points.
        quadrature_degree: Degree of the Galerkin quadrature, at most 100; chosen by the space if left out.
    """

    family: Annotated[str, one_of(FAMILIES)] = "lagrange"
    degree: int = Field(default=1, ge=0, le=6)
    mode: Annotated[str, one_of(MODES)] = "collocated"
    quadrature_degree: int | None = Field(default=None, ge=1, le=100)

    @field_validator("degree")
    @classmethod
    def _continuous_from_one(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and info.data.get("family") == "lagrange":
            raise ValueError("must be an integer in [1, 6] for space.family = 'lagrange', got 0; 'dg' has degree 0")
        return value


@settings_class
class DynamicsSettings:
    """`[dynamics]`: the selection equation and its discretization in depth.

    Attributes:
        activation: The function σ by its name, or a formula in s.
        layers: Number of layers.
        horizon: Depth T of the network in time.
        scheme: Runge–Kutta scheme: `euler`, `midpoint`, `heun`, `ssprk3`, `rk4`, or one with implicit stages:
            `implicit_euler`, `crank_nicolson`, `implicit_midpoint`.
        control_intervals: Intervals on which the controls are constant in depth; divides `layers`, and equals it if
            left out.
        representation: Representation of the kernel: `dense`, `separable`, `local`, `convolution`, a sum such as
            `local + separable`, or `representer`, which depends on states that flow along.
        kernel: Formula of the starting dense kernel in t, y and z; a small random start if left out.
        singularity: a, below the dimension, if the kernel grows like |y − z|^(−a) where y = z; 0 if like log|y − z|, −1
            if it has a kink like |y − z|. A kernel that is infinite there needs it; kinks and jumps of `abs`, `sign`,
            `max`, `min` and `where` are found in the formula.
        rank: Number of pairs of factors of the separable kernel; 8 if left out, without `factors`.
        factors: The starting separable kernel, Σ u ⊗ v, as a list of [u, v], u a formula in t and y, v in t and z;
            small random factors if left out.
        profile: Formula of the starting k of a convolution kernel, w(y, z) = k(y − z), in t and x = y − z, or x0 and x1
            in two dimensions; a small random start if left out.
        anchors: The states that a representer kernel depends on: `all` training samples, which is the default and no
            restriction for `euler` with one layer a control interval; a number of them, which are chosen; or a list of
            formulas in y, the states at t = 0.
        local_terms: Terms of the local kernel, some of `multiplication`, `convection`, `diffusion`; if left out, those
            whose formula is given, or all if none is.
        local_length: Length ℓ of the inner product of the local kernel's coefficients; a tenth of the domain's longest
            side if left out.
        multiplication: Formula of the starting coefficient in t and y; zero if left out.
        convection: Formula of the starting coefficient, one for all directions or a list with one for each; zero if
            left out.
        diffusion: Formula of the starting coefficient; zero if left out.
        bias: Formula of the starting bias in t and y; zero if left out.
        start_scale: Size of a random starting kernel.
        evaluation: How σ and its derivatives are evaluated: `compiled`, whole sweeps by compiled code where that is
            possible; `layers`, layer by layer; `assembled`, layer by layer by the forms in UFL, which dolfinx assembles
            for each sample: slow, and equal to the others up to round-off.
    """

    activation: Annotated[str, name_or_formula(ACTIVATIONS, "s")] = "tanh"
    layers: int = Field(default=10, ge=1)
    horizon: float = Field(default=1.0, gt=0)
    scheme: Annotated[str, one_of(SCHEMES, SCHEME_ALIASES)] = "euler"
    control_intervals: Annotated[int, Field(ge=1)] = 0
    representation: Annotated[tuple[Annotated[str, one_of(REPRESENTATIONS)], ...], SumOrList] = ("dense",)
    kernel: str | None = None
    singularity: float | None = Field(default=None, gt=-4, lt=3)
    rank: int | None = Field(default=None, ge=1)
    factors: Annotated[tuple[Factors, ...], Field(min_length=1), TomlList] | None = None
    profile: str | None = None
    anchors: Anchors | None = None
    local_terms: Annotated[tuple[Annotated[str, one_of(LOCAL_TERMS)], ...], ListOrScalar] | None = None
    local_length: float | None = Field(default=None, gt=0)
    multiplication: str | None = None
    convection: Annotated[tuple[str, ...], ListOrScalar] | None = None
    diffusion: str | None = None
    bias: str | None = None
    start_scale: float = Field(default=0.1, ge=0)
    evaluation: Annotated[str, one_of(EVALUATIONS)] = "compiled"

    @field_validator("control_intervals")
    @classmethod
    def _divides_layers(cls, value: int, info: ValidationInfo) -> int:
        if (layers := info.data.get("layers")) and layers % value:
            raise ValueError(f"must divide dynamics.layers = {layers}, got {value}")
        return value

    @field_validator("representation", "local_terms")
    @classmethod
    def _each_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError(f"must name at least one, and none twice, got {list(value)}")
        return value

    @property
    def terms(self) -> tuple[str, ...]:
        """Return the terms of the local kernel."""
        given = tuple(term for term in LOCAL_TERMS if getattr(self, term) is not None)
        return self.local_terms or given or LOCAL_TERMS

    def __post_init__(self) -> None:
        if not self.control_intervals:
            object.__setattr__(self, "control_intervals", derived(self.layers))
