# SPDX-License-Identifier: MIT
"""The folder of a run, its history, reports and fields.

These tests fail if a resumed history keeps lines beyond the checkpoint or a line cut short, if a crash while writing
harms the file that was there, if a run removes files that are not its own, or if ParaView would find empty fields.
"""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import fem_selection
from fem_selection.errors import InvalidInput
from fem_selection.io import runs
from fem_selection.io.fields import write_states
from fem_selection.io.runs import (
    History,
    claim_folder,
    next_numbered_folder,
    read_columns,
    remove_run,
    write_json,
    write_text,
)

COLUMNS = ("iteration", "objective")


def write_history(path: Path, count: int) -> None:
    """A history of `count` lines."""
    history = History(path, COLUMNS)
    for number in range(count):
        history.append(number, 1.0 / (number + 1))
    history.close()


def test_a_history_is_on_disk_line_by_line(tmp_path: Path) -> None:
    """Fails if lines wait in a buffer, where a kill loses them."""
    history = History(tmp_path / "h.csv", COLUMNS)
    history.append(0, 0.1)
    assert (tmp_path / "h.csv").read_text() == "iteration,objective\n0,0.1\n"
    history.close()


def test_a_resumed_history_has_no_gaps_or_repeats(tmp_path: Path) -> None:
    """Fails if lines beyond the checkpoint stay, so that iterations are repeated, or if the last one that counts is cut
    off."""
    path = tmp_path / "h.csv"
    write_history(path, 8)
    history = History(path, COLUMNS, keep_up_to=5)
    history.append(6, 6.5)
    history.close()
    columns = read_columns(path)
    assert columns["iteration"].tolist() == list(range(7))
    assert columns["objective"][6] == 6.5


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    """Fails if half a line at the end becomes a row, or part of the next one."""
    path = tmp_path / "h.csv"
    write_history(path, 4)
    path.write_text(path.read_text() + "4")
    history = History(path, COLUMNS, keep_up_to=4)
    history.append(4, 0.5)
    history.close()
    assert read_columns(path)["iteration"].tolist() == [0, 1, 2, 3, 4]
    assert path.read_text().splitlines()[-2:] == ["3,0.25", "4,0.5"]


def test_numbers_come_back_to_the_last_bit_and_nan_as_an_empty_field(tmp_path: Path) -> None:
    """Fails if a float is written with fewer digits than it has, or NaN as a word."""
    path, value = tmp_path / "h.csv", 0.1 + 0.2
    history = History(path, COLUMNS)
    history.append(0, value)
    history.append(1, float("nan"))
    history.append(2, np.float64(value))
    history.close()
    assert path.read_text().splitlines()[2] == "1,"
    np.testing.assert_array_equal(read_columns(path)["objective"], [value, np.nan, value])


def test_a_new_history_replaces_an_old_one(tmp_path: Path) -> None:
    """Fails if lines of an old history stay in a new one, or if a history that is not there raises."""
    write_history(tmp_path / "h.csv", 3)
    History(tmp_path / "h.csv", COLUMNS).close()
    assert read_columns(tmp_path / "h.csv")["iteration"].size == 0
    assert read_columns(tmp_path / "missing.csv") == {}


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a file is written in place and not renamed when it is whole, or if what a crash leaves stops the next
    writing."""
    path = tmp_path / "report.json"
    write_json(path, {"a": 1})

    def crash(*paths: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"a": 1}
    write_text(path, "new")  # over the partial file that is left
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_json_of_what_json_does_not_know(tmp_path: Path) -> None:
    """Fails if NaN or an infinity is written as a word that JSON does not have, or if NumPy's numbers and arrays are
    refused."""
    path = tmp_path / "r.json"
    content = {
        "nan": float("nan"),
        "deep": [{"inf": np.float64("inf")}, (np.int64(3), np.bool_(True))],
        "array": np.array([1.5, np.nan]),
        "text": "σ",
    }
    write_json(path, content)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    read = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert read == {"nan": None, "deep": [{"inf": None}, [3, True]], "array": [1.5, None], "text": "σ"}


def test_numbered_folders_count_on(tmp_path: Path) -> None:
    """Fails if a number is given twice, if a folder of another name stops the count, or if a file in place of the
    folder is not named."""
    first = next_numbered_folder(tmp_path / "runs")
    (tmp_path / "runs" / "0007").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    assert (first.name, next_numbered_folder(tmp_path / "runs").name) == ("0001", "0008")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="file"):
        next_numbered_folder(tmp_path / "file")


@pytest.mark.parametrize("mark", ["case.toml", "checkpoint", "report.json", "history.csv"])
def test_a_folder_with_a_run_is_refused(tmp_path: Path, mark: str) -> None:
    """Fails if one of these files does not mark its folder as a run's, or is changed by the refusal."""
    (tmp_path / mark).write_text("x")
    with pytest.raises(InvalidInput, match=mark):
        claim_folder(tmp_path, resume=False, overwrite=False)
    assert (tmp_path / mark).read_text() == "x"


def test_only_files_of_a_run_are_removed(tmp_path: Path) -> None:
    """Fails if `--overwrite` removes a file that is no run's, or removes anything before the new run can begin."""
    (tmp_path / "figures").mkdir()
    mine = [tmp_path / "figures" / "photo.png", tmp_path / "notes.txt"]
    # without a run in it, even files that carry a run's names are somebody else's
    foreign = tmp_path / "figures" / "states.png"
    for path in (*mine, foreign):
        path.write_text("mine")
    claim_folder(tmp_path, resume=False, overwrite=False)
    remove_run(tmp_path)
    assert all(path.exists() for path in (*mine, foreign))
    for name in ("report.json", "checkpoint", "stochastic.csv"):
        (tmp_path / name).write_text("old")
    (tmp_path / "states.bp").mkdir()
    claim_folder(tmp_path, resume=False, overwrite=True)
    assert (tmp_path / "report.json").exists(), "nothing is removed before the new case is known to work"
    remove_run(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["figures", "notes.txt", "photo.png"]


def test_nothing_of_an_earlier_run_stays(tmp_path: Path) -> None:
    """Fails if a file that some study writes, trainings from several starts or an assessment of the earlier network
    stay where a run is replaced, and pass for the new run's."""
    studies = Path(fem_selection.__file__).parent / "studies"
    text = "".join(path.read_text() for path in studies.glob("*.py"))
    figures = set(re.findall(r'"(\w+\.png)"', text))
    others = set(re.findall(r'"(\w+\.(?:json|npz|csv))"', text)) | {"checkpoint", "case.toml", "branch_0.xdmf"}
    assert {"coefficients.png", "branch_states.png"} <= figures and {"branches.npz", "certificate.json"} <= others
    for folder in (tmp_path, tmp_path / "stability", tmp_path / "starts" / "0"):
        (folder / "figures").mkdir(parents=True)
        for name in (*(f"figures/{figure}" for figure in figures), *others):
            (folder / name).write_text("old")
    for name in others - {"report.json", "branches.npz", "branch_0.xdmf"}:
        (tmp_path / "stability" / name).unlink()
    (tmp_path / "stability" / "figures" / "certificate.png").unlink()
    (tmp_path / "stability" / "report.json").write_text('{"command": "stability"}')
    remove_run(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["figures"]


def test_a_history_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    """Fails if a column that has another name now is read as if it were the new one."""
    (tmp_path / "h.csv").write_text("epoch,objective,score\n1,0.5,-3.0\n2,0.25,-2.0\n")
    history = History(tmp_path / "h.csv", ("epoch", "objective", "cost"), keep_up_to=1)
    history.append(2, 0.125, 4.0)
    history.close()
    found = read_columns(tmp_path / "h.csv")
    np.testing.assert_array_equal(found["objective"], [0.5, 0.125])
    np.testing.assert_array_equal(found["cost"], [np.nan, 4.0])


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300, "null\0byte"])
def test_impossible_folders_are_refused(tmp_path: Path, name: str) -> None:
    """Fails if a folder that cannot exist raises an error of Python's own."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput):
        claim_folder(tmp_path / name, resume=False, overwrite=False)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a folder without permission to write is claimed, which only the first checkpoint would notice."""
    (tmp_path / "checkpoint").write_text("x")
    monkeypatch.setattr(runs.os, "access", lambda path, mode: False)
    for resume in (True, False):
        with pytest.raises(InvalidInput, match="cannot be written"):
            claim_folder(tmp_path, resume=resume, overwrite=not resume)


@pytest.mark.parametrize("cell", ["interval", "quadrilateral", "triangle", "tetrahedron"])
@pytest.mark.parametrize(("family", "degree"), [("lagrange", 1), ("lagrange", 2), ("dg", 0), ("dg", 1)])
def test_paraview_gets_the_states(tmp_path: Path, spaces, cell: str, family: str, degree: int) -> None:
    """Fails if a field is written at fewer points than the space has nodes or in single precision, or if its name
    breaks the format."""
    simplex = cell in ("triangle", "tetrahedron")
    space = spaces(cell, 2, degree, "galerkin" if simplex and degree == 2 else "collocated", family)
    values = np.array([[1.2345678901, 2.3456789012], [3.4567890123, 4.5678901234]])  # of fields, at two times
    states = [np.asfortranarray(np.tile(row, (space.num_local, 1))) for row in values]
    written = write_states(
        tmp_path / "states", space, np.array([0.0, 0.5]), states=states, names=["class_a/b $x_", "é {ü"]
    )
    files = [written] if written.is_file() else [p for p in written.rglob("*") if p.is_file()]
    content = b"".join(p.read_bytes() for p in (*files, *written.parent.glob("*.h5")))
    for value in values.ravel():
        # constants are kept to the last bit, one number at each of the file's nodes
        assert content.count(struct.pack("<d", value)) >= space.num_nodes
