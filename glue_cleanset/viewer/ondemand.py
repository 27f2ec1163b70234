"""Cubes whose frames stay in their files: glue reads the one that it shows, and measures all of them in turn."""

from collections import OrderedDict
from threading import Lock

import numpy as np
from glue.core import Data
from glue.core.component import Component, CoordinateComponent
from glue.core.component_id import ComponentID, PixelComponentID
from glue.core.state import GlueSerializeError, GlueUnSerializer
from glue.core.subset import ElementSubsetState, SliceSubsetState
from glue.utils import compute_histogram

from ..core.ondemand import FramesOnDemand, MappedFrames, PatchedFrames
from .regions import plain_states
from .sparse import bits_of, pack_patch, unpack_patch

__all__ = ["FramesComponent", "OnDemandCube", "frames_of", "let_read_on_demand"]

# of the frames shown last, for each attribute; one frame is kept in any case [bytes]
_KEPT = 32 << 20
# values that are looked at at a time
_PART = 1 << 23
# where a sample will do, each of so many frames gives so many of its rows that together they are one frame
_SAMPLED = 16


def _as_numbers(flags):
    """Bool as numbers, which glue shows."""
    return flags.view(np.uint8)


class _Selected(FramesOnDemand):
    """What a subset state selects in a cube, a frame at a time; raises where it means nothing there.

    Parameters
    ----------
    cube : OnDemandCube
    subset_state : glue.core.subset.SubsetState
    find : callable
        ``find(subset_state, view)`` gives a part of the mask.
    """

    def __init__(self, cube, subset_state, find):
        super().__init__(cube.shape, bool)
        self._cube, self._state, self._find = cube, subset_state, find
        self.frame(0)

    def frame(self, i):
        return self._find(self._state, self._cube._part(i, i + 1))[0]


class _Part(tuple):
    """A view of a cube. glue would keep the mask of each part that it can look up, and so the mask of all."""

    __hash__ = None


class FramesComponent(Component):
    """Frames that are read when they are asked for.

    `data` is no array: it gives the shape, and any part as an array. The last frames shown are kept. Values of pixels
    that are changed are kept as well, and lie over those of the frames; no file is changed.

    Parameters
    ----------
    frames : FramesOnDemand, (N, ny, nx)
        What is bool becomes 0 and 1.
    units : str, optional
    image_set : ImageSet, optional
        What the frames were read with.
    written : glue_cleanset.viewer.written.Written, optional
        Which part of which folder they are: what a session stores. Without it the files must be known to glue.
    """

    def __init__(self, frames, units=None, image_set=None, written=None):
        frames = MappedFrames(frames, _as_numbers, np.uint8) if frames.dtype == bool else frames
        super().__init__(frames, units=units)
        self.image_set, self.written = image_set, written
        self._read, self._shown, self._lock = frames, OrderedDict(), Lock()

    def put(self, where, values):
        """Let some pixels, arrays of their indices along the axes, have other values; glue has to be told."""
        differs = bits_of(values) != bits_of(self._read[where])
        index = np.ravel_multi_index(where, self.shape)
        over = self._over.with_values(index, values)
        # what is as in the files need not be known
        stays = np.isin(over.index, index[~differs], invert=True)
        self._cover(over.index[stays], over.values[stays])

    @property
    def _over(self):
        """The frames with what lies over them."""
        if self._data is self._read:
            return PatchedFrames(self._read, np.empty(0, np.int64), np.empty(0, self._read.dtype))
        return self._data

    def _cover(self, index, values):
        with self._lock:
            self._data = PatchedFrames(self._read, index, values) if index.size else self._read
            self._shown.clear()

    @property
    def numeric(self):
        """They are images."""
        return True

    def __getitem__(self, key):
        if key is None or key is Ellipsis:
            return self._data
        if isinstance(key, (np.ndarray, _Selected)) and key.dtype == bool:
            return self._data[key]
        key = key if isinstance(key, tuple) else tuple(key) if isinstance(key, list) else (key,)
        if len(key) == 3 and all(isinstance(k, np.ndarray) and k.ndim for k in key):
            return self._points(*key)
        if isinstance(key[0], (int, np.integer)) and not any(k is Ellipsis for k in key):
            i = range(len(self._data))[key[0]]
            if i in self._shown or all(isinstance(k, slice) and k == slice(None) for k in key[1:]):
                return self._frame(i)[key[1:]]
        return self._data[key]

    def _points(self, frame, y, x):
        """glue asks for the pixels of an image by three arrays, in one frame or some."""
        shape = np.broadcast_shapes(frame.shape, y.shape, x.shape)
        frame, y, x = (_shortened(k) for k in (frame, y, x))
        if frame.size == 1:
            return np.broadcast_to(self._frame(int(frame.flat[0]))[y, x], shape)
        return np.broadcast_to(self._data[frame, y, x], shape)

    def _frame(self, i):
        with self._lock:  # some viewers of glue work in threads
            if i not in self._shown:
                self._shown[i] = np.array(self._data.frame(i), self._data.dtype)
                self._shown[i].flags.writeable = False
                while len(self._shown) > 1 and sum(kept.nbytes for kept in self._shown.values()) > _KEPT:
                    self._shown.popitem(last=False)
            self._shown.move_to_end(i)
            return self._shown[i]

    def to_series(self, **kwargs):
        raise ValueError("frames that are read on demand make no table: it would have a row for every pixel of the set")

    def __gluestate__(self, context):
        if self.written is not None:
            over = {} if self._data is self._read else pack_patch(self._data.index, self._data.values)
            return {"written": self.written.record(context), "units": self.units, **over}
        # even a session with data inside is none of a set that does not fit into memory
        log = getattr(self, "_load_log", None)
        if log is None:
            raise GlueSerializeError(
                "Frames that are read on demand are kept in a session only where glue has opened their files itself; "
                "write them to FITS files and open these."
            )
        return {"log": context.id(log), "log_item": log.id(self)}

    @classmethod
    def __setgluestate__(cls, record, context):
        if "log" in record:
            return context.object(record["log"]).component(record["log_item"])
        from .written import Written, opened

        written = Written.from_record(record["written"])
        made = cls(opened(written, context).frames(written.part), record["units"], written=written)
        if "steps" in record:
            made._cover(*unpack_patch(record, made.data.dtype))
        return made


class OnDemandCube(Data):
    """A cube of frames that are read on demand: what is asked of all pixels is found without having them all at once.

    Statistics and histograms go through the frames, exactly; only a median or a percentile of all pixels is that of an
    even sample, and so are limits, of which glue itself takes 10,000 pixels.
    """

    def get_data(self, cid, view=None):
        """As of any data; all frames as an array only where they are few."""
        values = super().get_data(cid, view)
        return values[:] if isinstance(values, FramesOnDemand) and self.size <= _PART else values

    def update_components(self, mapping):
        """As of any data; ValueError where the values are in files."""
        for cid in mapping:
            component = self.get_component(cid) if isinstance(cid, ComponentID) else cid
            if isinstance(component, FramesComponent):
                raise ValueError(f"the values of '{cid}' of {self.label} are read from files and cannot be changed")
        super().update_components(mapping)

    def get_mask(self, subset_state, view=None):
        """As of any data; of the whole cube as one bool for each pixel, or for each pixel of a frame where all are
        alike."""
        if view is not None and view is not Ellipsis:
            return super().get_mask(subset_state, view)
        if self._is_flat_state(subset_state):
            return np.broadcast_to(super().get_mask(subset_state, self._part(0, 1)), self.shape)
        if self._is_joined():
            return _Selected(self, subset_state, lambda state, view: state.to_mask(self, view))
        mask = np.empty(self.shape, bool)
        for part in self._parts():
            mask[part] = super().get_mask(subset_state, part)
        return mask

    def select(self, subset_state):
        """What a subset state selects in the whole cube: as `get_mask`, but read on demand where it is not the same in
        all frames; what it selects is looked for anew in every frame that is asked for."""
        if self._is_flat_state(subset_state):
            return self.get_mask(subset_state)
        return _Selected(self, subset_state, super().get_mask)

    def compute_statistic(
        self,
        statistic,
        cid,
        subset_state=None,
        axis=None,
        finite=True,
        positive=False,
        percentile=None,
        view=None,
        random_subset=None,
        n_chunk_max=40000000,
    ):
        """As of any data, a part at a time."""
        how = {"finite": finite, "positive": positive, "percentile": percentile}
        of_all = axis is None or (isinstance(axis, tuple) and len(axis) == self.ndim)
        of_slices = isinstance(subset_state, SliceSubsetState) and (
            subset_state.reference_data is self and _size(self.shape, subset_state.slices) <= 2 * _PART
        )
        if view is not None or of_slices or not self._is_large(cid):
            return super().compute_statistic(
                statistic, cid, subset_state, axis, view=view, random_subset=random_subset, n_chunk_max=_PART, **how
            )
        if of_all:
            return self._statistic(statistic, cid, subset_state, random_subset, **how)
        if isinstance(axis, tuple) and len(axis) != 1:
            return super().compute_statistic(statistic, cid, subset_state, axis, n_chunk_max=_PART, **how)
        axis = axis[0] if isinstance(axis, tuple) else axis
        along = 1 if axis == 0 else 0  # in parts of another axis
        parts = [
            super(OnDemandCube, self).compute_statistic(statistic, cid, subset_state, axis, view=part, **how)
            for part in self._parts(along)
        ]
        return np.concatenate(parts)

    def compute_histogram(
        self, cids, weights=None, range=None, bins=None, log=None, subset_state=None, random_subset=None
    ):
        """As of any data, a part at a time."""
        if any(first == last for first, last in range):
            return np.zeros(bins)  # (glue's own ends the process: its bins are beside the array)
        parts = list(self._sample() if random_subset else self._parts())
        total, seen = np.zeros(bins), 0
        for part in parts:
            mask = ... if subset_state is None else self.get_mask(subset_state, part)
            values = [np.asarray(self.get_data(cid, part))[mask].reshape(-1) for cid in cids]
            weight = None if weights is None else np.asarray(self.get_data(weights, part))[mask].reshape(-1)
            total += compute_histogram(values, range=range, bins=bins, weights=weight, log=log)
            seen += _size(self.shape, part)
        return total * (self.size / seen)

    def _statistic(self, statistic, cid, subset_state, random_subset, finite, positive, percentile):
        parts = list(self._sample() if random_subset and subset_state is None else self._parts())
        ordered = statistic in ("median", "percentile")
        apart = max(1, sum(_size(self.shape, part) for part in parts) // (4 * _PART)) if ordered else 1
        least, most, total, count, some = np.nan, np.nan, 0.0, 0, [np.empty(0)]
        for part in parts:
            mask = None if subset_state is None else self.get_mask(subset_state, part)
            if mask is not None and not mask.any():
                continue
            values = np.asarray(self.get_data(cid, part))
            keep = np.isfinite(values) if finite else np.ones(values.shape, bool)
            if positive:
                keep &= values > 0
            if mask is not None:
                keep &= mask
            values = values[keep][::apart]
            if not values.size:
                continue
            if ordered:
                some.append(values)
            least, most = np.fmin(least, values.min()), np.fmax(most, values.max())
            total, count = total + values.sum(dtype=float), count + values.size
        if not count:
            return np.nan
        if ordered:
            return np.percentile(np.concatenate(some[1:]), 50 if statistic == "median" else percentile)
        return {"minimum": least, "maximum": most, "sum": total, "mean": total / count}[statistic]

    def _is_joined(self):
        """Whether glue asks for a mask only to look up the numbers of the events there."""
        for other, (cids, _) in self._key_joins.items():
            if getattr(other, "_recursing", False):
                return all(isinstance(self.get_component(cid), FramesComponent) for cid in cids)
        return False

    def _is_large(self, cid):
        cid = self.id[cid] if isinstance(cid, str) else cid
        return self.size > _PART and not isinstance(self.get_component(cid), CoordinateComponent)

    def _is_flat_state(self, subset_state):
        """Whether a subset state selects the same in all frames, as far as its attributes tell."""
        # (glue's own selection of rows knows no attributes)
        return all(
            not isinstance(one, ElementSubsetState) and one.attributes and all(map(self._is_flat, one.attributes))
            for one in plain_states(subset_state)
        )

    def _is_flat(self, cid):
        """Whether an attribute is the same in all frames: y or x of a frame, or of an image."""
        if not isinstance(cid, PixelComponentID):
            return False
        return cid.axis > 0 if cid.parent is self else getattr(cid.parent, "ndim", 0) == 2

    def _part(self, first, last, along=0):
        part = [slice(None)] * self.ndim
        part[along] = slice(first, last)
        return _Part(part)

    def _parts(self, along=0):
        step = max(1, _PART * self.shape[along] // self.size)
        return [self._part(first, first + step, along) for first in range(0, self.shape[along], step)]

    def _sample(self):
        frames = np.unique(np.linspace(0, self.shape[0] - 1, _SAMPLED).astype(int))
        edges = np.linspace(0, self.shape[1], frames.size + 1).astype(int)
        for i, first, last in zip(frames.tolist(), edges, edges[1:], strict=False):
            if last > first:
                yield _Part([slice(i, i + 1), slice(int(first), int(last)), slice(None)])

    @classmethod
    def __setgluestate__(cls, record, context):
        made = GlueUnSerializer.dispatch.get_version(Data, record["_protocol"])(record, context)
        data = next(made)
        data.__class__ = cls
        yield data
        yield from made


def frames_of(data, cid):
    """The frames of an attribute that is read on demand; None where it is in memory."""
    component = data.get_component(cid)
    return component.data if isinstance(component, FramesComponent) else None


def let_read_on_demand(data):
    """Make a cube one that can hold frames read on demand; True where it is one now."""
    if type(data) is Data and data.ndim == 3:
        data.__class__ = OnDemandCube
    return isinstance(data, OnDemandCube)


def _shortened(index):
    """An index array without the repetitions of its broadcasting."""
    return index[tuple(slice(0, 1) if step == 0 else slice(None) for step in index.strides)]


def _size(shape, part):
    return int(np.prod([len(range(length)[k]) for length, k in zip(shape, part, strict=True)]))
