# SPDX-License-Identifier: MIT
"""Import on first use: a package loads the module of a public name when the name is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from fem_selection.errors import missing_fenicsx

__all__ = ["attach", "load"]


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose public names load on first use (PEP 562).

    Args:
        package: The package's name.
        homes: The module of each public name, as for `load`.
    """
    return lambda name: load(package, homes, name), lambda: list(homes)


def load(package: str, homes: Mapping[str, str], name: str) -> Any:
    """Return a public attribute of a package, importing its module; for the package's `__getattr__`.

    Args:
        package: The package's name.
        homes: The module of each public name, relative to the package; a module that is public itself is its own home.
        name: The attribute.

    Raises:
        AttributeError: for a name that is not public.
        MissingDependency: if FEniCSx is not installed.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    try:
        module = import_module(f"{package}.{homes[name]}")
    except ModuleNotFoundError as error:
        missing = missing_fenicsx(error)
        if missing is not None:
            raise missing from error
        raise
    return module if homes[name] == name else getattr(module, name)
