# SPDX-License-Identifier: MIT
"""Samples and their initial states.

`samples` holds and splits data; `archives` reads a user's files; `images` evaluates pixel images as functions at mesh
nodes.  Nothing here needs a mesh: the coordinates of the nodes are arrays.
"""

from fem_selection.data.archives import load_npz, load_npz_inputs, load_npz_truth
from fem_selection.data.images import AffineMaps, draw_maps, image_states
from fem_selection.data.samples import (
    DataSet,
    Samples,
    Standardization,
    load_digits_samples,
    split_samples,
    stratified_split,
)

__all__ = [
    "AffineMaps",
    "DataSet",
    "Samples",
    "Standardization",
    "draw_maps",
    "image_states",
    "load_digits_samples",
    "load_npz",
    "load_npz_inputs",
    "load_npz_truth",
    "split_samples",
    "stratified_split",
]
