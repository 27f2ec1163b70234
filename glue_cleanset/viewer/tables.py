"""Tables of a result as columns of glue."""

import numpy as np
from glue.core import Data

from ..core.settings import KINDS
from .sparse import SparseCategoricalComponent, SparseComponent

__all__ = ["rounded", "table_columns", "table_data"]

_RATES = ("rate", "y_rate", "x_rate")
# their codes stay the same when rows come and go
_CATEGORIES = {"polarity": np.array(["bright", "dark"]), "kind": np.array(list(KINDS))}


def table_data(label, table):
    """A table as data, see `table_columns`."""
    data = Data(label=label)
    for name, component in table_columns(table).items():
        data.add_component(component, name)
    return data


def table_columns(table):
    """The columns of a table of a result, by label: as the table has them, floats to six digits.

    Parameters
    ----------
    table : astropy.table.Table
        Of events, tracks or frames.

    Returns
    -------
    dict of str : glue.core.Component
    """
    columns = {}
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind in "USO":
            component = SparseCategoricalComponent(np.asarray(column, dtype=str), categories=_CATEGORIES.get(name))
        else:
            values = np.array(column)
            values = values.astype(np.uint8) if values.dtype == bool else values  # glue makes eight bytes of a bool
            # an angle has its digits behind the point: a millionth of a degree is a few milliarcseconds
            values = np.round(values, 6) if name in ("ra", "dec") else rounded(values)
            # (a table knows no unit of frames)
            units = "pix / frame" if name in _RATES else "" if column.unit is None else str(column.unit)
            component = SparseComponent(values, units=units, own=True)
        columns[name.replace("_", " ")] = component
    if "frame" in table.colnames:
        # frames are counted from 1 for people, pixels of the cube from 0
        columns["frame index"] = SparseComponent(np.array(table["frame"], dtype=np.int64) - 1)
    return columns


def rounded(values, digits=6):
    """Floats to so many significant digits: glue's tables show every digit there is, and cut the number off."""
    if values.dtype.kind != "f":
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        power = digits - 1 - np.floor(np.log10(np.abs(values)))
        scale = 10.0 ** np.clip(np.where(np.isfinite(power), power, 0), 0, 300)
        # divided, not multiplied by a power of ten, the nearest float to the short number comes out
        return np.round(values.astype(float) * scale) / scale
