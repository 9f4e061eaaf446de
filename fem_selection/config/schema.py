# SPDX-License-Identifier: MIT
"""The tables of a case file as frozen dataclasses; a field is a key, its annotation the allowed range.

A table checks itself when it is made.  What concerns several tables at once is in `fem_selection.config.checks`, and
only `load_case` and `parse_case` look at it.
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from fem_selection.config.fields import (
    SETTINGS,
    Bounds,
    Factors,
    ListOrScalar,
    Option,
    SumOrList,
    TomlList,
    name_or_formula,
    one_of,
)
from fem_selection.config.instruments import Forward, Stability, Steady
from fem_selection.discretization.mesh_files import describe
from fem_selection.errors import InvalidInput

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "CONTROLS",
    "DIMENSIONS",
    "LOCAL_TERMS",
    "LOSSES",
    "LOSS_ALIASES",
    "METHODS",
    "METHOD_ALIASES",
    "REPRESENTATIONS",
    "SCHEMES",
    "SCHEME_ALIASES",
    "SHAPES",
    "Case",
    "Data",
    "Domain",
    "Dynamics",
    "Hjb",
    "Moved",
    "Objective",
    "Optimizer",
    "Output",
    "Parallel",
    "Regularization",
    "Space",
    "Stochastic",
]

DIMENSIONS = {"interval": 1, "rectangle": 2, "box": 3}
SHAPES = tuple(DIMENSIONS)
#: Cells that fit a shape, the tensor cell first.
CELLS = {
    "interval": ("interval",),
    "rectangle": ("quadrilateral", "triangle"),
    "box": ("hexahedron", "tetrahedron"),
}
FAMILIES = ("lagrange", "dg")
MODES = ("collocated", "galerkin")
ACTIVATIONS = (
    "identity",
    "tanh",
    "relu",
    "leaky_relu",
    "softplus",
    "sigmoid",
    "elu",
    "gelu",
    "silu",
    "sine",
)
SCHEMES = (
    "euler",
    "midpoint",
    "heun",
    "ssprk3",
    "rk4",
    "implicit_euler",
    "crank_nicolson",
    "implicit_midpoint",
)
SCHEME_ALIASES = {
    "forward_euler": "euler",
    "explicit_euler": "euler",
    "ssp_rk3": "ssprk3",
    "rk3_ssp": "ssprk3",
    "backward_euler": "implicit_euler",
    "trapezoidal": "crank_nicolson",
}
REPRESENTATIONS = ("dense", "separable", "local")
LOCAL_TERMS = ("multiplication", "convection", "diffusion")
SOURCES = ("digits", "npz", "formula")
LOSSES = ("softmax", "logistic", "least_squares", "tracking")
LOSS_ALIASES = {"cross_entropy": "softmax", "softmax_cross_entropy": "softmax"}
CONTROLS = ("kernel", "bias", "readout")
STOCHASTIC_METHODS = ("adam", "momentum")
SCHEDULES = ("cosine", "constant")
METHODS = ("lmvm", "blmvm", "bqnls", "cg", "nls", "ntr", "bnls", "bntr", "msa", "damped_msa", "sqh")
METHOD_ALIASES = {"bncg": "cg", "tao_cg": "cg"}


@dataclass(frozen=True, config=SETTINGS)
class Domain:
    """`[domain]`: the feature domain and its mesh.

    Attributes:
        shape: `interval`, `rectangle` or `box`.
        cells: Cells in each direction; one number stands for every direction.
        lower: Lower corner; one number stands for every direction.
        upper: Upper corner, above `lower` in every direction.
        cell: Cell type that fits the shape; the tensor cell (interval, quadrilateral, hexahedron) if left out.
        grading: Size of the last cell over the size of the first, in every direction.
        group: With a gmsh file: the named group of cells that make the domain; all cells if left out.
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

    @field_validator("cells", "lower", "upper")
    @classmethod
    def _in_every_direction(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if "shape" not in info.data:
            return value
        dimension = DIMENSIONS[info.data["shape"]]
        if len(value) not in (1, dimension):
            needed = "one number" if dimension == 1 else f"one number or a list of {dimension}"
            raise ValueError(f"domain.shape = {info.data['shape']!r} needs {needed}, got a list of {len(value)}")
        value = value * dimension if len(value) == 1 else value
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
            object.__setattr__(self, "shape", "mesh")
            object.__setattr__(self, "cell", describe(self.file, self.group).cell)
        elif not self.cell:
            object.__setattr__(self, "cell", CELLS[self.shape][0])


@dataclass(frozen=True, config=SETTINGS)
class Space:
    """`[space]`: the finite element space of states and controls.

    Attributes:
        family: `lagrange` (continuous, degree ≥ 1) or `dg`.
        degree: Polynomial degree, 0 to 6.
        mode: `collocated` evaluates the activation at the nodes, `galerkin` at quadrature points.
        quadrature_degree: Degree of the Galerkin quadrature; chosen by the space if left out.
    """

    family: Annotated[str, one_of(FAMILIES)] = "lagrange"
    degree: int = Field(default=1, ge=0, le=6)
    mode: Annotated[str, one_of(MODES)] = "collocated"
    quadrature_degree: int | None = Field(default=None, ge=1)

    @field_validator("degree")
    @classmethod
    def _continuous_from_one(cls, value: int, info: ValidationInfo) -> int:
        if value == 0 and info.data.get("family") == "lagrange":
            raise ValueError("must be an integer in [1, 6] for space.family = 'lagrange', got 0; 'dg' has degree 0")
        return value


@dataclass(frozen=True, config=SETTINGS)
class Dynamics:
    """`[dynamics]`: the selection equation and its discretization in depth.

    Attributes:
        activation: The function σ by its name, or a formula in s.
        layers: Number of layers.
        horizon: Depth T of the network in time.
        scheme: Runge–Kutta scheme: `euler`, `midpoint`, `heun`, `ssprk3`, `rk4`, or one with implicit stages:
            `implicit_euler`, `crank_nicolson`, `implicit_midpoint`.
        control_intervals: Intervals on which the controls are constant in depth; divides `layers`, and equals it if
            left out.
        representation: Of the kernel: `dense`, `separable`, `local`, or a sum of them, `local + separable`.
        kernel: Formula of the starting dense kernel in t, y and z; a small random start if left out.
        rank: Number of pairs of factors of the separable kernel; 8 if left out, without `factors`.
        factors: The starting separable kernel, Σ u ⊗ v, as a list of [u, v], u a formula in t and y, v in t and z;
            small random factors if left out.
        local_terms: Some of `multiplication`, `convection`, `diffusion`; if left out those that are given, or all.
        local_length: Length ℓ of the inner product of the local kernel's coefficients; a tenth of the domain's longest
            side if left out.
        multiplication: Formula of the starting coefficient in t and y; zero if left out.
        convection: The same, for all directions or as a list with one for each.
        diffusion: The same.
        bias: Formula of the starting bias in t and y; zero if left out.
        start_scale: Size of a random starting kernel.
    """

    activation: Annotated[str, name_or_formula(ACTIVATIONS, "s")] = "tanh"
    layers: int = Field(default=10, ge=1)
    horizon: float = Field(default=1.0, gt=0)
    scheme: Annotated[str, one_of(SCHEMES, SCHEME_ALIASES)] = "euler"
    control_intervals: Annotated[int, Field(ge=1)] = 0
    representation: Annotated[tuple[Annotated[str, one_of(REPRESENTATIONS)], ...], SumOrList] = ("dense",)
    kernel: str | None = None
    rank: int | None = Field(default=None, ge=1)
    factors: Annotated[tuple[Factors, ...], Field(min_length=1), TomlList] | None = None
    local_terms: Annotated[tuple[Annotated[str, one_of(LOCAL_TERMS)], ...], ListOrScalar] | None = None
    local_length: float | None = Field(default=None, gt=0)
    multiplication: str | None = None
    convection: Annotated[tuple[str, ...], ListOrScalar] | None = None
    diffusion: str | None = None
    bias: str | None = None
    start_scale: float = Field(default=0.1, ge=0)

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
            object.__setattr__(self, "control_intervals", self.layers)


@dataclass(frozen=True, config=SETTINGS | {"strict": False})
class Moved:
    """`data.moved`: random motions of the images; a table of zeros moves nothing.

    Attributes:
        shift: Largest shift.
        rotation: Largest rotation.
        scale: Largest relative change of size.
    """

    shift: float = Field(default=0.0, ge=0, strict=True)
    rotation: float = Field(default=0.0, ge=0, strict=True)
    scale: float = Field(default=0.0, ge=0, strict=True)


@dataclass(frozen=True, config=SETTINGS)
class Data:
    """`[data]`: the samples.

    Attributes:
        source: `digits` (bundled with scikit-learn), `npz` or `formula`; `npz` if only `file` is given, `formula` if
            only `initial` is.
        file: NPZ file; in a case file relative to the case file's folder, in a loaded case absolute.
        test_fraction: Part of the samples kept for the test, in [0, 1).
        standardize: Whether features are brought to mean 0 and variance 1.
        shape: Pixel grid of rows that were flattened.
        moved: Random motions of the images, or None.
        initial: Formula of the initial states in y and s, the sample's parameter in [0, 1].
        target: Formula of the target states in y and s.
        samples: Number of samples that the formulas give.
    """

    source: Annotated[str, one_of(SOURCES)] = ""
    file: str | None = Field(default=None, min_length=1)
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    standardize: bool = False
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1), TomlList] | None = None
    moved: Moved | None = None
    initial: str | None = None
    target: str | None = None
    samples: int = Field(default=1, ge=1)

    def __post_init__(self) -> None:
        if not self.source:
            implied = "npz" if self.file else "formula" if self.initial is not None else "digits"
            object.__setattr__(self, "source", implied)


@dataclass(frozen=True, config=SETTINGS)
class Objective:
    """`[objective]`: what is minimised, and over what.

    Attributes:
        loss: `softmax`, `logistic`, `least_squares` or `tracking`.
        weight: Factor μ of the data term.
        controls: Which of kernel, bias and readout are optimised; all if left out (tracking has no readout).
        kernel_bounds: Lower and upper bound of the kernel, of its factors or of its coefficients, or None.
        bias_bounds: Lower and upper bound of the bias, or None.
        readout_bounds: Lower and upper bound of the readout, or None.
    """

    loss: Annotated[str, one_of(LOSSES, LOSS_ALIASES)] = "softmax"
    weight: float = Field(default=1.0, gt=0)
    controls: Annotated[tuple[Annotated[str, one_of(CONTROLS)], ...], TomlList] = ()
    kernel_bounds: Bounds | None = None
    bias_bounds: Bounds | None = None
    readout_bounds: Bounds | None = None

    @field_validator("controls")
    @classmethod
    def _some_in_order(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"must name at least one of {', '.join(CONTROLS)}")
        if "readout" in value and info.data.get("loss") == "tracking":
            raise ValueError("'readout' is listed, but objective.loss = 'tracking' has none; leave it out")
        return tuple(name for name in CONTROLS if name in value)

    def __post_init__(self) -> None:
        if not self.controls:
            object.__setattr__(self, "controls", CONTROLS[:2] if self.loss == "tracking" else CONTROLS)


@dataclass(frozen=True, config=SETTINGS)
class Regularization:
    """`[regularization]`: weights of the quadratic penalties.

    Attributes:
        kernel: L² weight of the kernel.
        bias: L² weight of the bias.
        readout: L² weight of the readout.
        kernel_depth: H¹ weight of the kernel in depth.
        bias_depth: H¹ weight of the bias in depth.
    """

    kernel: float = Field(default=1e-4, ge=0)
    bias: float = Field(default=1e-4, ge=0)
    readout: float = Field(default=1e-4, ge=0)
    kernel_depth: float = Field(default=0.0, ge=0)
    bias_depth: float = Field(default=0.0, ge=0)


@dataclass(frozen=True, config=SETTINGS)
class Stochastic:
    """`[stochastic]`: the phase on random batches that may precede the optimizer.

    Attributes:
        method: `adam` or `momentum`.
        epochs: Passes over the training part; 0 leaves the phase out.
        batch: Samples of one step.
        rate: Step size.
        schedule: `cosine` or `constant` step size.
        momentum: Decay of the gradient's mean, in [0, 1).
        second_moment: Decay of the squared gradient's mean (Adam), in [0, 1).
        epsilon: Adam's guard against division by zero.
        validation: Part of the training samples kept for early stopping, in [0, 1).
        patience: Epochs without a better validation value before stopping.
    """

    method: Annotated[str, one_of(STOCHASTIC_METHODS)] = "adam"
    epochs: int = Field(default=0, ge=0)
    batch: int = Field(default=64, ge=1)
    rate: float = Field(default=0.01, gt=0)
    schedule: Annotated[str, one_of(SCHEDULES)] = "cosine"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    second_moment: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    validation: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=20, ge=1)


@dataclass(frozen=True, config=SETTINGS)
class Optimizer:
    """`[optimizer]`: PETSc TAO, or Pontryagin's principle, on all samples.

    Attributes:
        method: `lmvm` (L-BFGS), `cg`, or Newton–Krylov by line search, `nls`, or trust region, `ntr`; with bounds
            `blmvm`, `bqnls` where most of them are active, `bnls` or `bntr`.  Successive approximations by the maximum
            principle: `msa`, `damped_msa`, `sqh`, with bounds of kernel and bias too.
        max_iterations: Limit of iterations; 0 leaves the optimizer out.
        gradient_tolerance: Gradient norm at which to stop, relative to the first.
        absolute_tolerance: Gradient norm at which to stop.
        memory: Pairs that a quasi-Newton method keeps.
        starts: Starts of the Hamiltonian's minimisation at each neuron, for `msa`, `damped_msa` and `sqh`.
        options: Further PETSc options by name, without the leading dash.
    """

    method: Annotated[str, one_of(METHODS, METHOD_ALIASES)] = "lmvm"
    max_iterations: int = Field(default=100, ge=0)
    gradient_tolerance: float = Field(default=1e-5, ge=0)
    absolute_tolerance: float = Field(default=1e-10, ge=0)
    memory: int = Field(default=10, ge=1)
    starts: int = Field(default=3, ge=1)
    options: dict[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, config=SETTINGS)
class Hjb:
    """`[hjb]`: the value function by the Hamilton–Jacobi–Bellman equation, for states of at most three numbers.

    Attributes:
        cells: Cells of the finest mesh in each direction of the state; one number stands for every direction.
        levels: Meshes of the refinement study, each with half the cells of the next.
        lower: Lower corner of the box in the space of states; around initial and target states if left out.
        upper: Upper corner, above `lower` in every direction.
        snapshots: Times at which the value function is kept.
        starts: Random starts of the open-loop optimization, beside the case's own.
        witness: Whether dynamic programming on the same mesh is run for comparison.
    """

    cells: Annotated[tuple[Annotated[int, Field(ge=2)], ...], ListOrScalar, Field(min_length=1, max_length=3)] = Field(
        default=(64,), validate_default=True
    )
    levels: int = Field(default=3, ge=1)
    lower: Annotated[tuple[float, ...], ListOrScalar] | None = None
    upper: Annotated[tuple[float, ...], ListOrScalar] | None = None
    snapshots: int = Field(default=41, ge=2)
    starts: int = Field(default=6, ge=0)
    witness: bool = True


@dataclass(frozen=True, config=SETTINGS)
class Parallel:
    """`[parallel]`: how the ranks share the work.

    Attributes:
        space: Ranks of a space communicator.
        block: Samples of a block.
    """

    space: int = Field(default=1, ge=1)
    block: int = Field(default=192, ge=1)


@dataclass(frozen=True, config=SETTINGS)
class Output:
    """`[output]`: what a run leaves behind.

    Attributes:
        directory: Folder under which each run makes its own; relative to the current one.
        checkpoint_every: Iterations between two checkpoints.
        figures: Whether figures are drawn.
        fields: Whether fields are written for ParaView.
    """

    directory: str = Field(default="runs", min_length=1)
    checkpoint_every: int = Field(default=10, ge=1)
    figures: bool = True
    fields: bool = True


@dataclass(frozen=True, config=SETTINGS)
class Case:
    """A whole case file.

    Attributes:
        title: A line for reports.
        seed: Seed of all random choices.
        parameters: Numbers by name, for use in formulas.
        domain: The feature domain and its mesh.
        space: The finite element space.
        dynamics: The selection equation.
        data: The samples.
        objective: What is minimised.
        regularization: Its penalties.
        stochastic: The phase on batches.
        optimizer: The phase on all samples.
        hjb: The value function.
        forward: The equation over large times.
        steady: Steady states.
        stability: Spectra and branches of steady states.
        parallel: How the ranks share the work.
        output: What a run leaves behind.
    """

    title: str = ""
    seed: int = Field(default=0, ge=0, le=2**32 - 2)
    parameters: dict[str, float] = field(default_factory=dict)
    domain: Domain = field(default_factory=Domain)
    space: Space = field(default_factory=Space)
    dynamics: Dynamics = field(default_factory=Dynamics)
    data: Data = field(default_factory=Data)
    objective: Objective = field(default_factory=Objective)
    regularization: Regularization = field(default_factory=Regularization)
    stochastic: Stochastic = field(default_factory=Stochastic)
    optimizer: Optimizer = field(default_factory=Optimizer)
    hjb: Hjb = field(default_factory=Hjb)
    forward: Forward = field(default_factory=Forward)
    steady: Steady = field(default_factory=Steady)
    stability: Stability = field(default_factory=Stability)
    parallel: Parallel = field(default_factory=Parallel)
    output: Output = field(default_factory=Output)
