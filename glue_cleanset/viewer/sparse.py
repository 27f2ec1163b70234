"""Components that are arrays like any other in memory, and small in a session file."""

import math
import zlib
from base64 import b64decode, b64encode
from weakref import WeakKeyDictionary

import numpy as np
from glue.core.component import CategoricalComponent, Component, DerivedComponent

from ..core.ondemand import PackedFlags, marked, nonzero, pack_flags

__all__ = [
    "SparseCategoricalComponent",
    "SparseComponent",
    "bits_of",
    "differences",
    "pack_index",
    "pack_mask",
    "pack_patch",
    "pack_pixels",
    "unpack_flags",
    "unpack_index",
    "unpack_mask",
    "unpack_patch",
    "unpack_pixels",
]

# how many values are compared or filled at a time
_PART = 1 << 22
# of whole numbers in a session file
_INT = np.dtype("<i8")


class SparseComponent(Component):
    """Values of which a session stores only those that differ from others.

    glue writes every value of what was added to data into the session file; of a cleaned cube that is some hundred
    megabytes, though all but the rejected pixels are in the original one. The values are compared when a session is
    saved, so that changes made until then are in it. What comes back is equal bit for bit, as long as the others are.
    Where those were read from files that have changed since, the stored values are put into what the files hold now:
    repaired pixels are as they were, all others follow the files.

    Parameters
    ----------
    data : ndarray
        The values, of any real dtype; not copied.
    base : Component or list of Component, optional
        What most of the values are equal to, once cast to their dtype; several stand for their stack along axis 0.
        None is zero.
    units : str, optional
    own : bool
        Whether nobody else holds the array: it is changed in place then, where values are changed.

    Raises
    ------
    ValueError
        Where the base has another shape.
    """

    def __init__(self, data, base=None, units=None, own=False):
        super().__init__(data, units=units)
        self._mine = self._data if own else None
        # what is derived has no values yet when a session is opened
        derived = any(isinstance(one, DerivedComponent) for one in (base if isinstance(base, list) else [base]))
        self._base = None if derived else base
        # glue asks for the same state several times while it saves a session
        self._states = WeakKeyDictionary()
        _check_shape(self._base, self.shape)

    def put(self, where, values):
        """Let some pixels, arrays of their indices along the axes, have other values; glue has to be told."""
        if self._mine is not self._data:
            self._data = self._mine = self._data.copy()
        self._data.flags.writeable = True
        self._data[where] = values

    def __gluestate__(self, context):
        if context not in self._states:
            several = isinstance(self._base, list)
            self._states[context] = {
                "shape": list(self.shape),
                "dtype": self._data.dtype.str,
                "units": self.units,
                "base": [context.id(one) for one in self._base] if several else context.id(self._base),
                **pack_patch(*differences(self._data, self._base)),
            }
        return dict(self._states[context])

    @classmethod
    def __setgluestate__(cls, record, context):
        base = record["base"]
        base = [context.object(one) for one in base] if isinstance(base, list) else context.object(base)
        shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
        _check_shape(base, shape)
        if base is None:
            data = np.zeros(shape, dtype)
        else:
            data = np.empty(shape, dtype)
            for part in _parts(shape):
                data[part] = _base_values(base, part)
        index, values = unpack_patch(record, dtype)
        data.reshape(-1)[index] = values
        return cls(data, base, record["units"], own=True)


class SparseCategoricalComponent(CategoricalComponent):
    """Words of which a session stores each once, and a number for every row."""

    def __gluestate__(self, context):
        words = np.asarray(self.categories).tolist()
        # (the codes themselves may be jittered)
        there, rows = np.unique(self.labels, return_inverse=True)
        codes = np.array([words.index(word) for word in there.tolist()], _INT)
        return {
            "words": words,
            "codes": _pack(codes[rows]),
            "jitter": self.jitter_method,
            "units": self.units,
        }

    @classmethod
    def __setgluestate__(cls, record, context):
        codes = _unpack(record["codes"], _INT)
        words = np.array(record["words"], dtype=str)
        return cls(words[codes], categories=words, jitter=record["jitter"], units=record["units"])


def pack_mask(mask):
    """A mask (..., ny, nx), bool or such on demand, as text, short where most of it is alike; None where nothing in it
    is True."""
    bits = pack_flags(mask)
    return _pack(bits) if bits.any() else None


def unpack_mask(text, shape):
    """The array that `pack_mask` made text of; None of None."""
    if not text:
        return None
    bits = _unpack(text, np.dtype(np.uint8))
    return np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)


def unpack_flags(text, shape):
    """As `unpack_mask`, (N, ny, nx), on demand: an eighth of the memory."""
    return PackedFlags(_unpack(text, np.dtype(np.uint8)), shape) if text else None


def pack_pixels(mask):
    """A mask with few pixels that are True, as `glue_cleanset.core.ondemand.marked`, as plain values; None where there
    are none."""
    index, _ = nonzero(mask)
    return {"steps": pack_index(index)} if index.size else None


def unpack_pixels(record, shape):
    """The mask that `pack_pixels` made plain values of, on demand; None of None."""
    if not record:
        return None
    # an earlier version stored all of it
    old = isinstance(record, str)
    index = np.flatnonzero(unpack_mask(record, shape)) if old else unpack_index(record["steps"])
    return marked(index, shape)


def pack_index(index):
    """Whole numbers, most of which are a little larger than the one before, as text."""
    return _pack(np.diff(index, prepend=0).astype(_INT))


def unpack_index(text):
    """The numbers that `pack_index` made text of: int64."""
    return np.cumsum(_unpack(text, _INT))


def pack_patch(index, values):
    """Some values, and where they are: flat index, ascending; as plain values."""
    return {"steps": pack_index(index), "values": _pack(values)}


def unpack_patch(record, dtype):
    """The index and the values, of that dtype, that `pack_patch` made plain values of."""
    return unpack_index(record["steps"]), _unpack(record["values"], dtype)


def _check_shape(base, shape):
    if base is None:
        return
    given = (len(base), *base[0].shape) if isinstance(base, list) else base.shape
    if given != shape:
        raise ValueError(
            f"values of the shape {shape} were made from others, which have the shape {given} now; "
            "if files of the session were changed, put the old ones back"
        )


def _parts(shape):
    step = max(1, _PART // max(1, math.prod(shape[1:])))
    return [slice(start, start + step) for start in range(0, shape[0], step)]


def _base_values(base, part):
    return np.stack([one.data for one in base[part]]) if isinstance(base, list) else base[part]


def differences(data, base):
    """Flat index, ascending, and value of each that differs from the base, of what `SparseComponent` knows."""
    found, values = [np.empty(0, np.int64)], [np.empty(0, data.dtype)]
    for part in _parts(data.shape):
        mine = np.ascontiguousarray(data[part])
        if base is None:
            theirs = np.zeros(1, mine.dtype)
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                theirs = np.ascontiguousarray(_base_values(base, part), mine.dtype).reshape(-1)
        mine = mine.reshape(-1)
        index = np.flatnonzero(bits_of(mine) != bits_of(theirs))
        values.append(mine[index])
        found.append(index + part.start * math.prod(data.shape[1:]))
    return np.concatenate(found), np.concatenate(values, dtype=data.dtype)


def bits_of(values):
    """What tells values from each other: NaN is equal to NaN, and -0 is not 0."""
    size = values.dtype.itemsize
    return values.view(f"u{size}") if size <= 8 else values


def _pack(values):
    # first bytes together, second bytes together: those that are alike compress
    planes = values.reshape(-1, 1).view(np.uint8).T
    return b64encode(zlib.compress(np.ascontiguousarray(planes))).decode("ascii")


def _unpack(text, dtype):
    planes = np.frombuffer(zlib.decompress(b64decode(text)), np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
