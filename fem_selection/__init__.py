# SPDX-License-Identifier: MIT
"""fem_selection: finite elements for the selection dynamics of deep residual networks.

    ∂_t f(t, y) = σ( ∫_Y w(t, y, z) f(t, z) dz + b(t, y) ),   f(0, ·) = f^I

Public names are loaded on first use, so that importing the package costs next to nothing.  MPI alone is imported at
once: it has to come before dolfinx and petsc4py.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fem_selection.errors import MissingDependency
from fem_selection.lazy import load

try:
    from mpi4py import MPI as _MPI  # noqa: F401
except (ImportError, RuntimeError) as error:
    raise MissingDependency(
        f"MPI cannot be loaded ({error}). Either install the wheels, `pip install fem-selection[wheels]` (Linux "
        "x86_64), or use an environment that has FEniCSx and mpi4py (conda-forge `fenics-dolfinx`, a dolfinx container)"
    ) from error

try:
    __version__ = version("fem-selection")
except PackageNotFoundError:
    __version__ = "unknown"

_HOME = {
    "Activation": "functions.activations",
    "ActivationFamily": "functions.activations",
    "Case": "config",
    "CertificateSettings": "settings",
    "CertificateReport": "studies.optimality",
    "Control": "adjoint",
    "ControlSpace": "learning",
    "DataSettings": "settings",
    "DenseKernel": "kernels",
    "DepthGrid": "discretization.depth",
    "Domain": "discretization.domains",
    "DomainSettings": "settings",
    "DynamicsSettings": "settings",
    "Ensemble": "parallel",
    "Extremals": "learning",
    "FieldProblem": "cases.field",
    "ForwardSettings": "settings",
    "Functional": "learning",
    "Hamiltonian": "adjoint",
    "Hessian": "learning",
    "HjbSettings": "settings",
    "InvalidInput": "errors",
    "InvalidSettings": "settings",
    "LearningProblem": "learning",
    "LimitSettings": "settings",
    "LocalKernel": "kernels",
    "Movement": "settings",
    "NewtonSettings": "settings",
    "NonFinite": "errors",
    "ObjectiveSettings": "settings",
    "OptimalityCertificate": "learning",
    "OptimizerSettings": "settings",
    "OutputSettings": "settings",
    "ParallelSettings": "settings",
    "ReadoutCost": "objectives",
    "Regularization": "settings",
    "SampleStates": "learning",
    "ScaledFunctional": "learning",
    "ScaledHessian": "learning",
    "Scheme": "dynamics",
    "Search": "adjoint",
    "SelectionEquation": "dynamics",
    "SelectionError": "errors",
    "SelectionField": "dynamics",
    "SeparableKernel": "kernels",
    "SpaceSettings": "settings",
    "StabilitySettings": "settings",
    "StateSpace": "discretization.spaces",
    "SteadySettings": "settings",
    "StepSettings": "settings",
    "Stepper": "dynamics",
    "StochasticSettings": "settings",
    "SumKernel": "kernels",
    "TrackingCost": "objectives",
    "UflKernel": "discretization.coefficients",
    "approximate_successively": "optimize",
    "assess_optimality": "learning",
    "box": "discretization.domains",
    "build_field": "cases.field",
    "build_problem": "cases.learning",
    "certify": "studies.optimality",
    "descend": "optimize",
    "find_activation": "functions.activations",
    "find_loss": "objectives",
    "find_scheme": "dynamics",
    "from_mesh": "discretization.domains",
    "function_values": "discretization.coefficients",
    "hessian_eigenpairs": "learning",
    "integrate": "evolution",
    "interval": "discretization.domains",
    "kkt_residual": "learning",
    "load_case": "config",
    "load_controls": "cases.saved",
    "minimize": "optimize",
    "predict": "studies.predictions",
    "rectangle": "discretization.domains",
    "solve_forward": "dynamics",
    "solve_triple": "learning",
    "studies": "studies",
    "train": "studies.training",
    "verify": "studies.gradient",
    "verify_gradient": "learning",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    return load(__name__, _HOME, name)


def __dir__() -> list[str]:
    return __all__
