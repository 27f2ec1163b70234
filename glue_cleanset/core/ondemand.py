"""Frames that are read when they are asked for, a part at a time: sets that do not fit in memory."""

import numpy as np

__all__ = ["ComputedFrames", "FramesOnDemand", "MappedFrames", "either"]


class FramesOnDemand:
    """N frames that look like an array (N, ny, nx) and of which only what is asked for is in memory.

    A subclass reads one frame, or some of its rows. Where an array can be given as frames, so can these; none of their
    values is ever changed.

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
        raise NotImplementedError

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        return self.frame(i)[first:last]

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
        return self.frame(i)[y, x]

    def _points(self, frame, y, x):
        values = np.empty(frame.shape, self.dtype)
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


class _Either(FramesOnDemand):
    """Where one of two masks is True."""

    def __init__(self, masks):
        super().__init__(masks[0].shape, bool)
        self.masks = masks

    def frame(self, i):
        """Frame `i`, whole."""
        return self.rows(i, 0, self.shape[1])

    def rows(self, i, first, last):
        """Rows first ... last - 1 of frame `i`."""
        one, other = (mask[i, first:last] for mask in self.masks)
        return one | other


def either(mask, other):
    """Where one of two masks, (N, ny, nx) bool, is True: an array, or on demand where one of them is."""
    if isinstance(mask, FramesOnDemand) or isinstance(other, FramesOnDemand):
        return _Either((mask, other))
    return mask | other


def _is_slice(key):
    return isinstance(key, (slice, int, np.integer))
