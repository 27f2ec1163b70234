"""Frames that are read when they are asked for, a part at a time: sets that do not fit in memory."""

import numpy as np

__all__ = [
    "ComputedFrames",
    "Either",
    "FramesOnDemand",
    "MappedFrames",
    "PackedFlags",
    "PatchedFrames",
    "either",
    "marked",
    "nonzero",
    "pack_flags",
    "union",
]


class FramesOnDemand:
    """N frames that look like an array (N, ny, nx) and of which only what is asked for is in memory.

    A subclass has `frame`, or `rows`, or both: each rests on the other. Where an array can be given as frames, so can
    these; none of their values is ever changed.

    Parameters
    ----------
    shape : (int, int, int)
        N, ny, nx.
    dtype : dtype
        Of the values.
    """

    ndim = 3

    def __init__(self, shape, dtype):
        self.shape, self.dtype = tuple(int(length) for length in shape), np.dtype(dtype)

    def frame(self, i):
        """Frame `i`, (ny, nx), whole; an array that reads its own part from a file, as np.memmap does, is welcome."""
        return self.rows(i, 0, self.shape[1])

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        return self.frame(i)[first:last]

    def _span(self, i, first, last):
        """Flat index of the first value of some rows, and of what is behind their last."""
        _, ny, nx = self.shape
        return (i * ny + first) * nx, (i * ny + min(last, ny)) * nx

    @property
    def size(self):
        """How many values there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self):
        """What they would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def __iter__(self):
        return (self.frame(i) for i in range(len(self)))

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("frames that are read on demand cannot be given as an array without a copy")
        values = self[:]
        return values if dtype is None else values.astype(dtype, copy=False)

    def ravel(self):
        """IndexError: who asks for all values in a row would have them all in memory; `__array__` gives them."""
        raise IndexError(f"{self.size} values that are read on demand are not given as one array")

    def __getitem__(self, key):
        """As of an array: integers, slices, integer arrays, or a mask of all pixels; a copy in native byte order."""
        if isinstance(key, (np.ndarray, FramesOnDemand)) and key.ndim == 3 and key.dtype.kind == "b":
            return self._masked(key)
        key = key if isinstance(key, tuple) else (key,)
        if any(k is Ellipsis for k in key):
            place = next(place for place, k in enumerate(key) if k is Ellipsis)
            key = key[:place] + (slice(None),) * (4 - len(key)) + key[place + 1 :]
        if len(key) > 3:
            raise IndexError(f"{len(key)} indices are given; frames have 3 axes")
        frame, y, x = key + (slice(None),) * (3 - len(key))
        if isinstance(frame, (int, np.integer)):
            return np.array(self.part(range(len(self))[frame], y, x), self.dtype)
        if isinstance(frame, slice):
            numbers = range(len(self))[frame]
        elif _is_slice(y) and _is_slice(x):
            numbers = np.arange(len(self))[frame].tolist()
        else:
            return self._points(*np.broadcast_arrays(frame, y, x))
        values = np.empty((len(numbers), *self._empty(y, x)), self.dtype)
        for k, i in enumerate(numbers):
            values[k] = self.part(i, y, x)
        return values

    def part(self, i, y, x):
        """Frame `i` at ``[y, x]``."""
        if isinstance(y, slice):
            first, last, step = y.indices(self.shape[1])
            if step == 1:
                return self.rows(i, first, max(first, last))[:, x]
        elif isinstance(y, (int, np.integer)):
            y = range(self.shape[1])[y]
            return self.rows(i, y, y + 1)[0, x]
        elif y.size and y.dtype.kind in "iu" and y.min() >= 0:
            first = y.min()
            return self.rows(i, first, y.max() + 1)[y - first, x]
        return self.frame(i)[y, x]

    def _points(self, frame, y, x):
        values = np.empty(frame.shape, self.dtype)
        if not frame.size:
            return values
        frame = frame % len(self)
        order = np.argsort(frame, axis=None, kind="stable")
        numbers, begin = np.unique(frame.reshape(-1)[order], return_index=True)
        for i, here in zip(numbers.tolist(), np.split(order, begin)[1:], strict=True):  # (there may be no point)
            lines = y.reshape(-1)[here] % self.shape[1]
            first = lines.min()
            values.reshape(-1)[here] = self.rows(i, first, lines.max() + 1)[lines - first, x.reshape(-1)[here]]
        return values

    def _masked(self, mask):
        if mask.shape != self.shape:
            raise IndexError(f"the mask has shape {mask.shape}, the frames {self.shape}")
        found = [np.empty(0, self.dtype)]
        for i in range(len(self)):
            here = mask[i]
            if here.any():
                found.append(np.asarray(self.frame(i), self.dtype)[here])
        return np.concatenate(found)

    def _empty(self, y, x):
        """Shape of a part of one frame."""
        return np.broadcast_to(np.zeros((), bool), self.shape[1:])[y, x].shape


class ComputedFrames(FramesOnDemand):
    """Frames of a dask array, of which only what is asked for is computed.

    A chunk is computed anew for each of its frames: chunks of one frame, or a few, are the best.

    Parameters
    ----------
    array : dask.array.Array, (N, ny, nx)
    scheduler : str, optional
        What computes it, as dask calls it; default what dask takes by itself. A copy that was pickled computes
        in its own thread, because it is one of many that work at the same time.
    """

    def __init__(self, array, scheduler=None):
        if np.isnan(array.shape).any():
            raise ValueError(f"frames has shape {array.shape}, not all known; call its compute_chunk_sizes() first")
        super().__init__(array.shape, array.dtype.newbyteorder("="))
        self._array, self._scheduler = array, scheduler

    def __reduce__(self):
        return ComputedFrames, (self._array, "synchronous")

    @property
    def name(self):
        """What dask calls the array: the same where the same is computed from the same."""
        return self._array.name

    def frame(self, i):
        """Frame `i`, whole."""
        return self._computed(self._array[i])

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        return self._computed(self._array[i, first:last])

    def _computed(self, part):
        return np.asarray(part.compute(scheduler=self._scheduler))


class MappedFrames(FramesOnDemand):
    """What a function makes of the values of other frames, one by one.

    Parameters
    ----------
    frames : FramesOnDemand
    function : callable
        Gives an array of the shape of its argument.
    dtype : dtype
        Of what it gives.
    """

    def __init__(self, frames, function, dtype):
        super().__init__(frames.shape, dtype)
        self._frames, self._function = frames, function

    def frame(self, i):
        """Frame `i`, whole."""
        return self._function(self._frames.frame(i))

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        return self._function(self._frames.rows(i, first, last))

    def part(self, i, y, x):
        """Frame `i` at ``[y, x]``."""
        return self._function(self._frames.part(i, y, x))


class PatchedFrames(FramesOnDemand):
    """Frames of which some pixels have other values.

    Parameters
    ----------
    frames : FramesOnDemand or None
        None = zero everywhere else.
    index : ndarray, (K,), int64
        Flat index into (N, ny, nx) of these pixels, ascending.
    values : ndarray, (K,)
        What they have.
    shape : (int, int, int), optional
        N, ny, nx, where there are no other frames.
    """

    def __init__(self, frames, index, values, shape=None):
        super().__init__(shape if frames is None else frames.shape, values.dtype if frames is None else frames.dtype)
        self.frames, self.index, self.values = frames, index, values

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        begin, end = self._span(i, first, last)
        here = slice(*np.searchsorted(self.index, [begin, end]))
        if self.frames is None:
            values = np.zeros(end - begin, self.dtype).reshape(-1, self.shape[2])
        elif here.start == here.stop:
            return self.frames.rows(i, first, last)
        else:
            values = np.array(self.frames.rows(i, first, last), self.dtype)
        values.reshape(-1)[self.index[here] - begin] = self.values[here]
        return values

    def with_values(self, index, values):
        """The same with other values at some pixels, in any order, each once."""
        return PatchedFrames(self.frames, *_merged(self.index, self.values, index, values), self.shape)

    def _points(self, frame, y, x):
        values = np.zeros(frame.shape, self.dtype) if self.frames is None else self.frames[frame, y, x]
        if self.index.size:
            flat = np.ravel_multi_index((frame, y, x), self.shape, mode="wrap")
            place = np.minimum(np.searchsorted(self.index, flat), self.index.size - 1)
            there = self.index[place] == flat
            values[there] = self.values[place[there]]
        return values


class PackedFlags(FramesOnDemand):
    """A mask in memory of which eight pixels share a byte.

    Parameters
    ----------
    bits : ndarray, uint8
        Of `pack_flags`.
    shape : (int, int, int)
        N, ny, nx.
    """

    def __init__(self, bits, shape):
        super().__init__(shape, bool)
        self.bits = bits

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        begin, end = self._span(i, first, last)
        flags = np.unpackbits(self.bits[begin // 8 : -(-end // 8)]).view(bool)
        return flags[begin % 8 :][: end - begin].reshape(-1, self.shape[2])


class Either(FramesOnDemand):
    """Where one of two masks is True.

    Parameters
    ----------
    masks : (ndarray or FramesOnDemand, ndarray or FramesOnDemand), (N, ny, nx), bool
    """

    def __init__(self, masks):
        super().__init__(masks[0].shape, bool)
        self.masks = masks

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        one, other = (mask[i, first:last] for mask in self.masks)
        return one | other


def either(mask, other):
    """Where one of two masks, (N, ny, nx) bool, is True: an array, or on demand where one of them is."""
    if isinstance(mask, FramesOnDemand) or isinstance(other, FramesOnDemand):
        return Either((mask, other))
    return mask | other


def marked(index, shape):
    """The mask (N, ny, nx) that is True at some pixels, flat index, ascending; on demand."""
    return PatchedFrames(None, index, np.ones(index.size, bool), shape)


def nonzero(frames):
    """The pixels that are not zero, looked for a frame at a time.

    Parameters
    ----------
    frames : ndarray or FramesOnDemand, (N, ny, nx)

    Returns
    -------
    index : ndarray, (K,), int64
        Flat index into (N, ny, nx), ascending.
    values : ndarray, (K,)
    """
    if isinstance(frames, PatchedFrames):
        index, values = frames.index, frames.values
        if frames.frames is not None:
            index, values = _merged(*nonzero(frames.frames), index, values)
        there = values != 0
        return index[there], values[there]
    found, values = [np.empty(0, np.int64)], [np.empty(0, frames.dtype)]
    for i in range(len(frames)):
        frame = np.asarray(frames[i]).reshape(-1)
        here = np.flatnonzero(frame)
        found.append(here + i * frame.size)
        values.append(frame[here])
    return np.concatenate(found), np.concatenate(values)


def union(one, other):
    """The numbers that are in one of two arrays of whole numbers, each ascending; ascending, each once."""
    both = np.sort(np.concatenate([one, other]), kind="stable")  # (fast where there are two runs)
    first = np.ones(both.size, bool)
    np.not_equal(both[1:], both[:-1], out=first[1:])
    return both[first]


def pack_flags(mask):
    """The bits of a mask, (N, ny, nx) bool or such on demand, as `numpy.packbits` packs them; some frames at a time."""
    # eight frames end with a byte
    return np.concatenate([np.packbits(mask[i : i + 8]) for i in range(0, len(mask), 8)])


def _merged(index, values, new_index, new_values):
    """Flat index, ascending, and values of pixels of which some have new ones."""
    stays = np.isin(index, new_index, invert=True)
    index, values = np.concatenate([index[stays], new_index]), np.concatenate([values[stays], new_values])
    order = np.argsort(index)
    return index[order], values[order]


def _is_slice(key):
    return isinstance(key, (slice, int, np.integer))
