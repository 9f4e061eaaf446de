# SPDX-License-Identifier: MIT
"""Names that a case file may use are the names that exist."""

from __future__ import annotations

from fem_selection.dynamics import SCHEMES, find_scheme
from fem_selection.functions.activations import ACTIVATIONS, find_activation
from fem_selection.objectives import LOSSES, find_loss
from fem_selection.settings import names as schema


def test_names_in_cases_are_those_of_the_registries():
    """Fails if something is added to a registry but not to the schema, or the other way round."""
    assert tuple(ACTIVATIONS) == schema.ACTIVATIONS
    assert tuple(SCHEMES) == schema.SCHEMES
    assert (*LOSSES, "tracking") == schema.LOSSES


def test_registries_are_keyed_by_name():
    """Fails if an entry's own name is not the one it is found by."""
    for registry, find in ((ACTIVATIONS, find_activation), (SCHEMES, find_scheme), (LOSSES, find_loss)):
        for name, entry in registry.items():
            assert entry.name == name
            assert find(name) is entry


def test_aliases_lead_to_names():
    """Fails if an alias stands for a name that does not exist, or hides one."""
    for aliases, names in ((schema.SCHEME_ALIASES, SCHEMES), (schema.LOSS_ALIASES, LOSSES)):
        assert set(aliases.values()) <= set(names)
        assert not set(aliases) & set(names)
