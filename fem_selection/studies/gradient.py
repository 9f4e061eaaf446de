# SPDX-License-Identifier: MIT
"""Verification of the gradient of an objective: measurements, and whether it passed.

    report = fs.studies.verify(functional, controls)
    report.passed, report.certificate.taylor_order

    folder/verify.json    see `learning.verification.GradientCertificate`; whether it passed

Use `learning.verify_gradient` for the measurements alone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.learning import Functional, GradientCertificate, verify_gradient
from fem_selection.learning.verification import move_controls
from fem_selection.learning.weak_form import WeakFormErrors, measure_weak_form
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["LOWEST_ORDER", "WORST_FORM", "WORST_IDENTITY", "WORST_SOLVED_FORM", "VerificationReport", "verify"]

LOWEST_ORDER = 1.9
"""Taylor order from which a derivative counts as right; a wrong one has order 1, an exact one 2."""
WORST_IDENTITY = 1e-10
"""Largest relative error of the adjoint identity that counts as round-off."""
WORST_FORM = 1e-12
"""Largest relative difference of sweeps and assembled weak forms that counts as round-off."""
WORST_SOLVED_FORM = 1e-8
"""The same where stages are implicit, and hold to the tolerance of their solver."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VerificationReport(Report):
    """The measurements of `verify`, and whether the gradient passed.

    Attributes:
        certificate: Taylor remainders, their orders, and the error of the adjoint identity.
        weak_form: Differences of the sweeps from the assembled weak forms.
        worst_form: The largest that counts as none.
    """

    certificate: GradientCertificate
    weak_form: WeakFormErrors
    worst_form: float

    file: ClassVar[str] = "verify.json"

    @property
    def passed(self) -> bool:
        """Whether the sweeps solve the weak form, and Taylor order and adjoint identity are those of a derivative."""
        c = self.certificate
        is_derivative = (c.taylor_order >= LOWEST_ORDER or c.is_linear) and c.adjoint_identity_error <= WORST_IDENTITY
        return is_derivative and self.weak_form.largest <= self.worst_form

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Step, Taylor remainder and observed order, for a table."""
        c = self.certificate
        return [
            (f"{step:g}", f"{remainder:.3e}", "" if math.isnan(order) else f"{order:.3f}")
            for step, remainder, order in zip(c.steps, c.remainders, (math.nan, *c.orders), strict=True)
        ]

    @property
    def sentences(self) -> list[str]:
        """Taylor order, adjoint identity and weak form with the limits they must meet, as sentences."""
        c = self.certificate
        form = self.weak_form
        order = "none, the objective is linear" if c.is_linear else f"{c.taylor_order:.4f}  "
        return [
            f"Taylor order            {order} (at least {LOWEST_ORDER})",
            f"adjoint identity error  {c.adjoint_identity_error:.2e} (at most {WORST_IDENTITY:g})",
            f"assembled weak form     {form.largest:.2e} (at most {self.worst_form:g})  "
            f"rate {form.rate:.1e}, tangent {form.tangent:.1e}, adjoint {form.adjoint:.1e}"
            + (f", implicit stages {form.stage:.1e}" if form.stage else ""),
        ]

    def content(self) -> dict[str, Any]:
        """The measurements and whether they passed."""
        return {**asdict(self.certificate), "weak_form": asdict(self.weak_form), "passed": self.passed}


def verify(functional: Functional, controls: Floats, *, seed: int = 0) -> VerificationReport:
    """Measure a gradient near given controls, and compare the sweeps there with assembled weak forms (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x, not changed; the measurements are made at a control moved away from it.
        seed: Seed of the random directions.

    Raises:
        InvalidInput: if the controls have another shape.
        NonFinite: if there are no states near the controls.
    """
    if not np.all(np.isfinite(controls)):
        raise InvalidInput("the controls are not finite: those of a case follow from dynamics.start_scale")
    controls = functional.control_space.to_shard(controls)
    worst = WORST_SOLVED_FORM if functional.stepper.scheme.is_implicit else WORST_FORM
    certificate = verify_gradient(functional, controls, seed)
    moved = move_controls(functional, controls, certificate.distance, seed=seed)
    return VerificationReport(
        certificate=certificate,
        weak_form=measure_weak_form(functional, moved, seed),
        worst_form=worst,
    )
