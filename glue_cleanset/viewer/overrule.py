"""Overruling a cleaning: selected pixels restored or rejected by hand, as steps that glue can undo."""

from weakref import WeakKeyDictionary

import numpy as np
from astropy.table import Table
from glue.core.command import Command
from glue.core.decorators import clear_cache
from glue.core.message import NumericalDataChangedMessage
from glue.core.subset import ElementSubsetState

from ..core.ondemand import FramesOnDemand, PackedFlags, PatchedFrames, marked, nonzero, pack_flags, union
from ..core.settings import KINDS
from ..io.products import Products
from .attach import columns_of, events_data, find_attached, map_images, remove_data, remove_links
from .links import link_parts
from .regions import plain_states, selected_pixels, subset_states
from .rows import RowChange
from .sparse import bits_of, pack_pixels, unpack_pixels
from .tables import rounded
from .views import keep_frames

__all__ = [
    "Overrule",
    "do_overrule",
    "find_overrules",
    "has_overrules",
    "keep_object",
    "note_overrules",
    "plan_overrule",
    "reject_selected",
    "rejected_frames",
    "repair_object",
    "restore_event",
    "restore_selected",
]

# by cube: the record of the cleaning that was overruled last, of those in files, and its frames as they were compared
_compared = WeakKeyDictionary()
# keys of the record of a cleaning
_NOTED = ("restored", "rejected by hand")


def _at_once(function):
    return function(lambda share: None)


# what function(report) gives, however long it takes; report(share) is told how much is done, 0 to 1, and raises
# CleanCancelled to stop. `glue_cleanset.qt` puts one here that keeps the window alive
wait_for = _at_once


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
    pixels = _rejected_pixels(attached)
    if frame is not None:
        size = _frame_size(attached)
        pixels = pixels[slice(*np.searchsorted(pixels, [frame * size, (frame + 1) * size]))]
    pixels = pixels[mask[np.unravel_index(pixels, attached.shape)]]
    if not pixels.size:
        where = "in it" if frame is None else f"in frame {frame + 1} of it"
        raise ValueError(f"'{subset.label}' selects no rejected pixel {where}; select events, or draw on the map.")
    return do_overrule(session, attached, restore=marked(pixels, attached.shape))


def restore_event(session, attached, number):
    """Give the pixels of one event their original values back.

    Parameters
    ----------
    session : glue.core.Session
    attached : Attached
    number : int
        In the column ``event`` of the events.

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is no such event, or it is kept, or the event numbers were not attached.
    """
    pixels = _pixels_of_events(attached, [number])
    if not pixels.size:
        raise ValueError(f"The pixels of event {number} of '{attached.cube.label}' are not known; select them instead.")
    if not _not_kept(attached, pixels).size:
        raise ValueError(
            f"Event {number} of '{attached.cube.label}' is kept: its pixels have their original values already."
        )
    return do_overrule(session, attached, restore=marked(pixels, attached.shape))


def keep_object(session, attached, track):
    """Give all pixels of a moving object, in all frames, their original values back; its events stay, as kept ones.

    Parameters
    ----------
    session : glue.core.Session
    attached : Attached
    track : int
        In the column ``track`` of the tracks and of the events.

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is no such object or it is kept already, or its pixels are not known.
    """
    pixels = _object_pixels(attached, track)
    if not _not_kept(attached, pixels).size:
        raise ValueError(f"Object {track} of '{attached.cube.label}' is kept already in all of its frames.")
    return do_overrule(session, attached, f"object {track}", keep=marked(pixels, attached.shape))


def repair_object(session, attached, track):
    """Repair all pixels of a moving object, in all frames, by the method of the cleaning.

    Parameters
    ----------
    session, attached, track
        As for `keep_object`.

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is no such object or it is repaired already, or its pixels are not known.
    """
    pixels = _object_pixels(attached, track)
    if _not_kept(attached, pixels).size == pixels.size:
        raise ValueError(f"Object {track} of '{attached.cube.label}' is repaired already in all of its frames.")
    return do_overrule(session, attached, f"object {track}", reject=marked(pixels, attached.shape))


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
    pixels = np.flatnonzero(mask[frame]) + frame * _frame_size(attached)
    pixels = np.setdiff1d(pixels, _rejected_pixels(attached), assume_unique=True)
    if not pixels.size:
        raise ValueError(f"'{subset.label}' selects no pixel of frame {frame + 1} that is not rejected already.")
    return do_overrule(session, attached, reject=marked(pixels, attached.shape))


def rejected_frames(attached):
    """What is rejected now: a mask (N, ny, nx) on demand; ValueError where that is not in the session."""
    return marked(_rejected_pixels(attached), attached.shape)


def _rejected_pixels(attached):
    """Flat index of what is rejected now, ascending."""
    if attached.event is not None:
        return _not_kept(attached, nonzero(attached.values(attached.event))[0])
    if attached.rejected is not None:
        return nonzero(attached.values(attached.rejected))[0]
    raise ValueError(
        f"Neither the rejected pixels of '{attached.cube.label}' nor its event numbers are in the session; clean it "
        "again with one of them ticked."
    )


def _not_kept(attached, pixels):
    """Those of some pixels of events, each once, that are rejected."""
    kept = attached.kept
    return pixels if kept is None else np.setdiff1d(pixels, kept.index, assume_unique=True)


def find_overrules(attached):
    """What a person restored and rejected by hand so far: two masks (N, ny, nx) on demand, or None where nothing."""
    return tuple(unpack_pixels(attached.record.get(name), attached.shape) for name in _NOTED)


def has_overrules(attached):
    """Whether there are any."""
    return any(attached.record.get(name) for name in _NOTED)


def note_overrules(attached, restored, rejected):
    """Note what a cleaning took over from an earlier one, as `find_overrules` found it there, as its own overrules."""
    for name, mask in zip(_NOTED, (restored, rejected), strict=True):
        if mask is not None:
            attached.record[name] = pack_pixels(mask)


def plan_overrule(attached, restore=None, reject=None, keep=None, called=None, report=lambda share: None):
    """Find what an overrule changes; changes nothing.

    Parameters
    ----------
    attached : Attached
    restore, reject, keep : array-like or FramesOnDemand, (N, ny, nx), bool, optional
        As for `glue_cleanset.overrule`.
    called : (sequence of int, str), optional
        Numbers of events, and what a person says that they are: one of `glue_cleanset.core.settings.KINDS`.
    report : callable, optional
        Called with the share of the work that is done, 0 to 1; may raise to stop.

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

    compared = _frames_compared(attached)
    if attached.event is None:
        rejected = _rejected_pixels(attached)
        pixels, numbers = _events_by_peaks(attached, rejected)
    else:
        pixels, numbers = nonzero(attached.values(attached.event))
        rejected = _not_kept(attached, pixels)
    column = attached.column("map", "reference")
    empty = np.full(attached.shape[1:], np.nan, np.float32)
    reference = empty if column is None else attached.map.get_data(column)
    light = tuple(map(np.array, attached.record.get("light") or ())) or None
    return work_out(
        compared, rejected, reference, (pixels, numbers), _facts(attached, called), restore, reject, keep, light, report
    )


def _frames_compared(attached):
    """What an overrule compares: of frames in files what the last one has found of them."""
    from ..core.overrule import Compared

    record, compared = _compared.get(attached.cube, (None, None))
    if record is attached.record:
        return compared
    model = attached.model
    if model is None:
        raise ValueError(f"The cleaning of '{attached.cube.label}' kept no noise model; clean it again.")
    compared = Compared(_frames_by_rows(attached), attached.settings, model)
    if compared.image_set.on_demand:
        _compared[attached.cube] = attached.record, compared
    return compared


def _frames_by_rows(attached):
    """The frames as they were cleaned, so that some rows of all of them are quickly read."""
    image_set, folder = attached.image_set(), attached.folder
    if folder is None or not any(image.compressed for image in getattr(image_set.frames, "images", ()) if image):
        return image_set
    # the cleaned frames are not compressed, and other than the original ones in events only
    products = Products(folder)
    index, _ = products.event_pixels
    values = image_set.frames[np.unravel_index(index, image_set.shape)].astype(products.cleaned.dtype)
    mask = image_set.mask
    if isinstance(mask, FramesOnDemand):
        mask = PackedFlags(pack_flags(mask), mask.shape)
    return image_set.with_frames(PatchedFrames(products.cleaned, index, values), mask)


def _events_by_peaks(attached, rejected):
    """Flat index of the pixels of all events, ascending, and the number of the event of each as far as the peaks in the
    table tell it; 0 = not known."""
    from ..core.events import find_events
    from ..core.kinds import WHOLE

    kept, shape = attached.kept, attached.shape
    kept = np.empty(0, np.int64) if kept is None else kept.index
    index = union(rejected, kept)
    held = np.isin(index, kept, assume_unique=True).astype(int)
    numbers = np.zeros(index.size, int)
    columns = [attached.column("events", name) for name in ("event", "frame index", "y peak", "x peak")]
    if any(cid is None for cid in columns):
        return index, numbers
    number, *where = (np.asarray(attached.events.get_data(cid), int) for cid in columns)
    peaks = np.ravel_multi_index(tuple(where), shape)
    place = np.searchsorted(index, peaks)
    there = np.isin(peaks, index)
    number, place = number[there], place[there]
    kind = attached.column("events", "kind")
    whole = held[place] > 0
    if kind is not None:
        whole |= np.isin(attached.events.get_component(kind).labels[there], WHOLE)
    # these are not put together anew from their pixels
    ones = np.ones(index.size)
    _, piece = find_events(index, ones, ones, shape, held)
    of_piece = np.zeros(piece.max(initial=0) + 1, int)
    of_piece[piece[place[whole]]] = number[whole]
    numbers = of_piece[piece]
    numbers[place] = number
    return index, numbers


def _facts(attached, called):
    """What is known of the events, and of some what they are `called`; None where there is no table of them."""
    number = attached.column("events", "event")
    if number is None:
        return None
    facts = Table({"event": np.array(attached.events.get_data(number))})
    # an older session has no kinds
    for name, blank in (("kind", "other"), ("confidence", 0.0), ("track", 0)):
        column = attached.column("events", name)
        facts[name] = blank if column is None else np.array(attached.events.get_data(column))
    if called is not None:
        numbers, kind = called
        rows = np.isin(facts["event"], numbers)
        facts["kind"] = np.where(rows, kind, facts["kind"])
        facts["confidence"][rows] = 1
        if kind != "moving object":
            facts["track"][rows] = 0
    return facts


class Overrule(Command):
    """Put into a session what a person restored or rejected; glue can undo and redo it.

    Parameters
    ----------
    attached : Attached
        The cleaning.
    change : glue_cleanset.core.overrule.Overruled
        As `plan_overrule` found it, just now.
    words : str, optional
        What was done; default how many pixels.
    """

    kwargs = ["attached", "change"]  # noqa: RUF012 as glue wants it
    _edits = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._words = self.extra.get("words") or self.change.describe()

    @property
    def label(self):
        """What *Edit > Undo* names."""
        return self._words

    @property
    def remark(self):
        """How it is taken back; of a result in files, that these stay what they are."""
        return f"{'no file is changed; ' if self.attached.on_demand else ''}Edit > Undo takes it back"

    def do(self, session):
        """Change the values of all parts; their subsets and viewers live on."""
        if self._edits is None:
            self.prepare()
        with keep_frames(getattr(session.application, "viewers", ())):
            self._apply(session, forward=True)

    def undo(self, session):
        """Put back what was there."""
        if self._edits is not None:
            with keep_frames(getattr(session.application, "viewers", ())):
                self._apply(session, forward=False)

    def prepare(self):
        """Work out what is written where; changes nothing.

        Raises
        ------
        ValueError
            Where a part of the result lacks what it was made with.
        """
        from ..core.events import events_of_tracks

        attached, change = self.attached, self.change
        cube, axis, outliers = attached.cube, attached.axis, change.outliers
        edits = []

        def edit(data, cid, axis, index, new):
            if cid is None:
                return
            old = data.get_component(cid)[_places(data, axis, index)]
            new = np.asarray(new, old.dtype)
            differs = bits_of(old) != bits_of(new)
            edits.append((data, cid, axis, index[differs], old[differs], new[differs]))

        both = np.concatenate([change.restored, change.rejected])
        flags = np.repeat([0, 1], [change.restored.size, change.rejected.size])
        gone = np.setdiff1d(change.restored, change.kept, assume_unique=True)
        numbers = np.concatenate([change.numbers, np.zeros(gone.size, np.int32)])
        for cid, index, new in (
            (attached.cleaned, change.index, change.values),
            (attached.rejected, both, flags),
            (attached.event, np.concatenate([outliers.index, gone]), numbers),
        ):
            edit(cube, cid, axis, index, new)
        if attached.map is not None:
            everywhere = np.arange(attached.map.size)
            for label, image, _ in map_images(outliers, change.kind_map, ""):
                edit(attached.map, attached.column("map", label), 0, everywhere, image.reshape(-1))
        if attached.frames is not None:
            for name in ("events", "pixels", "percent", *KINDS):
                column = rounded(np.asarray(change.summary[name.replace(" ", "_")]))
                edit(attached.frames, attached.column("frames", name), 0, np.arange(column.size), column)
        tracks = attached.column("tracks", "track")
        if tracks is not None:
            column = events_of_tracks(change.events["track"], attached.tracks.get_data(tracks))
            edit(attached.tracks, attached.column("tracks", "events"), 0, np.arange(column.size), column)

        self._old_events, self._new_events = attached.events, None
        columns = attached.record["columns"]
        if len(change.events) and attached.record["events label"] is not None:
            made = events_data(cube, axis, attached.record["events label"], change.events)
            if attached.events is None:
                made.meta.update(next((data.meta for data in attached.datasets), {}))
                self._new_events = made
                columns = {**columns, "events": columns_of(made)}
            else:
                self._new_events = attached.events
                number = attached.column("events", "event")
                if number is None:
                    raise ValueError(f"'{attached.events.label}' has lost its column 'event'; clean the set again.")
                columns_now = {
                    attached.column("events", new.label): made.get_component(new) for new in made.main_components
                }
                columns_now.pop(None, None)
                self._rows = RowChange(attached.events, number, columns_now)
        self._records = [
            (record, dict(record), self._record_after(record, columns))
            for record in (attached.record, *(data.meta for data in attached.datasets))
        ]
        self._edits = edits
        self.change = None  # what it was worked out from is large

    def _record_after(self, record, columns):
        after = dict(record)
        after["overrules"] = [*record.get("overrules", ()), self.label]
        if record is self.attached.record:
            shape, outliers = self.attached.shape, self.change.outliers
            restored, rejected = self.change.restored, self.change.rejected
            pairs = (restored, rejected), (rejected, restored)
            for name, mask, (given, taken) in zip(_NOTED, find_overrules(self.attached), pairs, strict=True):
                before = np.empty(0, np.int64) if mask is None else mask.index
                after[name] = pack_pixels(marked(np.setdiff1d(union(before, given), taken), shape))
            after["kept"] = pack_pixels(marked(outliers.index[outliers.kept], shape))
            after.pop("kept events", None)  # of an earlier version
            after["events"] = None if self._new_events is None else self._new_events.uuid
            after["columns"] = columns
        return after

    def _apply(self, session, forward):
        collection = session.data_collection
        changed = {}
        for data, cid, axis, index, old, new in self._edits:
            component = data.get_component(cid) if any(cid is known for known in data.components) else None
            if component is None or not index.size:
                continue
            component.put(_places(data, axis, index), new if forward else old)
            changed.setdefault(data, []).append(cid)
        for record, before, after in self._records:
            record.clear()
            record.update(after if forward else before)
        here, there = (self._old_events, self._new_events) if forward else (self._new_events, self._old_events)
        self.attached.events = there
        if here is there is not None:
            self._rows.apply(collection, forward)
        # everything is in its place before anybody looks: masks of one part rest on values of another
        _forget_masks(collection)
        for data, cids in changed.items():
            collection.hub.broadcast(NumericalDataChangedMessage(data, components_changed=cids))
        if here is there:
            if here is not None:
                collection.hub.broadcast(NumericalDataChangedMessage(here))
            return
        if self.attached.cube not in collection.data:
            return
        if here is not None and here in collection.data:
            remove_links(collection, [here])
            remove_data(collection, here)
        if there is not None:
            attached = self.attached
            collection.append(there)
            parts = attached.map, there, attached.frames, attached.tracks
            still = [data if data in collection.data else None for data in parts]
            links = link_parts(attached.cube, attached.axis, attached.event, *still)
            collection.add_link([link for link in links if there in (link.data1, link.data2)])


def _selection(session, subset, attached):
    """The cleaning that is meant, and what the subset selects of it."""
    if subset is None:
        raise ValueError(
            "No subset is active. Draw a region, or choose a subset under 'Active Subset' at the top of the window."
        )
    own = getattr(subset, "data", None)
    collection = session.data_collection
    found = [attached] if attached else (find_attached(collection, own) or find_attached(collection))[::-1]
    if not found:
        raise ValueError("Nothing in the session was cleaned; choose 'Clean image set…' first.")
    # the newest, if the subset does not speak of another
    found.sort(key=lambda known: not _speaks_of(subset.subset_state, known))
    error = None
    for known in found:
        try:
            mask = selected_pixels(subset, known.cube, known.axis)
        except ValueError as problem:
            error = error or problem
            continue
        if any(frame.any() for frame in mask):
            return known, mask
    raise error or ValueError(f"'{subset.label}' selects no pixel of '{found[0].cube.label}'; draw it larger.")


def _speaks_of(state, attached):
    """Whether a subset state selects by a part of this very cleaning."""
    for one in plain_states(state):
        if isinstance(one, ElementSubsetState):
            if any(one.data == data.uuid for data in attached.datasets):
                return True
            continue
        for cid in one.attributes:
            if attached.made(cid) or any(cid.parent is data for data in attached.datasets):
                return True
    return False


def _frame_size(attached):
    """Pixels of a frame."""
    _, ny, nx = attached.shape
    return ny * nx


def _places(data, axis, index):
    """The indices, along the axes of data, of pixels by their flat index with the frames first."""
    shape = list(data.shape)
    places = list(np.unravel_index(index, [shape.pop(axis), *shape]))
    places.insert(axis, places.pop(0))
    return tuple(places)


def _pixels_of_events(attached, numbers):
    """Flat index of the pixels of some events, ascending; none where the event numbers were not attached."""
    if attached.event is None:
        return np.empty(0, np.int64)
    pixels, events = nonzero(attached.values(attached.event))
    return pixels[np.isin(events, numbers)]


def _object_pixels(attached, track):
    """Flat index of the pixels of a moving object, ascending."""
    name = f"object {track} of '{attached.cube.label}'"
    numbers, tracks = (attached.column("events", label) for label in ("event", "track"))
    if attached.event is None or numbers is None or tracks is None:
        raise ValueError(
            f"The pixels of {name} are not known: clean the set again with the event numbers and the table of events "
            "ticked."
        )
    mine = attached.events.get_data(numbers)[attached.events.get_data(tracks) == track]
    if not track or not mine.size:
        raise ValueError(f"There is no event of {name} any more." if track else "An event of no track is no object.")
    return _pixels_of_events(attached, mine)


def do_overrule(session, attached, about="", **said):
    """Work out what a person says, and do it as one step.

    Parameters
    ----------
    session : glue.core.Session
    attached : Attached
    about : str, optional
        What is overruled, in words.
    **said
        As for `plan_overrule`.

    Returns
    -------
    Overrule

    Raises
    ------
    ValueError
        Where it changes nothing.
    """
    # (the frames are compared again; those in files are read for it, the first time all of them)
    patiently = wait_for if attached.on_demand else _at_once
    change = patiently(lambda report: plan_overrule(attached, report=report, **said))
    pixels = change.describe()
    if not pixels and "called" not in said:
        raise ValueError("What is selected holds only pixels that are masked or no numbers; they are never rejected.")
    command = Overrule(attached=attached, change=change, words=": ".join(filter(None, [about, pixels])))
    # what cannot be done is told before it stands among what can be undone
    command.prepare()
    session.command_stack.do(command)
    return command


def _forget_masks(collection):
    # glue forgets those of a state as a whole, but not of what it is put together from
    for group in collection.subset_groups:
        for state in subset_states(group.subset_state):
            clear_cache(state.to_mask)
