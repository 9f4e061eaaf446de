# SPDX-License-Identifier: MIT
"""Kernels w(t, y, z) of the operator (K f)(t, y) = ∫_Y w(t, y, z) f(t, z) dz, and local differential operators K."""

from fem_selection.kernels.anchor_choice import choose_anchors
from fem_selection.kernels.base import Kernel, KernelDirection, KernelOperator
from fem_selection.kernels.convolution import ConvolutionKernel
from fem_selection.kernels.dense import DenseKernel
from fem_selection.kernels.local import LocalKernel
from fem_selection.kernels.representer import RepresenterKernel
from fem_selection.kernels.separable import SeparableKernel
from fem_selection.kernels.sums import SumKernel

__all__ = [
    "ConvolutionKernel",
    "DenseKernel",
    "Kernel",
    "KernelDirection",
    "KernelOperator",
    "LocalKernel",
    "RepresenterKernel",
    "SeparableKernel",
    "SumKernel",
    "choose_anchors",
]
