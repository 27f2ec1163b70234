"""Which pixels of which frames are outliers: reference, significance, flags."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from . import kernels
from .noise import survival_factor

__all__ = ["Outliers", "find_outliers"]

_BLOCK_BYTES = 8 * 2**20
_SURVIVE = 4.0  # sigma about the median; what is beyond has no say in the reference of the first pass
# The joint test of a pixel and its strongest neighbour, in units of the high threshold: the neighbour
# counts up to _CAP, the sum must exceed _JOINT (6 and 6.2 sigma for a high threshold of 4.5).
_CAP = 6.0 / 4.5
_JOINT = 6.2 / 4.5


@dataclass(frozen=True, eq=False)
class Outliers:
    """What the detection found, and what it measured on the way.

    Attributes
    ----------
    rejected : ndarray, (N, ny, nx), bool
    reference : ndarray, (ny, nx), float32
        Noise-weighted mean of the frames that survive [ADU]; NaN where no frame is good.
    inflation : ndarray, (ny, nx), float32
        Factor of the variance over the noise model; 1 where only noise is seen.
    index : ndarray, (K,), int64
        Flat index of each rejected pixel, ascending.
    median, mean : ndarray, (K,), float64
        Of the frames that survive there, as z = (frame - offset) / scale.
    residual, significance : ndarray, (K,), float64
        Frame minus the expected value [ADU]; the same in sigma.
    """

    rejected: np.ndarray
    reference: np.ndarray
    inflation: np.ndarray
    index: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    residual: np.ndarray
    significance: np.ndarray


def find_outliers(image_set, scales, offsets, noise, settings, progress):
    """Flag the outliers of a set.

    Parameters
    ----------
    image_set : ImageSet
    scales, offsets : ndarray, (N,)
        Of the frames.
    noise : NoiseModel
    settings : CleanSettings
    progress : callable
        Called with the share of the work that is done, 0 to 1; may raise to stop.

    Returns
    -------
    Outliers
    """
    rows = _Rows(image_set, scales, offsets, noise)
    shape = image_set.shape
    rejected = np.zeros(shape, bool)
    reference = np.full(shape[1:], np.nan, np.float32)
    median, inflation = _local_scatter(rows, progress)
    if settings.detection == "noise":
        _judge(rows, median, inflation, rejected, False, reference, settings, progress, 0.3)
        flags = np.zeros(shape, bool)
        _judge(rows, median, inflation, rejected, True, reference, settings, progress, 0.55, flags)
        rejected = flags
    else:
        _clip(rows, rejected, settings, progress)
    if settings.grow:
        disk = np.hypot(*np.mgrid[-settings.grow : settings.grow + 1, -settings.grow : settings.grow + 1])
        for frame in rejected:
            frame[:] = ndimage.binary_dilation(frame, disk <= settings.grow)
        for y0, y1 in rows.blocks():
            rejected[:, y0:y1] &= np.isfinite(image_set.read(slice(y0, y1)))
    limit = settings.max_rejected or max(1, (len(rejected) - 1) // 2)
    measured = _measure(rows, inflation, rejected)
    if _keep_most_significant(rejected, measured, limit):
        measured = _measure(rows, inflation, rejected)
    if settings.detection != "noise":
        _judge(rows, median, inflation, rejected, True, reference, settings, progress, 0.75, np.zeros(shape, bool))
    reference[~np.isfinite(median)] = np.nan
    progress(0.95)
    return Outliers(rejected, reference, inflation, *measured)


class _Rows:
    """Rows of all frames for the kernels, and what the kernels are told of each frame."""

    def __init__(self, image_set, scales, offsets, noise):
        self.image_set = image_set
        frames = image_set.frames
        self.dtype = image_set.work_dtype
        # the frames themselves where a kernel can read them as they are
        as_they_are = frames.dtype == self.dtype and frames.dtype.isnative and frames.flags.c_contiguous
        self.frames = np.asarray(frames) if as_they_are and image_set.mask is None else None
        a, b = noise.on_reference(scales, offsets)
        # the rounding of the values themselves is the least noise there is
        size = np.abs(image_set.read(slice(None, None, max(1, image_set.shape[1] // 64))))
        smallest = (4 * np.finfo(self.dtype).eps * np.nanmax(size, axis=(1, 2)) / scales) ** 2
        self.scale, self.offset, self.va, self.vb, self.vmin = (
            np.ascontiguousarray(v, self.dtype) for v in (scales, offsets, a, b, smallest)
        )
        self.exact = tuple(np.ascontiguousarray(v, float) for v in (scales, offsets, a, b, smallest))

    @property
    def model(self):
        return self.scale, self.offset, self.va, self.vb, self.vmin

    def blocks(self):
        """(first, last + 1) rows of each piece of work."""
        n, ny, nx = self.image_set.shape
        size = int(np.clip(_BLOCK_BYTES // (n * nx * self.dtype.itemsize), 4, ny))
        return [(y, min(y + size, ny)) for y in range(0, ny, size)]

    def read(self, y0, y1):
        """Rows y0 ... y1 of all frames as a C-contiguous array, and at which of its rows they begin."""
        if self.frames is not None:
            return self.frames, y0
        return self.image_set.read(slice(y0, y1)), 0

    def work(self, function, progress, begin, end):
        """function(y0, y1) for each piece, on all cores."""
        blocks = self.blocks()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
            tasks = [pool.submit(function, *block) for block in blocks]
            try:
                for done, task in enumerate(tasks, start=1):
                    task.result()
                    progress(begin + (end - begin) * done / len(blocks))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _local_scatter(rows, progress):
    """The median image, and by how much the scatter about it exceeds the noise model in each neighbourhood."""
    n, ny, nx = rows.image_set.shape
    median = np.empty((ny, nx), rows.dtype)
    scatter = np.empty((ny, nx), rows.dtype)
    lows, highs = _median_network(n)
    drop = 1 + n // 64

    def piece(y0, y1):
        frames, first = rows.read(y0, y1)
        kernels.stack_scatter(
            frames, first, first + y1 - y0, *rows.model, lows, highs, drop, median[y0:y1], scatter[y0:y1]
        )

    rows.work(piece, progress, 0.05, 0.25)
    scatter[~np.isfinite(scatter)] = np.nan
    typical = np.nanmedian(scatter) if np.isfinite(scatter).any() else np.nan
    scatter[np.isnan(scatter)] = typical
    local = ndimage.uniform_filter(ndimage.median_filter(scatter, 5, mode="nearest"), 3, mode="nearest")
    typical = np.median(local)
    inflation = np.ones((ny, nx), rows.dtype)
    if np.isfinite(typical) and typical > 0:
        np.maximum(local / typical, 1, out=inflation)
    progress(0.3)
    return median, inflation


def _judge(rows, median, inflation, left_out, use_left_out, reference, settings, progress, begin, flags=None):
    dtype = rows.dtype.type
    high = tuple(map(dtype, settings.high_pair)) if settings.detection == "noise" else (dtype(np.inf),) * 2
    low = tuple(map(dtype, settings.low_pair)) if settings.detection == "noise" else high
    joint = tuple(dtype(_JOINT * h) for h in high)
    cap = tuple(dtype(_CAP * h) for h in high)
    keep = dtype(_SURVIVE**2 * survival_factor(len(left_out)))
    ny = median.shape[0]
    flags = left_out if flags is None else flags

    def piece(y0, y1):
        # one more row on either side: neighbours have a say
        a, b = max(y0 - 1, 0), min(y1 + 1, ny)
        if rows.frames is not None:
            frames, first, (a, b) = rows.frames, y0, (0, ny)
        else:
            frames, first = rows.read(a, b)[0], y0 - a
        kernels.judge(
            frames,
            first,
            first + y1 - y0,
            *rows.model,
            keep,
            median[a:b],
            inflation[a:b],
            left_out[:, a:b],
            use_left_out,
            high,
            low,
            joint,
            cap,
            reference[a:b],
            flags[:, a:b],
        )

    rows.work(piece, progress, begin, begin + 0.2)


def _clip(rows, rejected, settings, progress):
    """The detections that look at the scatter of each pixel's own samples, on frames brought to one scale."""
    from astropy.stats import mad_std, sigma_clip

    scale, offset = (v[:, None, None] for v in (rows.scale, rows.offset))
    blocks = rows.blocks()
    for k, (y0, y1) in enumerate(blocks):
        z = (rows.image_set.read(slice(y0, y1)) - offset) / scale
        good = np.isfinite(z)
        if settings.detection == "minmax":
            found = (z == np.where(good, z, np.inf).min(axis=0)) | (z == np.where(good, z, -np.inf).max(axis=0))
        else:
            bright, dark = settings.high_pair
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # columns without a good sample
                found = sigma_clip(
                    z,
                    sigma_lower=dark,
                    sigma_upper=bright,
                    cenfunc="median",
                    stdfunc="std" if settings.detection == "sigma" else mad_std,
                    axis=0,
                ).mask
        rejected[:, y0:y1] = found & good
        progress(0.3 + 0.4 * (k + 1) / len(blocks))


def _measure(rows, inflation, rejected):
    """index, median, mean, residual, significance of every rejected pixel; sparse."""
    index = np.flatnonzero(rejected)
    frame, row, column = np.unravel_index(index, rejected.shape)
    median, mean, noise = np.full((3, index.size), np.nan)
    survivors = np.zeros(index.size, int)
    by_row = np.argsort(row, kind="stable")
    for y0, y1 in rows.blocks():
        here = by_row[slice(*np.searchsorted(row[by_row], (y0, y1)))]
        if not here.size:
            continue
        frames, first = rows.read(y0, y1)
        out = [np.empty(here.size) for _ in range(3)] + [np.empty(here.size, np.int64)]
        kernels.measure(
            frames,
            first,
            *rows.exact,
            inflation[y0:y1],
            rejected[:, y0:y1],
            frame[here],
            row[here] - y0,
            column[here],
            *out,
        )
        for whole, part in zip((median, mean, noise, survivors), out, strict=True):
            whole[here] = part
    value = rows.image_set.frames.reshape(-1)[index].astype(float)
    z = (value - rows.exact[1][frame]) / rows.exact[0][frame]
    with np.errstate(divide="ignore", invalid="ignore"):
        significance = np.where(z == mean, 0, (z - mean) / noise)
    return index, median, mean, (z - mean) * rows.exact[0][frame], significance


def _keep_most_significant(rejected, measured, limit):
    """Where a pixel is rejected in more than `limit` frames, put the least significant back. True = there were some."""
    index, significance = measured[0], np.abs(measured[4])
    pixel = index % rejected[0].size
    if not index.size or np.bincount(np.unique(pixel, return_inverse=True)[1]).max() <= limit:
        return False
    significance = np.nan_to_num(significance, nan=0.0, posinf=np.inf)
    order = np.lexsort((-significance, pixel))
    first = np.r_[True, np.diff(pixel[order]) != 0]
    rank = np.arange(order.size) - np.maximum.accumulate(np.where(first, np.arange(order.size), 0))
    rejected.reshape(-1)[index[order[rank >= limit]]] = False
    return True


@lru_cache(maxsize=64)
def _median_network(n):
    """Exchanges (low, high) that bring the middle of n values into place: Batcher's odd-even merge sort
    (1968, doi:10.1145/1468075.1468121) without the exchanges that do not reach the middle."""
    exchanges = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        exchanges.append((i + j, i + j + k))
            k //= 2
        p *= 2
    needed = {0} if n == 2 else {(n - 1) // 2, n // 2}
    used = []
    for low, high in reversed(exchanges):
        if low in needed or high in needed:
            needed |= {low, high}
            used.append((low, high))
    pairs = np.array(used[::-1], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
