# SPDX-License-Identifier: MIT
"""The studies of a problem or an equation: each study takes objects and settings and returns a report.

    report = fs.studies.forward(field, initial, fs.ForwardSettings(until=10.0))
    report = fs.studies.steady(field, initial)

A study is a function named by a verb or by its subject.  It writes no files, but its report has a method that does
(only `train` writes checkpoints, if it is given a folder).  The module of a study has another name than the function, a
noun (`forward` is in `trajectory`, `steady` in `steady_states`): Python sets an imported module as an attribute of its
package, where it would hide a function of the same name.
"""

from __future__ import annotations

from fem_selection.lazy import attach

_HOMES = {
    "BranchesReport": "branches_report",
    "CertificateReport": "optimality",
    "ForwardReport": "trajectory",
    "HjbReport": "value_report",
    "NetworkStabilityReport": "depth_stability",
    "PicardCondition": "steady_report",
    "PredictionReport": "predictions",
    "Progress": "report",
    "Report": "report",
    "SampleLimit": "steady_report",
    "StabilityReport": "stability_report",
    "SteadyReport": "steady_report",
    "RankResult": "adaptive_rank",
    "RankRound": "adaptive_rank",
    "ReportedState": "steady_report",
    "TrainingReport": "training_report",
    "TrainingResult": "training_report",
    "VerificationReport": "gradient",
    "branches": "continuation",
    "certify": "optimality",
    "forward": "trajectory",
    "hjb": "value_function",
    "network_stability": "depth_stability",
    "predict": "predictions",
    "stability": "state_stability",
    "steady": "steady_states",
    "train": "training",
    "train_levels": "multilevel",
    "train_rank": "adaptive_rank",
    "verify": "gradient",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = attach(__name__, _HOMES)
