# SPDX-License-Identifier: MIT
"""Settings of learning: samples, objective, its penalties, the stochastic and the deterministic phase."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from fem_selection.derived import derived
from fem_selection.settings.fields import Bounds, Option, TomlList, one_of
from fem_selection.settings.names import (
    HESSIANS,
    LOSS_ALIASES,
    LOSSES,
    METHOD_ALIASES,
    METHODS,
    PARTS,
    SCHEDULES,
    SOURCES,
    STOCHASTIC_METHODS,
)
from fem_selection.settings.petsc_options import option_faults, option_name
from fem_selection.settings.tables import STRICT, settings_class

__all__ = [
    "CertificateSettings",
    "DataSettings",
    "Movement",
    "ObjectiveSettings",
    "OptimizerSettings",
    "Regularization",
    "StochasticSettings",
]


@settings_class
class Movement:
    """`data.moved`: standard deviations of the random motions of the images; a table of zeros moves nothing.

    Attributes:
        shift: Standard deviation of each component of the shift, in units of the domain's sides.
        rotation: Standard deviation of the angle (in space of each component of the rotation vector), in radians.
        scale: Standard deviation of log(1 + s), where a motion magnifies by 1 + s.
    """

    __pydantic_config__ = STRICT | {"strict": False}  # a strict table inside of another is refused

    shift: float = Field(default=0.0, ge=0, strict=True)
    rotation: float = Field(default=0.0, ge=0, strict=True)
    scale: float = Field(default=0.0, ge=0, strict=True)


@settings_class
class DataSettings:
    """`[data]`: the samples.

    Attributes:
        source: `digits` (bundled with scikit-learn), `npz` or `formula`; `npz` if only `file` is given, `formula` if
            only `initial` is.
        file: NPZ file; in a case file relative to the case file's folder, in a loaded case absolute.
        test_fraction: Share of the samples kept for the test, in [0, 1).
        standardize: Whether features are brought to mean 0 and variance 1.
        shape: Pixel grid of rows that were flattened, two pixels or more along each axis.
        moved: Random motions of the images, or None.
        initial: Formula of the initial states in y and s, the sample's parameter in [0, 1].
        target: Formula of the target states in y and s.
        samples: Number of samples that the formulas give.
    """

    source: Annotated[str, one_of(SOURCES)] = ""
    file: str | None = Field(default=None, min_length=1)
    test_fraction: float = Field(default=0.2, ge=0, lt=1)
    standardize: bool = False
    shape: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1), TomlList] | None = None
    moved: Movement | None = None
    initial: str | None = None
    target: str | None = None
    samples: int = Field(default=1, ge=1)

    def __post_init__(self) -> None:
        if not self.source:
            implied = "npz" if self.file else "formula" if self.initial is not None else "digits"
            object.__setattr__(self, "source", derived(implied))


@settings_class
class ObjectiveSettings:
    """`[objective]`: the objective, and the controls over which it is minimised.

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
    controls: Annotated[tuple[Annotated[str, one_of(PARTS)], ...], TomlList] = ()
    kernel_bounds: Bounds | None = None
    bias_bounds: Bounds | None = None
    readout_bounds: Bounds | None = None

    @field_validator("controls")
    @classmethod
    def _some_in_order(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"must name at least one of {', '.join(PARTS)}")
        if "readout" in value and info.data.get("loss") == "tracking":
            raise ValueError("'readout' is listed, but objective.loss = 'tracking' has none; leave it out")
        return tuple(name for name in PARTS if name in value)

    def __post_init__(self) -> None:
        if not self.controls:
            object.__setattr__(self, "controls", derived(PARTS[:2] if self.loss == "tracking" else PARTS))


@settings_class
class Regularization:
    """`[regularization]`: weights of the quadratic penalties.

    Attributes:
        kernel: L² weight α_w of the kernel.
        bias: L² weight α_b of the bias.
        readout: L² weight α_c of the readout.
        kernel_depth: H¹ weight β_w of the kernel in depth.
        bias_depth: H¹ weight β_b of the bias in depth.
    """

    kernel: float = Field(default=1e-4, ge=0)
    bias: float = Field(default=1e-4, ge=0)
    readout: float = Field(default=1e-4, ge=0)
    kernel_depth: float = Field(default=0.0, ge=0)
    bias_depth: float = Field(default=0.0, ge=0)

    @property
    def has_depth_term(self) -> bool:
        """Whether an H¹ term in depth is present."""
        return self.kernel_depth > 0 or self.bias_depth > 0


@settings_class
class StochasticSettings:
    """`[stochastic]`: the phase on random batches that may precede the optimizer.

    Attributes:
        method: `adam` or `momentum`.
        epochs: Passes over the training part; 0 leaves the phase out.
        batch: Number of samples of one step.
        rate: Step size.
        schedule: `cosine` or `constant` step size.
        momentum: Decay of the gradient's mean, in [0, 1).
        second_moment: Decay of the squared gradient's mean (Adam), in [0, 1).
        epsilon: Adam's guard against division by zero.
        validation: Share of the training samples kept for early stopping, in [0, 1).
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


@settings_class
class OptimizerSettings:
    """`[optimizer]`: PETSc TAO, or Pontryagin's principle, on all samples.

    Attributes:
        method: `lmvm` (L-BFGS), `cg`, or Newton–Krylov by line search, `nls`, or trust region, `ntr`; with bounds
            `blmvm`, `bqnls` where most of them are active, `bnls` or `bntr`.  Successive approximations by the maximum
            principle: `msa`, `damped_msa`, `sqh`, with bounds of kernel and bias too.
        max_iterations: Limit of iterations, counted from the run's beginning; 0 leaves the optimizer out.
        gradient_tolerance: Norm of the (projected) gradient at which to stop, relative to the first of the run.
        absolute_tolerance: Norm of the (projected) gradient at which to stop.
        memory: Number of pairs that a quasi-Newton method keeps; more take fewer iterations (see `optimize.tao`).
        hessian: Second derivative of Newton's methods: `exact`, or `gauss_newton`, which leaves out the terms with the
            costates, is positive semidefinite, and takes two thirds of the products with the kernel.
        starts: Number of starts of the Hamiltonian's minimisation at each neuron, for `msa`, `damped_msa` and `sqh`.
        reduction: Accuracy of each of these minimisations: the norm of its gradient relative to the first.
        augmentation: First ε of `sqh`, the weight of the squared step that it adds to the Hamiltonian, relative to the
            larger one of `regularization.kernel` and `regularization.bias`.
        gap_every: Iterations after which `sqh` measures the gap again, which costs further minimisations; 0 for never.
        options: Further PETSc options of TAO's methods by name, without the leading dash, such as `tao_ls_type`;
            `tao_monitor = true` turns a monitor on.  An option that another key decides is refused, as is any that
            the method does not read.

    Example:
        >>> fs.OptimizerSettings(method="ntr").max_iterations
        100
        >>> fs.OptimizerSettings(methods="ntr")
        Traceback (most recent call last):
        fem_selection.settings.tables.InvalidSettings: OptimizerSettings.methods: unknown setting; did you mean method?
    """

    method: Annotated[str, one_of(METHODS, METHOD_ALIASES)] = "lmvm"
    max_iterations: int = Field(default=100, ge=0)
    gradient_tolerance: float = Field(default=1e-5, ge=0)
    absolute_tolerance: float = Field(default=1e-10, ge=0)
    memory: int = Field(default=10, ge=1)
    hessian: Annotated[str, one_of(HESSIANS)] = "exact"
    starts: int = Field(default=3, ge=1, le=10_000)
    reduction: float = Field(default=0.1, ge=0, lt=1)
    augmentation: float = Field(default=1.0, gt=0)
    gap_every: int = Field(default=1, ge=0)
    options: dict[str, Option] = field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _beside_the_other_keys(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if faults := list(option_faults(value, info.data.get("method", ""))):
            raise ValueError("; ".join(faults))
        return {option_name(name): entry for name, entry in value.items()}


@settings_class
class CertificateSettings:
    """Settings of `certify`; they are not a table of the case file.

    Attributes:
        starts: Number of starts of each minimisation of the Hamiltonian.
        eigenvalue_tolerance: Residual, relative to the eigenvalue, with which the lowest eigenvalue of the Hessian is
            accepted; the error of the eigenvalue is of the order of its square.
        insertions: Largest number of single layers, and of single nodes in a layer, in which the minimiser of the
            Hamiltonian is inserted to see whether the objective falls.
        descent: Iterations of a descent from the inserted minimisers, if a gap is open and no insertion by itself
            lowers the objective; 0 for none.
        starts_of_training: Number of further trainings from random starts, to see whether one ends lower.
    """

    starts: int = Field(default=12, ge=1)
    eigenvalue_tolerance: float = Field(default=1e-6, gt=0, lt=1)
    insertions: int = Field(default=16, ge=1)
    descent: int = Field(default=100, ge=0)
    starts_of_training: int = Field(default=0, ge=0)
