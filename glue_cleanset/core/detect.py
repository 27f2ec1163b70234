"""Which pixels of which frames are outliers: reference, significance, flags."""

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage, special

from . import kernels, kernels_clip, kernels_flag
from .noise import full_light, structure_above_noise, survival_factor
from .normalize import typical_value
from .ondemand import union
from .threads import Work, at_once, in_threads

__all__ = ["CAP", "JOINT", "Detector", "Outliers"]

_RIM = 4  # rows beside those that are judged which have a say
_MAPS = ("rejection_map", "rejection_count", "peak_significance")
_MAP_TYPES = np.uint16, np.uint16, np.float32
_MEASURED = ("median", "mean", "residual", "significance", "missing_noise")
_COLUMNS = ("index", *_MEASURED, "kept")
_SURVIVE = 4.0  # sigma about the median; what is beyond has no say in the reference of the first pass
# The joint test of a pixel and its strongest neighbours, in units of the high threshold: each neighbour counts up to
# CAP, the weighted sum must exceed JOINT (4 and 7.8 sigma for a high threshold of 4.5).
CAP = 4.0 / 4.5
JOINT = 7.8 / 4.5
_SAMPLES = 1 << 22  # that are looked at again at a time
_NOT_JUDGED = 1e8  # factor of the variance where the frames cannot be compared


@dataclass(frozen=True, eq=False)
class Outliers:
    """What the detection found, and what it measured on the way.

    Attributes
    ----------
    shape : (int, int, int)
        N, ny, nx.
    reference : ndarray, (ny, nx), float32
        Noise-weighted mean of the frames that survive [ADU]; NaN where no frame is good.
    rejection_map, rejection_count : ndarray, (ny, nx), uint16
        Number (1 ...) of the frame that is most significant there, and how many are rejected.
    peak_significance : ndarray, (ny, nx), float32
        Greatest significance [sigma].
    index : ndarray, (K,), int64
        Flat index of each pixel that stands out, ascending.
    median, mean : ndarray, (K,), float64
        Of the frames that survive there, as z = (frame - offset) / scale; NaN where none does.
    residual, significance : ndarray, (K,), float64
        Frame minus the expected value [ADU]; the same in sigma.
    missing_noise : ndarray, (K,), float64
        Noise [ADU] that the expected value lacks against a pixel of the frame.
    kept : ndarray, (K,), bool
        Which of these pixels are part of an event, but are not rejected: no image shows them.
    """

    shape: tuple[int, int, int]
    reference: np.ndarray
    rejection_map: np.ndarray
    rejection_count: np.ndarray
    peak_significance: np.ndarray
    index: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    residual: np.ndarray
    significance: np.ndarray
    missing_noise: np.ndarray
    kept: np.ndarray

    def images(self):
        """What a `CleanResult` takes over as it is, by name."""
        return {name: getattr(self, name) for name in ("reference", *_MAPS)}

    @property
    def rejected(self):
        """Flat index of the pixels that are rejected: all that stand out but those that are kept; ascending."""
        return self.index[~self.kept]

    def plane(self, i):
        """Which pixels of frame i are rejected: (ny, nx), bool."""
        _, ny, nx = self.shape
        first, last = np.searchsorted(self.index, [i * ny * nx, (i + 1) * ny * nx])
        here = self.index[first:last][~self.kept[first:last]] - i * ny * nx
        image = np.zeros((ny, nx), bool)
        image.reshape(-1)[here] = True
        return image

    def has(self, index):
        """Which of some pixels, an array of flat indices, are rejected."""
        if not self.index.size:
            return np.zeros(index.shape, bool)
        place = np.minimum(np.searchsorted(self.index, index), self.index.size - 1)
        return (self.index[place] == index) & ~self.kept[place]

    def flags(self):
        """Which pixels are rejected: (N, ny, nx), bool."""
        flags = np.zeros(self.shape, bool)
        flags.reshape(-1)[self.rejected] = True
        return flags

    def part(self, where):
        """The same of some pixels of the index only; the images stay whole."""
        return replace(self, **{name: getattr(self, name)[where] for name in _COLUMNS})

    def keep(self, kept):
        """Let pixels of the index, (K,) bool, be kept and not rejected: its images are changed in place."""
        size = self.rejection_map.size
        frame, column = np.divmod(self.index, size)
        changed = np.zeros(size, bool)
        changed[column[kept]] = True
        for name in _MAPS:
            getattr(self, name).reshape(-1)[changed] = 0
        others = np.flatnonzero(~kept & changed[column])
        strength = np.abs(np.nan_to_num(self.significance[others]))
        # the most significant is written last, of equals the first frame
        others = others[np.lexsort((-frame[others], strength))]
        self.rejection_map.reshape(-1)[column[others]] = frame[others] + 1
        self.peak_significance.reshape(-1)[column[others]] = np.abs(np.nan_to_num(self.significance[others]))
        np.add.at(self.rejection_count.reshape(-1), column[others], 1)
        return replace(self, kept=kept)


class Detector:
    """Judges a set, or a part of it with what is known of the whole.

    Parameters
    ----------
    image_set : ImageSet
        The set, or the part.
    model : SetModel
        Of the whole set; what it does not know yet is measured.
    settings : CleanSettings
    corner : (int, int)
        The pixel (y, x) of the whole set at which the part begins.
    progress : callable, optional
        Called with the share of the work that is done, 0 to 1; may raise to stop.
    work : Work, optional
        Where, and in which pieces, the work is done.

    Attributes
    ----------
    model : SetModel
        Complete.
    surroundings : (ndarray, ndarray, ndarray), (ny, nx)
        The median image on the mean scale [ADU]; by how much the scatter about it exceeds the noise model around each
        pixel (factor of the variance, never below 1); the squared range of the median around it [ADU^2], 0 where that
        is noise. With ``detection='ccd'`` what stands for them.
    structure : ndarray, (ny, nx)
        The squared range of the median, whatever the detection.
    rows : _Rows
        The frames in pieces for the compiled loops, and what these are told of each frame.
    """

    def __init__(self, image_set, model, settings, corner=(0, 0), progress=None, work=None):
        self.settings = settings
        self._progress = progress or (lambda share: None)
        if model.largest is None:
            # (a fill value is no level)
            every = [slice(None, None, 1 + length // 256 * 2) for length in image_set.shape[1:]]
            values = np.abs(np.nan_to_num(image_set.read(*every)))
            largest = in_threads(lambda frame: np.percentile(frame, 99), [(frame,) for frame in values])
            model = replace(model, largest=np.array(largest))
        self.rows = _Rows(image_set, model, corner, work or Work())
        self.surroundings, self.model = _look_around(self.rows, model, self._progress)
        self.structure = self.surroundings[2]
        if settings.detection == "ccd":
            # the noise model alone: nothing is learned from the neighbourhood
            median, inflation, _ = self.surroundings
            self.surroundings = median, np.ones_like(inflation), np.maximum(median, 0) ** 2
            for values in (self.rows.model, self.rows.exact):
                values[6][:] = settings.scale_noise**2

    def find(self):
        """Flag what deviates, and measure it.

        Returns
        -------
        Outliers
        """
        settings, rows = self.settings, self.rows
        n = rows.image_set.shape[0]
        limits = settings.min_frames, settings.most_rejected(n)
        function = _Find(rows, settings, limits)
        items = [(y0, y1, self._parts(*rows.span(y0, y1, _RIM))) for y0, y1 in rows.blocks()]
        found = rows.work.map("find", function, items, self._share(0.45, 0.85))
        if settings.grow:
            found = [_Found._make(part) for part in found]
            index = _grow(rows.image_set, np.concatenate([part.index for part in found]), settings.grow)
            reference = np.concatenate([part.reference for part in found])
            outliers = self.measure(index, *limits, reference)
        else:
            outliers = self._gather(found)
        self._progress(0.9)
        return outliers

    def measure(self, index, fewest=0, most=None, reference=None, done=None):
        """Measure what somebody else has flagged, whatever the settings say of it.

        Parameters
        ----------
        index : ndarray, (K,), int64
            Flat index of the pixels that are flagged.
        fewest, most : int, optional
            How many frames remain at a pixel at least, and in how many it may be flagged; the least significant of the
            flags are taken back.
        reference : ndarray, (ny, nx), optional
            As it is elsewhere [ADU]; changed in place.
        done : callable, optional
            Called with the share of this that is done, 0 to 1; may raise to stop.

        Returns
        -------
        Outliers
            Its reference is NaN where no frame is flagged and none was given.
        """
        rows = self.rows
        n, ny, nx = rows.image_set.shape
        row = index // nx % ny
        order = np.argsort(row, kind="stable")
        index, row = index[order], row[order]
        reference = np.full((ny, nx), np.nan, rows.dtype) if reference is None else reference
        items = []
        for y0, y1 in rows.blocks():
            first, last = np.searchsorted(row, [y0, y1])
            if last > first:
                y0, y1 = int(row[first]), int(row[last - 1]) + 1
                items.append((y0, y1, self._parts(y0, y1), reference[y0:y1], index[first:last]))
        found = rows.work.map("", _Measure(rows, (fewest, n if most is None else most)), items, done)
        return self._gather(found, reference)

    def measure_again(self, index, before, reference, known=None, done=None):
        """Measure what is flagged now, and renew the reference where that has changed.

        Parameters
        ----------
        index, before : ndarray, int64
            Flat index of the pixels that are flagged now, and of those that were when the reference was made; each
            pixel once.
        reference : ndarray, (ny, nx)
            As it was [ADU].
        known : Outliers, optional
            What was measured of other flags: only where these differ is anything measured. Its images are changed in
            place.
        done : callable, optional
            As for `measure`.

        Returns
        -------
        outliers : Outliers
            Its reference is complete.
        columns : ndarray, int
            Flat index of the pixels (y, x) where the flags have changed.
        """
        outliers = self.measure(index, done=done) if known is None else self.change(known, index)
        columns = np.unique(np.setxor1d(index, before, assume_unique=True) % reference.size)
        return replace(outliers, reference=self._renewed(reference, columns, outliers.index)), columns

    def change(self, outliers, index, fewest=0, most=None):
        """The outliers with other pixels flagged.

        Parameters
        ----------
        outliers : Outliers
            What stands out so far, nothing of it kept; its images are changed in place.
        index : ndarray, int64
            Flat index of the pixels that are flagged from now on; ascending.
        fewest, most : int, optional
            As for `measure`.

        Returns
        -------
        Outliers
        """
        size = outliers.rejection_map.size
        changed = np.zeros(size, bool)
        changed[np.setxor1d(index, outliers.index, assume_unique=True) % size] = True
        new = self.measure(index[changed[index % size]], fewest, most)
        old = outliers.part(~changed[outliers.index % size])
        order = np.argsort(np.concatenate([old.index, new.index]), kind="stable")
        columns = {name: np.concatenate([getattr(old, name), getattr(new, name)])[order] for name in _COLUMNS}
        columns["reference"] = self._renewed(outliers.reference, np.flatnonzero(changed), new.index)
        for name in _MAPS:
            image, own = (getattr(one, name).reshape(-1) for one in (outliers, new))
            image[changed] = own[changed]
        return replace(outliers, **columns)

    def _renewed(self, reference, columns, index):
        """The reference with the mean of what survives at some pixels, where those of `index` are flagged."""
        reference = reference.copy()
        n, size = self.rows.image_set.shape[0], reference.size
        place = np.full(size, -1, np.int32)
        place[columns] = np.arange(columns.size)
        frame, column = np.divmod(index, size)
        place = place[column]
        # some at a time: the samples of all frames are in memory
        step = max(1, _SAMPLES // n)
        for first in range(0, columns.size, step):
            here = (place >= first) & (place < first + step)
            y, x = np.divmod(columns[first : first + step], reference.shape[1])
            flags = np.zeros((n, y.size), bool)
            flags[frame[here], place[here] - first] = True
            reference[y, x] = self._weighted_mean(y, x, flags)
        return reference

    def _parts(self, y0, y1):
        """The surroundings of some rows."""
        return tuple(image[y0:y1] for image in self.surroundings)

    def _share(self, begin, end):
        return lambda share: self._progress(begin + (end - begin) * share)

    def _gather(self, found, reference=None):
        """The outliers of all pieces, in the order of their rows; `reference`: where they were put already."""
        n, ny, nx = self.rows.image_set.shape
        found = [_Found._make(part) for part in found]
        reference = np.empty((ny, nx), self.rows.dtype) if reference is None else reference
        images = {name: np.zeros((ny, nx), dtype) for name, dtype in zip(_MAPS, _MAP_TYPES, strict=True)}

        def gather_images():
            for part in found:
                here = slice(part.first, part.first + len(part.reference))
                reference[here] = part.reference
                for name, image in images.items():
                    image[here] = getattr(part, name)
            result = reference.astype(np.float32, copy=False)
            result[~np.isfinite(self.surroundings[0])] = np.nan
            return result

        def gather_columns():
            index = np.concatenate([np.zeros(0, np.int64), *(part.index for part in found)])
            # from order by row to order by frame
            order = np.argsort((index // (ny * nx)).astype(np.uint16), kind="stable")
            columns = {}
            for k, name in enumerate(_MEASURED):
                columns[name] = np.concatenate([np.zeros(0), *(part.measured[k] for part in found)])[order]
            return {"index": index[order], **columns}

        result, columns = at_once(gather_images, gather_columns)
        return Outliers((n, ny, nx), result, **images, **columns, kept=np.zeros(columns["index"].size, bool))

    def _weighted_mean(self, y, x, flags):
        """Noise-weighted mean of the frames that survive at some pixels; NaN where none does."""
        z, survives, variance = self.samples(y, x, flags)
        weight = np.where(survives, 1 / variance, 0)
        with np.errstate(invalid="ignore"):
            return np.sum(np.where(survives, weight * z, 0), axis=0) / np.sum(weight, axis=0)

    def samples(self, y, x, flags):
        """The samples of some pixels that survive, on the mean scale.

        Parameters
        ----------
        y, x : ndarray, (K,), int
            In the part that is judged.
        flags : ndarray, (N, K), bool
            True = is rejected.

        Returns
        -------
        z : ndarray, (N, K), float64
            (frame - offset) / scale [ADU], NaN where a sample is not to be used.
        survives : ndarray, (N, K), bool
        variance : ndarray, (N, K), float64
            Of z [ADU^2], at the median of the survivors, with the local inflation; NaN where none survives.
        """
        a, b, c, least = (values[:, None] for values in self.rows.exact[4:])
        z = self.rows.samples(y, x)
        survives = np.isfinite(z) & ~flags
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of pixels where all is NaN
            level = np.nanmedian(np.where(survives, z, np.nan), axis=0)
        _, inflation, structure = (image[y, x].astype(float) for image in self.surroundings)
        v = np.maximum(a + b * level, least)
        return z, survives, np.maximum(v * inflation, v + c * structure)


class _Found(NamedTuple):
    """What was found in some rows: of the image from row `first` on, and of the pixels that stand out, by row."""

    first: int
    reference: np.ndarray
    rejection_map: np.ndarray
    rejection_count: np.ndarray
    peak_significance: np.ndarray
    index: np.ndarray
    measured: np.ndarray


class _Measure:
    """Measures what is flagged in some rows."""

    def __init__(self, rows, limits):
        self.rows, self.limits = rows, limits
        n = rows.image_set.shape[0]
        self.network = *kernels.median_network(n, n // 4), n // 4

    def __call__(self, y0, y1, parts, reference, index):
        stack, row0, row1, top = self.rows.read(y0, y1)
        n, ny, nx = self.rows.image_set.shape
        flags = np.zeros((n, y1 - y0, nx), bool)
        frame, y, x = np.unravel_index(index, (n, ny, nx))
        flags[frame, y - y0, x] = True
        return self.settle(stack, row0, row1, top, parts[1:], reference.copy(), flags)

    def settle(self, stack, row0, row1, top, parts, reference, flags):
        """What is flagged in the rows row0 ... row1 of the stack; the other arrays begin there."""
        size = np.count_nonzero(flags)
        where, measured = np.empty((3, size), np.int32), np.empty((len(_MEASURED), size))
        images = tuple(np.zeros(reference.shape, dtype) for dtype in _MAP_TYPES)
        out = flags, reference, images, where, measured
        size = kernels_flag.settle(stack, row0, row1, top, self.rows.exact, *parts, *self.limits, self.network, *out)
        index = np.ravel_multi_index(tuple(where[:, :size]), self.rows.image_set.shape)
        return _Found(top + row0, reference, *images, index, measured[:, :size].copy())


class _Find:
    """Flags what deviates in some rows, and measures it."""

    def __init__(self, rows, settings, limits):
        self.rows, self.settings = rows, settings
        self.flag = (_Judge if settings.by_noise else _Clip)(settings, rows.image_set.shape[0])
        self.measure = _Measure(rows, limits)

    def __call__(self, y0, y1, parts):
        rows = self.rows
        stack, row0, row1, top = rows.read(y0, y1, _RIM)
        n, _, nx = rows.image_set.shape
        flags, reference = np.zeros((n, y1 - y0, nx), bool), np.empty((y1 - y0, nx), rows.dtype)
        self.flag(stack, row0, row1, top, rows, parts, reference, flags)
        if not self.settings.grow:
            parts = [image[row0:row1] for image in parts[1:]]
            return self.measure.settle(stack, row0, row1, top, parts, reference, flags)
        frame, y, x = np.nonzero(flags)
        index = np.ravel_multi_index((frame, y + y0, x), rows.image_set.shape)
        return _Found(y0, reference, *_MAPS, index, np.empty((0, index.size)))


class _Rows:
    """Rows of all frames for the kernels, and what the kernels are told of each frame."""

    def __init__(self, image_set, model, corner, work):
        self.image_set = image_set
        self.work = work
        self.dtype = image_set.work_dtype
        frames = image_set.frames
        # the frames themselves where a kernel can read them as they are
        as_they_are = not image_set.on_demand and frames.dtype == self.dtype and frames.dtype.isnative
        as_they_are = as_they_are and frames.flags.c_contiguous and image_set.mask is None
        self.frames = np.asarray(frames) if as_they_are else None
        normalization = model.normalization
        scales, gradients = normalization.scales, normalization.gradients
        a, b, c, least = model.noise.on_reference(scales, normalization.offsets)
        # the rounding of the values themselves is the least noise there is
        largest = model.largest + np.finfo(np.float32).tiny ** 0.25
        smallest = np.maximum(least, (4 * np.finfo(self.dtype).eps * largest / scales) ** 2)
        values = (scales, normalization.origins + gradients @ corner, *gradients.T, a, b, c, smallest)
        self.model = tuple(np.ascontiguousarray(v, self.dtype) for v in values)
        self.exact = tuple(np.ascontiguousarray(v, float) for v in values)

    def blocks(self):
        """(first, last + 1) rows of each piece of work."""
        return self.work.blocks(self.image_set.shape, self.dtype)

    def span(self, y0, y1, rim=0):
        """The rows that `read` gives: (first, last + 1)."""
        ny = self.image_set.shape[1]
        return (0, ny) if self.frames is not None else (max(y0 - rim, 0), min(y1 + rim, ny))

    def read(self, y0, y1, rim=0):
        """(frames, row0, row1, top): a C-contiguous array that holds rows y0 ... y1 of all frames as its rows
        row0 ... row1, with `rim` more on either side where there are any; its first row is row `top` of the image."""
        if self.frames is not None:
            return self.frames, y0, y1, 0
        first, last = self.span(y0, y1, rim)
        rows = slice(first, last)
        image_set = self.image_set
        # (the loops themselves leave alone what is not finite)
        plain = image_set.on_demand and image_set.mask is None and image_set.frames.dtype == self.dtype
        stack = image_set.frames[:, rows] if plain else image_set.read(rows)
        return stack, y0 - first, y1 - first, first

    def samples(self, y, x):
        """(frame - offset) / scale of some pixels of all frames, (N, K) float64; NaN = not to be used."""
        scale, origin, gy, gx = (values[:, None] for values in self.exact[:4])
        where = slice(None), y, x
        z = np.where(self.image_set.usable(where), self.image_set.frames[where], np.nan)
        return (z - (origin + gy * y + gx * x)) / scale

    def each(self, function):
        """function(y0, y1) for each piece, on all cores."""
        in_threads(function, self.blocks())


class _Look:
    """Median of every pixel in some rows, and the scatter about it."""

    def __init__(self, rows):
        n = rows.image_set.shape[0]
        self.rows, self.network, self.drop = rows, kernels.median_network(n), _dropped(n)

    def __call__(self, y0, y1):
        frames, row0, row1, top = self.rows.read(y0, y1)
        median, scatter = np.empty((2, y1 - y0, frames.shape[2]), self.rows.dtype)
        kernels.stack_scatter(frames, row0, row1, top, self.rows.model, *self.network, self.drop, median, scatter)
        return median, scatter


def _dropped(n):
    """How many of the largest of n residuals are left out of the scatter."""
    return 1 + n // 64


def _look_around(rows, model, progress):
    """The median image; by how much the scatter about it exceeds the noise model in each neighbourhood (factor of the
    variance, never below 1); the squared range of the median around each pixel, each (ny, nx). And the model, with
    what it did not know."""
    n, ny, nx = rows.image_set.shape
    # each by itself: what is done with is given back
    median, scatter, local, structure = (np.empty((ny, nx), rows.dtype) for _ in range(4))
    window = kernels.window_networks()
    blocks = rows.blocks()
    found = rows.work.map("look", _Look(rows), blocks, lambda share: progress(0.1 + 0.3 * share))
    for (y0, y1), part in zip(blocks, found, strict=True):
        median[y0:y1], scatter[y0:y1] = part
    del found
    finite = np.isfinite(scatter)
    if not finite.all():
        scatter[~finite] = np.median(scatter[finite]) if finite.any() else 1
    first_look = model.sky is None
    if first_look:
        level = float(np.nan_to_num(typical_value(median)))
        scales = model.normalization.scales
        variance = float(np.mean(model.noise.sigma(level) ** 2 / scales**2))
        model = replace(model, sky=level, sky_variance=variance, full=full_light(median, level, variance, scales))

    def second(y0, y1):
        local[y0:y1] = kernels.median_around(scatter, y0, y1, *window)
        structure[y0:y1] = structure_above_noise(kernels.range_around(median, y0, y1), model.sky_variance, n)

    rows.each(second)
    progress(0.45)
    if first_look:
        # what noise alone gives; more only where the sky itself shows more
        thin = slice(None, None, max(1, median.size // 100_000))
        values = local.reshape(-1)[thin]
        plain = structure.reshape(-1)[thin] == 0
        typical = np.median(values[plain] if plain.sum() > 100 else values)
        model = replace(model, scatter=float(max(typical, _scatter_of_noise(n, _dropped(n)))))
    inflation = scatter  # its memory is free for use

    def third(y0, y1):
        np.maximum(kernels.mean_around(local, y0, y1) / rows.dtype.type(model.scatter), 1, out=inflation[y0:y1])

    rows.each(third)
    if n == 2:
        # a hit cannot be told from scatter; the lower of two frames, which holds no hits, shows where stars are
        inflation[ndimage.maximum_filter(structure, 5) == 0] = 1
    inflation[median - median.dtype.type(model.sky) >= model.full] = _NOT_JUDGED
    return (median, inflation, structure), model


@lru_cache(maxsize=64)
def _scatter_of_noise(n, drop):
    """What `stack_scatter` and the median over 25 pixels give of n frames that hold Gaussian noise, tried out."""
    z = np.random.default_rng(0).standard_normal((n, 25, 400))
    if n == 2:
        return float(np.median((z[1] - z[0]) ** 2, axis=0).mean())
    chi = np.sort((z - np.median(z, axis=0)) ** 2, axis=0)[: n - drop].mean(axis=0)
    return float(np.median(chi, axis=0).mean())


class _Judge:
    """Flags the pixels of some rows with the noise model."""

    def __init__(self, settings, n):
        self.high = settings.high_pair
        self.low = self.high if settings.low is None else settings.low_pair
        self.excuse = settings.detection == "noise"

    def __call__(self, stack, row0, row1, top, rows, parts, reference, flags):
        _judge_rows(stack, row0, row1, top, rows, parts, self.high, self.low, reference, flags)
        if self.excuse:
            kernels_flag.excuse(stack, row0, row1, top, rows.model, *parts, self.high, flags)


def _judge_rows(stack, row0, row1, top, rows, parts, high, low, reference, flags):
    """Flags, and the reference; thresholds (bright, dark)."""
    dtype = rows.dtype.type
    keep = dtype(_SURVIVE**2 * survival_factor(len(stack)))
    limits = [tuple(map(dtype, pair)) for pair in (high, low, np.multiply(JOINT, high), np.multiply(CAP, high))]
    kernels_flag.judge(stack, row0, row1, top, rows.model, keep, *parts, *limits, reference, flags)


class _Clip:
    """Flags the pixels of some rows by the scatter of each pixel's own samples."""

    def __init__(self, settings, n):
        bright, dark = settings.high_pair if settings.high is not None else (np.inf, np.inf)
        method = getattr(kernels_clip, settings.detection.upper())
        maxiters = -1 if settings.maxiters is None else settings.maxiters
        self.how = method, settings.centre == "mean", bright, dark, maxiters
        self.tables = _esd_table(n), *kernels.median_network(n)

    def __call__(self, stack, row0, row1, top, rows, parts, reference, flags):
        never = np.inf, np.inf
        _judge_rows(stack, row0, row1, top, rows, parts, never, never, reference, flags)
        kernels_clip.clip(stack, row0, row1, top, rows.exact, *self.how, *self.tables, flags)


def _esd_table(n, alpha=0.05):
    """Critical values of the generalized ESD test for 0 ... n samples and outlier 1 ... 0.3 n, (n + 1, K)."""
    size, number = np.mgrid[: n + 1, 1 : max(1, int(0.3 * n)) + 1]
    left = np.maximum(size - number + 1, 3)
    t = special.stdtrit(left - 2, 1 - alpha / (2 * left))
    return (left - 1) * t / np.sqrt((left - 2 + t * t) * left)


def _grow(image_set, index, distance):
    """Flat index of the pixels within a distance of some, in the same frame, that can be used; ascending."""
    offset = np.argwhere(np.hypot(*np.mgrid[-distance : distance + 1, -distance : distance + 1]) <= distance)
    frame, y, x = np.unravel_index(index, image_set.shape)
    grown = np.zeros(0, np.int64)
    for dy, dx in offset - int(distance):
        inside = (y + dy >= 0) & (y + dy < image_set.shape[1]) & (x + dx >= 0) & (x + dx < image_set.shape[2])
        where = frame[inside], y[inside] + dy, x[inside] + dx
        grown = union(grown, np.ravel_multi_index(where, image_set.shape))
    return grown[image_set.usable(np.unravel_index(grown, image_set.shape))]
