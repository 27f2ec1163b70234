"""Other rows for a table, and back: only what differs is kept."""

import numpy as np
from glue.core.subset import ElementSubsetState

from .regions import subset_states
from .sparse import SparseCategoricalComponent, SparseComponent, bits_of
from .written import WrittenComponent

__all__ = ["RowChange"]


class RowChange:
    """What becomes of the rows of a table, each known by a number.

    Columns that a person has added, and subsets that name rows, keep to the rows they mean; what a lost row had in
    them comes back with it.

    Parameters
    ----------
    data : glue.core.Data
    number : glue.core.ComponentID
        The column of the numbers.
    columns : dict of glue.core.ComponentID : glue.core.Component
        What columns of `data`, that of the numbers among them, shall be.
    """

    def __init__(self, data, number, columns):
        old, new = data.get_component(number).data, columns[number].data
        gone, came = np.flatnonzero(~np.isin(old, new)), np.flatnonzero(~np.isin(new, old))
        if not np.array_equal(np.delete(old, gone), np.delete(new, came)):  # in another order
            gone, came = np.arange(old.size), np.arange(new.size)
        self._data, self._rows = data, (gone, came)
        self._columns = {
            cid: _differences(_values(data.get_component(cid)), _values(component), gone, came)
            for cid, component in columns.items()
        }
        self._kept = {}  # what is not of the columns: before, and after

    def apply(self, collection, forward):
        """Give the table its other rows, or its former ones; tells nobody."""
        data = self._data
        drop, add = self._rows if forward else self._rows[::-1]
        stays = np.ones(data.size - drop.size + add.size, bool)
        stays[add] = False
        came = np.full(stays.size, -1, np.int32)  # (columns keep it)
        came[stays] = np.delete(np.arange(data.size), drop)
        moved = np.full(data.size, -1)
        moved[came[stays]] = np.flatnonzero(stays)
        kept, self._kept = self._kept, {}
        for group in collection.subset_groups:
            for state in subset_states(group.subset_state):
                if isinstance(state, ElementSubsetState) and state.data == data.uuid and state.indices is not None:
                    before = state.indices
                    rows = moved[np.arange(moved.size)[_as_index(before)]]
                    was, became = kept.get(state, (None, None))
                    state.indices = was if became is before else rows[rows >= 0]
                    self._kept[state] = before, state.indices
        for cid in data.main_components:
            before = data.get_component(cid)
            if cid in self._columns:
                (_, inserted), place, changed = self._columns[cid] if forward else _reversed(self._columns[cid])
                stay = np.delete(_values(before), drop)
                values = np.empty(stays.size, np.result_type(stay, inserted))
                stay = stay.astype(values.dtype, copy=False)
                stay[place] = changed[1]
                values[stays], values[add] = stay, inserted
                after = _like(before, values, came)
            else:
                was, became = kept.get(cid, (None, None))
                after = was if became is before else _with_rows(before, came)
                self._kept[cid] = before, after
            data._components[cid] = after
        data._shape = stays.shape


def _differences(old, new, gone, came):
    """Of a column (what its lost rows had, what its new rows have), which others differ, and (what these had, have)."""
    if new.dtype.kind not in "US":
        new = new.astype(old.dtype)
    ends = old[gone], new[came]
    old, new = np.delete(old, gone), np.delete(new, came)
    place = np.flatnonzero(old != new if new.dtype.kind in "US" else bits_of(old) != bits_of(new))
    return ends, place, (old[place], new[place])


def _reversed(difference):
    ends, place, changed = difference
    return ends[::-1], place, changed[::-1]


def _values(component):
    return np.asarray(component.labels if component.categorical else component.data)


def _like(component, values, came):
    """A column as another one, with other rows and values."""
    if component.categorical:
        return SparseCategoricalComponent(values, categories=component.categories, units=component.units)
    if isinstance(component, WrittenComponent):
        return component.with_rows(values, came)
    return SparseComponent(values, units=component.units, own=True)


def _with_rows(component, rows):
    """A column with other rows of it, -1 = a new one, which has nothing in it."""
    values = _values(component)
    blank = {"f": np.nan, "c": np.nan, "M": "NaT", "m": "NaT", "U": "", "S": "", "O": ""}.get(values.dtype.kind, 0)
    values = np.where(rows >= 0, values[rows], np.array(blank, values.dtype))
    if component.categorical:  # a word may go, or a blank come
        return SparseCategoricalComponent(values, units=component.units)
    kind = SparseComponent if isinstance(component, SparseComponent) else type(component)
    return kind(values, units=component.units)


def _as_index(rows):
    # an empty list is no index
    rows = np.asarray(rows)
    return rows if rows.size else rows.astype(int)
