"""Which pixels of which frames are outliers: reference, significance, flags."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage, stats

from . import kernels
from .noise import structure_above_noise, survival_factor
from .normalize import typical_value
from .threads import in_threads

__all__ = ["Outliers", "find_outliers"]

_BLOCK_BYTES = 8 * 2**20
_SURVIVE = 4.0  # sigma about the median; what is beyond has no say in the reference of the first pass
# The joint test of a pixel and its strongest neighbours, in units of the high threshold: each neighbour counts up to
# _CAP, the weighted sum must exceed _JOINT (4 and 7.8 sigma for a high threshold of 4.5).
_CAP = 4.0 / 4.5
_JOINT = 7.8 / 4.5


@dataclass(frozen=True, eq=False)
class Outliers:
    """What the detection found, and what it measured on the way.

    Attributes
    ----------
    rejected : ndarray, (N, ny, nx), bool
    reference : ndarray, (ny, nx), float32
        Noise-weighted mean of the frames that survive [ADU]; NaN where no frame is good.
    index : ndarray, (K,), int64
        Flat index of each rejected pixel, ascending.
    median, mean : ndarray, (K,), float64
        Of the frames that survive there, as z = (frame - offset) / scale.
    residual, significance : ndarray, (K,), float64
        Frame minus the expected value [ADU]; the same in sigma.
    missing_noise : ndarray, (K,), float64
        Noise [ADU] that the expected value lacks against a pixel of the frame.
    """

    rejected: np.ndarray
    reference: np.ndarray
    index: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    residual: np.ndarray
    significance: np.ndarray
    missing_noise: np.ndarray


def find_outliers(image_set, normalization, noise, settings, progress):
    """Flag the outliers of a set.

    Parameters
    ----------
    image_set : ImageSet
    normalization : Normalization
    noise : NoiseModel
    settings : CleanSettings
    progress : callable
        Called with the share of the work that is done, 0 to 1; may raise to stop.

    Returns
    -------
    Outliers
    """
    rows = _Rows(image_set, normalization, noise)
    surroundings = _look_around(rows, noise, normalization, progress)
    if settings.detection == "ccd":
        # the noise model alone: nothing is learned from the neighbourhood
        surroundings = surroundings[0], np.ones_like(surroundings[1]), np.maximum(surroundings[0], 0) ** 2
        for model in (rows.model, rows.exact):
            model[6][:] = settings.scale_noise**2
    if settings.detection in ("noise", "ccd"):
        low = settings.high_pair if settings.low is None else settings.low_pair
        rejected, reference = _judge(rows, *surroundings, settings.high_pair, low, progress)
        if settings.detection == "noise":
            _excuse(rows, *surroundings, settings, rejected)
    else:
        _, reference = _judge(rows, *surroundings, (np.inf, np.inf), (np.inf, np.inf), progress)
        rejected = _clip(rows, settings, progress)
    if settings.grow:
        _grow(image_set, rejected, settings.grow)
    measured, survivors = _measure(rows, *surroundings[1:], rejected)
    touched = measured[0]
    if _put_back(rejected, measured[0], measured[4], survivors, settings):
        measured, _ = _measure(rows, *surroundings[1:], rejected)
        _average(rows, *surroundings, rejected, touched, reference)
    alone = np.isnan(measured[2])
    reference.reshape(-1)[measured[0][~alone] % reference.size] = measured[2][~alone]
    reference = reference.astype(np.float32, copy=False)
    reference[~np.isfinite(surroundings[0])] = np.nan
    progress(0.9)
    return Outliers(rejected, reference, *measured)


class _Rows:
    """Rows of all frames for the kernels, and what the kernels are told of each frame."""

    def __init__(self, image_set, normalization, noise):
        self.image_set = image_set
        self.dtype = image_set.work_dtype
        frames = image_set.frames
        # the frames themselves where a kernel can read them as they are
        as_they_are = frames.dtype == self.dtype and frames.dtype.isnative and frames.flags.c_contiguous
        self.frames = np.asarray(frames) if as_they_are and image_set.mask is None else None
        scales = normalization.scales
        a, b, c, least = noise.on_reference(scales, normalization.offsets)
        # the rounding of the values themselves is the least noise there is
        size = np.nan_to_num(image_set.read(slice(None, None, max(1, image_set.shape[1] // 64))))
        # (a fill value is no level)
        largest = np.percentile(np.abs(size), 99, axis=(1, 2)) + np.finfo(np.float32).tiny ** 0.25
        smallest = np.maximum(least, (4 * np.finfo(self.dtype).eps * largest / scales) ** 2)
        model = (scales, normalization.origins, *normalization.gradients.T, a, b, c, smallest)
        self.model = tuple(np.ascontiguousarray(v, self.dtype) for v in model)
        self.exact = tuple(np.ascontiguousarray(v, float) for v in model)

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

    def work(self, function, progress=None, begin=0.0, end=0.0):
        """function(y0, y1) for each piece, on all cores."""
        in_threads(function, self.blocks(), progress and (lambda share: progress(begin + (end - begin) * share)))


def _look_around(rows, noise, normalization, progress):
    """The median image; by how much the scatter about it exceeds the noise model in each neighbourhood (factor of the
    variance, never below 1); the squared range of the median around each pixel. Each (ny, nx)."""
    n, ny, nx = rows.image_set.shape
    median, scatter, local, structure = np.empty((4, ny, nx), rows.dtype)
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
    level = np.nan_to_num(typical_value(median))
    variance = np.mean(noise.sigma(level) ** 2 / normalization.scales**2)

    def second(y0, y1):
        local[y0:y1] = kernels.surroundings(scatter, y0, y1, *window, 12, False)
        spread = kernels.surroundings(median, y0, y1, *window, 12, True)
        structure[y0:y1] = structure_above_noise(spread, variance, n)

    rows.work(second, progress, 0.4, 0.45)
    # what noise alone gives; more only where the sky itself shows more
    thin = slice(None, None, max(1, median.size // 100_000))
    values = local.reshape(-1)[thin]
    plain = structure.reshape(-1)[thin] == 0
    typical = max(np.median(values[plain] if plain.sum() > 100 else values), _scatter_of_noise(n, drop))
    inflation = scatter  # its memory is free for use

    def third(y0, y1):
        a, b = max(y0 - 1, 0), min(y1 + 1, ny)
        mean = ndimage.uniform_filter(local[a:b], 3, mode="nearest")[y0 - a : y1 - a]
        np.maximum(mean / rows.dtype.type(typical), 1, out=inflation[y0:y1])

    rows.work(third)
    if n == 2:
        # a hit cannot be told from scatter; the lower of two frames, which holds no hits, shows where stars are
        inflation[ndimage.maximum_filter(structure, 5) == 0] = 1
    return median, inflation, structure


@lru_cache(maxsize=64)
def _scatter_of_noise(n, drop):
    """What `stack_scatter` and the median over 25 pixels give of n frames that hold Gaussian noise, tried out."""
    z = np.random.default_rng(0).standard_normal((n, 25, 400))
    if n == 2:
        return float(np.median((z[1] - z[0]) ** 2, axis=0).mean())
    chi = np.sort((z - np.median(z, axis=0)) ** 2, axis=0)[: n - drop].mean(axis=0)
    return float(np.median(chi, axis=0).mean())


def _judge(rows, median, inflation, structure, high, low, progress):
    """Flags (N, ny, nx) and reference (ny, nx); thresholds (bright, dark)."""
    dtype = rows.dtype.type
    shape = rows.image_set.shape
    high, low = tuple(map(dtype, high)), tuple(map(dtype, low))
    joint = tuple(dtype(_JOINT * h) for h in high)
    cap = tuple(dtype(_CAP * h) for h in high)
    keep = dtype(_SURVIVE**2 * survival_factor(shape[0]))
    flags = np.zeros(shape, bool)
    reference = np.empty(shape[1:], rows.dtype)

    def piece(y0, y1):
        frames, row0, row1, top, a, b = rows.read(y0, y1, rim=2)
        parts = median[a:b], inflation[a:b], structure[a:b]
        kernels.judge(
            frames, row0, row1, top, rows.model, keep, *parts, high, low, joint, cap, reference[a:b], flags[:, a:b]
        )

    rows.work(piece, progress, 0.45, 0.7)
    return flags, reference


def _excuse(rows, median, inflation, structure, settings, rejected):
    """Take back what is rejected where a star has changed its light."""
    index = np.flatnonzero(rejected)
    index = index[structure.reshape(-1)[index % median.size] > 0]
    excused = np.zeros(index.size, bool)

    def piece(here, frame, row, column, y0, y1):
        frames, row0, _, top, a, b = rows.read(y0, y1, rim=4)
        parts = median[a:b], inflation[a:b], structure[a:b]
        result = np.zeros(here.size, bool)
        kernels.excuse(frames, row0, top, rows.model, *parts, settings.high_pair, frame, row - y0, column, result)
        excused[here] = result

    _by_rows(rows, index, piece)
    rejected.reshape(-1)[index[excused]] = False


def _by_rows(rows, index, function):
    """function(here, frame, row, column, y0, y1) with those of the pixels at a flat index that lie in each piece."""
    frame, row, column = np.unravel_index(index, rows.image_set.shape)
    order = np.argsort(row, kind="stable")
    edges = row[order]

    def piece(y0, y1):
        here = order[slice(*np.searchsorted(edges, (y0, y1)))]
        if here.size:
            function(here, frame[here], row[here], column[here], y0, y1)

    rows.work(piece)


def _clip(rows, settings, progress):
    """The detections that look at the scatter of each pixel's own samples, on frames brought to one scale."""
    shape = rows.image_set.shape
    flags = np.zeros(shape, bool)
    bright, dark = settings.high_pair if settings.high is not None else (np.inf, np.inf)
    method = getattr(kernels, settings.detection.upper())
    how = method, settings.centre == "mean", bright, dark, -1 if settings.maxiters is None else settings.maxiters
    critical = _esd_table(shape[0])

    def piece(y0, y1):
        frames, row0, row1, top, _, _ = rows.read(y0, y1)
        kernels.clip(frames, row0, row1, top, rows.exact, *how, critical, flags[:, y0:y1])

    rows.work(piece, progress, 0.7, 0.85)
    return flags


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


def _average(rows, median, inflation, structure, rejected, index, reference):
    """The reference anew at some pixels."""
    pixels = np.unique(index % median.size)

    def piece(here, frame, row, column, y0, y1):
        frames, row0, _, top, _, _ = rows.read(y0, y1)
        parts = [part[..., y0:y1, :] for part in (median, inflation, structure, rejected)]
        kernels.average(frames, row0, top, rows.model, *parts, row - y0, column, reference[y0:y1])

    _by_rows(rows, pixels, piece)


def _measure(rows, inflation, structure, rejected):
    """The fields of `Outliers` from `index` on, and how many frames survive at each rejected pixel; sparse."""
    index = np.flatnonzero(rejected)
    measured = np.full((5, index.size), np.nan)

    def piece(here, frame, row, column, y0, y1):
        frames, row0, _, top, _, _ = rows.read(y0, y1)
        parts = inflation[y0:y1].astype(float), structure[y0:y1].astype(float), rejected[:, y0:y1]
        result = np.empty((5, here.size))
        kernels.measure(frames, row0, top, rows.exact, *parts, frame, row - y0, column, *result)
        measured[:, here] = result

    _by_rows(rows, index, piece)
    frame, row, column = np.unravel_index(index, rejected.shape)
    median, mean, noise, missing, survivors = measured
    scale, origin, gy, gx = (v[frame] for v in rows.exact[:4])
    value = rows.image_set.frames[frame, row, column].astype(float)
    z = (value - (origin + gy * row + gx * column)) / scale
    significance = np.where(z == mean, 0, (z - mean) / noise)
    return (index, median, mean, (z - mean) * scale, significance, missing * scale), survivors


def _put_back(rejected, index, significance, survivors, settings):
    """Where a pixel is rejected in too many frames, put the least significant back. True = there were some."""
    pixel = index % rejected[0].size
    order = np.lexsort((-np.nan_to_num(np.abs(significance), nan=0.0, posinf=np.inf), pixel))
    first = np.r_[True, np.diff(pixel[order]) != 0][: order.size]
    place = np.arange(order.size)
    group = np.cumsum(first) - 1
    limit = survivors[order] + np.bincount(group)[group] - settings.min_frames
    if settings.max_rejected is not None:
        limit = np.minimum(limit, settings.max_rejected)
    elif settings.detection in ("noise", "ccd"):
        limit = np.minimum(limit, max(1, (len(rejected) - 1) // 2))
    over = order[place - place[first][group] >= limit]
    rejected.reshape(-1)[index[over]] = False
    return over.size > 0
