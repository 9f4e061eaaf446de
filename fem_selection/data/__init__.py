# SPDX-License-Identifier: MIT
"""Samples and their initial states.

`samples` holds and splits data; `loading` reads a user's files; `labels` numbers the classes; `formats` describes what
a trained network expects of new samples; `images` evaluates pixel images as functions at mesh nodes.  Nothing here
needs a mesh: the coordinates of the nodes are arrays.
"""

from fem_selection.data.formats import SampleFormat
from fem_selection.data.images import AffineMaps, draw_maps, image_states
from fem_selection.data.labels import class_names, find_classes, listed_labels, number_labels
from fem_selection.data.loading import NewSamples, load_new_samples, load_npz
from fem_selection.data.mapped import open_mapped
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
    "NewSamples",
    "SampleFormat",
    "Samples",
    "Standardization",
    "class_names",
    "draw_maps",
    "find_classes",
    "image_states",
    "listed_labels",
    "load_digits_samples",
    "load_new_samples",
    "load_npz",
    "number_labels",
    "open_mapped",
    "split_samples",
    "stratified_split",
]
