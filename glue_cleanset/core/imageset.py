"""ImageSet: the frames of one field, their mask, and what is known of each frame."""

from copy import copy
from dataclasses import dataclass, fields
from os import PathLike

import numpy as np

from .ondemand import ComputedFrames, FramesOnDemand, either
from .threads import in_threads

__all__ = ["LARGEST", "ImageSet"]

# what is beyond is a fill value and no light; its square would not fit into float32
LARGEST = 1e16
# pixels; a shift that is larger is a sign for one that is not known
_FARTHEST = 20_000


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N registered frames of one field.

    Parameters
    ----------
    frames : array-like, (N, ny, nx)
        Any real dtype and byte order [ADU]. An array is kept as it is, never copied, never modified; so are frames
        that are read on demand (`glue_cleanset.core.ondemand.FramesOnDemand`, dask arrays). A
        sequence of 2-D frames is stacked. What masked arrays and CCDData mask is masked.
    mask : array-like, (N, ny, nx) or (ny, nx), optional
        Nonzero or True = ignore this pixel; one of bool may be read on demand. NaN and infinite values are ignored
        without it; fill values (beyond 1e16) are never part of a reference.
    gain, readnoise, exptime : float or N floats, optional
        Gain [e-/ADU], read noise [e- rms], exposure time [s]. None = not known.
    names : sequence of N str, optional
        What the frames are called in tables; default ``frame 1`` ...
    times : sequence of N floats, optional
        When the frames were taken (the middle of the exposures), from any moment on [h]. None = at even steps.
    shifts : array-like, (N, 2), optional
        What the registration did, dy and dx of each frame [pixels], fractions allowed: what falls on detector pixel
        (y, x) is at (y + dy, x + dx) of the registered frame. NaN, or None for all = not known.
    shifts_source : str
        Where they come from: ``'given'``, ``'headers'`` or ``'file'``.

    Raises
    ------
    ValueError, TypeError
        Where the frames cannot be compared: one frame, differing shapes, not 2-D, no finite pixel, a
        constant frame, complex or text data, a mask of another shape, gain or read noise
        that is not positive, shifts that are not N pairs.
    """

    frames: np.ndarray
    mask: np.ndarray | None = None
    gain: np.ndarray | None = None
    readnoise: np.ndarray | None = None
    exptime: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    times: np.ndarray | None = None
    shifts: np.ndarray | None = None
    shifts_source: str = "given"

    def __post_init__(self):
        self._check_form()
        self._check_content()

    def _check_form(self):
        frames = _as_cube(self.frames)
        n = len(frames)
        mask = None if self.mask is None else as_mask("mask", self.mask, frames.shape)
        own = _own_mask(self.frames, frames.shape)
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "mask", mask if own is None else own if mask is None else either(mask, own))
        for name in ("gain", "readnoise", "exptime"):
            object.__setattr__(self, name, per_frame(name, getattr(self, name), n))
        names = self.names
        if names is None:
            names = [f"frame {i}" for i in range(1, n + 1)]
        elif len(names) != n:
            raise ValueError(f"names has {len(names)} entries for {n} frames; give one name for each frame")
        object.__setattr__(self, "names", tuple(str(name) for name in names))
        object.__setattr__(self, "times", None if self.times is None else _as_times(self.times, n))
        object.__setattr__(self, "shifts", None if self.shifts is None else as_shifts(self.shifts, n))

    def __len__(self):
        return len(self.frames)

    @property
    def shape(self):
        """(N, ny, nx)."""
        return self.frames.shape

    @property
    def work_dtype(self):
        """float32 where that holds the values exactly (float32, up to 16 bits), else float64."""
        return np.dtype(np.float64 if self.frames.dtype.itemsize > 4 else np.result_type(self.frames.dtype, np.float32))

    def read(self, rows=slice(None), columns=slice(None), frames=slice(None)):
        """A part of all frames, or of some, `work_dtype`; NaN where a pixel is not to be used. Always a copy."""
        part = self.frames[frames, rows, columns].astype(self.work_dtype)
        part[~(np.abs(part) < LARGEST)] = np.nan
        if self.mask is not None:
            part[self.mask[frames, rows, columns]] = np.nan
        return part

    def boxes(self, where):
        """Parts of all frames as `read` gives them, (N, h, w) each; `where`: (rows, columns), slices, of each.

        Every frame is read once where it is read on demand.
        """
        if not self.on_demand:
            return in_threads(self.read, where)
        boxes = [np.empty((len(self), *np.empty(self.shape[1:], bool)[box].shape), self.work_dtype) for box in where]
        height = sum(box.shape[1] for box in boxes)

        def read(i):
            one = slice(i, i + 1)
            # many of them are cut out of the whole frame
            whole = self.read(frames=one)[0] if 4 * height > self.shape[1] else None
            for values, box in zip(boxes, where, strict=True):
                values[i] = self.read(*box, one)[0] if whole is None else whole[box]

        in_threads(read, [(i,) for i in range(len(self))])
        return boxes

    def part(self, rows, columns):
        """The same set with some of its rows and columns only, slices; a view, whatever it holds."""
        part = copy(self)
        object.__setattr__(part, "frames", self.frames[:, rows, columns])
        if self.mask is not None:
            object.__setattr__(part, "mask", self.mask[:, rows, columns])
        if self.shifts is not None:
            corner = [range(self.shape[1])[rows].start, range(self.shape[2])[columns].start]
            object.__setattr__(part, "shifts", self.shifts - corner)
        return part

    def without(self, ignored):
        """The same set with more pixels masked; `ignored` as `mask`. ValueError where a frame shows nothing then."""
        rest = self.hide(as_mask("ignored", ignored, self.shape))
        rest._check_content()
        return rest

    def with_frames(self, frames, mask=None):
        """A set with the same values, and the same mask, in other arrays; it knows no more than an `ImageSet` does."""
        rest = object.__new__(ImageSet)
        rest.__dict__.update({field.name: getattr(self, field.name) for field in fields(ImageSet)})
        rest.__dict__["frames"] = frames
        if mask is not None:
            rest.__dict__["mask"] = mask
        return rest

    def hide(self, ignored):
        """The same set with more pixels masked, (N, ny, nx) bool or such on demand, whatever is left."""
        rest = copy(self)
        object.__setattr__(rest, "mask", ignored if self.mask is None else either(self.mask, ignored))
        return rest

    def usable(self, where):
        """Which pixels of ``frames[where]`` are finite, no fill values and not masked, bool."""
        good = np.abs(self.frames[where]) < LARGEST
        return good if self.mask is None else good & ~self.mask[where]

    @property
    def on_demand(self):
        """Whether the frames are read when they are asked for."""
        return isinstance(self.frames, FramesOnDemand)

    def _check_content(self):
        for i, name in enumerate(self.names):
            fault = content_fault(self.frames, self.mask, i)
            if fault:
                raise ValueError(f"{name} {fault}; leave it out of the set")


def content_fault(frames, mask, i):
    """What keeps frame `i` from being compared, in words that follow its name; empty where nothing does."""
    _, ny, nx = frames.shape
    apart = max(1, ny // 4)
    columns = slice(None, None, max(1, nx // 1024))
    values = np.empty(0)
    # a few rows settle nearly every frame; only a doubtful one is read whole
    for parts in ([(i, y, columns) for y in range(apart // 2, ny, apart)], [(i,)]):
        values = np.concatenate([_good(frames, mask, part) for part in parts])
        if values.size and values.min() != values.max():
            return ""
    if not values.size:
        return "has no finite unmasked pixel"
    return f"is constant ({values[0]}) and holds no image" if values.size > 1 else ""


def _good(frames, mask, part):
    values = frames[part]
    good = np.abs(values) < LARGEST
    if mask is not None:
        good &= ~mask[part]
    return values[good]


def per_frame(name, value, n):
    """`value` as (n,) float64, or None; positive numbers only."""
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; give one number or {n}, one for each frame") from None
    if array.ndim > 1 or (array.ndim == 1 and array.size != n):
        raise ValueError(f"{name} has {array.size} values for {n} frames; give one number or {n}")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise ValueError(f"{name} is {array[bad].flat[0] if array.ndim else value}; it must be a positive number")
    return np.full(n, float(array)) if array.ndim == 0 else array.copy()


def _as_times(times, n):
    """`times` as (n,) float64."""
    try:
        array = np.array(times, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"times is {times!r}; give {n} numbers of hours, one for each frame") from None
    if array.shape != (n,) or not np.isfinite(array).all():
        raise ValueError(f"times is {times!r}; give {n} finite numbers of hours, one for each frame")
    return array


def as_shifts(shifts, n):
    """`shifts` as (n, 2) float64; NaN for both where one of them is."""
    try:
        array = np.array(shifts, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"shifts is {shifts!r}; give dy and dx of each of the {n} frames") from None
    if array.shape != (n, 2):
        raise ValueError(f"shifts has shape {array.shape} for {n} frames; give ({n}, 2): dy, dx of each frame")
    if np.isinf(array).any():
        raise ValueError("shifts holds infinite values; give numbers, or NaN where a shift is not known")
    far = np.abs(np.nan_to_num(array)).max(axis=1)
    if far.max() > _FARTHEST:
        raise ValueError(
            f"shifts has {far.max():g} pixels for frame {far.argmax() + 1}; give pixels, or NaN where it is not known"
        )
    array[np.isnan(array).any(axis=1)] = np.nan
    return array


def _as_cube(frames):
    if isinstance(frames, (str, PathLike)):
        raise TypeError(f"frames is {str(frames)!r}; give the frames themselves, or read_image_set({str(frames)!r})")
    if hasattr(frames, "compute"):  # a dask array
        frames = ComputedFrames(frames)
    if not isinstance(frames, (np.ndarray, FramesOnDemand)):
        parts = [np.asarray(f) for f in frames] if isinstance(frames, (list, tuple)) else None
        if parts:
            for i, part in enumerate(parts[1:], start=2):
                if part.shape != parts[0].shape:
                    raise ValueError(
                        f"frames differ in shape: frame 1 is {parts[0].shape}, frame {i} is {part.shape}; "
                        "register or crop them first"
                    )
        frames = parts if parts is not None else frames
    # what a masked array masks is looked at by _own_mask
    frames = frames if isinstance(frames, FramesOnDemand) else np.asarray(frames)
    if frames.dtype.kind not in "iufb":
        raise TypeError(f"frames hold {frames.dtype} values; give real numbers")
    if frames.dtype.kind == "b":
        raise TypeError("frames hold bool values; give real numbers")
    if frames.ndim == 2:
        raise ValueError(
            f"frames is one frame of shape {frames.shape}; one frame cannot be compared with itself, give (N, ny, nx)"
        )
    if frames.ndim != 3:
        raise ValueError(f"frames has shape {frames.shape}; give (N, ny, nx)")
    if frames.shape[0] == 1:
        raise ValueError("frames holds 1 frame; one frame cannot be compared with itself, give at least 2")
    if len(frames) > np.iinfo(np.uint16).max:
        raise ValueError(f"frames holds {len(frames)} frames; the rejection map can number {np.iinfo(np.uint16).max}")
    if frames.size == 0:
        raise ValueError(f"frames is empty, shape {frames.shape}")
    return frames


def _own_mask(frames, shape):
    """What masked arrays and CCDData mask themselves, (N, ny, nx), or None."""
    parts = [frames] if isinstance(frames, np.ndarray) else list(frames) if isinstance(frames, (list, tuple)) else []
    masks = [getattr(part, "mask", None) for part in parts]
    if all(mask is None or not np.any(mask) for mask in masks):
        return None
    size = shape if isinstance(frames, np.ndarray) else shape[1:]
    masks = [np.zeros(size, bool) if mask is None else np.broadcast_to(np.asarray(mask) != 0, size) for mask in masks]
    return masks[0] if isinstance(frames, np.ndarray) else np.stack(masks)


def as_mask(name, mask, shape):
    """`mask` as (N, ny, nx) bool, nonzero = True; a view where it can be, as it is where it is read on demand.

    `name` is what a person calls it.
    """
    if isinstance(mask, FramesOnDemand) and mask.dtype == bool and mask.shape == shape:
        return mask
    mask = np.asarray(mask)
    if mask.dtype.kind not in "biu" and not (mask.dtype.kind == "f" and np.isfinite(mask).all()):
        raise TypeError(f"{name} holds {mask.dtype} values; give bool or integers, nonzero = True")
    if mask.shape not in (shape, shape[1:]):
        raise ValueError(f"{name} has shape {mask.shape}, the frames {shape}; give {shape} or {shape[1:]}")
    return np.broadcast_to(mask != 0 if mask.dtype.kind != "b" else mask, shape)
