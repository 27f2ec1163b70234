"""Parts of a result whose values are in the files of its folder: a session stores where, and no value."""

import os
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from ..core.ondemand import PatchedFrames
from ..io.products import Products
from .sparse import (
    SparseCategoricalComponent,
    SparseComponent,
    bits_of,
    differences,
    pack_index,
    pack_patch,
    unpack_index,
    unpack_patch,
)
from .tables import table_columns

__all__ = ["MAP_IMAGES", "Written", "WrittenComponent", "WrittenWords", "opened", "written_columns", "written_folders"]

# label of an image of the rejection map -> its extension in the file
MAP_IMAGES = {
    "rejected frame": "PRIMARY",
    "times rejected": "TIMES_REJECTED",
    "peak significance": "PEAK_SIGNIFICANCE",
    "reference": "REFERENCE",
    "kind": "KIND",
}


@dataclass(frozen=True)
class Written:
    """Where values are.

    Attributes
    ----------
    folder : str
        Of the result; absolute.
    digest : str
        Of which cleaning it has to be, see `glue_cleanset.io.products.Products`.
    part : str
        'cleaned', 'rejected', 'event', 'map', 'events', 'tracks' or 'frames'.
    column : str
        Of the map or the table.
    """

    folder: str
    digest: str
    part: str
    column: str = ""

    def record(self, context):
        """Plain values for a session, the folder relative where glue stores its files so."""
        folder = self.folder if context.absolute_paths else os.path.relpath(self.folder)
        return {"folder": folder, "digest": self.digest, "part": self.part, "column": self.column}

    @classmethod
    def from_record(cls, record):
        """What `record` wrote down."""
        return cls(os.path.abspath(record["folder"]), record["digest"], record["part"], record["column"])


class WrittenComponent(SparseComponent):
    """An image or a column that is in a file too; of values that are changed a session stores those that differ.

    Parameters
    ----------
    data : ndarray
        As they are in the file.
    units : str
    written : Written
    rows : ndarray of int, optional
        The row of the file that each value is of, -1 = of none; default each of its own.
    """

    def __init__(self, data, units, written, rows=None):
        super().__init__(data, units=units)
        self.written, self.rows, self._read = written, rows, self._data

    def with_rows(self, values, came):
        """A column with other rows and these values; `came`: which of the present rows each was, -1 = none."""
        rows = came if self.rows is None else np.where(came >= 0, self.rows[came], -1)
        made = WrittenComponent(_rows_of(self._read, came), self.units, self.written, rows)
        if values.dtype != made._data.dtype or (bits_of(values) != bits_of(made._data)).any():
            made._data = made._mine = values
        return made

    def __gluestate__(self, context):
        mine, read = self._data, self._read
        if (mine.shape, mine.dtype) != (read.shape, read.dtype):
            return super().__gluestate__(context)
        record = {"written": self.written.record(context), "units": self.units}
        if self.rows is not None:
            record["rows"] = pack_index(self.rows)
        if mine is not read:
            record |= pack_patch(*differences(mine, read))
        return record

    @classmethod
    def __setgluestate__(cls, record, context):
        if "written" not in record:
            return SparseComponent.__setgluestate__(record, context)
        written = Written.from_record(record["written"])
        values = opened(written, context).values(written)
        rows = unpack_index(record["rows"]) if "rows" in record else None
        made = cls(values if rows is None else _rows_of(values, rows), record["units"], written, rows)
        if "steps" in record:
            index, values = unpack_patch(record, made.data.dtype)
            made.put(np.unravel_index(index, made.shape), values)
        return made


def _rows_of(values, rows):
    """Some rows of a column, -1 = zero."""
    return np.where(rows >= 0, values[rows], np.zeros((), values.dtype)) if values.size else np.zeros(rows.size)


class WrittenWords(SparseCategoricalComponent):
    """A column of words that is in a file too; where it is changed a session stores it."""

    def __init__(self, words, categories, units, written, jitter=None):
        super().__init__(words, categories=categories, jitter=jitter, units=units)
        self.written, self._read = written, self._data

    def __gluestate__(self, context):
        if self._data is not self._read:
            return super().__gluestate__(context)
        return {"written": self.written.record(context), "units": self.units, "jitter": self.jitter_method}

    @classmethod
    def __setgluestate__(cls, record, context):
        if "written" not in record:
            return SparseCategoricalComponent.__setgluestate__(record, context)
        written = Written.from_record(record["written"])
        found = opened(written, context).values(written)
        return cls(found.labels, found.categories, record["units"], written, record["jitter"])


def written_columns(columns, products, part):
    """Columns as they are in the folder of a result; those that are not in its file stay as they are.

    Parameters
    ----------
    columns : dict of str : glue.core.Component
    products : glue_cleanset.io.products.Products
    part : str
        'events', 'tracks' or 'frames'.
    """
    known = {name.replace("_", " ") for name in products.columns(part)}
    if "frame" in known:
        known.add("frame index")
    made = {}
    for label, component in columns.items():
        written = Written(str(products.folder), products.digest, part, label)
        if label not in known:
            made[label] = component
        elif component.categorical:
            made[label] = WrittenWords(component.labels, component.categories, component.units, written)
        else:
            made[label] = WrittenComponent(component.data, component.units, written)
    return made


def written_folders(collection):
    """The folders that parts of the data in a session are read from, now or when it is opened again: set of Path."""
    components = [data.get_component(cid) for data in collection for cid in data.main_components]
    found = [getattr(component, "written", None) for component in components]
    return {Path(os.path.realpath(written.folder)) for written in found if written is not None}


class _Opened:
    """A folder while one session is opened."""

    def __init__(self, folder, digest):
        self._products = Products(folder, digest)
        self._columns = {}

    def frames(self, part):
        if part == "event":
            return PatchedFrames(None, *self._products.event_pixels, self._products.cleaned.shape)
        return getattr(self._products, part)

    def values(self, written):
        part, column = written.part, written.column
        if part == "map":
            values = self._products.image(MAP_IMAGES[column])
        else:
            if part not in self._columns:
                table = self._products.table(part)
                self._columns[part] = {} if table is None else table_columns(table)
            values = self._columns[part].get(column)
            values = values if values is None or values.categorical else values.data
        if values is None:
            raise ValueError(
                f"there is no {column!r} of the {part} in {written.folder} any more; put the files back that were "
                "there, or clean the set again"
            )
        return values


_sessions = WeakKeyDictionary()


def opened(written, context):
    """The folder of a part, read once for each session."""
    folders = _sessions.setdefault(context, {})
    if written.folder not in folders:
        folders[written.folder] = _Opened(written.folder, written.digest)
    return folders[written.folder]
