# SPDX-License-Identifier: MIT
"""Whole sweeps of a block, forward and back, by one call of compiled code (`sweep.c`).

A sweep layer by layer calls BLAS and σ from Python, some ten calls a layer, and passes over memory in each of them.
Here one call runs through all layers: `sweep.c` has the equations of `Stepper` and of `adjoint.backward` for any
explicit scheme, σ is the loop compiled from its UFL expression (`functions.loops`), and the products are those of
`linalg.products` where the processor has AVX-512, else those of the BLAS that SciPy brings.  Tests hold both ways to
each other and to the assembled weak form.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.linalg import cython_blas

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.spaces import StateSpace
from fem_selection.dynamics.schemes import Scheme
from fem_selection.dynamics.superposition import NodalSuperposition, Superposition
from fem_selection.functions.libraries import Library, load_library
from fem_selection.kernels.base import HasMatrixTerms, Kernel
from fem_selection.linalg.products import HEADER
from fem_selection.typing import Block, Floats

__all__ = ["CompiledSweep", "SweptDynamics", "create_sweep"]

_SOURCE = Path(__file__).with_name("sweep.c")


class SweptDynamics(Protocol):
    """What a sweep reads of a `Stepper`."""

    space: StateSpace
    kernel: Kernel
    bias: Floats
    superposition: Superposition
    scheme: Scheme
    grid: DepthGrid
    intervals: list[list[int]]


def create_sweep(stepper: SweptDynamics) -> CompiledSweep | None:
    """Return the compiled sweeps of a stepper, or None if they cannot do what it does.

    Args:
        stepper: The dynamics; they are read at every call.
    """
    kernel, superposition = stepper.kernel, stepper.superposition
    if stepper.scheme.is_implicit or stepper.space.comm.size > 1 or not isinstance(superposition, NodalSuperposition):
        return None
    if not isinstance(kernel, HasMatrixTerms) or kernel.matrix_terms() is None:
        return None
    library, sigma = _library(), superposition.addresses()
    return None if library is None or sigma is None else CompiledSweep(stepper, kernel, library, sigma=sigma)


class CompiledSweep:
    """Sweeps of one stepper.

    Args:
        stepper: The dynamics.
        kernel: Their kernel.
        library: The library of `sweep.c`.
        sigma: Addresses of the loops for σ, for σ and σ', and for σ' d given σ; the last is None if σ' is taped.
    """

    def __init__(
        self, stepper: SweptDynamics, kernel: HasMatrixTerms, library: Library, *, sigma: tuple[int, int, int | None]
    ) -> None:
        self._stepper, self._kernel, self._ffi, self._functions = stepper, kernel, library.ffi, library.functions
        self._at = library.address
        self._arrays: dict[tuple[str, int], Floats] = {}
        scheme, grid = stepper.scheme, stepper.grid
        stages = scheme.num_stages
        self._a, self._b = np.zeros((stages, stages)), np.array(scheme.b)
        for i, row in enumerate(scheme.lower):
            self._a[i, :i] = row
        self._intervals = np.array(stepper.intervals, dtype=np.intc)
        value, both, pullback = sigma
        address = self._ffi.cast
        self._dynamics = self._ffi.new("struct dynamics*")
        d = self._dynamics
        d.rows, d.stages, d.step = stepper.space.num_local, stages, grid.step
        d.a, d.b, d.intervals = self._at(self._a), self._at(self._b), address("int*", self._intervals.ctypes.data)
        d.gemm, d.value, d.value_and_derivative = (address("void*", n) for n in (_gemm(), value, both))
        d.pullback = self._ffi.NULL if pullback is None else address("void*", pullback)

    def forward(self, initial: Block, arrays: tuple[Floats, Floats, Floats], layers: range) -> None:
        """Sweep a block through consecutive layers and fill a tape.

        Args:
            initial: The state before them, shape (num_local, J), in Fortran order.
            arrays: The memory of the tape (see `Tape`).
            layers: Their numbers.
        """
        self._run(self._tape(layers.start, initial, *arrays), initial.shape[1], layers)

    def forward_in_place(self, state: Block, layers: range) -> None:
        """Sweep a block through consecutive layers; the state after them overwrites it.

        Args:
            state: The state before them, shape (num_local, J), in Fortran order.
            layers: Their numbers.
        """
        samples = state.shape[1]
        inner = self._work("inner", samples, self._stepper.scheme.num_stages - 1)
        self._run(self._tape(layers.start, state, state.T, inner, None), samples, layers)

    def back(
        self,
        initial: Block,
        arrays: tuple[Floats, Floats, Floats],
        dual: Block,
        *,
        layers: range,
        kernel_pullback: Floats | None,
        bias_dual: Floats | None,
        to_initial: bool,
        incoming: list[list[Block]] | None,
    ) -> None:
        """Carry a dual back through the layers of a tape.  See `adjoint.backward.sweep_back`.

        Args:
            initial: The state before them, shape (num_local, J), in Fortran order.
            arrays: The memory of the tape that `forward` filled.
            dual: The dual of the state after them, shape (num_local, J), in Fortran order; overwritten.
            layers: Their numbers.
            kernel_pullback: As in `sweep_back`.
            bias_dual: As in `sweep_back`.
            to_initial: As in `sweep_back`.
            incoming: As in `sweep_back`.
        """
        samples, null = dual.shape[1], self._ffi.NULL
        q, mixed = self._work("back", samples, 2)
        met = null
        if incoming is not None:
            met = self._ffi.new("double*[]", [self._at(block) for row in incoming for block in row])
        tape = self._tape(layers.start, initial, *arrays)
        held = self._set_kernel(kernel_pullback)
        self._functions.fem_selection_back(
            self._dynamics,
            tape,
            samples,
            layers.stop,
            self._at(dual),
            null if bias_dual is None else self._at(bias_dual),
            to_initial,
            self._at(self._work("pulled", samples, self._stepper.scheme.num_stages)),
            self._at(q),
            self._at(mixed),
            met,
            self._at(self._moments(samples)),
        )
        del held

    def _run(self, tape: Any, samples: int, layers: range) -> None:
        held = self._set_kernel(None)
        rates = self._work("rates", samples, self._stepper.scheme.num_stages)
        (s,) = self._work("preactivation", samples, 1)
        work = (self._at(a) for a in (rates, s, self._moments(samples)))
        self._functions.fem_selection_forward(self._dynamics, tape, samples, layers.start, layers.stop, *work)
        del held

    def _set_kernel(self, pullback: Floats | None) -> list[Any]:
        """Put the addresses of kernel and bias into the description; return what must live as long as the call."""
        terms = self._kernel.matrix_terms() or []
        duals = [None] * len(terms) if pullback is None else self._kernel.matrix_duals(pullback)
        parts = self._ffi.new("struct part[]", len(terms))
        for part, term, dual in zip(parts, terms, duals, strict=True):
            part.left, part.left_stride = self._at(term.left), _stride(term.left)
            if term.right is not None:
                part.rank = term.left.shape[1]
                part.right, part.right_stride = self._at(term.right), _stride(term.right)
            if term.transposed is not None:
                part.transposed = self._at(term.transposed)
            if dual is not None:
                part.left_dual, part.dual_stride = self._at(dual.left), _stride(dual.left)
                if dual.right is not None:
                    part.right_dual = self._at(dual.right)
        self._dynamics.num_parts, self._dynamics.parts = len(terms), parts
        self._dynamics.bias = self._at(self._stepper.bias)
        return [terms, duals, parts]

    def _tape(self, begin: int, first: Block, states: Floats, inner: Floats, slopes: Floats | None) -> Any:
        """Describe where the blocks from layer `begin` on are; without slopes each layer uses the same blocks."""
        tape = self._ffi.new("struct tape*")
        tape.begin, tape.first = begin, self._at(first)
        tape.states, tape.inner = self._at(states), self._at(inner)
        if slopes is not None:
            tape.slopes = self._at(slopes)
            tape.state_stride, tape.inner_stride, tape.slope_stride = (_stride(a) for a in (states, inner, slopes))
        return tape

    def _work(self, name: str, samples: int, count: int) -> Floats:
        """Work blocks, shape (count, J, num_local), the same in every call; their contents are undefined."""
        key = (name, samples)
        if key not in self._arrays:
            if len(self._arrays) > 32:
                self._arrays.clear()
            self._arrays[key] = np.empty((count, samples, self._stepper.space.num_local))
        return self._arrays[key]

    def _moments(self, samples: int) -> Floats:
        """A work array for Rᵀ F of the term of highest rank."""
        key = ("moments", samples)
        if key not in self._arrays:
            rank = max((t.left.shape[1] for t in self._kernel.matrix_terms() or () if t.right is not None), default=0)
            self._arrays[key] = np.empty((rank, samples))
        return self._arrays[key]


def _stride(array: Floats) -> int:
    """How many numbers lie between two entries of the first axis."""
    return array.strides[0] // array.itemsize


@cache
def _library() -> Library | None:
    """The compiled `sweep.c`, with the declarations that stand in it."""
    source = _SOURCE.read_text().replace('#include "products.h"', HEADER)
    structs = re.findall(r"^struct \w+\n\{.*?^\};", source, flags=re.DOTALL | re.MULTILINE)
    functions = re.findall(r"^void fem_selection_\w+\([^)]*\)", source, flags=re.MULTILINE)
    return load_library(source, "\n".join([*structs, *(f"{f};" for f in functions)]))


def _gemm() -> int:
    """The address of the dgemm of SciPy's BLAS."""
    capsule = cython_blas.__pyx_capi__["dgemm"]
    ctypes.pythonapi.PyCapsule_GetName.restype = ctypes.c_char_p
    ctypes.pythonapi.PyCapsule_GetName.argtypes = [ctypes.py_object]
    ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = ctypes.pythonapi.PyCapsule_GetName(capsule)
    return int(ctypes.pythonapi.PyCapsule_GetPointer(capsule, name))
