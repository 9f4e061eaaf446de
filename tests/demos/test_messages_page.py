# SPDX-License-Identifier: MIT
"""`docs/messages.md` explains messages that there are: each is provoked by a small case and found word by word.

In a heading of the page `…` stands for any text.  `PROVOCATIONS` has a function for each heading, which returns what is
printed.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SMALL_FIELD, SMALL_TRAINING, call_application, with_settings
from mesh_files import Part, Sketch, msh22

from fem_selection.errors import SelectionWarning

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
MESHES = Path(__file__).parents[2] / "meshes"
HEADINGS = re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE)


class Bench:
    """A folder with small cases, and what the commands print there.

    Attributes:
        patch: Changes that are undone after the test.
    """

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self._capture = patch, capture

    def __call__(self, command: str, *words: object, settings: tuple[str, ...] = ()) -> str:
        """What a command prints."""
        self._capture.readouterr()
        call_application(command, *words, *with_settings(*settings))
        out, err = self._capture.readouterr()
        return out + err

    def case(self, *settings: str) -> str:
        """What a case with these settings is refused with, or trains with, in a folder of its own."""
        return self("train", "case.toml", "--output", "other", settings=settings)

    def run(self) -> None:
        """Leave a trained run in `run`."""
        self("train", "case.toml", "--output", "run")

    def data(self, **arrays: np.ndarray) -> None:
        """Write other data."""
        np.savez("new.npz", **arrays)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Bench:
    """A bench in a folder with data and two cases, the working directory."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(12, 5))
    np.savez("data.npz", x=x, y=np.arange(12) % 3)
    Path("case.toml").write_text(SMALL_TRAINING)
    Path("field.toml").write_text(SMALL_FIELD)
    return Bench(monkeypatch, capfd)


# ── provocations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def broken_toml(bench: Bench) -> str:
    """A table without its bracket."""
    Path("case.toml").write_text("[domain\n")
    return bench.case()


def latin(bench: Bench) -> str:
    """A case file in Latin-1."""
    Path("case.toml").write_bytes("title = 'grün'".encode("latin-1"))
    return bench.case()


def bytes_in_a_path(bench: Bench) -> str:
    """A folder named in Latin-1."""
    folder = os.fsdecode(b"gr\xfcn")
    os.mkdir(folder)
    os.rename("data.npz", f"{folder}/data.npz")
    os.rename("case.toml", f"{folder}/case.toml")
    return bench("train", f"{folder}/case.toml")


def twice(bench: Bench) -> str:
    """A second run in a folder."""
    bench.run()
    return bench("train", "case.toml", "--output", "run")


def at_once(bench: Bench) -> str:
    """Two runs in a folder."""
    from fem_selection.io.locks import FolderLock

    os.mkdir("run")
    with FolderLock(Path("run")):
        return bench("train", "case.toml", "--output", "run")


def another_problem(bench: Bench) -> str:
    """A run resumed with another horizon."""
    bench.run()
    return bench("train", "case.toml", "--output", "run", "--resume", settings=("dynamics.horizon=2.0",))


def unwritable(bench: Bench) -> str:
    """Predictions below something that is no folder."""
    bench.run()
    return bench("predict", "run", "--data", "data.npz", "--output", "/dev/null/p.npz")


def not_a_number(bench: Bench) -> str:
    """NaN among the inputs."""
    bench.data(x=np.full((12, 5), np.nan), y=np.arange(12) % 3)
    return bench.case("data.file=new.npz")


def few_labels(bench: Bench) -> str:
    """Fewer labels than inputs."""
    bench.run()
    bench.data(x=np.ones((4, 5)), y=np.arange(3))
    return bench("predict", "run", "--data", "new.npz")


def lone_class(bench: Bench) -> str:
    """What a training says of a class with one sample."""
    bench.data(x=np.arange(36.0).reshape(12, 3), y=np.r_[np.arange(11) % 2, 7])
    return bench.case("data.file=new.npz")


def changed_data(bench: Bench) -> str:
    """What `certify` says where the data file is another."""
    bench.run()
    bench.data(x=np.ones((12, 9)), y=np.arange(12) % 3)
    os.replace("new.npz", "data.npz")
    return bench("certify", "run")


def foreign_labels(bench: Bench) -> str:
    """Labels that the training did not have."""
    bench.run()
    bench.data(x=np.ones((2, 5)), y=np.array([7, 8]))
    return bench("predict", "run", "--data", "new.npz")


def foreign_grid(bench: Bench) -> str:
    """Inputs of another length than in the training."""
    bench.run()
    bench.data(x=np.ones((2, 7)))
    return bench("predict", "run", "--data", "new.npz")


def no_such_group(bench: Bench) -> str:
    """A group that a mesh file does not have."""
    Path("case.toml").write_text(
        SMALL_TRAINING.replace('shape = "interval"\ncells = 4', f'file = "{MESHES / "disk.msh"}"')
    )
    return bench.case("domain.group=nobody")


def hanging_node(bench: Bench) -> str:
    """A triangle above two smaller ones, whose common corner is none of its own."""
    points = ((0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.5, -1.0, 0.0), (1.5, -1.0, 0.0))
    part = Part(dimension=2, tag=1, kind=2, groups=(), cells=((1, 2, 3), (1, 5, 4), (4, 6, 2)))
    Path("three.msh").write_bytes(msh22(Sketch(points=points, parts=(part,))))
    text = SMALL_TRAINING.replace('shape = "interval"\ncells = 4', 'file = "three.msh"')
    Path("case.toml").write_text(text)
    return bench.case()


def out_of_memory(bench: Bench) -> str:
    """A machine without memory."""
    from fem_selection.cases import learning

    bench.patch.setattr(learning, "build_problem", fail_with(MemoryError("unable to allocate 8 TiB")))
    return bench.case()


def without_dolfinx(bench: Bench) -> str:
    """An environment without FEniCSx."""
    from fem_selection.cases import learning

    error = ModuleNotFoundError("No module named 'dolfinx'", name="dolfinx")
    bench.patch.setattr(learning, "build_problem", fail_with(error))
    return bench.case()


def fail_with(error: Exception) -> Callable[..., Any]:
    """A function that raises an error."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def failing_figure(bench: Bench) -> str:
    """A figure that matplotlib cannot draw."""
    from fem_selection import plots

    with pytest.warns(SelectionWarning) as told:
        plots.draw(Path("states.png"), fail_with(ValueError("Failed to find a font")))
    return str(told[0].message)


def no_glyphs(bench: Bench) -> str:
    """Class names in a script for which there is no font."""
    from fem_selection import plots

    with pytest.warns(SelectionWarning) as told:
        plots.draw(Path("confusion.png"), plots.plot_confusion, np.eye(2, dtype=int), ["\U00010a00", "a"], 1.0)
    return str(told[0].message)


def full_log(bench: Bench) -> str:
    """A log on a full disk."""
    with bench.patch.context() as patch, open("/dev/full", "w") as stream:
        patch.setattr(sys, "stdout", stream)
        return bench.case()


def alone(bench: Bench) -> str:
    """A launcher of another MPI."""
    bench.patch.setenv("PMI_SIZE", "2")
    bench.patch.setenv("PMI_RANK", "0")
    return bench("info")


def function_of_numbers(bench: Bench) -> str:
    """An activation by the math module."""
    from fem_selection import Activation
    from fem_selection.errors import InvalidInput

    with pytest.raises(InvalidInput) as raised:
        Activation(name="a", expression=lambda s: math.tanh(s))
    return str(raised.value)


PROVOCATIONS: dict[str, Callable[[Bench], str]] = {
    "…: unknown key; did you mean …?": lambda b: b.case("dynamics.layer=3"),
    "…: unknown name '…'": lambda b: b.case("dynamics.activation=swishh"),
    "…: unknown name '…' at column …": lambda b: b("steady", "field.toml", settings=("dynamics.kernel=x*z",)),
    "…: must be a number, got …": lambda b: b.case("dynamics.horizon=long"),
    "…: must be in …, got …": lambda b: b.case("data.test_fraction=1.5"),
    "…: malformed override '…'; write KEY=VALUE": lambda b: b.case("dynamics.layers"),
    "…: is not valid TOML: …": broken_toml,
    "…: is not text in UTF-8 (byte …)": latin,
    "data.file: no such file: …": lambda b: b.case("data.file=$DATA/digits.npz"),
    "…: the path … has bytes that are not UTF-8": bytes_in_a_path,
    "optimizer.method: '…' cannot keep objective.…_bounds": lambda b: b.case("objective.kernel_bounds=[-1.0, 1.0]"),
    "optimizer.options: … cannot be set: …": lambda b: b.case('optimizer.options={tao_type="cg"}'),
    "…: the function failed with … write ufl.… instead of …": function_of_numbers,
    "dynamics.kernel: the kernel is infinite where y = z": lambda b: b(
        "forward", "field.toml", settings=("dynamics.kernel=1/abs(y-z)**0.5",)
    ),
    "… has no group '…'; its groups are …": no_such_group,
    "warning: …: nodes hang: they lie on the side of a cell that has no node there, …": hanging_node,
    "no value function for this case: …": lambda b: b("hjb", "case.toml"),
    "… already holds a run (…): give --resume to continue it": twice,
    "… holds no checkpoint to resume from": lambda b: b("train", "case.toml", "--output", "run", "--resume"),
    "… holds no run: there is no case.toml in it": lambda b: b("certify", "nowhere"),
    "another run is going on in …": at_once,
    "… it belongs to another problem: … was … and is …": another_problem,
    "… could not be written: …": unwritable,
    "… NaN or Inf in … sample(s), first in sample …": not_a_number,
    "objective.loss = '…' needs in data.file …": lambda b: b.case("objective.loss=tracking"),
    "…: array 'x' of shape …: rows of … values are no square grid": lambda b: b.case("domain.shape=rectangle"),
    "…: array 'y' holds … labels for … inputs": few_labels,
    "data.test_fraction: the class '…' has a single sample": lone_class,
    "data.file: … has changed since the training": changed_data,
    "…: array 'y' has the labels …, of which the network knows none": foreign_labels,
    "…: expected a pixel grid of …, that of the training": foreign_grid,
    "the objective is not finite at layer … in iteration …": lambda b: b.case(
        "dynamics.activation=identity", "dynamics.horizon=1e200"
    ),
    "… (the gradient is zero at the start, …)": lambda b: b.case(
        'objective.controls=["kernel", "bias"]', "dynamics.kernel='0'"
    ),
    "… (the iteration limit was reached)": lambda b: b.case(),
    "… steps reached t = … of …": lambda b: b("forward", "field.toml", settings=("forward.max_steps=3",)),
    "the case does not fit into memory (…)": out_of_memory,
    "…: … would take … GB of memory at least, …": lambda b: b(
        "forward", "field.toml", settings=("data.samples=2000000000",)
    ),
    "… could not be drawn: …; the report does not need it": failing_figure,
    "…: no font of this machine has the characters …": no_glyphs,
    "warning: the standard output cannot be written (…); the run goes on without it": full_log,
    "… is not installed. Either install the wheels, …": without_dolfinx,
    "… started … processes, but in MPI (…) each of them is alone": alone,
}


def test_the_page_has_each_message_once() -> None:
    """Fails if a message of the page is not provoked below, or one that is provoked is not explained."""
    assert len(HEADINGS) == len(set(HEADINGS)) and set(HEADINGS) == set(PROVOCATIONS)
    entries = re.split(r"^### .*$", PAGE, flags=re.MULTILINE)[1:]
    assert all(len(entry.split()) > 15 for entry in entries), "an entry without cause and cure"


@pytest.mark.parametrize("message", HEADINGS)
def test_the_message_is_what_is_printed(bench: Bench, message: str) -> None:
    """Fails if the program says it in other words than the page."""
    pattern = ".*?".join(map(re.escape, message.split("…")))
    printed = PROVOCATIONS[message](bench)
    assert re.search(pattern, printed, re.DOTALL), printed
