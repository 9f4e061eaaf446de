# SPDX-License-Identifier: MIT
"""Case files broken at random: never a traceback, always exit status 2, and the key, file or line in the message.

Every demo's case is taken for every command that it fits, and broken: wrong types, unknown and misspelt keys, numbers
out of range, nonsense for formulas, attempts at code, deep nesting, broken TOML, bytes that are no text.  The commands
run in this process up to the objects that they would work on; a mutation that leaves a valid case is discarded.
"""

from __future__ import annotations

import copy
import io
import os
import string
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import fem_selection.cases.field
import fem_selection.cases.learning
from fem_selection.cli.app import run
from fem_selection.cli.streams import visible
from fem_selection.config.writer import _toml

DEMOS = Path(__file__).parents[2] / "demos"
CASES = {path.stem: tomllib.loads(path.read_text()) for path in sorted(DEMOS.glob("*.toml"))}
_LEARNING, _FIELD = ("train", "verify", "hjb"), ("forward", "steady", "stability")


def examples(number: int) -> Any:
    """So many examples, the same in every run; more if the environment's EXAMPLES says so, then at random."""
    times = int(os.environ.get("EXAMPLES", "1"))
    quiet = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    return settings(max_examples=number * times, derandomize=times == 1, **quiet)


class Accepted(BaseException):
    """The case was found valid: the command begins to compute."""


def call(command: str, case: Path, *settings: str, build: bool = False) -> tuple[int | None, str]:
    """Exit status and standard error of a command on a case; status None if it would begin to compute.

    With `build` it is let build the objects that it would compute with.
    """
    words = [word for setting in settings for word in ("--set", setting)]
    arguments = ["fem-selection", command, str(case), "--output", str(case.parent / "run"), *words]
    error = io.StringIO()

    def before(original: Callable[..., object]) -> Callable[..., object]:
        def begin(case: object, *others: object, **options: object) -> None:
            if build:
                original(case, *others, **options)
            raise Accepted

        return begin

    problem, field = fem_selection.cases.learning.build_problem, fem_selection.cases.field.build_field
    for_problem = patch.object(fem_selection.cases.learning, "build_problem", before(problem))
    for_field = patch.object(fem_selection.cases.field, "build_field", before(field))
    with (
        for_problem,
        for_field,
        patch.object(sys, "argv", arguments),
        redirect_stderr(error),
        redirect_stdout(io.StringIO()),
    ):
        try:
            run()
        except SystemExit as leave:
            return int(leave.code or 0), error.getvalue()
        except Accepted:
            return None, error.getvalue()
    raise AssertionError("the command did not end")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples write their case."""
    return tmp_path_factory.mktemp("broken")


def check(folder: Path, command: str, content: bytes, words: list[str], *settings: str) -> None:
    """That a case is refused with all these words, or is valid and to be discarded."""
    case = folder / "case.toml"
    case.write_bytes(content)
    status, error = call(command, case, *settings)
    assert "Traceback" not in error
    assume(status is not None)
    assert status == 2, (status, error)
    assert error.startswith("error: ")
    for word in words:
        assert visible(word) in error, (word, error)


# ── what a case is broken by ──────────────────────────────────────────────────────────────────────────────────────────

_NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 7, 10**6, 2**31, 2**63, 2**64, -(10**30), 10**400, 0.0, -0.5, 1.5, 1e-320, 1e300, -1e300]
) | st.sampled_from([float("nan"), float("inf"), float("-inf")])
_CODE = (
    "__import__('os').system('true')",
    "().__class__.__bases__[0].__subclasses__()",
    "eval('1')",
    "(lambda: 1)()",
    "[y for y in (1,)]",
    "open('/etc/passwd')",
    "y.real",
    "f'{y}'",
    "exec",
    "y := 1",
    "1; import os",
    "yield",
    "await y",
    "globals()",
    "`id`",
    "${y}",
    "{{y}}",
    "y if y else y",
    "*y",
    "print(y, end='')",
    "@y",
    "\\",
    "\x00",
    "y\x00",
    "#",
    "y # z",
    "'''",
    "y\n\n+",
    "　",
    "𝒚",
    "0x",
    "1e",
    "1__0",
    "1if 1else 2",
    "9**9**9**9**9**9",
    "1e999",
    "not y",
    "True",
    "None",
    "...",
    "sin",
    "sin()",
    "sin(y, y)",
    "where(y, 1, 2)",
    "max(y)",
    "1 < y",
    "0 < 1 < 2",
    "y!",
    "y^2",
    "y//2",
    "y@y",
    "y[0]",
    "-",
    "+" * 1999 + "y",
    "-" * 1999 + "y",
    "(" * 900 + "y" + ")" * 900,
    "sin(" * 400 + "y" + ")" * 400,
    "y" + "+y" * 900,
    "y" + "**y" * 600,
    "[" * 1500,
    "y" * 3000,
    "1" * 1999,
    "1" * 5000,
    "y" + " " * 5000,
    "'" * 1000,
)
_FORMULAS = (
    st.sampled_from(_CODE)
    | st.text(max_size=12)
    | st.text(alphabet="yzst01.*+-/()<>=, sincoexpwhrab_#'\"", max_size=20)
    | st.integers(1, 3000).flatmap(lambda n: st.sampled_from(["(" * n, "-" * n, "y+" * n, "sin(" * n, "1" * n]))
)
_VALUES = st.recursive(
    _NUMBERS | st.booleans() | st.just("") | _FORMULAS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=2),
    max_leaves=5,
)


def _paths(table: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in _paths(value))


def _holder(case: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        case = case[key]
    return case


def _dump(case: dict[str, Any]) -> bytes:
    """Any mapping as TOML, in inline tables; whole numbers of any size."""
    lines = [f"{_toml({key: value})[1:-1]}" for key, value in case.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


#: Keys that may stand in a case file and that few demos have.
_MORE = {
    "domain.lower": 0.0, "domain.upper": 1.0, "domain.cell": "interval", "domain.grading": 1.0, "domain.group": "a",
    "domain.file": "a.msh", "domain.shape": "box", "space.quadrature_degree": 3, "dynamics.control_intervals": 5,
    "dynamics.representation": "separable", "dynamics.rank": 2, "dynamics.factors": [["y", "z"]],
    "dynamics.local_terms": ["diffusion"], "dynamics.local_length": 1.0, "dynamics.multiplication": "1",
    "dynamics.convection": ["1"], "dynamics.diffusion": "1", "dynamics.bias": "y", "data.file": "a.npz",
    "data.shape": [8, 8], "data.standardize": True, "data.target": "s", "objective.kernel_bounds": [-1, 1],
    "objective.bias_bounds": [-1, 1], "objective.readout_bounds": [-1, 1], "objective.controls": ["kernel"],
    "stochastic.method": "adam", "stochastic.epochs": 3, "stochastic.momentum": 0.5, "stochastic.validation": 0.5,
    "optimizer.options": {"tao_ls_type": "armijo"}, "optimizer.method": "msa", "optimizer.memory": 3, "hjb.cells": [8],
    "hjb.lower": [0.0], "hjb.upper": [1.0], "hjb.snapshots": 3, "forward.method": "auto", "forward.rtol": 1e-3,
    "forward.times": 3, "forward.spacing": "log", "forward.growth_bound": 10.0, "forward.first_step": 0.1,
    "steady.within": 3.0, "steady.starts": 2, "steady.horizon": 1.0, "steady.max_iterations": 3, "steady.rtol": 1e-3,
    "steady.snapshots": 3, "optimizer.reduction": 0.5, "optimizer.augmentation": 2.0, "optimizer.gap_every": 2,
    "stability.state": "0", "stability.number": 2, "stability.parameter": "a", "stability.range": [0, 1],
    "stability.step": 0.1, "stability.branches": 2, "parallel.space": 1, "parallel.block": 3, "output.directory": "a",
    "tape.schedule": "disk", "tape.checkpoints": 2, "tape.memory": 10**6, "tape.directory": "a",
    "output.checkpoint_every": 3, "parameters.a": 1.0, "title": "a", "seed": 1,
}  # fmt: skip


@st.composite
def _demo(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """A command and a demo's case for it, with its mesh file where it is."""
    name = draw(st.sampled_from(sorted(CASES)))
    case = copy.deepcopy(CASES[name])
    if "file" in (domain := case.get("domain", {})):
        domain["file"] = str(DEMOS / domain["file"])
    return draw(st.sampled_from(_LEARNING + _FIELD)), name, case


@st.composite
def _changed(draw: st.DrawFn) -> tuple[str, dict[str, Any], list[str]]:
    """A case with one key set to anything, the key among the words to find."""
    command, _, case = draw(_demo())
    key = draw(st.sampled_from(sorted(_MORE)) | st.sampled_from([".".join(path) for path in _paths(case)]))
    path = tuple(key.split("."))
    for length in range(1, len(path)):
        holder = _holder(case, path[:length])
        holder.setdefault(path[length - 1], {})
    _holder(case, path)[path[-1]] = draw(_VALUES | st.just(_MORE.get(key, "")))
    return command, case, [key]


@examples(50)
@given(changed=_changed())
def test_a_key_with_any_value(folder: Path, changed: tuple[str, dict[str, Any], list[str]]) -> None:
    """Fails if a value of another type, a number out of range or nonsense under a known key ends in a traceback, or is
    refused without the key."""
    command, case, words = changed
    check(folder, command, _dump(case), words)


@examples(25)
@given(
    demo=_demo(),
    key=st.sampled_from([k for k in sorted(_MORE) if "." in k and not k.startswith("parameters")]),
    letter=st.sampled_from(string.ascii_lowercase + "_é .\"'\\\n\0"),
    place=st.integers(0, 20),
    remove=st.booleans(),
)
def test_a_misspelt_key(folder: Path, demo, key: str, letter: str, place: int, remove: bool) -> None:
    """Fails if a misspelt key is passed over, or is refused without the name that was written."""
    command, _, case = demo
    table, _, name = key.rpartition(".")
    place = min(place, len(name) - 1)
    wrong = name[:place] + ("" if remove else letter) + name[place + remove :]
    assume(wrong and wrong != name and f"{table}.{wrong}" not in _MORE)
    case.setdefault(table, {})[wrong] = _MORE[key]
    check(folder, command, _dump(case), [f"{table}.{wrong}"])


@examples(25)
@given(demo=_demo(), key=st.text(min_size=1, max_size=12), value=_VALUES)
def test_an_unknown_key(folder: Path, demo, key: str, value: Any) -> None:
    """Fails if a key that no table has is passed over, or is refused without its name."""
    command, _, case = demo
    assume(key not in {k.partition(".")[0] for k in _MORE} and key not in case)
    assume(key not in ("steady", "space"))
    case[key] = value
    check(folder, command, _dump(case), [key])


@examples(50)
@given(
    demo=_demo(),
    key=st.sampled_from(
        [
            *("dynamics.activation", "dynamics.kernel", "dynamics.bias", "dynamics.multiplication"),
            *("dynamics.diffusion", "dynamics.convection", "dynamics.factors", "data.initial", "data.target"),
            "stability.state",
        ]
    ),
    text=_FORMULAS,
)
def test_a_formula_of_nonsense(folder: Path, demo, key: str, text: str) -> None:
    """Fails if a text that is no formula runs as code, breaks the parser by its depth or length, or is refused without
    the key."""
    command, _, case = demo
    table, _, name = key.partition(".")
    value: Any = [[text, text]] if name == "factors" else text
    case.setdefault(table, {})[name] = value
    if name in ("multiplication", "diffusion", "convection"):
        case["dynamics"]["representation"] = "dense + local"
    if name == "factors":
        case["dynamics"]["representation"] = "dense + separable"
    check(folder, command, _dump(case), [key])


@examples(50)
@given(
    demo=_demo(), place=st.floats(0, 1), length=st.integers(0, 40), piece=st.binary(max_size=6) | st.text(max_size=6)
)
@example(demo=("train", "digits", {}), place=0.0, length=10**6, piece=b"[[[")
@example(demo=("train", "digits", {}), place=0.0, length=10**6, piece=b"\xef\xbb\xbf\xff")
@example(demo=("hjb", "hjb", {}), place=0.5, length=0, piece=b"\x00")
def test_a_file_with_a_piece_replaced(folder: Path, demo, place: float, length: int, piece: bytes | str) -> None:
    """Fails if any text in place of any other ends in a traceback; the file is named if it is no TOML, else some key of
    it."""
    command, name, _ = demo
    content = (DEMOS / f"{name}.toml").read_bytes().replace(b"../meshes", str(DEMOS.parent / "meshes").encode())
    start = int(place * len(content))
    piece = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
    broken = content[:start] + piece + content[start + length :]
    try:
        tomllib.loads(broken.decode("utf-8-sig"))
        words = ["\n  ", ": "]
    except (ValueError, RecursionError):
        words = [str(folder / "case.toml")]
    check(folder, command, broken, words)


@examples(40)
@given(
    demo=_demo(),
    key=st.sampled_from(sorted(_MORE)) | st.text(min_size=1, max_size=8),
    value=st.text(max_size=12) | _FORMULAS | _VALUES.map(str),
)
@example(demo=("train", "digits", CASES["digits"]), key="title", value="\udcff")
@example(demo=("train", "digits", CASES["digits"]), key="\udcff.\udcfe", value="1")
@example(demo=("train", "digits", CASES["digits"]), key="seed", value="1" * 5000)
@example(demo=("train", "digits", CASES["digits"]), key="forward.times", value="1" * 400)
@example(demo=("train", "digits", CASES["digits"]), key="domain.cells", value="1" * 400)
def test_a_setting_with_any_key_and_value(folder: Path, demo, key: str, value: str) -> None:
    """Fails if what the file refuses passes on the command line, or if bytes that are no text, which the shell hands
    over, end in a traceback."""
    command, _, case = demo
    assume("=" not in key and "\0" not in key + value)
    shown = key.strip().encode("utf-8", "backslashreplace").decode()
    check(folder, command, _dump(case), [shown.split(".")[0].strip()], f"{key}={value}")


# ── valid by each key, and yet not possible ───────────────────────────────────────────────────────────────────────────

_SMALL: dict[str, dict[str, Any]] = {
    "line": {
        "domain": {"shape": "interval", "cells": 3},
        "dynamics": {"layers": 2, "kernel": "y - z", "activation": "tanh"},
        "data": {"source": "formula", "samples": 2, "initial": "y + s", "target": "s"},
        "objective": {"loss": "tracking"},
    },
    "plane": {
        "domain": {"cells": [2, 2]},
        "dynamics": {"layers": 2, "activation": "relu", "representation": "dense + separable + local"},
        "data": {"source": "digits"},
    },
}
_POLES = st.sampled_from(
    [
        *("1/0", "sqrt(-1)", "log(y - y)", "log(y0 - y0)", "exp(1e6*(1 + y0*y0))", "1e308*10", "tan(1e300)", "0/0"),
        *("where(y0 < 0.5, 1/0, 0)", "(-1)**0.5", "s**1000", "1/s", "1/(s - s)", "exp(exp(exp(9 + s)))", "ln(0)*s"),
        *("max(s, 1/0)", "s + sqrt(-1)", "1/0*s", "t/0", "log(-1 - y0*z0)", "0**-1", "0**-1*s", "9**9**9**9"),
    ]
)
_SIZES = st.sampled_from([0, 1, 2, 3, 2**31, 2**40, 2**63, 10**30])
_EXTREMES = st.sampled_from([1e-320, 5e-324, 1e-300, 1e-12, 1.0, 1e12, 1e150, 1e300, 1.7e308, -1.7e308])
_EXTREME_KEYS = {
    **dict.fromkeys(("dynamics.activation", "dynamics.kernel", "dynamics.bias", "data.initial"), _POLES),
    **dict.fromkeys(("data.target", "dynamics.multiplication", "dynamics.diffusion"), _POLES),
    **dict.fromkeys(("dynamics.factors",), _POLES.map(lambda text: [["1", text]])),
    **dict.fromkeys(("domain.cells", "dynamics.layers", "dynamics.rank", "data.samples"), _SIZES),
    **dict.fromkeys(("parallel.block", "stochastic.batch", "optimizer.memory", "space.quadrature_degree"), _SIZES),
    **dict.fromkeys(("tape.checkpoints", "tape.memory"), _SIZES),
    **dict.fromkeys(("domain.lower", "domain.upper", "domain.grading", "dynamics.horizon"), _EXTREMES),
    **dict.fromkeys(("dynamics.start_scale", "dynamics.local_length", "objective.weight"), _EXTREMES),
    **dict.fromkeys(("data.moved.shift", "regularization.kernel", "data.test_fraction"), _EXTREMES),
    **dict.fromkeys(("objective.kernel_bounds",), st.lists(_EXTREMES, min_size=2, max_size=2)),
}


@examples(15)
@given(
    command=st.sampled_from(_LEARNING + _FIELD),
    name=st.sampled_from(sorted(_SMALL)),
    key=st.sampled_from(sorted(_EXTREME_KEYS)),
    data=st.data(),
)
def test_what_cannot_be_built(folder: Path, command: str, name: str, key: str, data: st.DataObject) -> None:
    """Fails if a value that is right by itself ends in a traceback, or without its key, once objects are built from it:
    a pole at a node, a size beyond any memory, a domain of no width.

    Where a command does not use the key, or can do with the value, the example is discarded.
    """
    case = copy.deepcopy(_SMALL[name])
    path = tuple(key.split("."))
    for length in range(1, len(path)):
        _holder(case, path[:length]).setdefault(path[length - 1], {})
    _holder(case, path)[path[-1]] = data.draw(_EXTREME_KEYS[key])
    if key in ("dynamics.multiplication", "dynamics.diffusion", "dynamics.factors"):
        case["dynamics"] |= {"representation": "dense + separable + local"}
    if key == "objective.kernel_bounds":
        case["optimizer"] = {"method": "blmvm"}
    (folder / "case.toml").write_bytes(_dump(case))
    status, error = call(command, folder / "case.toml", build=True)
    assert "Traceback" not in error, error
    assume(status is not None)
    assert status == 2 and (key in error or key.rpartition(".")[0] + ":" in error), (status, error)


@pytest.mark.parametrize("command", _LEARNING + _FIELD)
def test_files_that_cannot_be_read(folder: Path, command: str) -> None:
    """Fails if a case, data or mesh file that is missing, empty, a folder or below a file ends in a traceback, or is
    refused without its name."""
    os.makedirs(folder / "empty", exist_ok=True)
    for name in ("missing.toml", "missing/case.toml", "x" * 300, "a\nb", "/dev/null/case.toml"):
        status, error = call(command, folder / name)
        assert status == 2 and name in error and "Traceback" not in error
    status, error = call(command, folder / "empty")
    assert status == 2 and str(folder / "empty") in error and "Traceback" not in error
    (folder / "empty.npz").touch()
    (folder / "empty.msh").touch()
    for key, file in (("data.file", "nowhere.npz"), ("domain.file", "nowhere.msh"), ("domain.file", "empty.msh")):
        (folder / "case.toml").write_text(f'{key} = "{file}"\n')
        status, error = call(command, folder / "case.toml")
        assert status == 2 and key in error and file in error


@pytest.mark.slow
@pytest.mark.skipif("EXAMPLES" in os.environ, reason="this is the run with more examples")
def test_more_examples() -> None:
    """Fails if one of the tests above does with twice as many examples, others in every run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, "EXAMPLES": "2"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
