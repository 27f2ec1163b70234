"""Which pixels of which frames are outliers: reference, significance, flags."""

import warnings
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import ndimage, stats

from . import kernels, kernels_clip, kernels_flag
from .noise import full_light, structure_above_noise, survival_factor
from .normalize import typical_value
from .threads import in_threads

__all__ = ["CAP", "JOINT", "Detector", "Outliers"]

_BLOCK_BYTES = 8 * 2**20
_SURVIVE = 4.0  # sigma about the median; what is beyond has no say in the reference of the first pass
# The joint test of a pixel and its strongest neighbours, in units of the high threshold: each neighbour counts up to
# CAP, the weighted sum must exceed JOINT (4 and 7.8 sigma for a high threshold of 4.5).
CAP = 4.0 / 4.5
JOINT = 7.8 / 4.5
_NOT_JUDGED = 1e8  # factor of the variance where the frames cannot be compared


@dataclass(frozen=True, eq=False)
class Outliers:
    """What the detection found, and what it measured on the way.

    Attributes
    ----------
    rejected : ndarray, (N, ny, nx), bool
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

    rejected: np.ndarray
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
        names = ("rejected", "rejection_map", "rejection_count", "peak_significance", "reference")
        return {name: getattr(self, name) for name in names}

    def part(self, where):
        """The same of some pixels of the index only; the images stay whole."""
        columns = ("index", "median", "mean", "residual", "significance", "missing_noise", "kept")
        return replace(self, **{name: getattr(self, name)[where] for name in columns})

    def keep(self, kept):
        """Let pixels of the index, (K,) bool, be kept and not rejected: its images are changed in place."""
        size = self.rejection_map.size
        frame, column = np.divmod(self.index, size)
        self.rejected.reshape(-1)[self.index[kept]] = False
        changed = np.zeros(size, bool)
        changed[column[kept]] = True
        for image in (self.rejection_map, self.rejection_count, self.peak_significance):
            image.reshape(-1)[changed] = 0
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

    def __init__(self, image_set, model, settings, corner=(0, 0), progress=None):
        self.settings = settings
        self._progress = progress or (lambda share: None)
        if model.largest is None:
            # (a fill value is no level)
            every = [slice(None, None, 1 + length // 256 * 2) for length in image_set.shape[1:]]
            values = np.abs(np.nan_to_num(image_set.read(*every)))
            model = replace(model, largest=np.percentile(values, 99, axis=(1, 2)))
        self.rows = _Rows(image_set, model, corner)
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
        shape = rows.image_set.shape
        rejected = np.zeros(shape, bool)
        reference = np.empty(shape[1:], rows.dtype)
        flag = _judge(settings) if settings.by_noise else _clipper(settings, shape[0])
        most = settings.most_rejected(shape[0])
        measure, gather = self._measurer(rejected, reference, settings.min_frames, most)

        def find(y0, y1):
            stack, row0, row1, top, a, b = rows.read(y0, y1, rim=4)
            parts = [image[a:b] for image in self.surroundings]
            flag(stack, row0, row1, top, rows, parts, reference[a:b], rejected[:, a:b])
            if not settings.grow:
                measure(stack, row0, row1, top, y0, y1)

        rows.work(find, self._progress, 0.45, 0.85)
        if settings.grow:
            _grow(rows.image_set, rejected, settings.grow)
            rows.work(lambda y0, y1: measure(*rows.read(y0, y1)[:4], y0, y1))
        outliers = gather()
        self._progress(0.9)
        return outliers

    def measure(self, rejected, fewest=0, most=None):
        """Measure what somebody else has flagged, whatever the settings say of it.

        Parameters
        ----------
        rejected : ndarray, (N, ny, nx), bool
        fewest, most : int, optional
            How many frames remain at a pixel at least, and in how many it may be flagged; the least significant of the
            flags are taken back.

        Returns
        -------
        Outliers
            Its reference is NaN where no frame is flagged.
        """
        reference = np.full(rejected.shape[1:], np.nan, self.rows.dtype)
        measure, gather = self._measurer(rejected, reference, fewest, len(rejected) if most is None else most)
        self.rows.work(lambda y0, y1: measure(*self.rows.read(y0, y1)[:4], y0, y1))
        return gather()

    def measure_again(self, flags, before, reference, fewest=0, most=None):
        """Measure what is flagged now, and renew the reference where that has changed.

        Parameters
        ----------
        flags, before : ndarray, (N, ny, nx), bool
            Now, and when the reference was made.
        reference : ndarray, (ny, nx)
            As it was [ADU].
        fewest, most : int, optional
            As for `measure`.

        Returns
        -------
        outliers : Outliers
            Its reference is complete.
        columns : ndarray, int
            Flat index of the pixels (y, x) where the flags have changed.
        """
        outliers = self.measure(flags, fewest, most)
        columns = np.unique(np.flatnonzero(flags != before) % reference.size)
        reference = reference.copy()
        y, x = np.divmod(columns, reference.shape[1])
        reference[y, x] = self._weighted_mean(y, x, flags[:, y, x])
        return replace(outliers, reference=reference), columns

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

    def _measurer(self, rejected, reference, fewest, most):
        """measure(stack, row0, row1, top, y0, y1) for each piece, and gather() for the end."""
        rows = self.rows
        shape = rejected.shape
        images = np.zeros(shape[1:], np.uint16), np.zeros(shape[1:], np.uint16), np.zeros(shape[1:], np.float32)
        found = {}

        def measure(stack, row0, row1, top, y0, y1):
            here = slice(y0, y1)
            flags = rejected[:, here]
            size = np.count_nonzero(flags)
            where, measured = np.empty((3, size), np.int32), np.empty((5, size))
            parts = [image[here] for image in self.surroundings[1:]]
            out = flags, reference[here], tuple(image[here] for image in images), where, measured
            size = kernels_flag.settle(stack, row0, row1, top, rows.exact, *parts, fewest, most, *out)
            # one by one, so that each can be given back
            found[y0] = [np.ravel_multi_index(tuple(where[:, :size]), shape), *(row[:size].copy() for row in measured)]

        def gather():
            parts = [found[y0] for y0 in sorted(found)]
            index = np.concatenate([part.pop(0) for part in parts])
            # from order by row to order by frame
            order = np.argsort((index // (shape[1] * shape[2])).astype(np.uint16), kind="stable")
            measured = [np.concatenate([part.pop(0) for part in parts])[order] for _ in range(5)]
            result = reference.astype(np.float32, copy=False)
            result[~np.isfinite(self.surroundings[0])] = np.nan
            return Outliers(rejected, result, *images, index[order], *measured, np.zeros(index.size, bool))

        return measure, gather


class _Rows:
    """Rows of all frames for the kernels, and what the kernels are told of each frame."""

    def __init__(self, image_set, model, corner):
        self.image_set = image_set
        self.dtype = image_set.work_dtype
        frames = image_set.frames
        # the frames themselves where a kernel can read them as they are
        as_they_are = frames.dtype == self.dtype and frames.dtype.isnative and frames.flags.c_contiguous
        self.frames = np.asarray(frames) if as_they_are and image_set.mask is None else None
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
        n, ny, nx = self.image_set.shape
        size = int(np.clip(_BLOCK_BYTES // (n * nx * self.dtype.itemsize), 4, ny))
        return [(y, min(y + size, ny)) for y in range(0, ny, size)]

    def read(self, y0, y1, rim=0):
        """(frames, row0, row1, top, first, last): a C-contiguous array that holds rows y0 ... y1 of all frames as
        its rows row0 ... row1, with `rim` more on either side where there are any; its first row is row `top` of the
        image, and it holds the rows first ... last."""
        ny = self.image_set.shape[1]
        if self.frames is not None:
            return self.frames, y0, y1, 0, 0, ny
        first, last = max(y0 - rim, 0), min(y1 + rim, ny)
        return (self.image_set.read(slice(first, last)), y0 - first, y1 - first, first, first, last)

    def samples(self, y, x):
        """(frame - offset) / scale of some pixels of all frames, (N, K) float64; NaN = not to be used."""
        scale, origin, gy, gx = (values[:, None] for values in self.exact[:4])
        where = slice(None), y, x
        z = np.where(self.image_set.usable(where), self.image_set.frames[where], np.nan)
        return (z - (origin + gy * y + gx * x)) / scale

    def work(self, function, progress=None, begin=0.0, end=0.0):
        """function(y0, y1) for each piece, on all cores."""
        in_threads(function, self.blocks(), progress and (lambda share: progress(begin + (end - begin) * share)))


def _look_around(rows, model, progress):
    """The median image; by how much the scatter about it exceeds the noise model in each neighbourhood (factor of the
    variance, never below 1); the squared range of the median around each pixel, each (ny, nx). And the model, with
    what it did not know."""
    n, ny, nx = rows.image_set.shape
    # each by itself: what is done with is given back
    median, scatter, local, structure = (np.empty((ny, nx), rows.dtype) for _ in range(4))
    network = kernels.median_network(n)
    window = kernels.median_network(25)
    drop = 1 + n // 64

    def first(y0, y1):
        frames, row0, row1, top, _, _ = rows.read(y0, y1)
        kernels.stack_scatter(frames, row0, row1, top, rows.model, *network, drop, median[y0:y1], scatter[y0:y1])

    rows.work(first, progress, 0.1, 0.4)
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

    rows.work(second, progress, 0.4, 0.45)
    if first_look:
        # what noise alone gives; more only where the sky itself shows more
        thin = slice(None, None, max(1, median.size // 100_000))
        values = local.reshape(-1)[thin]
        plain = structure.reshape(-1)[thin] == 0
        typical = np.median(values[plain] if plain.sum() > 100 else values)
        model = replace(model, scatter=float(max(typical, _scatter_of_noise(n, drop))))
    inflation = scatter  # its memory is free for use

    def third(y0, y1):
        np.maximum(kernels.mean_around(local, y0, y1) / rows.dtype.type(model.scatter), 1, out=inflation[y0:y1])

    rows.work(third)
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


def _judge(settings):
    """What flags the pixels of some rows with the noise model."""
    low = settings.high_pair if settings.low is None else settings.low_pair
    high = settings.high_pair

    def flag(stack, row0, row1, top, rows, parts, reference, flags):
        _judge_rows(stack, row0, row1, top, rows, parts, high, low, reference, flags)
        if settings.detection == "noise":
            kernels_flag.excuse(stack, row0, row1, top, rows.model, *parts, high, flags)

    return flag


def _judge_rows(stack, row0, row1, top, rows, parts, high, low, reference, flags):
    """Flags, and the reference; thresholds (bright, dark)."""
    dtype = rows.dtype.type
    keep = dtype(_SURVIVE**2 * survival_factor(len(stack)))
    limits = [tuple(map(dtype, pair)) for pair in (high, low, np.multiply(JOINT, high), np.multiply(CAP, high))]
    kernels_flag.judge(stack, row0, row1, top, rows.model, keep, *parts, *limits, reference, flags)


def _clipper(settings, n):
    """What flags the pixels of some rows by the scatter of each pixel's own samples."""
    bright, dark = settings.high_pair if settings.high is not None else (np.inf, np.inf)
    method = getattr(kernels_clip, settings.detection.upper())
    how = method, settings.centre == "mean", bright, dark, -1 if settings.maxiters is None else settings.maxiters
    tables = _esd_table(n), *kernels.median_network(n)
    never = np.inf, np.inf

    def flag(stack, row0, row1, top, rows, parts, reference, flags):
        _judge_rows(stack, row0, row1, top, rows, parts, never, never, reference, flags)
        kernels_clip.clip(stack, row0, row1, top, rows.exact, *how, *tables, flags[:, row0:row1])

    return flag


def _esd_table(n, alpha=0.05):
    """Critical values of the generalized ESD test for 0 ... n samples and outlier 1 ... 0.3 n, (n + 1, K)."""
    size, number = np.mgrid[: n + 1, 1 : max(1, int(0.3 * n)) + 1]
    left = np.maximum(size - number + 1, 3)
    t = stats.t.ppf(1 - alpha / (2 * left), left - 2)
    return (left - 1) * t / np.sqrt((left - 2 + t * t) * left)


def _grow(image_set, rejected, distance):
    disk = np.hypot(*np.mgrid[-distance : distance + 1, -distance : distance + 1]) <= distance
    for i, frame in enumerate(rejected):
        frame[:] = ndimage.binary_dilation(frame, disk) & image_set.usable(i)
