# SPDX-License-Identifier: MIT
"""Checkpoints that are cut or changed at every tenth of their length, and those of n ranks read on m of them.

The tests fail if a damaged file is taken for a whole one or is changed by the attempt to read it, or if the order of
the controls in the file depends on the ranks that wrote it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import PROGRAM, read_report, with_settings
from killed_runs import train_here
from mpi4py import MPI
from two_phases import write_case

from fem_selection.config import load_case

RANKS = (1, 2, 3, 4)
_PLANE = """
[domain]
cells = [3, 2]
[dynamics]
layers = 2
kernel = "cos(y0 - z1) + t"
bias = "y0*y1"
[data]
source = "formula"
samples = 6
initial = "cos(3*y0 + s) + y1"
target = "y0 - s"
[objective]
loss = "tracking"
"""


# ── cut and changed ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case and a finished run, `r`."""
    path = tmp_path_factory.mktemp("checkpoints")
    assert train_here(write_case(path), path / "r", "--set", "optimizer.max_iterations=4") == 0
    return path


def _cut(content: bytes, place: int) -> bytes:
    return content[:place]


def _flipped(content: bytes, place: int) -> bytes:
    place = min(place, len(content) - 1)
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def _zeroed(content: bytes, place: int) -> bytes:
    """A block that never reached the disk, as after a power failure: the length is right."""
    start = max(min(place, len(content) - 512), 0)
    return content[:start] + bytes(512) + content[start + 512 :]


@pytest.mark.parametrize("damage", [_cut, _flipped, _zeroed])
@pytest.mark.parametrize("tenth", range(11))
def test_damage_at_every_tenth(folder: Path, tmp_path: Path, capfd, damage: Callable, tenth: int) -> None:
    """Fails if a file that is cut or changed there is taken for whole, is refused without its name, or is altered by
    the attempt to read it."""
    content = (folder / "r" / "checkpoint").read_bytes()
    damaged = damage(content, len(content) * tenth // 10)
    (tmp_path / "checkpoint").write_bytes(damaged)
    capfd.readouterr()
    status, error = train_here(folder / "case.toml", tmp_path, "--resume"), capfd.readouterr().err
    if damaged == content:  # cut at its end
        assert (damage, tenth, status) == (_cut, 10, 0)
        return
    assert status == 2 and str(tmp_path / "checkpoint") in error and "Traceback" not in error
    assert any(word in error for word in ("damaged", "truncated", "foreign")), error
    assert {p.name for p in tmp_path.iterdir()} == {"checkpoint", ".lock"}
    assert (tmp_path / "checkpoint").read_bytes() == damaged


# ── written on n ranks, read on m ─────────────────────────────────────────────────────────────────────────────────────


def _parts(case: Path, space: int) -> tuple:
    from fem_selection.cases.learning import build_problem

    problem = build_problem(load_case(case, [f"parallel.space={space}"]))
    controls = problem.functional.control_space
    return problem, (problem.ensemble, controls.indices, controls.global_size)


def exchange(folder: Path, task: str) -> None:
    """Write a checkpoint, or read all there are, by every split of the ranks (collective).

    Written are a direction that every partition knows and the start; what is read is compared bit by bit with the whole
    vectors that the single rank keeps in `whole.npz`, and its objective with that of the single rank.
    """
    from fem_selection.io.checkpoints import read_checkpoint, write_checkpoint

    size = MPI.COMM_WORLD.size
    for space in (s for s in range(1, size + 1) if size % s == 0):
        problem, where = _parts(folder / "case.toml", space)
        with np.load(folder / "whole.npz") as held:
            own = {name: held[name][where[1]] for name in ("one", "two")}
        if task == "write":
            state = {"size": size, "space": space}
            write_checkpoint(
                folder / f"from {size} {space}", *where[:2], global_size=where[2], state=state, vectors=own
            )
            continue
        for path in sorted(folder.glob("from *")):
            state, found = read_checkpoint(path, *where[:2], global_size=where[2])
            assert path.name == f"from {state['size']} {state['space']}"
            for name, vector in own.items():
                assert np.array_equal(found[name], vector), f"{path.name} on {size} ranks by {space}"
        value = problem.scaled_functional.evaluate(found["one"])[0]
        expected = json.loads((folder / "objective.json").read_text())
        assert abs(value / expected - 1) < 1e-12, f"{value} on {size} ranks by {space}, {expected} on one"


@pytest.fixture
def exchanged(tmp_path: Path) -> Path:
    """A folder with a case, two whole vectors in the canonical order and the objective at the first."""
    (tmp_path / "case.toml").write_text(_PLANE)
    problem, (_, indices, size) = _parts(tmp_path / "case.toml", 1)
    rng, whole = np.random.default_rng(5), np.empty(size)
    whole[indices] = problem.scaled_start + 0.1 * rng.normal(size=size)
    np.savez(tmp_path / "whole.npz", one=whole, two=rng.normal(size=size) * 10.0 ** rng.integers(-300, 300, size))
    (tmp_path / "objective.json").write_text(json.dumps(problem.scaled_functional.evaluate(whole[indices])[0]))
    return tmp_path


def check_pairs(folder: Path, run_mpi: Callable[..., str], writers: tuple[int, ...], readers: tuple[int, ...]) -> None:
    """Writes on each number of writers and reads on each number of readers, which compare bit by bit."""
    for task, ranks in (("write", writers), ("read", readers)):
        for size in ranks:
            if size == 1:
                exchange(folder, task)
            else:
                run_mpi(size, __file__, folder, task)


def test_written_on_one_number_of_ranks_and_read_on_another(exchanged: Path, run_mpi) -> None:
    """Fails if the order of the controls in the file is that of the ranks that wrote it."""
    check_pairs(exchanged, run_mpi, (1, 2), (1,))


@pytest.mark.slow
def test_all_pairs_of_numbers_of_ranks(exchanged: Path, run_mpi) -> None:
    """Fails if one of the 16 pairs, by every split into space and samples, reads other numbers: 8 files, each read in 8
    ways."""
    check_pairs(exchanged, run_mpi, RANKS, RANKS)
    assert len(list(exchanged.glob("from *"))) == 8


@pytest.mark.slow
def test_runs_go_on_by_another_split(exchanged: Path, run_mpi) -> None:
    """Fails if a run that is written on 4 ranks, 2 of them in space, and continued on 3 and on 2, ends elsewhere than
    the run of one rank."""
    case = exchanged / "case.toml"
    quiet = with_settings("output.figures=false", "output.fields=false", "optimizer.gradient_tolerance=0")
    for size, space, limit, more in ((4, 2, 4, ()), (3, 3, 8, ("--resume",)), (2, 1, 12, ("--resume",))):
        asked = with_settings(f"optimizer.max_iterations={limit}", f"parallel.space={space}")
        run_mpi(size, "-c", PROGRAM, "train", case, "--output", exchanged / "many", *quiet, *asked, *more)
    assert train_here(case, exchanged / "one", *quiet, "--set", "optimizer.max_iterations=12") == 0
    one, many = (read_report(exchanged / name) for name in ("one", "many"))
    assert many["iterations"] == one["iterations"] == 12
    assert many["resumed_from_iteration"] == 8
    assert many["objective"] == pytest.approx(one["objective"], rel=1e-6)


if __name__ == "__main__":
    exchange(Path(sys.argv[1]), sys.argv[2])
