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

from fem_selection.learning import Functional, GradientCertificate, verify_gradient
from fem_selection.studies.report import Report
from fem_selection.typing import Floats

__all__ = ["LOWEST_ORDER", "WORST_IDENTITY", "VerificationReport", "verify"]

LOWEST_ORDER = 1.9
"""Taylor order from which a derivative counts as right; a wrong one has order 1, an exact one 2."""
WORST_IDENTITY = 1e-10
"""Largest relative error of the adjoint identity that counts as round-off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VerificationReport(Report):
    """The measurements of `verify`, and whether the gradient passed.

    Attributes:
        certificate: Taylor remainders, their orders, and the error of the adjoint identity.
    """

    certificate: GradientCertificate

    file: ClassVar[str] = "verify.json"

    @property
    def passed(self) -> bool:
        """Whether Taylor order and adjoint identity are those of an exact derivative."""
        c = self.certificate
        return (c.taylor_order >= LOWEST_ORDER or c.is_linear) and c.adjoint_identity_error <= WORST_IDENTITY

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
        """Taylor order and adjoint identity with the limits they must meet, as sentences."""
        c = self.certificate
        order = "none, the objective is linear" if c.is_linear else f"{c.taylor_order:.4f}  "
        return [
            f"Taylor order            {order} (at least {LOWEST_ORDER})",
            f"adjoint identity error  {c.adjoint_identity_error:.2e} (at most {WORST_IDENTITY:g})",
        ]

    def content(self) -> dict[str, Any]:
        """The measurements and whether they passed."""
        return {**asdict(self.certificate), "passed": self.passed}


def verify(functional: Functional, controls: Floats, *, seed: int = 0) -> VerificationReport:
    """Measure Taylor order and adjoint identity of a gradient near given controls (collective).

    Args:
        functional: J; its controls are overwritten.
        controls: Shard of x, not changed; the measurements are made at a control moved away from it.
        seed: Seed of the random directions.

    Raises:
        InvalidInput: if the controls have another shape.
        NonFinite: if there are no states near the controls.
    """
    controls = functional.control_space.to_shard(controls)
    return VerificationReport(certificate=verify_gradient(functional, controls, seed))
