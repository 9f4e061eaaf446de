# SPDX-License-Identifier: MIT
"""fem_selection: finite elements for the selection dynamics of deep residual networks.

    ∂_t f(t, y) = σ( ∫_Y w(t, y, z) f(t, z) dz + b(t, y) ),   f(0, ·) = f^I

Public names are loaded on first use, so that importing the package costs next to nothing.  MPI alone is imported at
once: it has to come before dolfinx and petsc4py.
"""

from __future__ import annotations

from typing import Any

from fem_selection.errors import MissingDependency
from fem_selection.lazy import attach

try:
    from mpi4py import MPI as _MPI  # noqa: F401
except (ImportError, RuntimeError) as error:
    raise MissingDependency(
        f"MPI cannot be loaded ({error}). Either install the wheels, `pip install fem-selection[wheels]` (Linux "
        "x86_64), or use an environment that has FEniCSx and mpi4py (conda-forge `fenics-dolfinx`, a dolfinx container)"
    ) from error

_HOME = {
    # meshes, spaces, depth
    "Domain": "discretization.meshes.domains",
    "box": "discretization.meshes.domains",
    "from_mesh": "discretization.meshes.domains",
    "interval": "discretization.meshes.domains",
    "rectangle": "discretization.meshes.domains",
    "StateSpace": "discretization.spaces",
    "DepthGrid": "discretization.depth",
    "Ensemble": "parallel",
    # activations, coefficients, kernels
    "Activation": "functions.activations",
    "ActivationFamily": "functions.activations",
    "find_activation": "functions.activations",
    "UflKernel": "discretization.coefficients",
    "function_values": "discretization.coefficients",
    "ConvolutionKernel": "kernels",
    "DenseKernel": "kernels",
    "SeparableKernel": "kernels",
    "LocalKernel": "kernels",
    "RepresenterKernel": "kernels",
    "SumKernel": "kernels",
    # the equation and its layers
    "SelectionEquation": "dynamics",
    "SelectionField": "dynamics",
    "Scheme": "dynamics",
    "find_scheme": "dynamics",
    "Stepper": "dynamics",
    "solve_forward": "dynamics",
    # learning
    "ControlSpace": "learning",
    "ReadoutCost": "objectives",
    "TrackingCost": "objectives",
    "find_loss": "objectives",
    "Functional": "learning",
    "ScaledFunctional": "learning",
    "SampleStates": "learning",
    "LearningProblem": "learning",
    "verify_gradient": "learning",
    "minimize": "optimize",
    # case files
    "Case": "config",
    "load_case": "config",
    "build_problem": "cases.learning",
    "build_field": "cases.field",
    "FieldProblem": "cases.field",
    "load_controls": "cases.saved",
    # settings of studies and optimizers
    "ForwardSettings": "settings",
    "SteadySettings": "settings",
    "StabilitySettings": "settings",
    "HjbSettings": "settings",
    "MultilevelSettings": "settings",
    "CertificateSettings": "settings",
    "OptimizerSettings": "settings",
    "StochasticSettings": "settings",
    "TapeSettings": "settings",
    "Regularization": "settings",
    "Movement": "settings",
    "OutputSettings": "settings",
    # errors
    "SelectionError": "errors",
    "SelectionWarning": "errors",
    "InvalidInput": "errors",
    "ConfigError": "errors",
    "NonFinite": "errors",
    "NotConverged": "errors",
    "MissingDependency": "errors",
    "NoBranch": "errors",
    "TooManyCoordinates": "errors",
    "InvalidSettings": "settings",
    # namespaces
    "studies": "studies",
    "settings": "settings",
    "config": "config",
    "cases": "cases",
    "optimize": "optimize",
    "hjb": "hjb",
    "steady": "steady",
    "learning": "learning",
    "adjoint": "adjoint",
    "evolution": "evolution",
    "dynamics": "dynamics",
    "kernels": "kernels",
    "objectives": "objectives",
    "linalg": "linalg",
    "discretization": "discretization",
    "functions": "functions",
    "data": "data",
    "io": "io",
    "plots": "plots",
}

__all__ = list(_HOME)

_load, __dir__ = attach(__name__, _HOME)


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _load(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fem-selection")
    except PackageNotFoundError:
        return "unknown"
