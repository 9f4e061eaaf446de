# SPDX-License-Identifier: MIT
"""Figures as files: `save` writes one, `draw` also makes it and turns what goes wrong on the way into a warning."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from fem_selection.errors import InvalidInput, SelectionWarning
from fem_selection.plots.style import use_style

__all__ = ["draw", "save"]


def save(figure: Figure, path: str | os.PathLike[str], dpi: float = 150) -> Path:
    """Write a figure to a temporary file in the same folder and rename it, so that no incomplete file is ever visible.

    Args:
        figure: The figure.
        path: The file; its suffix names the format, PNG if there is none.
        dpi: Pixels per inch (1080 pixels across at the usual width).

    Returns:
        The path written.

    Raises:
        InvalidInput: if matplotlib knows no format of that suffix.
        OSError: if the folder is missing or cannot be written; an older file at `path` then stays unchanged.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".png")
    kind = path.suffix[1:].lower()
    if kind not in (known := figure.canvas.get_supported_filetypes()):
        raise InvalidInput(f"cannot write a figure as {path.suffix!r}; use one of {', '.join(sorted(known))}")
    _write(path, _render(figure, path, kind, dpi))
    return path


def draw[**P](path: Path, plot: Callable[P, Figure], *args: P.args, **kwargs: P.kwargs) -> None:
    """Draw a figure and save it; a figure that cannot be drawn becomes a warning, since the report is worth more.

    Args:
        path: The file, with the suffix of its format.
        plot: A function that draws.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Raises:
        OSError: if the figure was drawn, but the file cannot be written.

    Warns:
        SelectionWarning: if the figure cannot be drawn, with its path and the reason; an older file is removed, for it
            would pass for this report's.
    """
    try:
        image = _render(plot(*args, **kwargs), path, path.suffix[1:].lower(), dpi=150)
    except Exception as error:  # whatever fonts, text and numbers do to matplotlib
        path.unlink(missing_ok=True)
        reason = next(iter(str(error).strip().splitlines()), "")
        warnings.warn(
            f"{path} could not be drawn: {type(error).__name__}: {reason}; the report does not need it",
            SelectionWarning,
            stacklevel=2,
        )
        return
    _write(path, image)


def _render(figure: Figure, path: Path, kind: str, dpi: float) -> bytes:
    """The file's contents; warns once for each figure of the characters that no font has."""
    image = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught, use_style():
        warnings.simplefilter("always")
        figure.savefig(image, format=kind, dpi=dpi)
    missing: dict[str, None] = {}
    for warning in caught:
        if found := re.match(r"Glyph (\d+) .*missing from", str(warning.message)):
            missing[chr(int(found[1]))] = None
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing:
        warnings.warn(
            f"{path}: no font of this machine has the characters {''.join(missing)}, which are drawn as boxes; a font "
            "with them, such as one of the Noto fonts, is found once it is installed and matplotlib's cache removed",
            SelectionWarning,
            stacklevel=3,
        )
    return image.getvalue()


def _write(path: Path, image: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(image)
        os.replace(partial, path)
    except OSError as error:  # the error of a full disk does not name the file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
