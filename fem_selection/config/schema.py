# SPDX-License-Identifier: MIT
"""A whole case file as one frozen dataclass, made of the tables in `fem_selection.settings`.

Each table checks itself when it is built.  The checks of several tables together are in `fem_selection.config.checks`;
only `load_case` and `parse_case` run them.
"""

from __future__ import annotations

from dataclasses import field

from pydantic import Field

from fem_selection.settings import (
    DataSettings,
    DomainSettings,
    DynamicsSettings,
    ForwardSettings,
    HjbSettings,
    MultilevelSettings,
    ObjectiveSettings,
    OptimizerSettings,
    OutputSettings,
    ParallelSettings,
    Regularization,
    SpaceSettings,
    StabilitySettings,
    SteadySettings,
    StochasticSettings,
    TapeSettings,
)
from fem_selection.settings.tables import settings_class

__all__ = ["Case"]


@settings_class
class Case:
    """A whole case file.

    Attributes:
        title: A line for reports.
        seed: Seed of all random choices.
        parameters: Numbers by name, for use in formulas.
        domain: The feature domain and its mesh.
        space: The finite element space.
        dynamics: The selection equation.
        data: The samples.
        objective: The objective and the controls over which it is minimised.
        regularization: Its penalties.
        stochastic: The phase on batches.
        optimizer: The phase on all samples.
        multilevel: Coarser meshes and depths that the training begins on.
        hjb: The value function.
        forward: The equation over large times.
        steady: Steady states.
        stability: Spectra and branches of steady states.
        tape: What is stored of a sweep for the way back.
        parallel: How the ranks share the work.
        output: What a run leaves behind.
    """

    title: str = ""
    seed: int = Field(default=0, ge=0, le=2**32 - 2)
    parameters: dict[str, float] = field(default_factory=dict)
    domain: DomainSettings = field(default_factory=DomainSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    dynamics: DynamicsSettings = field(default_factory=DynamicsSettings)
    data: DataSettings = field(default_factory=DataSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    regularization: Regularization = field(default_factory=Regularization)
    stochastic: StochasticSettings = field(default_factory=StochasticSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    multilevel: MultilevelSettings = field(default_factory=MultilevelSettings)
    hjb: HjbSettings = field(default_factory=HjbSettings)
    forward: ForwardSettings = field(default_factory=ForwardSettings)
    steady: SteadySettings = field(default_factory=SteadySettings)
    stability: StabilitySettings = field(default_factory=StabilitySettings)
    tape: TapeSettings = field(default_factory=TapeSettings)
    parallel: ParallelSettings = field(default_factory=ParallelSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
