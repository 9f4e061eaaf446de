# SPDX-License-Identifier: MIT
"""The names that a setting may hold: shapes, schemes, activations, losses, methods, with their aliases."""

from __future__ import annotations

__all__ = [
    "ACTIVATIONS",
    "BOUNDED",
    "CELLS",
    "DIMENSIONS",
    "ELSEWHERE",
    "EVALUATIONS",
    "FAMILIES",
    "HESSIANS",
    "INTEGRATORS",
    "LOCAL_TERMS",
    "LOSSES",
    "LOSS_ALIASES",
    "METHODS",
    "METHOD_ALIASES",
    "MODES",
    "NEWTON",
    "PARTS",
    "PONTRYAGIN",
    "REPRESENTATIONS",
    "SCHEDULES",
    "SCHEMES",
    "SCHEME_ALIASES",
    "SHAPES",
    "SOURCES",
    "SPACINGS",
    "STOCHASTIC_METHODS",
    "TAO",
    "TAPES",
]

DIMENSIONS = {"interval": 1, "rectangle": 2, "box": 3}
SHAPES = tuple(DIMENSIONS)
#: Cells that fit a shape, the tensor cell first.
CELLS = {
    "interval": ("interval",),
    "rectangle": ("quadrilateral", "triangle"),
    "box": ("hexahedron", "tetrahedron"),
}
FAMILIES = ("lagrange", "dg")
MODES = ("collocated", "galerkin")
ACTIVATIONS = (
    "identity",
    "tanh",
    "relu",
    "leaky_relu",
    "softplus",
    "sigmoid",
    "elu",
    "gelu",
    "silu",
    "sine",
)
SCHEMES = (
    "euler",
    "midpoint",
    "heun",
    "ssprk3",
    "rk4",
    "implicit_euler",
    "crank_nicolson",
    "implicit_midpoint",
)
SCHEME_ALIASES = {
    "forward_euler": "euler",
    "explicit_euler": "euler",
    "ssp_rk3": "ssprk3",
    "rk3_ssp": "ssprk3",
    "backward_euler": "implicit_euler",
    "trapezoidal": "crank_nicolson",
}
#: How the pointwise part of the equation is evaluated.
EVALUATIONS = ("compiled", "layers", "assembled")
#: Which of a sweep's states are stored for the way back.
TAPES = ("auto", "all", "memory", "disk")
REPRESENTATIONS = ("dense", "separable", "local", "convolution", "representer")
LOCAL_TERMS = ("multiplication", "convection", "diffusion")
SOURCES = ("digits", "npz", "formula")
LOSSES = ("softmax", "logistic", "least_squares", "tracking")
LOSS_ALIASES = {"cross_entropy": "softmax", "softmax_cross_entropy": "softmax"}
#: Parts of the controls.
PARTS = ("kernel", "bias", "readout")
STOCHASTIC_METHODS = ("adam", "momentum")
SCHEDULES = ("cosine", "constant")
#: Newton–Krylov methods of TAO.
NEWTON = ("nls", "ntr", "bnls", "bntr")
#: Second derivatives that these methods can use.
HESSIANS = ("exact", "gauss_newton")
TAO = ("lmvm", "blmvm", "bqnls", "cg", *NEWTON)
#: Methods of TAO that accept bounds.
BOUNDED = ("blmvm", "bqnls", "bnls", "bntr")
#: Successive approximations by the maximum principle.
PONTRYAGIN = ("msa", "damped_msa", "sqh")
METHODS = (*TAO, *PONTRYAGIN)
METHOD_ALIASES = {"bncg": "cg", "tao_cg": "cg"}
INTEGRATORS = ("auto", "explicit", "implicit")
SPACINGS = ("linear", "logarithmic")
#: Names by the key that holds them, for hints where a name was given to another key.
ELSEWHERE = {
    "optimizer.method": METHODS,
    "stochastic.method": STOCHASTIC_METHODS,
    "dynamics.activation": ACTIVATIONS,
    "dynamics.scheme": SCHEMES,
    "forward.method": INTEGRATORS,
    "objective.loss": LOSSES,
    "optimizer.hessian": HESSIANS,
    "domain.shape": SHAPES,
    "domain.cell": tuple(cell for cells in CELLS.values() for cell in cells),
    "space.family": FAMILIES,
    "space.mode": MODES,
    "dynamics.representation": REPRESENTATIONS,
    "dynamics.evaluation": EVALUATIONS,
}
