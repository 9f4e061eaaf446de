# SPDX-License-Identifier: MIT
"""Names that users gave, as text of a figure: no mathematics, no control characters, not too long."""

from __future__ import annotations

import unicodedata

__all__ = ["as_plain_text"]

_LONGEST = 24
_ESCAPED = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, line and paragraph separators


def as_plain_text(name: object) -> str:
    """Return a name as text that matplotlib shows as it stands.

    Dollar signs are escaped, for between two of them matplotlib reads mathematics.  Control characters are shown as
    Python writes them, a long name loses its middle, and an empty one is shown as "(empty)".

    Args:
        name: The name.

    Example:
        >>> as_plain_text("50 $\\n")
        '50 \\\\$\\\\n'
    """
    text = str(name)
    if len(text) > _LONGEST:
        half = (_LONGEST - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    shown = "".join(_visible(character) for character in text)
    if not shown.strip():
        return "(empty)" if not text else "(blank)"
    # a backslash before the next text's dollar sign would escape it
    return shown.replace("$", r"\$") + (" " if shown.endswith("\\") else "")


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cf":  # joiners and marks of direction have no glyph
        return ""
    return character.encode("unicode_escape").decode("ascii") if kind in _ESCAPED else character
