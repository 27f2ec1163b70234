"""Attaching a result to its cube, as one step that glue can undo."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from glue.core import Data
from glue.core.command import Command
from glue.core.component_id import ComponentID
from glue.core.link_helpers import LinkCollection

from ..core.imageset import as_mask
from ..core.ondemand import Either, FramesOnDemand, PackedFlags, PatchedFrames, marked, nonzero
from ..core.settings import CleanSettings
from ..io.products import Products, write_event_pixels
from ..io.sky import locate_events, locate_tracks
from .colors import frame_colormap, kind_colormap
from .coords import SkyCoordinates, find_celestial
from .links import link_images, link_parts
from .ondemand import FramesComponent, frames_of, let_read_on_demand
from .sparse import SparseComponent, pack_mask, pack_pixels, unpack_flags, unpack_mask, unpack_pixels
from .stack import find_numbers, find_times, image_set_from_cube
from .tables import table_columns, table_data
from .written import Written, WrittenComponent, written_columns

__all__ = [
    "OUTPUTS",
    "AttachResult",
    "Attached",
    "build_attached",
    "columns_of",
    "events_data",
    "find_attached",
    "flat_viewers",
    "map_images",
    "remove_data",
    "remove_links",
]

# what can be attached -> in the words the dialog shows
OUTPUTS = {
    "cleaned": "the cleaned frames, beside the original ones",
    "rejected": "a cube that is 1 where a pixel was rejected",
    "event": "a cube of event numbers, which ties the rows of the events to their pixels",
    "map": "the rejection map: which frame, how often, how significant, of what kind, and the reference image",
    "events": "a table with one row for each event",
    "tracks": "a table with one row for each moving object: its rate and its direction",
    "frames": "a table with one row for each frame: the verbose summary",
}
# key of Data.meta of a cube: where the results of its cleanings are, by identifiers that a session file keeps
RUNS = "cleanings"
COMPONENTS = ("source", "cleaned", "rejected", "event")
DATASETS = ("map", "events", "tracks", "frames")


@dataclass
class Attached:
    """Where a result went.

    Attributes
    ----------
    cube : glue.core.Data
        The cube that was cleaned.
    source : glue.core.ComponentID
        The attribute that was cleaned.
    axis : int
        The axis of the cube that holds the frames.
    cleaned, rejected, event : glue.core.ComponentID or None
        In `cube`; None where not asked for.
    map, events, tracks, frames : glue.core.Data or None
        None where not asked for; `events` also where there is no event and `tracks` where nothing moves, because
        glue's viewers fail on a table without rows.
    record : dict
        The entry of the cleaning in the ``meta`` of the cube.
    """

    cube: Data
    source: ComponentID
    axis: int = 0
    cleaned: ComponentID | None = None
    rejected: ComponentID | None = None
    event: ComponentID | None = None
    map: Data | None = None
    events: Data | None = None
    tracks: Data | None = None
    frames: Data | None = None
    record: dict = field(default_factory=dict)

    @property
    def suffix(self):
        """What the labels of this cleaning end with: empty for the first one, ' 2' for the second."""
        return self.record.get("suffix", "")

    @property
    def settings(self):
        """The `CleanSettings` of the cleaning."""
        # a session file knows lists and no tuples
        values = self.record.get("settings", {}).items()
        return CleanSettings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values})

    @property
    def model(self):
        """What the cleaning learned of the set: a `glue_cleanset.core.model.SetModel`, or None."""
        # compiled code takes a while to import
        from ..core.model import SetModel

        learned = self.record.get("learned")
        return None if learned is None else SetModel.from_record(learned)

    def column(self, part, label):
        """The ComponentID that a column of the map or of a table was made with, whatever it is called now; None where
        it was removed, or there is no such part."""
        data = getattr(self, part)
        uuid = self.record["columns"].get(part, {}).get(label)
        return None if data is None else next((cid for cid in data.main_components if cid.uuid == uuid), None)

    @property
    def shape(self):
        """(N, ny, nx) of the frames."""
        return (self.cube.shape[self.axis], *(n for i, n in enumerate(self.cube.shape) if i != self.axis))

    def values(self, cid):
        """The values of an attribute of the cube, frames first: a view; `FramesOnDemand` where they are in files."""
        frames = frames_of(self.cube, cid)
        return np.moveaxis(self.cube.get_data(cid), self.axis, 0) if frames is None else frames

    @property
    def folder(self):
        """Where the files are that it is read from, a Path; None where it is in memory."""
        for data in (self.cube, *self.datasets):
            for cid in data.main_components:
                written = getattr(data.get_component(cid), "written", None)
                if written is not None and (data is not self.cube or self.made(cid)):
                    return Path(written.folder)
        return None

    @property
    def on_demand(self):
        """Whether it is read from files when it is asked for."""
        return self.folder is not None

    def made(self, cid):
        """Whether an attribute of the cube was added by this very cleaning."""
        return cid is not None and any(cid is mine for mine in (self.cleaned, self.rejected, self.event))

    def image_set(self):
        """The frames as they were cleaned, without what was ignored: a new `ImageSet`."""
        image_set = image_set_from_cube(self.cube, self.source, axis=self.axis)
        unpack = unpack_flags if image_set.on_demand else unpack_mask
        ignored = unpack(self.record.get("ignored"), image_set.shape)
        if ignored is None:
            ignored = unpack_mask(self.record.get("ignored in all frames"), image_set.shape[1:])
        # it was cleaned like that: something is left
        return image_set if ignored is None else image_set.hide(as_mask("ignored", ignored, image_set.shape))

    @property
    def kept(self):
        """Which pixels are part of an event, but were not rejected: a mask (N, ny, nx) on demand, or None where there
        are none."""
        numbers = self.record.get("kept events")
        if not numbers or self.event is None:
            return unpack_pixels(self.record.get("kept"), self.shape)
        # an earlier version noted the events where the frames are read on demand
        index, events = nonzero(self.values(self.event))
        return marked(index[np.isin(events, numbers)], self.shape)

    @property
    def track_positions(self):
        """y, x of each moving object in each frame: (T, N, 2)."""
        return np.reshape(self.record.get("track positions", []), (-1, self.shape[0], 2))

    @property
    def datasets(self):
        """The data that were made, without the cube."""
        parts = [getattr(self, name) for name in DATASETS]
        return [data for data in parts if data is not None]


def find_attached(collection, data=None):
    """The results of cleaning that are in a session, also in one that was saved and opened again.

    Parameters
    ----------
    collection : glue.core.DataCollection
    data : glue.core.Data, optional
        Only the results that this is the cube or a part of.

    Returns
    -------
    list of Attached
        The newest last. A part that is not there any more is None; without its source a result is left out.
    """
    datasets = {known.uuid: known for known in collection}
    found = []
    for cube in collection:
        components = {cid.uuid: cid for cid in cube.components}
        for run in cube.meta.get(RUNS, ()):
            attached = Attached(
                cube,
                axis=run["axis"],
                **{name: components.get(run[name]) for name in COMPONENTS},
                # an older session knows nothing of tracks
                **{name: datasets.get(run.get(name)) for name in DATASETS},
                record=run,
            )
            mine = data is None or any(data is part for part in (cube, *attached.datasets))
            if mine and attached.source is not None:
                found.append((run["time"], attached))
    return [attached for _, attached in sorted(found, key=lambda pair: pair[0])]


def build_attached(data, attribute, result, *, axis=0, outputs=tuple(OUTPUTS), taken=(), own=False, folder=None):
    """Make what `AttachResult` attaches, and change nothing.

    Parameters
    ----------
    data, attribute, result, axis, outputs, own, folder
        As for `AttachResult`.
    taken : iterable of str
        Labels of data that are in use.

    Returns
    -------
    attached : Attached
    components : list of (glue.core.ComponentID, glue.core.Component)
        To be added to `data`.

    Raises
    ------
    ValueError
        Where `result` is not one of this cube and axis, or an output is unknown; or it is read from files, and the
        folder is not given or holds another.
    """
    unknown = [output for output in outputs if output not in OUTPUTS]
    if unknown:
        raise ValueError(f"outputs has {unknown[0]!r}; choose from {', '.join(map(repr, OUTPUTS))}")
    source = find_numbers(data, attribute)
    attached = Attached(data, source, axis)
    shape = attached.shape
    if result.rejected.shape != shape:
        raise ValueError(
            f"the result has the shape {result.rejected.shape}, {data.label} has {shape} with its frames on axis {axis}"
        )
    if folder is None and isinstance(result.cleaned, FramesOnDemand):
        raise ValueError("the cleaned frames are read from files; give their folder, which a session must know")
    suffix = _free_suffix(
        {f"{source.label} {part}" for part in ("cleaned", "rejected", "event")},
        {cid.label for cid in data.components},
        {f"{data.label} {part}" for part in ("rejection map", "events", "tracks", "frames")},
        set(taken),
    )
    celestial = find_celestial(data, axis)
    original = data.get_component(source)
    units = original.units
    components = []

    products = None if folder is None else _products(folder, result, data, axis)

    def add(part, frames, base=None, units="", own=own):
        cid = ComponentID(f"{source.label} {part}{suffix}", parent=data)
        if products is None:
            component = SparseComponent(np.moveaxis(np.asarray(frames), 0, axis), base, units, own)
        else:
            component = FramesComponent(frames, units, written=Written(str(products.folder), products.digest, part))
        components.append((cid, component))
        setattr(attached, part, cid)

    if products is not None:
        if "cleaned" in outputs:
            add("cleaned", products.cleaned, units=units)
        if "rejected" in outputs:
            add("rejected", products.rejected)
        if "event" in outputs:
            add("event", PatchedFrames(None, result.event_pixels, result.event_numbers, shape))
    else:
        if "cleaned" in outputs:
            add("cleaned", result.cleaned, original, units)
        if "rejected" in outputs:
            add("rejected", np.asarray(result.rejected).view(np.uint8))
        if "event" in outputs:
            add("event", result.event_labels(), own=True)

    facts = {
        "overrules": list(result.overrules),
        "cleaned data": data.label,
        "cleaned attribute": source.label,
        "settings": result.settings.describe(),
        "gain": [float(v) for v in result.noise.gain],
        "read noise": [float(v) for v in result.noise.readnoise],
        "noise from": [result.noise.gain_source, result.noise.readnoise_source],
        "warnings": list(result.warnings),
    }
    if "map" in outputs:
        # a style editor knows the colour maps that there were when it was made
        frame_colormap(len(result.rejected))
        kind_colormap()
        coords = None if celestial is None else SkyCoordinates(celestial)
        attached.map = Data(label=f"{data.label} rejection map{suffix}", coords=coords)
        for label, values, unit in map_images(result, result.kind_map, units):
            if products is None:
                component = SparseComponent(values, units=unit, own=own)
            else:
                written = Written(str(products.folder), products.digest, "map", label)
                component = WrittenComponent(values, unit, written)
            attached.map.add_component(component, label)

    def add_table(part, table):
        columns = table_columns(table)
        made = Data(label=f"{data.label} {part}{suffix}")
        for label, component in (columns if products is None else written_columns(columns, products, part)).items():
            made.add_component(component, label)
        setattr(attached, part, made)

    events_label = f"{data.label} events{suffix}" if "events" in outputs else None
    if "events" in outputs and len(result.events):
        add_table("events", locate_events(result.events, celestial))
    moving = 0 if result.tracks is None else len(result.tracks)
    if "tracks" in outputs and moving:
        add_table("tracks", locate_tracks(result.tracks, result.track_positions, celestial, find_times(data, axis)))
    if "frames" in outputs:
        add_table("frames", result.summary)
    for made in attached.datasets:
        made.meta.update(facts)
    # plain values, which a session file keeps
    attached.record.update(
        {
            "time": datetime.now(UTC).isoformat(),
            "axis": axis,
            "settings": asdict(result.settings),
            "learned": None if result.model is None else result.model.to_record(),
            "overrules": list(result.overrules),
            "suffix": suffix,
            "events label": events_label,
            "track positions": np.asarray(result.track_positions, float).tolist() if moving else [],
        }
    )
    attached.record.update(_pixel_record(result, shape))
    for name in (*COMPONENTS, *DATASETS):
        part = getattr(attached, name)
        attached.record[name] = None if part is None else part.uuid
    attached.record["columns"] = {part: columns_of(getattr(attached, part)) for part in DATASETS}
    return attached, components


def _pixel_record(result, shape):
    """What an overrule, or a trace, has to know of single pixels."""
    # what the frames themselves mask is known with them where they are read on demand
    mask = result.mask.masks[1] if isinstance(result.mask, Either) else result.mask
    own = isinstance(mask, FramesOnDemand) and mask is result.mask and not isinstance(mask, PackedFlags)
    alike = isinstance(mask, np.ndarray) and mask.strides[0] == 0
    events = result.events
    held = events["event"][np.asarray(events["kept"], bool)] if "kept" in events.colnames else []
    kept = result.event_pixels[np.isin(result.event_numbers, held)]
    return {
        "ignored": None if mask is None or alike or own else pack_mask(mask),
        "ignored in all frames": pack_mask(mask[0]) if alike else None,
        "kept": pack_pixels(marked(kept, shape)),
        "light": None if result.light is None else [part.tolist() for part in result.light],
    }


def _products(folder, result, data, axis):
    """The folder that a result was written to; None where the cube cannot hold frames that are read on demand."""
    products = Products(folder)
    if products.cleaned.shape != result.rejected.shape or not np.array_equal(
        products.image("TIMES_REJECTED"), result.rejection_count
    ):
        raise ValueError(f"{products.folder} holds the result of another cleaning; give the folder of this one")
    if not products.knows_events:
        write_event_pixels(folder, result)
    return products if axis == 0 and let_read_on_demand(data) else None


def columns_of(data):
    """The identifier of each column by its label, as plain values."""
    return {} if data is None else {cid.label: cid.uuid for cid in data.main_components}


def map_images(result, kind_map, units):
    """(label, values, units) of each image of the rejection map, of a `CleanResult` or what measures as one, and of its
    map of kinds or None."""
    images = (
        ("rejected frame", result.rejection_map, ""),
        ("times rejected", result.rejection_count, ""),
        ("peak significance", result.peak_significance, ""),
        ("reference", result.reference, units),
    )
    return images if kind_map is None else (*images, ("kind", kind_map, ""))


def events_data(cube, axis, label, table):
    """The table of the events found in a cube whose frames are along an axis."""
    return table_data(label, locate_events(table, find_celestial(cube, axis)))


class AttachResult(Command):
    """Attach a result to its cube, linked; glue can undo and redo it.

    Parameters
    ----------
    data : glue.core.Data
        The cube that was cleaned. With `images` it is not in the collection yet.
    attribute : glue.core.ComponentID or str
        The attribute that was cleaned.
    result : glue_cleanset.CleanResult
    axis : int
        The axis of the cube that holds the frames.
    outputs : iterable of str
        Which of `OUTPUTS` to attach.
    images : list of glue.core.Data or None
        The images that `data` was stacked from.
    own : bool, optional
        Whether nobody else holds the arrays of `result`: then they are not copied before an overrule changes them.
    folder : str or Path, optional
        Where `result` was written to. Then the cleaned frames and what is rejected are read from there when they are
        asked for, and a session stores where the files are instead of what is in them; what is overruled later on lies
        over them and is stored with the session. A cube with its frames on another axis than the first takes them into
        memory all the same.

    Attributes
    ----------
    attached : Attached
        After ``session.command_stack.do(command)``.
    """

    kwargs = ["data", "attribute", "result", "axis", "outputs", "images"]  # noqa: RUF012 as glue wants it
    label = "clean image set"
    attached = None
    _derived = ()

    def do(self, session):
        """Attach; a second time the same objects, so that subsets made on them live again."""
        collection = session.data_collection
        needed = self.images or [self.data]
        gone = [data.label for data in needed if data not in collection.data]
        if gone:
            raise ValueError(f"{gone[0]} is not loaded any more; load it and clean it again")
        if self.attached is None:
            self.attached, self._components = build_attached(
                self.data,
                self.attribute,
                self.result,
                axis=self.axis,
                outputs=self.outputs,
                taken=[data.label for data in collection],
                own=self.extra.get("own", False),
                folder=self.extra.get("folder"),
            )
            a = self.attached
            self._links = link_parts(self.data, self.axis, a.event, a.map, a.events, a.frames, a.tracks)
            if self.images:
                self._links += link_images(self.data, self.images)
            # its arrays are in the session now; what changes there would keep a copy of them alive here
            self.result = None
        error = None
        # the links are worked out once, at the end; glue never gets out of this block by an exception
        with collection.delay_link_manager_update():
            try:
                for cid, component in [*self._components, *self._derived]:
                    self.data.add_component(component, cid)
                collection.extend(self._made)
                collection.add_link(self._links)
                self.data.meta[RUNS] = [*self.data.meta.get(RUNS, ()), self.attached.record]
            except Exception as exc:
                error = exc
        if error is not None:
            self.undo(session)
            raise error
        return self.attached

    def undo(self, session):
        """Take away all that was attached, as far as it is still there."""
        if self.attached is None:
            return
        collection = session.data_collection
        made = self._made
        self.data.meta[RUNS] = [run for run in self.data.meta.get(RUNS, ()) if run != self.attached.record]
        if not self.data.meta[RUNS]:
            del self.data.meta[RUNS]
        present = [cid for cid, _ in self._components if cid in self.data.components]
        doomed = _with_dependents(self.data, present)
        stays = [cid for cid in self.data.main_components if not any(cid is d for d in doomed)]
        if stays:
            source = self.attached.source
            _repoint(session.application, doomed, source if source in stays else stays[0])
        remove_links(collection, made, doomed)
        # what the user derived from an attached attribute goes with it and comes back with it
        self._derived = [(cid, self.data.get_component(cid)) for cid in doomed[len(present) :]]
        for cid in reversed(doomed):
            self.data.remove_component(cid)
        for data in made:
            remove_data(collection, data)

    @property
    def _made(self):
        return ([self.data] if self.images else []) + self.attached.datasets


def remove_links(collection, datasets, cids=()):
    """Take away the links that tie any of these data, or use any of these attributes."""
    collection.remove_link(
        [
            link
            for link in collection.external_links
            if isinstance(link, LinkCollection)
            and (any(link.data1 is d or link.data2 is d for d in datasets) or any(cid in link for cid in cids))
        ]
    )


def remove_data(collection, data):
    """Take data out of a session such that they can come back."""
    collection.remove(data)
    # a group makes a new subset when the data come back; the old one would be a double
    for subset in list(data.subsets):
        subset.delete()


def _free_suffix(labels, labels_in_use, data_labels, data_labels_in_use):
    # one number for all parts of a run, so that they are seen to belong together
    number = 1
    while True:
        suffix = "" if number == 1 else f" {number}"
        if labels_in_use.isdisjoint(label + suffix for label in labels) and data_labels_in_use.isdisjoint(
            label + suffix for label in data_labels
        ):
            return suffix
        number += 1


def _with_dependents(data, cids):
    doomed = list(cids)
    for cid in doomed:  # grows as it goes: what is derived from the derived
        for derived in data.derived_components:
            if not any(derived is d for d in doomed) and any(
                cid is source for source in data.get_component(derived).link.get_from_ids()
            ):
                doomed.append(derived)
    return doomed


def _repoint(application, doomed, other):
    # a viewer that shows an attribute when it is removed raises
    for viewer in flat_viewers(getattr(application, "viewers", ())):
        state = getattr(viewer, "state", None)
        if state is None:
            continue
        for owner in (*getattr(state, "layers", ()), state):
            for name in owner.callback_properties():
                if any(getattr(owner, name) is cid for cid in doomed):
                    setattr(owner, name, other)


def flat_viewers(viewers):
    """The viewers of an application, which lists them by tabs."""
    for viewer in viewers:
        if isinstance(viewer, (list, tuple)):
            yield from flat_viewers(viewer)
        else:
            yield viewer
