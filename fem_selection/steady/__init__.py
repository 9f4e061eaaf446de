# SPDX-License-Identifier: MIT
"""Steady states of the selection equation, σ(K f + b) = 0, their stability, and their branches in a parameter."""

from fem_selection.dynamics.resolvent import has_local_part
from fem_selection.kernels.base import KernelOperator
from fem_selection.linalg.coordinates import IsometricCoordinates, IsometricOperator
from fem_selection.linalg.krylov import Eigenpairs, leading_eigenpairs
from fem_selection.linalg.singular import SingularExpansion, expand
from fem_selection.steady.branches.bifurcations import Bifurcation, Undecided
from fem_selection.steady.branches.branch_directions import BranchDirection, MultiplePoint, find_branch_directions
from fem_selection.steady.branches.continuation import Branch, Diagram, continue_branches
from fem_selection.steady.branches.cycles import CycleFamily, Cycles, follow_cycles, measure_cycles
from fem_selection.steady.branches.departure import Departure, follow_departure
from fem_selection.steady.branches.disconnected import BranchSearch
from fem_selection.steady.branches.hopf import HopfPoint, analyze_hopf
from fem_selection.steady.branches.periodic_orbits import PeriodicOrbit
from fem_selection.steady.equilibria.analysis import SteadyAnalysis, analyze_steady_states
from fem_selection.steady.equilibria.complementarity import Projection, project
from fem_selection.steady.equilibria.equilibria import Equilibrium, differentiate_in_bias, find_equilibria
from fem_selection.steady.equilibria.limit import LongTimeLimit, find_limit
from fem_selection.steady.equilibria.picard import PicardReport, solve_first_kind
from fem_selection.steady.equilibria.reduction import ReducedFamily
from fem_selection.steady.equilibria.steady_state import SteadyState, find_steady_state
from fem_selection.steady.stability.growth import GrowthRun, measure_growth
from fem_selection.steady.stability.lyapunov import LyapunovExponents, finite_time_exponents, flow_exponents
from fem_selection.steady.stability.nonnormality import TransientGrowth, numerical_abscissa, transient_growth
from fem_selection.steady.stability.spectrum import Spectrum, analyze_spectrum
from fem_selection.steady.stability.verdict import Verdict, is_compact, judge

__all__ = [
    "Bifurcation",
    "Branch",
    "BranchDirection",
    "BranchSearch",
    "CycleFamily",
    "Cycles",
    "Departure",
    "Diagram",
    "Eigenpairs",
    "Equilibrium",
    "GrowthRun",
    "HopfPoint",
    "IsometricCoordinates",
    "IsometricOperator",
    "KernelOperator",
    "LongTimeLimit",
    "LyapunovExponents",
    "MultiplePoint",
    "PeriodicOrbit",
    "PicardReport",
    "Projection",
    "ReducedFamily",
    "SingularExpansion",
    "Spectrum",
    "SteadyAnalysis",
    "SteadyState",
    "TransientGrowth",
    "Undecided",
    "Verdict",
    "analyze_hopf",
    "analyze_spectrum",
    "analyze_steady_states",
    "continue_branches",
    "differentiate_in_bias",
    "expand",
    "find_branch_directions",
    "find_equilibria",
    "find_limit",
    "find_steady_state",
    "finite_time_exponents",
    "flow_exponents",
    "follow_cycles",
    "follow_departure",
    "has_local_part",
    "is_compact",
    "judge",
    "leading_eigenpairs",
    "measure_cycles",
    "measure_growth",
    "numerical_abscissa",
    "project",
    "solve_first_kind",
    "transient_growth",
]
