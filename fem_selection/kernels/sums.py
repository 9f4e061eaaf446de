# SPDX-License-Identifier: MIT
"""`SumKernel`: K = K_1 + K_2 + …, kernels of any kinds on one space; `local + separable` creates one.

The parameters are those of the parts, one part after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from petsc4py import PETSc

from fem_selection.errors import InvalidInput
from fem_selection.kernels.base import (
    HasLocalPart,
    HasMatrixTerms,
    Kernel,
    KernelDirection,
    MatrixTerm,
    OperatorByParameters,
    as_parameters,
)
from fem_selection.typing import Block, Floats, Integers

__all__ = ["SumDirection", "SumKernel", "Summable"]


class Summable:
    """Base of kernels that are added by +."""

    def __add__(self: Kernel, other: Kernel) -> SumKernel:
        """Return the sum of two kernels, which become its parts.

        Raises:
            InvalidInput: if the kernels cannot be added (see `SumKernel`).
        """
        return SumKernel((self, other))


class SumKernel(Summable, OperatorByParameters):
    """The sum of kernels.

    Args:
        parts: The kernels, which keep the parameters; a part that is a sum itself is replaced by its parts.

    Raises:
        InvalidInput: if there are no parts, one of them appears twice, or their numbers of intervals differ.
    """

    def __init__(self, parts: Sequence[Kernel]) -> None:
        self.parts: tuple[Kernel, ...] = tuple(
            inner for part in parts for inner in (part.parts if isinstance(part, SumKernel) else (part,))
        )
        intervals = [part.num_intervals for part in self.parts]
        if len(set(intervals)) != 1:
            raise InvalidInput(f"a sum of kernels with {intervals} control intervals: all need the same number")
        if len({id(part) for part in self.parts}) < len(self.parts):
            raise InvalidInput("a kernel is added to itself: its parameters can be held once only")
        self.num_intervals = intervals[0]
        self.is_linear = all(part.is_linear for part in self.parts)
        ends = list(accumulate((part.num_parameters for part in self.parts), initial=0))
        self.slices = [slice(a, b) for a, b in pairwise(ends)]
        self.num_parameters = ends[-1]
        self.num_global_parameters = sum(part.num_global_parameters for part in self.parts)
        self._sparse: dict[int, tuple[tuple[int, ...], PETSc.Mat]] = {}
        self._pullbacks: list[tuple[slice, tuple[int, ...]]] = []

    def assign(self, parameters: Floats) -> None:
        """Set the parameters of all parts; the array is kept by reference."""
        parameters = as_parameters(parameters, self.num_parameters).reshape(-1)
        for part, where in zip(self.parts, self.slices, strict=True):
            part.assign(parameters[where])

    def parameters(self) -> Floats:
        """Return the parameters of the parts, one after the other; a copy."""
        return np.concatenate([part.parameters() for part in self.parts])

    def by_interval(self, parameters: Floats) -> list[Floats]:
        """Return the views of each part."""
        pairs = zip(self.parts, self.slices, strict=True)
        return [view for part, where in pairs for view in part.by_interval(parameters[where])]

    def create_direction(self) -> SumDirection:
        """Return the sum of the parts' directions."""
        return SumDirection(self)

    def canonical_indices(self) -> Integers:
        """Return the indices of the parts; those of a part follow all of the parts before it."""
        starts = accumulate((part.num_global_parameters for part in self.parts), initial=0)
        return np.concatenate([part.canonical_indices() + a for part, a in zip(self.parts, starts, strict=False)])

    def sparse_operator(self, interval: int) -> PETSc.Mat | None:
        """Return the sum of the parts' sparse operators L, (K_local f, φ_i) = Σ_k L_ik F_k; None if no part has one.

        The result is a part's own matrix, or the sum's, which is computed anew at the first call after `assign`.
        """
        found = [part.sparse_operator(interval) for part in self.parts if isinstance(part, HasLocalPart)]
        matrices = [matrix for matrix in found if matrix is not None]
        if len(matrices) < 2:
            return matrices[0] if matrices else None
        states = tuple(matrix.stateGet() for matrix in matrices)
        kept = self._sparse.get(interval)
        if kept is None or kept[0] != states:
            total = matrices[0].copy() if kept is None else matrices[0].copy(kept[1])
            for matrix in matrices[1:]:
                total.axpy(1.0, matrix, structure=PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
            kept = self._sparse[interval] = (states, total)
        return kept[1]

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = Σ K_p F, plus what `out` held if `keep`.  See `Kernel.apply`."""
        for number, part in enumerate(self.parts):
            part.apply(interval, block, out, keep=keep or number > 0)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Σ K_pᵀ Q.  See `Kernel.add_transpose`."""
        for part in self.parts:
            part.add_transpose(interval, dual, scale, out=out)

    def create_pullback(self, buffer: Floats | None = None) -> Floats:
        """Return zeros that hold the pullbacks of all parts, flattened; `buffer` is not used."""
        if not self._pullbacks:
            shapes = [part.create_pullback().shape for part in self.parts]
            ends = list(accumulate((int(np.prod(shape)) for shape in shapes), initial=0))
            self._pullbacks = [(slice(a, b), s) for (a, b), s in zip(pairwise(ends), shapes, strict=True)]
        return np.zeros(self._pullbacks[-1][0].stop)

    def matrix_terms(self) -> list[MatrixTerm] | None:
        """Return the terms of all parts; None if a part has none.  See `HasMatrixTerms.matrix_terms`."""
        found = [part.matrix_terms() if isinstance(part, HasMatrixTerms) else None for part in self.parts]
        return None if None in found else [term for terms in found for term in terms or ()]

    def matrix_duals(self, pullback: Floats) -> list[MatrixTerm]:
        """Return the views of each part.  See `HasMatrixTerms.matrix_duals`."""
        pairs = zip(self.parts, self.pullbacks(pullback), strict=True)
        return [dual for part, own in pairs if isinstance(part, HasMatrixTerms) for dual in part.matrix_duals(own)]

    def pullbacks(self, pullback: Floats) -> list[Floats]:
        """Return the parts' pullbacks, as views."""
        return [pullback[where].reshape(shape) for where, shape in self._pullbacks]

    def add_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add each part's pullback to its own part of `out`.  See `Kernel.add_pullback`."""
        for part, own in zip(self.parts, self.pullbacks(out), strict=True):
            part.add_pullback(interval, dual, block, scale=scale, out=own)

    def parameter_dual(self, pullback: Floats, out: Floats | None = None) -> Floats:
        """Return the duals of the parts, one after the other.  See `Kernel.parameter_dual`."""
        result = np.empty(self.num_parameters) if out is None else out
        for part, own, where in zip(self.parts, self.pullbacks(pullback), self.slices, strict=True):
            part.parameter_dual(own, out=result[where])
        return result

    def apply_mass(self, parameters: Floats) -> Floats:
        """Apply each part's Gram matrix to its own parameters."""
        pairs = zip(self.parts, self.slices, strict=True)
        return np.concatenate([part.apply_mass(parameters[where]) for part, where in pairs])

    def riesz(self, dual: Floats) -> Floats:
        """Apply the inverse of each part's Gram matrix."""
        pairs = zip(self.parts, self.slices, strict=True)
        return np.concatenate([part.riesz(dual[where]) for part, where in pairs])

    def lumped_mass(self) -> Floats:
        """Return the diagonals of the parts, one after the other."""
        return np.concatenate([part.lumped_mass() for part in self.parts])


class SumDirection(OperatorByParameters):
    """K'(θ)δθ of a sum: the sum of the parts' derivatives.

    Args:
        kernel: The sum.
    """

    def __init__(self, kernel: SumKernel) -> None:
        self._kernel = kernel
        self._parts: list[KernelDirection] = [part.create_direction() for part in kernel.parts]

    def assign(self, parameters: Floats) -> None:
        """Set δθ of all parts; the array is kept by reference."""
        for part, where in zip(self._parts, self._kernel.slices, strict=True):
            part.assign(parameters[where])

    def apply(self, interval: int, block: Block, out: Block, *, keep: bool = False) -> None:
        """`out` = Σ K_p'δθ_p F, plus what `out` held if `keep`.  See `KernelDirection.apply`."""
        for number, part in enumerate(self._parts):
            part.apply(interval, block, out, keep=keep or number > 0)

    def add_transpose(self, interval: int, dual: Block, scale: float, *, out: Block) -> None:
        """`out` += scale · Σ (K_p'δθ_p)ᵀ Q.  See `KernelDirection.add_transpose`."""
        for part in self._parts:
            part.add_transpose(interval, dual, scale, out=out)

    def add_second_pullback(self, interval: int, dual: Block, block: Block, *, scale: float, out: Floats) -> None:
        """Add the second pullbacks of the parts that are not linear.  See `KernelDirection.add_second_pullback`."""
        for part, own, kernel in zip(self._parts, self._kernel.pullbacks(out), self._kernel.parts, strict=True):
            if not kernel.is_linear:
                part.add_second_pullback(interval, dual, block, scale=scale, out=own)
