# SPDX-License-Identifier: MIT
"""Settings as frozen dataclasses, one class for each table of a case file; the defaults stand here and nowhere else.

    fs.studies.forward(field, initial, fs.ForwardSettings(until=50.0, rtol=1e-10))

The numerics take these objects, `config` reads TOML into them.  A field's annotation is its allowed range; a table
checks itself when it is made, and raises `InvalidSettings` with all faults.  Where a routine needs a part of a table,
that part is a class of its own, which the table's class inherits: `StepSettings`, `NewtonSettings`, `LimitSettings`.
Nothing here imports FEniCSx.
"""

from fem_selection.settings.equation import DomainSettings, DynamicsSettings, SpaceSettings
from fem_selection.settings.instruments import (
    ForwardSettings,
    HjbSettings,
    LimitSettings,
    NewtonSettings,
    StabilitySettings,
    SteadySettings,
    StepSettings,
)
from fem_selection.settings.learning import (
    CertificateSettings,
    DataSettings,
    Movement,
    ObjectiveSettings,
    OptimizerSettings,
    Regularization,
    StochasticSettings,
)
from fem_selection.settings.multilevel import MultilevelSettings
from fem_selection.settings.run import OutputSettings, ParallelSettings
from fem_selection.settings.tables import InvalidSettings
from fem_selection.settings.tape import TapeSettings

__all__ = [
    "CertificateSettings",
    "DataSettings",
    "DomainSettings",
    "DynamicsSettings",
    "ForwardSettings",
    "HjbSettings",
    "InvalidSettings",
    "LimitSettings",
    "Movement",
    "MultilevelSettings",
    "NewtonSettings",
    "ObjectiveSettings",
    "OptimizerSettings",
    "OutputSettings",
    "ParallelSettings",
    "Regularization",
    "SpaceSettings",
    "StabilitySettings",
    "SteadySettings",
    "StepSettings",
    "StochasticSettings",
    "TapeSettings",
]
