# SPDX-License-Identifier: MIT
"""The instructions of a block program as one C loop over the entries of arrays, which a compiler vectorizes.

An array program that runs instruction by instruction passes over memory once for each of them.  The loop reads every
variable once and writes every result once; what lies between stays in registers.  `elementary.h` has the elementary
functions as formulas without branches.

The loop runs over chunks of a constant length, and what remains is copied into a chunk of its own.  So an entry's
value depends on the entry alone: not on its place, the length or the alignment of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from scipy.special import erf

from fem_selection.functions.instructions import EXPENSIVE, Instruction, Instructions, choose
from fem_selection.functions.libraries import Library, load_library

__all__ = ["Loop", "create_loop", "write_source"]

CHUNK = 64
"""Entries that one call of the inner loop computes: whole vectors on all processors, and little work for the rest."""

_FFI = cffi.FFI()
_ARRAY = _FFI.typeof("double[]")
HEADER = Path(__file__).with_name("elementary.h")

_EXPRESSIONS: dict[Callable[..., Any], str] = {
    np.add: "{0} + {1}",
    np.subtract: "{0} - {1}",
    np.multiply: "{0} * {1}",
    np.divide: "{0} / {1}",
    np.square: "{0} * {0}",
    np.abs: "fabs({0})",
    np.sqrt: "sqrt({0})",
    np.exp: "fs_exp({0})",
    np.expm1: "fs_expm1({0})",
    np.log: "fs_log({0})",
    np.log1p: "fs_log1p({0})",
    np.tanh: "fs_tanh({0})",
    np.sin: "fs_sin({0})",
    np.cos: "fs_cos({0})",
    erf: "fs_erf({0})",
    np.tan: "tan({0})",
    np.arcsin: "asin({0})",
    np.arccos: "acos({0})",
    np.arctan: "atan({0})",
    np.sinh: "sinh({0})",
    np.cosh: "cosh({0})",
    np.arctan2: "atan2({0}, {1})",
    np.power: "pow({0}, {1})",
    np.maximum: "(({0} > {1}) | ({0} != {0})) ? {0} : {1}",
    np.minimum: "(({0} < {1}) | ({0} != {0})) ? {0} : {1}",
    np.greater: "{0} > {1}",
    np.greater_equal: "{0} >= {1}",
    np.less: "{0} < {1}",
    np.less_equal: "{0} <= {1}",
    np.equal: "{0} == {1}",
    np.not_equal: "{0} != {1}",
    np.logical_and: "{0} & {1}",
    np.logical_or: "{0} | {1}",
    np.logical_not: "!{0}",
    choose: "{0} ? {1} : {2}",
}
_ANGLES: dict[Callable[..., Any], str] = {np.sin: "sin({0})", np.cos: "cos({0})"}
"""The functions of angles that `elementary.h` reduces up to LARGEST_ANGLE only, and the C library's beyond."""


class Loop:
    """A compiled loop.

    Args:
        library: The library.
        num_arrays: Number of variables that are arrays.
        num_numbers: Number of variables that are numbers.
    """

    def __init__(self, library: Library, num_arrays: int, num_numbers: int) -> None:
        self._library = library  # cffi closes a library that nobody holds, also while its functions are in use
        self._function, self._arrays = library.functions.fem_selection_loop, num_arrays
        self._numbers = num_arrays + num_numbers

    @property
    def address(self) -> int | None:
        """Address of the C function of (number of entries, variables, results); None if it takes numbers."""
        if self._numbers > self._arrays:
            return None
        return int(self._library.ffi.cast("uintptr_t", self._function))

    def __call__(self, arrays: Sequence[Any]) -> bool:
        """Evaluate the loop on arrays of one layout, if they have one.

        Args:
            arrays: The arguments of `BlockProgram.__call__`.  A result may be a variable's array, but may not overlap
                one otherwise.

        Returns:
            Whether the results were written; False if shapes, types or layouts differ, or an array is not contiguous.
        """
        like = arrays[-1]
        flags = like.flags
        if not (flags.c_contiguous or flags.f_contiguous):
            return False
        passed: list[Any] = []
        for place, array in enumerate(arrays):
            if self._arrays <= place < self._numbers:
                if not isinstance(array, float):
                    return False
                passed.append(array)
                continue
            if type(array) is not np.ndarray or array.dtype != np.float64 or array.shape != like.shape:
                return False
            if flags.c_contiguous:
                if not array.flags.c_contiguous:
                    return False
            elif array.flags.f_contiguous:
                array = array.T
            else:
                return False
            if place >= self._numbers and not array.flags.writeable:
                return False
            passed.append(_FFI.from_buffer(_ARRAY, array))
        self._function(like.size, *passed)
        return True


def create_loop(instructions: Instructions, numbers: int = 0) -> Loop | None:
    """Compile instructions.

    Args:
        instructions: What is evaluated.
        numbers: How many of the variables, the last ones, are numbers, and not arrays.

    Returns:
        None without a C compiler and without a library of an earlier run.
    """
    arrays = instructions.num_variables - numbers
    signature = _signature(arrays, numbers, len(instructions.results))
    library = load_library(write_source(instructions, numbers), f"{signature};")
    return None if library is None else Loop(library, arrays, numbers)


def write_source(instructions: Instructions, numbers: int = 0) -> str:
    """Return the C source of a loop.  See `create_loop` for the arguments."""
    arrays = instructions.num_variables - numbers
    inputs, outputs = range(arrays), range(len(instructions.results))
    parameters = _parameters(arrays, numbers, len(outputs))
    has_angles = any(i.function in _ANGLES for i in instructions.code)

    def call(name: str, x: str, y: str) -> str:
        given = [f"v{arrays + i}" for i in range(numbers)]
        return f"{name}({', '.join([*(x.format(i) for i in inputs), *given, *(y.format(i) for i in outputs)])})"

    whole, rest = call("chunk", "x{0} + j", "y{0} + j"), call("chunk", "a{0}", "b{0}")
    lines = [_signature(arrays, numbers, len(outputs)), "{", "  for (size_t j = 0; j < n; j += CHUNK)", "  {"]
    lines += ["    const size_t m = n - j < CHUNK ? n - j : CHUNK;"]
    if not has_angles:
        lines += ["    if (m == CHUNK)", "    {", f"      {whole};", "      continue;", "    }"]
    lines += [f"    double a{i}[CHUNK] = {{0}};" for i in inputs] + [f"    double b{i}[CHUNK];" for i in outputs]
    lines += [f"    memcpy(a{i}, x{i} + j, m * sizeof(double));" for i in inputs]
    lines += [f"    if ({rest}) {call('wide', 'a{0}', 'b{0}')};" if has_angles else f"    {rest};"]
    lines += [f"    memcpy(y{i} + j, b{i}, m * sizeof(double));" for i in outputs]
    lines += ["  }", "}", ""]
    chunks = [_write_chunk("chunk", parameters, instructions, arrays, wide=False)]
    if has_angles:
        chunks.append(_write_chunk("wide", parameters, instructions, arrays, wide=True))
    return "\n".join([HEADER.read_text(), "#include <stddef.h>", f"#define CHUNK {CHUNK}", "", *chunks, *lines])


def _write_chunk(name: str, parameters: str, instructions: Instructions, arrays: int, *, wide: bool) -> str:
    """The function of one chunk.

    It has a loop for each expensive function: two in one loop would be one long chain, during which the processor
    waits.  Values that a later loop reads stay in small arrays.  Results are written in the last loop, since they may
    stand in a variable's array.
    Where angles are not `wide` the function returns whether one was too large for `elementary.h`.
    """
    parts = _split(instructions)
    defined = {i.value: number for number, part in enumerate(parts) for i in part}
    truths = {i.value for part in parts for i in part if i.is_truth}
    read: list[set[int]] = [{v for i in part for v in i.operands} for part in parts]
    read[-1].update(instructions.results)
    kept = {v for number, values in enumerate(read) for v in values if defined.get(v, number) < number}
    lines = [f"static int {name}({parameters})", "{", "  int unsure = 0;"]
    lines += [f"  double t{v}[CHUNK];" for v in sorted(kept)]
    for number, part in enumerate(parts):
        has_angles = any(i.function in _ANGLES for i in part) and not wide
        lines += [f"#pragma omp simd{' reduction(|:unsure)' if has_angles else ''}"]
        lines += ["  for (int i = 0; i < CHUNK; ++i)", "  {"]
        for value in sorted(read[number]):
            if value < arrays:
                lines.append(f"    const double v{value} = x{value}[i];")
            elif value in instructions.constants:
                lines.append(f"    const double v{value} = {_write_number(instructions.constants[value])};")
            elif value in defined and defined[value] < number:
                kind, test = ("int", " != 0.0") if value in truths else ("double", "")
                lines.append(f"    const {kind} v{value} = t{value}[i]{test};")
        for instruction in part:
            lines += [f"    {line}" for line in _write_statements(instruction, instructions.constants, wide=wide)]
        lines += [f"    t{i.value}[i] = v{i.value};" for i in part if i.value in kept]
        if number == len(parts) - 1:
            lines += [f"    y{k}[i] = v{value};" for k, value in enumerate(instructions.results)]
        lines.append("  }")
    return "\n".join([*lines, "  return unsure;", "}", ""])


def _split(instructions: Instructions) -> list[list[Instruction]]:
    """The code in parts, each with one expensive function at most."""
    parts: list[list[Instruction]] = [[]]
    for instruction in instructions.code:
        if instruction.function in EXPENSIVE and any(i.function in EXPENSIVE for i in parts[-1]):
            parts.append([])
        parts[-1].append(instruction)
    return parts


def _write_statements(instruction: Instruction, constants: Mapping[int, float], *, wide: bool) -> list[str]:
    """An instruction in C: with the C library's functions of large angles if there may be any, else with a check."""
    function, operands, value, is_truth = instruction
    names = [f"v{i}" for i in operands]
    if function is np.power and (exponent := constants.get(operands[1])) in _POWERS:
        text = _write_power(names[0], int(exponent))
    else:
        text = _EXPRESSIONS[function].format(*names)
        if wide and function in _ANGLES:  # each entry by itself, or results would depend on those beside it
            text = f"fabs({names[0]}) > LARGEST_ANGLE ? {_ANGLES[function].format(*names)} : {text}"
    lines = [f"const {'int' if is_truth else 'double'} v{value} = {text};"]
    if function in _ANGLES and not wide:
        lines.append(f"unsure |= fabs({names[0]}) > LARGEST_ANGLE;")
    return lines


_POWERS = {float(n) for n in range(-4, 5) if n}
"""Exponents whose powers are products: their error is at most that of three products and a division."""


def _write_power(name: str, exponent: int) -> str:
    product = " * ".join([name] * abs(exponent)) if abs(exponent) < 4 else f"({name} * {name}) * ({name} * {name})"
    return product if exponent > 0 else f"1.0 / ({product})"


def _write_number(value: float) -> str:
    """A number in C, exactly."""
    if np.isnan(value):
        return "NAN"
    return ("INFINITY" if value > 0 else "-INFINITY") if np.isinf(value) else value.hex()


def _parameters(arrays: int, numbers: int, results: int) -> str:
    inputs = [f"const double* x{i}" for i in range(arrays)]
    return ", ".join(
        [*inputs, *(f"double v{arrays + i}" for i in range(numbers)), *(f"double* y{i}" for i in range(results))]
    )


def _signature(arrays: int, numbers: int, results: int) -> str:
    return f"void fem_selection_loop(size_t n, {_parameters(arrays, numbers, results)})"
