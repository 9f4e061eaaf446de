# SPDX-License-Identifier: MIT
"""What other libraries call the things that have a name here: optimizers, activations, schemes, losses, meshes.

`suggest` finds the name that is meant by one that is unknown: another spelling of it (`LeakyReLU`), another library's
name for the same thing or for what stands in its place (`L-BFGS-B`, `swish`, `AdamW`), or the nearest by its letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

__all__ = ["closest", "suggest"]

_LONGEST = 60  # characters of a name that is worth a comparison

#: Our names, each with others' names for it, in small letters without `_`, `-` and blanks.
_OTHERS = {
    # optimizers
    "lmvm": "lbfgs bfgs dfp quasinewton fminunc gd gradientdescent steepestdescent neldermead powell minimize",
    "blmvm": "lbfgsb bfgsb slsqp cobyla projectedgradient pgd",
    "cg": "conjugategradient conjugategradients nonlinearcg ncg fletcherreeves polakribiere bncg fmincg",
    "nls": "newton newtoncg newtonls linesearchnewton truncatednewton inexactnewton gaussnewton",
    "ntr": "trustncg trustkrylov trustregion trustexact dogleg levenbergmarquardt lm trf",
    "bnls": "tnc",
    "bntr": "trustconstr ipopt interiorpoint fmincon",
    "adam": "adamw adamax nadam radam amsgrad adabelief rmsprop adagrad adadelta lamb lion sgdm",
    "momentum": "sgd nesterov nag heavyball stochasticgradientdescent",
    "damped_msa": "pmp pontryagin successiveapproximations emsa",
    # activations
    "silu": "swish swish1 mish hardswish hswish",
    "sigmoid": "logistic expit hardsigmoid logsigmoid",
    "leaky_relu": "lrelu prelu rrelu",
    "elu": "selu celu",
    "relu": "relu6 rectifier rectified relun",
    "gelu": "quickgelu gelunew geluapprox",
    "tanh": "hardtanh hyperbolictangent tanhshrink softsign tansig",
    "softplus": "smoothrelu",
    "identity": "linear none id purelin",
    "sine": "sin siren",
    # schemes
    "euler": "rk1 fe eulerforward odeeuler explicit",
    "midpoint": "rk2 modifiedeuler",
    "heun": "improvedeuler ralston heun2 adaptiveheun explicittrapezoid",
    "ssprk3": "ssprk33 tvdrk3 rk3 ssp shuosher bosh3 bogackishampine rk23",
    "rk4": "rungekutta rungekutta4 classicalrk4 erk4 rk45 dopri5 dopri8 dopri853 dop853 tsit5 kutta",
    "implicit_euler": "be eulerbackward radau radaulia bdf bdf1 bdf2 lsoda cvode sdirk dirk esdirk imex implicit",
    "crank_nicolson": "cn cranknicholson trapezoid trapezoidalrule trapz tr",
    "implicit_midpoint": "gausslegendre gauss gl2 im",
    "explicit": "rk45 dopri5 dopri8 dopri853 dop853 tsit5 rk4 rungekutta rk23 euler heun nonstiff ab am",
    "implicit": "bdf radau radaulia cvode stiff sdirk dirk rosenbrock rodas impliciteuler backwardeuler",
    "auto": "lsoda automatic adaptive default",
    # losses
    "softmax": "crossentropyloss categoricalcrossentropy sparsecategoricalcrossentropy nll nllloss ce multinomial",
    "logistic": "bce bceloss binarycrossentropy bcewithlogits bcewithlogitsloss logloss hinge",
    "least_squares": "mse mseloss l2 l2loss meansquarederror squarederror squared quadratic mae l1 huber rmse",
    # domains and spaces
    "interval": "line segment unitinterval 1d line2",
    "rectangle": "square unitsquare 2d disk plane",
    "box": "cube unitcube 3d brick",
    "triangle": "tri triangles simplex p1",
    "quadrilateral": "quad quads",
    "tetrahedron": "tet tets tetra tetrahedra",
    "hexahedron": "hex hexes hexahedra brick",
    "lagrange": "cg p q continuous h1 continuousgalerkin nodal",
    "dg": "dp dq dgt discontinuous discontinuouslagrange l2 discontinuousgalerkin",
    "collocated": "collocation nodal lumped",
    "galerkin": "quadrature weak fem",
    "local": "differential pde sparse",
    "separable": "lowrank factorized factored",
    "dense": "full integral matrix",
    "convolution": "conv convolutional toeplitz fft stationary",
    "cosine": "cosineannealing cosineannealinglr cosinedecay",
    "constant": "fixed none const",
    "logarithmic": "logspace geometric geom log10",
    "exact": "full newton hessian",
    "gauss_newton": "gn ggn generalizedgaussnewton",
}


def suggest(name: str, names: Iterable[str], elsewhere: Mapping[str, Iterable[str]] | None = None) -> str:
    """Return the end of a message about an unknown name: "; did you mean …?", or nothing.

    Args:
        name: The unknown name.
        names: The names that are known here.
        elsewhere: The names of other keys, by the key.
    """
    here = tuple(names)
    if (meant := _meant(name, here)) is not None:
        return f"; did you mean {meant!r}?"
    for key, others in (elsewhere or {}).items():
        if (meant := _meant(name, tuple(others))) is not None:
            return f"; did you mean {key} = {meant!r}?"
    near = closest(name.strip().lower(), here)
    return f"; did you mean {near!r}?" if near else ""


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is nearest by its letters, or None if none is near or the name is very long.

    Args:
        name: The unknown name.
        names: The names that are known.
    """
    return next(iter(get_close_matches(name, list(names), n=1)), None) if len(name) <= _LONGEST else None


def _meant(name: str, names: tuple[str, ...]) -> str | None:
    if len(name) > _LONGEST:
        return None
    letters = _letters(name)
    same = next((own for own in names if _letters(own) == letters), None)
    return same or next((own for own in names if letters in _OTHERS.get(own, "").split()), None)


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())
