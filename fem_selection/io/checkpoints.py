# SPDX-License-Identifier: MIT
"""Checkpoints: one file that any number of ranks can read.

    8 bytes   magic "FEMSELCP"
    8 bytes   length of the header, little-endian
    header    JSON: format, length of a vector, a checksum of each vector by name, and the caller's own state
    data      the vectors one after the other, little-endian float64, in the canonical order of the controls

The canonical order (`ControlSpace.indices`) is the same on every partition.  Rank 0 writes a new file and then renames
it, so that the old one stays intact until then.  It receives one vector at a time, so that its memory holds only one.
Each vector and the header have a CRC-32.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fem_selection.errors import InvalidInput
from fem_selection.parallel import Ensemble
from fem_selection.typing import Floats, Integers

__all__ = ["differing_keys", "jsonable", "read_checkpoint", "read_state", "refuse_another", "write_checkpoint"]

_MAGIC = b"FEMSELCP"
_FORMAT = 1


def write_checkpoint(
    path: Path,
    ensemble: Ensemble,
    indices: Integers,
    *,
    global_size: int,
    state: Mapping[str, Any],
    vectors: Mapping[str, Floats],
) -> None:
    """Write shards of vectors and a small state to a file, atomically (collective).

    Args:
        path: The file; `path.partial` beside it is written first, then renamed.
        ensemble: The ranks.
        indices: Canonical places of this rank's entries, shape of each shard.
        global_size: Length of a whole vector.
        state: Values that JSON can hold.
        vectors: This rank's shards by name.

    Raises:
        InvalidInput: on all ranks, if rank 0 cannot write the file; a previous checkpoint is then intact.
    """
    world, fault = ensemble.world, None
    places = world.gather(indices)
    file = _Writer(path, state, list(vectors), global_size) if ensemble.is_root else None
    fault = world.bcast(file.open() if file is not None else None)
    whole = np.empty(global_size if file is not None else 0)
    for name, shard in vectors.items() if fault is None else ():
        pieces = world.gather(np.ascontiguousarray(shard))
        if file is not None:
            for where, piece in zip(places or [], pieces or [], strict=True):
                whole[where] = piece
            file.write(name, whole)
    fault = world.bcast(file.finish() if file is not None else None)
    if fault is not None:
        raise InvalidInput(
            f"the checkpoint {path} could not be written: {fault}; one written before is intact, and --resume goes on "
            "from it"
        )


class _Writer:
    """The file that rank 0 writes; after the first error, which is kept, the other methods do nothing."""

    def __init__(self, path: Path, state: Mapping[str, Any], names: Sequence[str], global_size: int) -> None:
        self.path, self.partial = path, path.with_name(path.name + ".partial")
        self.state, self.global_size = state, global_size
        self.sums: dict[str, int] = {}
        # checksums have a fixed width, so that the header's length is known before the checksums
        self.header_size = len(_header(state, dict.fromkeys(names, 0), global_size))
        self.handle: BinaryIO | None = None
        self.fault: str | None = None

    def open(self) -> str | None:
        """Open a new file beside the old one; return the error, if there was one."""
        with self._watched():
            self.handle = open(self.partial, "wb")  # noqa: SIM115 - it stays open over collective calls
            self.handle.seek(16 + self.header_size)
        return self.fault

    def write(self, name: str, whole: Floats) -> None:
        """Append a vector."""
        content = whole.astype("<f8", copy=False).data
        self.sums[name] = zlib.crc32(content)
        if self.fault is None and self.handle is not None:
            with self._watched():
                self.handle.write(content)

    def finish(self) -> str | None:
        """Write the header, close and rename the file; return the first error since the beginning, if there was one."""
        if self.fault is None and self.handle is not None:
            with self._watched():
                self.handle.seek(0)
                header = _header(self.state, self.sums, self.global_size)
                self.handle.write(_MAGIC + self.header_size.to_bytes(8, "little") + header)
                self.handle.flush()
                os.fsync(self.handle.fileno())
                self.handle.close()
                os.replace(self.partial, self.path)
        return self.fault

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = error.strerror or str(error)
            with suppress(OSError):  # closing flushes the buffer and may fail again
                if self.handle is not None:
                    self.handle.close()
            with suppress(OSError):
                self.partial.unlink(missing_ok=True)


def read_checkpoint(
    path: Path,
    ensemble: Ensemble,
    indices: Integers,
    *,
    global_size: int,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Read what `write_checkpoint` wrote, on any number of ranks (collective).

    Args:
        path: The file.
        ensemble: The ranks.
        indices: Canonical places of this rank's entries.
        global_size: Length of a whole vector.
        check: Function of the state, called on rank 0 before the lengths are compared; raises InvalidInput to refuse
            it.

    Returns:
        The state, and this rank's shards of the vectors by name.

    Raises:
        InvalidInput: on all ranks, naming the file, if it is missing, foreign, truncated, damaged or of another case.
    """
    fault: str | None = None
    state: dict[str, Any] = {}
    sums: dict[str, str] = {}
    start = 0
    if ensemble.is_root:
        try:
            state, sums, start = _check(path, global_size, check)
        except (OSError, InvalidInput) as error:
            fault = str(error)
    fault, state, sums, start = ensemble.world.bcast((fault, state, sums, start))
    if fault is not None:
        raise InvalidInput(f"the checkpoint {path} cannot be used: {fault}")
    vectors = {}
    for number, name in enumerate(sums):
        whole = np.memmap(path, dtype="<f8", mode="r", offset=start + 8 * global_size * number, shape=(global_size,))
        vectors[name] = np.array(whole[indices], dtype=np.float64)
        del whole
    return state, vectors


def read_state(path: Path) -> dict[str, Any]:
    """Return the state in a file that `write_checkpoint` wrote, without its vectors (not collective).

    Raises:
        InvalidInput: naming the file, if it is missing, foreign, or its header is damaged.
    """
    try:
        with open(path, "rb") as handle:
            content, _ = _read_header(handle, path.stat().st_size)
    except OSError as error:
        raise InvalidInput(f"the checkpoint {path} cannot be used: {error.strerror or error}") from error
    except InvalidInput as error:
        raise InvalidInput(f"the checkpoint {path} cannot be used: {error}") from error
    return dict(content["state"])


def refuse_another(
    state: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Raise an error if a checkpoint's state belongs to another problem.

    Args:
        state: The checkpoint's state; its "problem" holds tables of keys.
        given: The same tables of the present problem, or some of them.
        defaults: Tables of default values, for keys that an earlier version did not know; None if there are none.

    Raises:
        InvalidInput: if a key differs; the message names all such keys.
    """
    if differing := differing_keys(state.get("problem", {}), given, defaults):
        raise InvalidInput(f"it belongs to another problem: {'; '.join(differing)}")


def differing_keys(
    saved: Mapping[str, Any], given: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> list[str]:
    """Return one sentence for each key in which two problems differ.

    Args:
        saved: Tables of keys of the saved problem.
        given: Tables of keys of the present problem; only these keys are compared.
        defaults: Tables of the values that keys have which a saved table lacks; None for no values.
    """
    differences = []
    for table, values in given.items():
        known = {**(defaults or {}).get(table, {}), **saved[table]} if table in saved else {}
        for key, value in values.items():
            old = known.get(key)
            if old != value:
                name = key if table == key else f"{table}.{key}"
                differences.append(f"{name} was {old!r} and is {value!r}")
    return differences


def jsonable(value: Any) -> Any:
    """Return a value in the form in which JSON returns it: lists in place of tuples, at any depth."""
    if isinstance(value, Mapping):
        return {k: jsonable(v) for k, v in value.items()}
    return [jsonable(v) for v in value] if isinstance(value, list | tuple) else value


def _header(state: Mapping[str, Any], sums: Mapping[str, int], global_size: int) -> bytes:
    content = {
        "format": _FORMAT,
        "size": global_size,
        "checksums": {name: f"{value:08x}" for name, value in sums.items()},
        "state": dict(state),
    }
    text = json.dumps(content).encode()
    return text + f"{zlib.crc32(text):08x}".encode()


def _check(
    path: Path, global_size: int, check: Callable[[Mapping[str, Any]], None] | None
) -> tuple[dict[str, Any], dict[str, str], int]:
    """State, checksums and start of the data of a file, after checking that the file is whole and not damaged."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        content, start = _read_header(handle, size)
        if check is not None:
            check(content["state"])
        if content["size"] != global_size:
            raise InvalidInput(f"it holds {content['size']} controls where this case has {global_size}")
        sums = content["checksums"]
        if size != start + 8 * global_size * len(sums):
            raise InvalidInput(f"it is truncated: {size} bytes where {start + 8 * global_size * len(sums)} belong")
        for name, expected in sums.items():
            if f"{zlib.crc32(handle.read(8 * global_size)):08x}" != expected:
                raise InvalidInput(f"it is damaged (the checksum of {name!r} differs)")
    return content["state"], sums, start


def _read_header(handle: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The content of a file's header and its length, after checking the header; the handle is then at its end."""
    if handle.read(8) != _MAGIC:
        raise InvalidInput("it is not a checkpoint of fem_selection (its first bytes are foreign)")
    header_size = int.from_bytes(handle.read(8), "little")
    if header_size < 8 or 16 + header_size > size:
        raise InvalidInput("it is truncated or damaged (its header is not whole)")
    header = handle.read(header_size)
    text = header[:-8]
    if f"{zlib.crc32(text):08x}".encode() != header[-8:]:
        raise InvalidInput("it is damaged (the checksum of its header differs)")
    content = json.loads(text)
    if content["format"] != _FORMAT:
        raise InvalidInput(f"its format is {content['format']}, this version reads {_FORMAT}")
    return content, 16 + header_size
