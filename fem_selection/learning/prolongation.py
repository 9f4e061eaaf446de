# SPDX-License-Identifier: MIT
"""Controls carried from one discretisation to another: nodal interpolation on Y, L² projection in depth.

    w ↦ (P ⊗ P) w for a dense kernel,   P on each factor, coefficient, bias and readout,   μ ↦ μ,
    x_i ↦ Σ_c |I_i ∩ I_c| / |I_i| x_c   from control intervals I_c to control intervals I_i

What is carried is x, nodal values, and neither x̂ nor D x (see `controls`): these hold weights of the mesh, so that a
constant function would not stay one.  The projection in depth is injection if the intervals are nested.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fem_selection.discretization.depth import DepthGrid
from fem_selection.discretization.transfer import Transfer
from fem_selection.errors import InvalidInput
from fem_selection.kernels import Kernel, SumKernel
from fem_selection.kernels.base import Prolongable
from fem_selection.learning.controls import ControlSpace
from fem_selection.typing import Floats

__all__ = ["prolong_controls"]


def prolong_controls(source: ControlSpace, target: ControlSpace, controls: Floats) -> Floats:
    """The same functions of t and y as controls of another discretisation (collective).

    Args:
        source: The space of the controls.
        target: A control space on another mesh of the same domain, with another number of control intervals, or both;
            on the same ranks.
        controls: Shard of x in the source.

    Returns:
        Shard of x in the target.

    Raises:
        InvalidInput: on all ranks, if the two optimize different parts, have readouts or kernels of different kinds or
            ranks, other final times, or meshes of different domains, or if the kernel has no prolongation.
    """
    if source.parts != target.parts or source.num_outputs != target.num_outputs:
        raise InvalidInput(
            f"controls {', '.join(source.parts)} with {source.num_outputs} outputs cannot be carried to controls "
            f"{', '.join(target.parts)} with {target.num_outputs} outputs: give both the same"
        )
    if source.grid.horizon != target.grid.horizon:
        raise InvalidInput(f"controls of depth {source.grid.horizon} for a depth of {target.grid.horizon}")
    transfer, shares = Transfer(source.space, target.space), _shares(source.grid, target.grid)
    parts = source.unpack(source.gather(controls))
    moved = {"offset": parts["offset"]}
    if "kernel" in parts:
        moved["kernel"] = _prolong_kernel(
            source.kernel, target.kernel, parts["kernel"], transfer=transfer, shares=shares
        )
    if "bias" in parts:
        moved["bias"] = shares @ transfer.apply_to_functions(parts["bias"])
    if "readout" in parts:
        moved["readout"] = transfer.apply_to_functions(parts["readout"])
    return target.pack(moved)[target.shard]


def _prolong_kernel(
    source: Kernel, target: Kernel, parameters: Floats, *, transfer: Transfer, shares: Floats
) -> Floats:
    if isinstance(source, SumKernel) and isinstance(target, SumKernel) and len(source.parts) == len(target.parts):
        with_both: dict[str, Any] = {"transfer": transfer, "shares": shares}
        pairs = zip(source.parts, target.parts, source.slices, strict=True)
        return np.concatenate([_prolong_kernel(a, b, parameters[part], **with_both) for a, b, part in pairs])
    if type(source) is not type(target) or not isinstance(source, Prolongable):
        raise InvalidInput(
            f"a {type(source).__name__} cannot be carried to a {type(target).__name__} on another mesh: both must be "
            "of one kind that has a method `prolong`"
        )
    moved = shares @ source.prolong(parameters, transfer).reshape(source.num_intervals, -1)
    if moved.size != target.num_parameters:
        raise InvalidInput("kernels of different ranks or terms cannot be carried from one mesh to another")
    return moved.ravel()


def _shares(source: DepthGrid, target: DepthGrid) -> Floats:
    """|I_i ∩ I_c| / |I_i|, shape (target.intervals, source.intervals), in whole numbers, so that 0 and 1 are exact."""
    i, c = np.arange(target.intervals)[:, None], np.arange(source.intervals)[None, :]
    end = np.minimum((i + 1) * source.intervals, (c + 1) * target.intervals)
    begin = np.maximum(i * source.intervals, c * target.intervals)
    return np.maximum(end - begin, 0) / source.intervals
