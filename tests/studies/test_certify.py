# SPDX-License-Identifier: MIT
"""The study `certify` on networks that no case file made: numbers by NumPy, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from own_equations import make_neuron
from own_networks import ALPHA, make_classifier, numpy_objective

import fem_selection as fs
from fem_selection.studies.optimality import CertificateReport

TO_THE_END = fs.OptimizerSettings(method="nls", max_iterations=200, gradient_tolerance=1e-9)
QUICK = fs.CertificateSettings(starts=2, eigenvalue_tolerance=1e-3)
BARE = fs.OutputSettings(figures=False, fields=False)


@pytest.fixture(scope="module")
def neuron():
    """One neuron at its optimum: the problem, the controls and the report."""
    problem = make_neuron(MPI.COMM_SELF)
    controls = fs.studies.train(problem, TO_THE_END, output=BARE).controls
    return problem, controls, fs.studies.certify(problem, controls)


def numpy_neuron(x: np.ndarray) -> float:
    """J of the neuron: sixteen midpoint steps of ∂_t f = w f + b from 1 towards 2.5, by NumPy."""
    w, b, f, step = x[:16], x[16:], 1.0, 1.0 / 16
    for n in range(16):
        middle = f + 0.5 * step * (w[n] * f + b[n])
        f += step * (w[n] * middle + b[n])
    return 0.5 * 3.0 * (f - 2.5) ** 2 + 0.5 * 0.7 * step * float(x @ x)


def test_the_lowest_eigenvalue_is_that_of_numpys_hessian(neuron):
    """Fails if the Hessian's eigenvalue is not that of J'' v = λ M v: against differences of J by NumPy."""
    _, controls, report = neuron
    assert report.certificate.objective == pytest.approx(numpy_neuron(controls), rel=1e-12)
    size, h = len(controls), 1e-3
    steps = h * np.eye(size)
    around = [[numpy_neuron(controls + a * u + b * v) for a in (1, -1) for b in (1, -1)] for u in steps for v in steps]
    hessian = (np.array(around) @ [1, -1, -1, 1]).reshape(size, size) / (4 * h * h)
    lowest = np.linalg.eigvalsh(hessian * 16)[0]  # M is Δt
    assert report.certificate.lowest_hessian_eigenvalue == pytest.approx(lowest, rel=1e-4)


def test_an_optimum_is_confirmed(neuron):
    """Fails if a condition that holds is denied: the neuron's optimum is known, and its Hamiltonian is constant."""
    _, _, report = neuron
    found = report.certificate
    assert found.gradient_norm < 1e-8 and found.kkt_residual < 1e-8
    assert set(found.declined) == {"kernel_rank_bound"}
    assert report.conclusion == "a local minimiser" and found.newton_contraction is not None
    said = " ".join(report.verdict)
    assert "a local minimiser" in said and "none of 12 starts found a lower Hamiltonian" in said
    assert "not optimal" not in said


def test_a_control_that_is_not_optimal_is_refuted(neuron):
    """Fails if a control whose Hamiltonian can be lowered passes, or the layer of the largest gap is not named."""
    problem, controls, _ = neuron
    report = fs.studies.certify(problem, 3 * controls, fs.CertificateSettings(starts=3), seed=5)
    gaps = report.certificate.maximum_principle_gaps
    assert report.certificate.maximum_principle_starts == 3
    assert report.conclusion == "not optimal" and report.certificate.local_minimum == "not a local minimiser"
    (sentence,) = [s for s in report.verdict if "Pontryagin: not optimal" in s]
    assert f"the largest gap is in layer {int(np.argmax(gaps))}" in sentence


def test_what_a_readout_leaves_of_the_conditions():
    """Fails if numbers of a classifier are those of other controls, or a box is passed over."""
    problem = make_classifier(MPI.COMM_SELF)
    controls = problem.functional.control_space.random_direction(1)
    found = fs.studies.certify(problem, controls, QUICK).certificate
    assert found.objective == pytest.approx(numpy_objective(problem, controls), rel=1e-12)
    assert found.gradient_norm > 0.01 and len(found.kernel_rank) == 2
    assert "a rank of 15, and no kernel on 9 nodes has a larger one" in found.declined["kernel_rank_bound"]
    assert ALPHA["kernel"] > 0
    boxed = make_classifier(MPI.COMM_SELF, bounds={"kernel": (-1.0, 1.0)})
    report = fs.studies.certify(boxed, controls, QUICK)
    assert report.certificate.active_bounds["upper"] == 0 and report.certificate.kkt_residual > 0.01
    assert ("variational", "gradient norm") in [row[:2] for row in report.rows]
    assert any(row[1] == "active bounds" and "free" in row[2] for row in report.rows)


def test_a_hamiltonian_without_a_minimum(tmp_path):
    """Fails if a search that falls without bound, as σ(s) = s − s³/9 outgrows the penalty, ends in a number or a crash.

    Nothing else is declined, and the figure says so in its place.
    """
    problem = make_classifier(MPI.COMM_SELF)
    controls = fs.studies.train(problem, fs.OptimizerSettings(max_iterations=20), output=BARE).controls
    report = fs.studies.certify(problem, controls, fs.CertificateSettings(eigenvalue_tolerance=1e-3))
    declined = report.certificate.declined
    assert all("maximum_principle" in name or "insertion" in name for name in declined.keys() - OTHERS)
    assert "has no minimum: it falls without bound" in declined["maximum_principle_gap"]
    assert report.certificate.hamiltonian_drift > 0 and not any("starts found" in said for said in report.verdict)
    report.write(tmp_path, comm=MPI.COMM_SELF)
    assert (tmp_path / "figures" / "certificate.png").stat().st_size > 5000


OTHERS = {"lowest_change", "gap_remainder", "kernel_rank_bound"}


def certificate_with(**numbers) -> CertificateReport:
    """A report of given numbers, all others declined."""
    names = [f.name for f in dataclasses.fields(fs.learning.OptimalityCertificate)]
    known = {"objective_round_off": 1e-15, "gradient_allowance": 0.0, "local_minimum": "not decided", "insertions": 7}
    values = {**dict.fromkeys(names), "declined": {}, **known, **numbers}
    certificate = fs.learning.OptimalityCertificate(**values)
    return CertificateReport(
        certificate=certificate, has_kink=numbers.get("kink", False), times=np.arange(3.0), step=0.5
    )


def test_verdict_names_places():
    """Fails if a large gap or drift is not said to be where it is, or a rank above the bound passes in silence."""
    numbers = {"objective": 1.0, "maximum_principle_starts": 3, "maximum_principle_round_off": 1e-16}
    numbers |= {"lowest_change": -0.2, "lowest_insertion": "layer 2", "maximum_principle_nearest_gap": 1e-17}
    wrong = certificate_with(
        **numbers, maximum_principle_gap=0.3, maximum_principle_gaps=[0.1, 0.2, 0.6], hamiltonian=[-1.0, -1.01, -0.5],
        hamiltonian_drift=0.51, kernel_rank=[2, 5, 3], kernel_rank_bound=4, maximum_principle="not optimal",
    )  # fmt: skip
    said = " ".join(wrong.verdict)
    assert "not optimal" in said and "largest gap is in layer 2" in said and "(layer 2) they lower J by 0.2" in said
    assert "50.50% of its largest value, most between layers 1 and 2 (" in said
    assert "a kernel of rank 5 is above the bound of stationary ones, 4" in said
    right = certificate_with(
        **numbers, maximum_principle_gap=1e-9, maximum_principle_gaps=[1e-9] * 3, hamiltonian=[-1.0, -1.001, -1.002],
        hamiltonian_drift=0.002, kernel_rank=[2, 2, 2], kernel_rank_bound=4,
        maximum_principle="no lower Hamiltonian found",
    )  # fmt: skip
    said = " ".join(right.verdict)
    tiny = certificate_with(**numbers, hamiltonian=[-1.0, -1.0 - 2e-7], hamiltonian_drift=2e-7)
    assert "varies over depth by 2.0e-05% of" in " ".join(tiny.verdict)
    assert "none of 3 starts" in said and "between layers" not in said and "rank" not in said
    kinked = dataclasses.replace(right, has_kink=True)
    assert any("σ has a kink" in sentence for sentence in kinked.verdict)


def test_the_report_is_kept_and_written(neuron, tmp_path):
    """Fails if the report holds a PETSc object, a file is missing, or `as_dict` is not what the file says."""
    report = pickle.loads(pickle.dumps(neuron[2]))
    path = report.write(tmp_path / "folder", comm=MPI.COMM_SELF)
    assert path == tmp_path / "folder" / "certificate.json"
    written = json.loads(path.read_text())
    assert written == json.loads(json.dumps(report.as_dict())) and written["verdict"] == report.verdict
    assert (path.parent / "figures" / "certificate.png").stat().st_size > 5000
