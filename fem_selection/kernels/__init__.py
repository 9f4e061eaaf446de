# SPDX-License-Identifier: MIT
"""Kernels w(t, y, z) of the integral operator (K f)(t, y) = ∫_Y w(t, y, z) f(t, z) dz."""

from fem_selection.kernels.base import Kernel, KernelDirection
from fem_selection.kernels.dense import DenseKernel
from fem_selection.kernels.separable import SeparableKernel

__all__ = ["DenseKernel", "Kernel", "KernelDirection", "SeparableKernel"]
