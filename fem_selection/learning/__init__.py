# SPDX-License-Identifier: MIT
"""The learning problem: controls and their geometry, the functional with its derivatives, verification, batches."""

from fem_selection.learning.batches import Movement, SampleBatches, SampleStates
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.curvature import Eigenpairs, hessian_eigenpairs
from fem_selection.learning.functional import Functional
from fem_selection.learning.hessian import Hessian, ScaledHessian
from fem_selection.learning.riesz import ScaledFunctional
from fem_selection.learning.verification import GradientCertificate, verify_gradient

__all__ = [
    "ControlSpace",
    "Eigenpairs",
    "Functional",
    "GradientCertificate",
    "Hessian",
    "Movement",
    "SampleBatches",
    "SampleStates",
    "ScaledFunctional",
    "ScaledHessian",
    "hessian_eigenpairs",
    "verify_gradient",
]
