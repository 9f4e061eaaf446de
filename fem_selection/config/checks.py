# SPDX-License-Identifier: MIT
"""Faults of a case that concern several keys at once, each with the keys it depends on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fem_selection.config.schema import Case
from fem_selection.errors import InvalidInput
from fem_selection.functions.formulas import coordinate_names, is_free_name, parse_formula
from fem_selection.settings.names import ACTIVATIONS, BOUNDED, LOCAL_TERMS, NEWTON, PARTS, PONTRYAGIN, TAO
from fem_selection.settings.tables import shorten

__all__ = ["LARGEST", "Fault", "check_case"]


@dataclass(frozen=True)
class Fault:
    """A fault of several keys together, each of which is valid by itself.

    Attributes:
        keys: Dotted paths of the keys involved, the one to change first.
        message: The fault, and how to correct it.
    """

    keys: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        return f"{self.keys[0]}: {shorten(self.message)}"


_IMPLICIT = ("implicit_euler", "crank_nicolson", "implicit_midpoint")
_TENSOR_CELLS = {"triangle": "quadrilateral", "tetrahedron": "hexahedron"}


def _fault(keys: tuple[str, ...], message: str) -> Fault:
    return Fault(keys=keys, message=message)


def check_case(case: Case, *, needs_data: bool = True) -> Iterator[Fault]:
    """Yield the faults between the keys of a case whose tables are valid one by one.

    Args:
        case: The case.
        needs_data: Whether a missing data file is a fault.
    """
    yield from _check_sizes(case)
    yield from _check_space(case)
    yield from _check_representation(case)
    yield from _check_representer(case)
    yield from _check_formulas(case)
    yield from _check_data(case, needs_data)
    yield from _check_bounds(case)
    yield from _check_hessian(case)
    yield from _check_pontryagin(case)
    yield from _check_multilevel(case)
    yield from _check_hjb(case)
    yield from _check_stability(case)


LARGEST = 2**31 - 1
"""The largest number that PETSc's indices can hold."""
_VALUES = 2**40  # entries of an array: eight terabytes


def _check_sizes(case: Case) -> Iterator[Fault]:
    """Faults of integers that are too large to be counts, and of arrays too large for any machine."""
    for table in dataclasses.fields(case):
        values = getattr(case, table.name)
        for key in dataclasses.fields(values) if dataclasses.is_dataclass(values) else ():
            value = getattr(values, key.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and number > LARGEST:
                    shown = str(number) if number < 10**20 else "a much larger one"
                    message = f"must be at most {LARGEST}, the largest index of PETSc, got {shown}"
                    yield _fault((f"{table.name}.{key.name}",), message)
    if case.domain.file is not None or max(*case.domain.cells, case.data.samples) > LARGEST:
        return
    nodes = math.prod(n * max(case.space.degree, 1) for n in case.domain.cells)
    if nodes > LARGEST or ("dense" in case.dynamics.representation and nodes**2 > _VALUES):
        message = f"{list(case.domain.cells)} with space.degree = {case.space.degree} make {nodes:.3g} nodes, "
        message += "and a dense kernel has a value for each pair of them" if nodes <= LARGEST else "too many to count"
        yield _fault(("domain.cells", "space.degree", "domain.shape", "dynamics.representation"), message)
    if case.data.source == "formula" and nodes * case.data.samples > _VALUES:
        message = f"{case.data.samples} states of {nodes} nodes fit on no machine"
        yield _fault(("data.samples", "domain.cells", "space.degree"), message)


def _check_space(case: Case) -> Iterator[Fault]:
    cell, degree = case.domain.cell, case.space.degree
    if case.domain.group is not None and case.domain.file is None:
        yield _fault(("domain.group", "domain.file"), "names cells of a mesh file: give domain.file too")
    if case.space.mode == "collocated" and cell in _TENSOR_CELLS and degree >= 2:
        yield _fault(
            ("space.mode", "space.degree", "domain.cell", "domain.shape"),
            f"'collocated' with space.degree = {degree} is not possible on {cell} cells: no quadrature rule at the "
            "nodes has positive weights there; set space.mode = 'galerkin', or "
            + ("space.degree = 1" if case.domain.file else f"domain.cell = '{_TENSOR_CELLS[cell]}'"),
        )


def _check_representation(case: Case) -> Iterator[Fault]:
    """Faults of keys that belong to another representation, and of a representation that the space does not permit."""
    d, here = case.dynamics, "dynamics.representation"
    keys = {
        "dense": ("kernel", "singularity"),
        "separable": ("rank", "factors"),
        "local": ("local_terms", "local_length", *LOCAL_TERMS),
        "convolution": ("profile",),
        "representer": ("anchors",),
    }
    for name, own in keys.items():
        for key in own if name not in d.representation else ():
            if getattr(d, key) is not None:
                message = f"belongs to a {name} kernel, which {here} = {list(d.representation)} does not name"
                yield _fault((f"dynamics.{key}", here), message)
    if d.singularity is not None and "dense" in d.representation:
        if d.kernel is None:
            yield _fault(
                ("dynamics.singularity", "dynamics.kernel"), "is that of dynamics.kernel: give its formula too"
            )
        elif not case.domain.is_solid:
            message = "is not integrated on curves and surfaces in space; give a kernel that is finite where y = z"
            yield _fault(("dynamics.singularity", "domain.file"), message)
        elif d.singularity >= case.domain.dimension:
            message = (
                f"a kernel that grows like |y - z|^-{d.singularity:g} has no integral in {case.domain.dimension} "
                f"dimension{'s' * (case.domain.dimension > 1)}: must be below {case.domain.dimension}"
            )
            yield _fault(("dynamics.singularity", "domain.shape", "domain.file"), message)
    if d.rank is not None and d.factors is not None:
        message = f"dynamics.factors says it already, {len(d.factors)}: leave one of the two out"
        yield _fault(("dynamics.rank", "dynamics.factors"), message)
    if "local" in d.representation:
        for term in LOCAL_TERMS:
            if getattr(d, term) is not None and term not in d.terms:
                yield _fault(
                    (f"dynamics.{term}", "dynamics.local_terms"),
                    "dynamics.local_terms leaves this term out",
                )
        if case.space.family == "dg" and d.terms != ("multiplication",):
            yield _fault(
                ("dynamics.local_terms", "space.family", here, *(f"dynamics.{term}" for term in LOCAL_TERMS)),
                "functions of space.family = 'dg' jump between cells and have no gradient: dynamics.convection and "
                "dynamics.diffusion need 'lagrange'; or set it to ['multiplication'], and leave them out",
            )
        if d.convection is not None and len(d.convection) not in (1, case.domain.dimension):
            message = f"has {len(d.convection)} formulas; one, or one for each of {case.domain.dimension} directions"
            yield _fault(("dynamics.convection", "domain.shape"), message)
    if "convolution" in d.representation:
        if case.domain.grading != 1.0:
            message = "makes unequal cells, and a convolution needs nodes at equal distances: leave it out"
            yield _fault(("domain.grading", here), message)
        if case.parallel.space > 1:
            message = "a convolution needs the whole mesh on each rank: set it to 1, and the ranks share the samples"
            yield _fault(("parallel.space", here), message)
    if len(d.representation) > 1 and case.objective.kernel_bounds is not None:
        message = f"bounds of a sum are not known ({here} = {list(d.representation)}); use one representation"
        yield _fault(("objective.kernel_bounds", here), message)


def _check_representer(case: Case) -> Iterator[Fault]:
    """Faults of a kernel whose coordinates move along with states."""
    d, here = case.dynamics, "dynamics.representation"
    if "representer" not in d.representation:
        return
    if len(d.representation) > 1:
        yield _fault((here,), "a representer kernel is not added to others: leave the others out")
    if d.scheme in _IMPLICIT:
        message = f"{d.scheme!r}: the states that a representer kernel follows take explicit stages alone"
        yield _fault(("dynamics.scheme", here), message)
    if "kernel" not in case.objective.controls:
        message = "a representer kernel changes with every control: name 'kernel' too"
        yield _fault(("objective.controls", here), message)
    if case.objective.kernel_bounds is not None:
        message = "the controls of a representer kernel are coordinates that move with the states, not values of w"
        yield _fault(("objective.kernel_bounds", here), message)
    if case.regularization.kernel_depth > 0:
        message = "differences in depth of coordinates that move with the states are not those of w: set it to 0"
        yield _fault(("regularization.kernel_depth", here), message)


def _check_formulas(case: Case) -> Iterator[Fault]:
    y, z, x = (coordinate_names(letter, case.domain.dimension) for letter in "yzx")
    for name in case.parameters:
        if not is_free_name(name, ("t", "s", *y, *z, *x)):
            yield _fault(
                (f"parameters.{name}",),
                "is no name that a formula could use: choose an identifier that is no variable, constant or function",
            )
    formulas: dict[str, tuple[str | None, tuple[str, ...]]] = {
        "dynamics.activation": (None if case.dynamics.activation in ACTIVATIONS else case.dynamics.activation, ("s",)),
        "dynamics.kernel": (case.dynamics.kernel, ("t", *y, *z)),
        "dynamics.profile": (case.dynamics.profile, ("t", *x)),
        "dynamics.bias": (case.dynamics.bias, ("t", *y)),
        "data.initial": (case.data.initial, (*y, "s")),
        "data.target": (case.data.target, (*y, "s")),
        "stability.state": (case.stability.state, y),
    }
    anchors = case.dynamics.anchors
    for number, formula in enumerate(anchors if isinstance(anchors, tuple) else ()):
        formulas[f"dynamics.anchors[{number}]"] = (formula, y)
    for term in ("multiplication", "diffusion"):
        formulas[f"dynamics.{term}"] = (getattr(case.dynamics, term), ("t", *y))
    for number, formula in enumerate(case.dynamics.convection or ()):
        formulas[f"dynamics.convection[{number}]"] = (formula, ("t", *y))
    for number, pair in enumerate(case.dynamics.factors or ()):
        for side, names in enumerate((y, z)):
            formulas[f"dynamics.factors[{number}][{side}]"] = (pair[side], ("t", *names))
    for key, (text, variables) in formulas.items():
        if text is not None:
            try:
                parse_formula(text, variables, case.parameters)
            except InvalidInput as error:
                at_points = variables != ("s",) and "unknown name" in str(error)  # of which the shape decides
                keys = (key, "domain.shape", "parameters") if at_points else (key, "parameters")
                yield _fault(keys, f"{error}{_hint(case, text)}")


def _hint(case: Case, text: str) -> str:
    """A hint for the fault of a formula that has coordinates of another dimension, or an unknown name."""
    every = {"t", "s", *(name for d in (1, 3) for letter in "yz" for name in coordinate_names(letter, d))}
    try:
        used = parse_formula(text, every, case.parameters).names
    except InvalidInput as error:
        return "; names of one's own belong into [parameters]" if "unknown name" in str(error) else ""
    d = case.domain.dimension
    there = {name for letter in "yz" for name in coordinate_names(letter, d)}
    if used <= {"t", "s", *there}:
        return ""
    source = "domain.file" if case.domain.file else f"domain.shape = {case.domain.shape!r}"
    return f"; points of {source} have {d} coordinate{'s' * (d > 1)}"


def _check_data(case: Case, needs_data: bool) -> Iterator[Fault]:
    data, loss = case.data, case.objective.loss
    if data.source == "npz" and data.file is None:
        yield _fault(("data.file", "data.source"), "data.source = 'npz' needs a file")
    if needs_data and data.source == "npz" and data.file is not None and not _is_file(data.file):
        literal = " (names of environment variables are not replaced; --set data.file=… passes them through the shell)"
        yield _fault(("data.file", "data.source"), f"no such file: {data.file}{literal if '$' in data.file else ''}")
    if data.source == "formula":
        if data.initial is None:
            yield _fault(("data.initial", "data.source"), "data.source = 'formula' needs a formula in y and s")
        if data.target is None and loss == "tracking":
            needs = "objective.loss = 'tracking' with data.source = 'formula' needs a formula in y and s"
            yield _fault(("data.target", "objective.loss", "data.source"), needs)
        if data.moved is not None:
            yield _fault(("data.moved", "data.source"), "only digits and npz data are moved; leave it out")
    if data.shape is not None and len(data.shape) != case.domain.dimension:
        yield _fault(
            ("data.shape", "domain.shape"),
            f"{list(data.shape)} has {len(data.shape)} entries and the domain {case.domain.dimension} dimensions",
        )
    if data.moved is not None and data.moved.rotation > 0 and case.domain.dimension == 1:
        yield _fault(
            ("data.moved.rotation", "domain.shape"),
            "signals on an interval cannot be rotated; set it to 0",
        )
    if data.source == "digits":
        if case.domain.dimension != 2:
            yield _fault(
                ("data.source", "domain.shape", "data.file"),
                f"'digits' are images and need domain.shape = 'rectangle' or a plane mesh, got "
                f"{case.domain.shape!r} of dimension {case.domain.dimension}; or set data.source to 'npz' or 'formula'",
            )
        if loss == "tracking":
            yield _fault(
                ("objective.loss", "data.source", "data.file"),
                "'tracking' needs target states, which data.source = 'digits' lacks; use 'softmax', 'logistic' or "
                "'least_squares', or data.source = 'formula' with data.target",
            )


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # a name that is too long for the system, or that holds a NUL
        return False


def _check_bounds(case: Case) -> Iterator[Fault]:
    given = [name for name in PARTS if getattr(case.objective, f"{name}_bounds") is not None]
    if given and case.optimizer.method in TAO and case.optimizer.method not in BOUNDED:
        keys = tuple(f"objective.{name}_bounds" for name in given)
        others = () if "readout" in given else PONTRYAGIN
        able = ", ".join(map(repr, (*BOUNDED, *others)))
        yield _fault(
            ("optimizer.method", *keys),
            f"{case.optimizer.method!r} cannot keep {', '.join(keys)}; {able} handle bounds",
        )


def _check_hessian(case: Case) -> Iterator[Fault]:
    method, hessian = case.optimizer.method, case.optimizer.hessian
    if hessian == "gauss_newton" and method not in NEWTON:
        able = ", ".join(map(repr, NEWTON))
        message = f"{hessian!r} is for Newton's methods, {able}; optimizer.method = {method!r} uses no Hessian"
        yield _fault(("optimizer.hessian", "optimizer.method"), message)


def _check_pontryagin(case: Case) -> Iterator[Fault]:
    """Faults that prevent Pontryagin's methods: the Hamiltonian must decouple over nodes and layers."""
    method, r = case.optimizer.method, case.regularization
    if method not in PONTRYAGIN:
        return
    if case.space.mode != "collocated":
        yield _fault(("optimizer.method", "space.mode"), f"{method!r} needs space.mode = 'collocated'")
    if case.dynamics.representation != ("dense",):
        yield _fault(
            ("optimizer.method", "dynamics.representation"),
            f"{method!r} needs dynamics.representation = 'dense': a kernel whose values are free at each pair of nodes",
        )
    keys: tuple[str, ...]
    if case.dynamics.control_intervals != case.dynamics.layers:
        keys = ("optimizer.method", "dynamics.control_intervals", "dynamics.layers")
        yield _fault(keys, f"{method!r} needs one control per layer: leave dynamics.control_intervals out")
    for name in ("kernel", "bias"):
        if name in case.objective.controls and not getattr(r, name) > 0:
            keys = ("optimizer.method", f"regularization.{name}", "objective.controls")
            yield _fault(keys, f"{method!r} needs regularization.{name} > 0")
        if getattr(r, f"{name}_depth") > 0:
            keys = ("optimizer.method", f"regularization.{name}_depth")
            yield _fault(keys, f"{method!r} does not work with regularization.{name}_depth: it couples the layers")
    if "kernel" not in case.objective.controls and "bias" not in case.objective.controls:
        yield _fault(
            ("optimizer.method", "objective.controls"),
            f"{method!r} needs the kernel or the bias as a control",
        )
    if case.objective.readout_bounds is not None:
        keys = ("optimizer.method", "objective.readout_bounds")
        yield _fault(keys, f"{method!r} cannot keep objective.readout_bounds; those of kernel and bias it can")


def _check_multilevel(case: Case) -> Iterator[Fault]:
    """Faults of the lists of levels: of different lengths, meshes of another kind, depths that hold no intervals."""
    m = case.multilevel
    for name in ("cells", "files", "layers", "iterations"):
        if (given := len(getattr(m, name))) not in (0, m.num_coarse):
            message = f"{given} entries for {m.num_coarse} coarse levels: the lists that are given must be equally long"
            yield _fault((f"multilevel.{name}", "multilevel.cells", "multilevel.files", "multilevel.layers"), message)
    if m.cells and case.domain.file is not None:
        yield _fault(("multilevel.cells", "domain.file"), "the domain is that of a mesh file: give multilevel.files")
    if m.files and case.domain.file is None:
        yield _fault(("multilevel.files", "domain.file"), "the domain has no mesh file: give multilevel.cells")
    for cells in m.cells:
        if case.domain.file is None and len(cells) not in (1, len(case.domain.cells)):
            message = f"{list(cells)} but domain.cells = {list(case.domain.cells)}: one number for each direction"
            yield _fault(("multilevel.cells", "domain.cells", "domain.shape"), message)


def _check_hjb(case: Case) -> Iterator[Fault]:
    if case.hjb.levels > LARGEST:
        return
    cells, divisor = case.hjb.cells, 2 ** min(case.hjb.levels - 1, 60)
    if any(n % divisor or n < 2 * divisor for n in cells):
        yield _fault(
            ("hjb.cells", "hjb.levels"),
            f"{list(cells)} cannot be halved {case.hjb.levels - 1} times with two cells left, as hjb.levels = "
            f"{case.hjb.levels} asks; use a multiple of {divisor}, {2 * divisor} at least, or fewer levels",
        )
    lower, upper = case.hjb.lower, case.hjb.upper
    if (lower is None) != (upper is None):
        given, missing = ("lower", "upper") if upper is None else ("upper", "lower")
        yield _fault((f"hjb.{missing}", f"hjb.{given}"), f"hjb.{given} alone makes no box; give both or neither")
    elif lower is not None and upper is not None:
        if len(lower) != len(upper):
            message = f"has {len(upper)} entries and hjb.lower {len(lower)}"
            yield _fault(("hjb.upper", "hjb.lower"), message)
        elif any(a >= b for a, b in zip(lower, upper, strict=True)):
            yield _fault(("hjb.upper", "hjb.lower"), f"{list(upper)} must be above hjb.lower = {list(lower)}")


def _check_stability(case: Case) -> Iterator[Fault]:
    name, values = case.stability.parameter, case.stability.range
    if (name is None) != (values is None):
        given, missing = ("range", "parameter") if name is None else ("parameter", "range")
        keys = (f"stability.{missing}", f"stability.{given}")
        yield _fault(keys, f"stability.{given} alone continues nothing; give both or neither")
    elif name is not None and name not in case.parameters:
        keys = ("stability.parameter", "parameters")
        yield _fault(keys, f"{name!r} is not in [parameters] ({', '.join(case.parameters) or 'there are none'})")
