# SPDX-License-Identifier: MIT
"""`SelectionField`: the right-hand side of the selection equation on blocks, and its linearization.

    F(f) = Π σ(g),  g = K f + b,        F'(f) v = Π σ'(g) K v,        F'(f)ᵀ d = Kᵀ (Π σ'(g))ᵀ d

Integrators for large times, steady states and spectra use it; for layers use the `Stepper`.
If kernel or bias depend on time, `refresh` sets them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.equation import SelectionEquation, Statement
from fem_selection.dynamics.superposition import Superposition, create_superposition
from fem_selection.errors import InvalidInput
from fem_selection.functions.activations import Activation
from fem_selection.kernels.base import Kernel
from fem_selection.settings import DynamicsSettings
from fem_selection.typing import Block, Floats, create_block, describe_type, real_array, real_block

__all__ = ["Linearization", "SelectionField"]


class SelectionField:
    """The map f ↦ Π σ(K f + b) on blocks.

    Args:
        space: The state space.
        kernel: K.  It has one interval, unless `interval` is given.
        bias: Nodal values of b, shape (num_local,); copied, or kept by reference if there is a `refresh`, which may
            write into it.
        activation: σ.
        refresh: Function that sets kernel and bias to those at a time t (collective); None if they do not depend on
            time.
        coefficient_bounds: Function of the begins and ends of some intervals of time, each of shape (n,), to the lower
            and upper bounds of coefficients in these intervals, two arrays of shape (terms, any number of points of
            this rank, n).  From it an integrator knows where kernel and bias vary; without it it takes samples.
        interval: Which interval of the kernel to use: the field is then the equation of that layer, frozen in time.
        evaluation: How σ is evaluated: "assembled" by assembled forms, else by array code.
        equation: States the equation for a space and σ: `SelectionEquation`, or a class derived from it.

    Raises:
        InvalidInput: if the kernel has several intervals and `interval` is not given or is not one of them, or the bias
            has a wrong shape or is no array of real numbers, or is to be refreshed and not of float64, or the
            evaluation is unknown, or the form of the equation runs by assembly alone and the evaluation is another.

    Note:
        All methods on blocks are collective over the space communicator.

    Example:
        >>> space = fs.StateSpace(fs.interval(MPI.COMM_SELF, cells=2), degree=1)
        >>> kernel = fs.DenseKernel.interpolate(space, 1.0, fs.DepthGrid(layers=1))
        >>> relu = fs.find_activation("relu")
        >>> field = fs.SelectionField(space, kernel, -space.coordinates[:, 0], activation=relu)
        >>> print(field.rate(np.ones((3, 1), order="F")).T)  # max(∫ f − y, 0) for f = 1
        [[1.  0.5 0. ]]
    """

    def __init__(
        self,
        space: StateSpace,
        kernel: Kernel,
        bias: Floats,
        *,
        activation: Activation,
        refresh: Callable[[float], None] | None = None,
        coefficient_bounds: Callable[[Floats, Floats], tuple[Floats, Floats]] | None = None,
        interval: int | None = None,
        evaluation: str = DynamicsSettings.evaluation,
        equation: Statement = SelectionEquation,
    ) -> None:
        self.interval = 0 if interval is None else interval
        given, bias = bias, real_array(bias, "a bias")
        if refresh is not None and bias is not given:
            kind = describe_type(given)
            raise InvalidInput(f"the bias that `refresh` writes into must be an array of float64, not {kind}")
        is_one = kernel.num_intervals == 1 if interval is None else 0 <= interval < kernel.num_intervals
        if not is_one or bias.shape != (space.num_local,):
            raise InvalidInput(
                f"a field has one kernel and one bias of shape ({space.num_local},); "
                f"given are {kernel.num_intervals} kernels and a bias of shape {bias.shape}"
            )
        self.space, self.kernel, self.equation = space, kernel, equation(space, activation)
        self.bias = bias.copy() if refresh is None else bias
        self.superposition = create_superposition(self.equation, evaluation)
        self.evaluation = evaluation
        self.coefficient_bounds = coefficient_bounds
        self._refresh = refresh

    @property
    def activation(self) -> Activation:
        """σ as it stands in the equation's form.

        Raises:
            InvalidInput: if the form is no form ∫ σ(s) φ dy.
        """
        return self.equation.activation

    @cached_property
    def pointwise(self) -> Superposition:
        """Π σ by array code, whose slopes are values of σ', also where the forms are assembled.

        Raises:
            InvalidInput: if the form is no form ∫ σ(s) φ dy.
        """
        return create_superposition(self.equation) if self.evaluation == "assembled" else self.superposition

    @property
    def is_autonomous(self) -> bool:
        """Whether neither kernel nor bias depends on time."""
        return self._refresh is None

    def move_to(self, time: float) -> None:
        """Set kernel and bias to those at a time (collective)."""
        if self._refresh is not None:
            self._refresh(time)

    def with_activation(self, activation: Activation) -> SelectionField:
        """Return the field (σ(s), φ) with another σ, and the same kernel and bias."""
        return SelectionField(
            self.space,
            self.kernel,
            self.bias,
            activation=activation,
            refresh=self._refresh,
            interval=self.interval if self.kernel.num_intervals > 1 else None,
            evaluation=self.evaluation,
        )

    def preactivation(self, f: Block, out: Block | None = None) -> Block:
        """Return g = K f + b.

        Args:
            f: States, shape (num_local, J).
            out: The block to write to; a new one if None.
        """
        f = real_block(f, self.space.num_local, "states")
        g = create_block(*f.shape) if out is None else out
        np.copyto(g, self.bias[:, None])
        self.kernel.apply(self.interval, f, g, keep=True)
        return g

    def rate(self, f: Block, out: Block | None = None, scratch: Block | None = None) -> Block:
        """Return F(f) = Π σ(K f + b).

        Args:
            f: States, shape (num_local, J).
            out: The block to write to; a new one if None.
            scratch: A work block of the same shape, overwritten by g = K f + b; a new one if None.
        """
        f = real_block(f, self.space.num_local, "states")
        g = self.preactivation(f, scratch)
        result = create_block(*f.shape) if out is None else out
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.superposition.evaluate(g, result)
        return result

    def linearize(self, f: Block) -> Linearization:
        """Return F and F' at a block of states, each column at its own state."""
        return Linearization(self, f)


class Linearization:
    """F'(f) at a block of states.

    The linearization at J states acts on blocks of J columns, column by column; that at one state on any block.

    Args:
        field: F.
        f: The states, shape (num_local, J).

    Attributes:
        preactivation: g = K f + b.
        rate: F(f).
        slope: What the products need of σ at g: σ'(g) where σ is evaluated, at the nodes in collocated mode, else at
            the quadrature points; where forms are assembled, g itself (see `derivative`).
    """

    def __init__(self, field: SelectionField, f: Block) -> None:
        f = real_block(f, field.space.num_local, "states")
        self.field = field
        self.preactivation = field.preactivation(f)
        self.rate = create_block(*f.shape)
        self.slope = create_block(field.superposition.tape_rows, f.shape[1])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            field.superposition.evaluate_to_second(self.preactivation, self.rate, self.slope, curvature=None)

    def derivative(self) -> Block:
        """Return σ'(g) at the nodes in collocated mode, else at the quadrature points, however σ is evaluated."""
        operator, g = self.field.pointwise, self.preactivation
        if operator is self.field.superposition:
            return self.slope
        value, slope = create_block(*g.shape), create_block(operator.tape_rows, g.shape[1])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            operator.evaluate_to_second(g, value, slope, curvature=None)
        return slope

    def apply(self, v: Block) -> Block:
        """Return F'(f) v.

        Raises:
            InvalidInput: if v has another number of columns than there are states, and there are several.
        """
        v = real_block(v, self.field.space.num_local, "a block")
        moved, result = create_block(*v.shape), create_block(*v.shape)
        self.field.kernel.apply(self.field.interval, v, moved)
        self.field.superposition.move(self._slope_for(v), None, moved, out=result, turn=None)
        return result

    def apply_transpose(self, dual: Block) -> Block:
        """Return F'(f)ᵀ d, the transpose in the Euclidean product of nodal values.

        Raises:
            InvalidInput: if d has another number of columns than there are states, and there are several.
        """
        dual = real_block(dual, self.field.space.num_local, "a block of duals")
        turned, result = create_block(*dual.shape), create_block(*dual.shape)
        self.field.superposition.move_transpose(self._slope_for(dual), None, dual, out=turned)
        self.field.kernel.add_transpose(self.field.interval, turned, 1.0, out=result)
        return result

    def _slope_for(self, block: Block) -> Block:
        """The slopes for each column of a block; the same for all columns if there is one state."""
        if self.slope.shape[1] == block.shape[1]:
            return self.slope
        if self.slope.shape[1] != 1:
            raise InvalidInput(f"{block.shape[1]} columns for a linearization at {self.slope.shape[1]} states")
        return np.broadcast_to(self.slope, (len(self.slope), block.shape[1]))
