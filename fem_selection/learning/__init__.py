# SPDX-License-Identifier: MIT
"""The learning problem: controls and their geometry, the functional and its derivatives, optimality, batches."""

from fem_selection.learning.batches import SampleBatches, SampleStates
from fem_selection.learning.certificate import OptimalityCertificate, assess_optimality
from fem_selection.learning.controls import ControlSpace
from fem_selection.learning.curvature import HessianEigenpairs, hessian_eigenpairs
from fem_selection.learning.discretization_error import (
    DiscretizationEstimate,
    estimate_in_depth,
    estimate_in_width,
    width_order,
)
from fem_selection.learning.extremals import Extremals, MaximumPrinciple
from fem_selection.learning.functional import Functional
from fem_selection.learning.hessian import Hessian, ScaledHessian
from fem_selection.learning.identity import describe_problem
from fem_selection.learning.kkt import KktResidual, Triple, kkt_residual, solve_triple
from fem_selection.learning.problem import LearningProblem, create_box, predict_labels
from fem_selection.learning.prolongation import prolong_controls
from fem_selection.learning.scaled import ScaledFunctional
from fem_selection.learning.starts import random_start
from fem_selection.learning.verification import GradientCertificate, verify_gradient

__all__ = [
    "ControlSpace",
    "DiscretizationEstimate",
    "Extremals",
    "Functional",
    "GradientCertificate",
    "Hessian",
    "HessianEigenpairs",
    "KktResidual",
    "LearningProblem",
    "MaximumPrinciple",
    "OptimalityCertificate",
    "SampleBatches",
    "SampleStates",
    "ScaledFunctional",
    "ScaledHessian",
    "Triple",
    "assess_optimality",
    "create_box",
    "describe_problem",
    "estimate_in_depth",
    "estimate_in_width",
    "hessian_eigenpairs",
    "kkt_residual",
    "predict_labels",
    "prolong_controls",
    "random_start",
    "solve_triple",
    "verify_gradient",
    "width_order",
]
