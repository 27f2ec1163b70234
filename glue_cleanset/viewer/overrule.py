"""Overruling a cleaning: selected pixels restored or rejected by hand, as steps that glue can undo."""

import numpy as np
from glue.core.command import Command
from glue.core.component import Component
from glue.core.decorators import clear_cache
from glue.core.link_helpers import LinkCollection
from glue.core.message import NumericalDataChangedMessage
from glue.core.subset import ElementSubsetState

from .attach import events_data, find_attached, map_images
from .links import link_parts
from .regions import selected_pixels, subset_states
from .sparse import pack_mask, unpack_mask
from .views import keep_frames

__all__ = [
    "Overrule",
    "find_overrules",
    "note_overrules",
    "plan_overrule",
    "reject_selected",
    "rejected_frames",
    "restore_selected",
]

# keys of the record of a cleaning
_NOTED = ("restored", "rejected by hand")


def restore_selected(session, subset, *, attached=None, frame=None):
    """Give the rejected pixels of a subset their original values back.

    Parameters
    ----------
    session : glue.core.Session
    subset : glue.core.Subset or glue.core.subset_group.SubsetGroup
        Drawn on the map or on any frame, rows of the events, a range in a histogram.
    attached : Attached, optional
        The cleaning that is overruled; default the newest that the subset selects pixels of.
    frame : int, optional
        Only in this frame (0 ... N - 1).

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is nothing to restore; nothing has changed.
    """
    attached, mask = _selection(session, subset, attached)
    mask = _in_frame(mask, frame)
    if not (mask & rejected_frames(attached)).any():
        where = "in it" if frame is None else f"in frame {frame + 1} of it"
        raise ValueError(f"'{subset.label}' selects no rejected pixel {where}; select events, or draw on the map.")
    return _do(session, attached, restore=mask)


def reject_selected(session, subset, frame, *, attached=None):
    """Repair the pixels of a subset in one frame, by the method of the cleaning.

    Parameters
    ----------
    session, subset, attached
        As for `restore_selected`.
    frame : int
        The frame, 0 ... N - 1.

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is nothing to reject; nothing has changed.
    """
    attached, mask = _selection(session, subset, attached)
    mask = _in_frame(mask, frame)
    if not (mask & ~rejected_frames(attached)).any():
        raise ValueError(f"'{subset.label}' selects no pixel of frame {frame + 1} that is not rejected already.")
    return _do(session, attached, reject=mask)


def rejected_frames(attached):
    """What is rejected now: (N, ny, nx) bool."""
    cube = attached.cube
    for cid in (attached.rejected, attached.event):
        if cid is not None:
            return np.moveaxis(cube.get_data(cid), attached.axis, 0) > 0
    raise ValueError(
        f"Neither the rejected pixels of '{cube.label}' nor its event numbers are in the session; clean it again with "
        "one of them ticked."
    )


def find_overrules(attached):
    """What a person restored and rejected by hand so far: two (N, ny, nx) bool, or None where nothing."""
    shape = _frames_shape(attached)
    return tuple(unpack_mask(attached.record.get(name), shape) for name in _NOTED)


def note_overrules(attached, restored, rejected):
    """Note what a cleaning took over from an earlier one, each (N, ny, nx) bool or None, as its own overrules."""
    for name, mask in zip(_NOTED, (restored, rejected), strict=True):
        if mask is not None:
            attached.record[name] = pack_mask(mask)


def plan_overrule(attached, restore=None, reject=None):
    """Find what an overrule changes; changes nothing.

    Parameters
    ----------
    attached : Attached
    restore, reject : ndarray, (N, ny, nx), bool, optional

    Returns
    -------
    glue_cleanset.core.overrule.Overruled

    Raises
    ------
    ValueError
        Where the session does not hold what is needed.
    """
    # compiled code takes a while to import
    from ..core.overrule import work_out

    model = attached.model
    if model is None:
        raise ValueError(f"The cleaning of '{attached.cube.label}' kept no noise model; clean it again.")
    image_set = attached.image_set()
    rejected = rejected_frames(attached)
    pixels = np.flatnonzero(rejected)
    numbers = np.zeros(0, int)
    if attached.event is None:
        pixels = pixels[:0]  # events that nobody has seen have no numbers to keep
    else:
        labels = np.moveaxis(attached.cube.get_data(attached.event), attached.axis, 0)
        numbers = labels[np.unravel_index(pixels, labels.shape)]
    if attached.map is None:
        reference = np.full(image_set.shape[1:], np.nan, np.float32)
    else:
        reference = attached.map.get_data(attached.map.id["reference"])
    return work_out(image_set, attached.settings, model, rejected, reference, (pixels, numbers), restore, reject)


class Overrule(Command):
    """Put into a session what a person restored or rejected; glue can undo and redo it.

    Parameters
    ----------
    attached : Attached
        The cleaning.
    change : glue_cleanset.core.overrule.Overruled
        As `plan_overrule` found it, just now.
    """

    kwargs = ["attached", "change"]  # noqa: RUF012 as glue wants it
    _edits = None
    _selections = ()

    @property
    def label(self):
        """What *Edit > Undo* names."""
        return self.change.describe()

    def do(self, session):
        """Change the values of all parts; their subsets and viewers live on."""
        if self._edits is None:
            self._plan()
        with keep_frames(getattr(session.application, "viewers", ())):
            self._apply(session, forward=True)

    def undo(self, session):
        """Put back what was there."""
        if self._edits is not None:
            with keep_frames(getattr(session.application, "viewers", ())):
                self._apply(session, forward=False)

    def _plan(self):
        attached, change = self.attached, self.change
        cube, axis, outliers = attached.cube, attached.axis, change.outliers
        edits = []

        def edit(data, cid, axis, index, new):
            if data is None or cid is None:
                return
            array = np.moveaxis(data.get_data(cid), axis, 0)
            old = array[np.unravel_index(index, array.shape)]
            differs = ~((old == new) | ((old != old) & (new != new)))
            edits.append((data, cid, axis, index[differs], old[differs], new[differs]))

        edit(cube, attached.cleaned, axis, change.index, change.values)
        both = np.concatenate([change.restored, change.rejected])
        edit(cube, attached.rejected, axis, both, np.repeat([0, 1], [change.restored.size, change.rejected.size]))
        if attached.event is not None:
            numbers = np.concatenate([change.numbers, np.zeros(change.restored.size, np.int32)])
            edit(cube, attached.event, axis, np.concatenate([outliers.index, change.restored]), numbers)
        if attached.map is not None:
            everywhere = np.arange(attached.map.size)
            for label, image, _ in map_images(outliers, ""):
                edit(attached.map, attached.map.id[label], 0, everywhere, image.reshape(-1))
        if attached.frames is not None:
            rows = np.arange(len(change.summary))
            for name in ("events", "pixels", "percent"):
                edit(attached.frames, attached.frames.id[name], 0, rows, np.asarray(change.summary[name]))
        self._edits = edits

        self._old_events, self._new_events = attached.events, None
        if len(change.events) and attached.record["events label"] is not None:
            self._new_events = events_data(cube, axis, attached.record["events label"], change.events)
        if self._old_events is not None and self._new_events is not None:
            self._rows = _rows_of(self._old_events), _rows_of(self._new_events, self._old_events)
            self._new_events = self._old_events
        self._records = [
            (record, dict(record), self._record_after(record)) for record in (attached.record, *self._metas())
        ]

    def _metas(self):
        return [data.meta for data in self.attached.datasets]

    def _record_after(self, record):
        after = dict(record)
        after["overrules"] = [*record.get("overrules", ()), self.change.describe()]
        if record is self.attached.record:
            shape = _frames_shape(self.attached)
            restored, rejected = self.change.restored, self.change.rejected
            for name, taken, given in zip(_NOTED, (rejected, restored), (restored, rejected), strict=True):
                mask = unpack_mask(record.get(name), shape)
                mask = np.zeros(shape, bool) if mask is None else mask
                mask.reshape(-1)[given] = True
                mask.reshape(-1)[taken] = False
                after[name] = pack_mask(mask)
            after["events"] = None if self._new_events is None else self._new_events.uuid
        return after

    def _apply(self, session, forward):
        collection = session.data_collection
        changed = {}
        for data, cid, axis, index, old, new in self._edits:
            component = data.get_component(cid) if any(cid is known for known in data.components) else None
            if component is None or not index.size:
                continue
            array = component.writable()
            frames = np.moveaxis(array, axis, 0)
            frames[np.unravel_index(index, frames.shape)] = new if forward else old
            changed.setdefault(data, {})[cid] = array
        for record, before, after in self._records:
            record.clear()
            record.update(after if forward else before)
        here, there = (self._old_events, self._new_events) if forward else (self._new_events, self._old_events)
        self.attached.events = there
        _forget_masks(collection)
        for data, mapping in changed.items():
            data.update_components(mapping)
        if here is there:
            if here is not None:
                rows = self._rows if forward else self._rows[::-1]
                # a subset that lost rows gets them back, if nobody has changed it since
                self._selections = _set_rows(collection, here, *rows, back_to=() if forward else self._selections)
            return
        if here is not None and here in collection.data:
            collection.remove_link(
                [
                    link
                    for link in collection.external_links
                    if isinstance(link, LinkCollection) and (link.data1 is here or link.data2 is here)
                ]
            )
            collection.remove(here)
            for subset in list(here.subsets):
                subset.delete()
        if there is not None:
            attached = self.attached
            collection.append(there)
            links = link_parts(attached.cube, attached.axis, attached.event, attached.map, there, attached.frames)
            collection.add_link([link for link in links if there in (link.data1, link.data2)])


def _frames_shape(attached):
    shape = list(attached.cube.shape)
    return (shape.pop(attached.axis), *shape)


def _selection(session, subset, attached):
    """The cleaning that is meant, and what the subset selects of it."""
    if subset is None:
        raise ValueError("Nothing is selected; draw a region or choose a subset first.")
    own = getattr(subset, "data", None)
    collection = session.data_collection
    found = [attached] if attached else (find_attached(collection, own) or find_attached(collection))[::-1]
    if not found:
        raise ValueError("Nothing in the session was cleaned; choose 'Clean image set…' first.")
    error = None
    for known in found:
        try:
            mask = selected_pixels(subset, known.cube, known.axis)
        except ValueError as problem:
            error = error or problem
            continue
        if mask.any():
            return known, mask
    raise error or ValueError(f"'{subset.label}' selects no pixel of '{found[0].cube.label}'; draw it larger.")


def _in_frame(mask, frame):
    if frame is None:
        return mask
    only = np.zeros_like(mask)
    only[frame] = mask[frame]
    return only


def _do(session, attached, **masks):
    command = Overrule(attached=attached, change=plan_overrule(attached, **masks))
    session.command_stack.do(command)
    return command


def _rows_of(data, template=None):
    """The columns of a table by their labels; what `template` has beside them follows the number of the event."""
    columns = {cid.label: data.get_component(cid) for cid in data.main_components}
    if template is not None:
        known = {number: row for row, number in enumerate(template.get_data(template.id["event"]))}
        rows = np.array([known.get(number, -1) for number in data.get_data(data.id["event"])])
        for cid in template.main_components:
            if cid.label not in columns:
                values = template.get_data(cid)
                blank = np.nan if values.dtype.kind == "f" else np.zeros((), values.dtype)
                columns[cid.label] = Component(np.where(rows >= 0, values[rows], blank))
    return columns


def _set_rows(collection, events, old, new, back_to=()):
    """Give a table other rows; subsets that name rows keep the events they mean. Returns (state, its indices before,
    after) of each; `back_to` is such a list, of the opposite change."""
    numbers, wanted = old["event"].data, new["event"].data
    place = {number: row for row, number in enumerate(wanted)}
    moved = np.array([place.get(number, -1) for number in numbers])
    changed = []
    for group in collection.subset_groups:
        for state in subset_states(group.subset_state):
            if isinstance(state, ElementSubsetState) and state.data == events.uuid and state.indices is not None:
                before = state.indices
                known = [was for one, was, became in back_to if one is state and became is before]
                rows = moved[np.arange(moved.size)[_as_index(before)]]
                state.indices = known[0] if known else rows[rows >= 0]
                changed.append((state, before, state.indices))
    for cid in events.main_components:
        if cid.label in new:
            events._components[cid] = new[cid.label]
    events._shape = wanted.shape
    _forget_masks(collection)
    collection.hub.broadcast(NumericalDataChangedMessage(events))
    return changed


def _as_index(rows):
    # an empty list is no index
    rows = np.asarray(rows)
    return rows if rows.size else rows.astype(int)


def _forget_masks(collection):
    # glue forgets those of a state as a whole, but not of what it is put together from
    for group in collection.subset_groups:
        for state in subset_states(group.subset_state):
            clear_cache(state.to_mask)
