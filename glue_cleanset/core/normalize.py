"""Scale and offset of each frame: frame = scale * reference + offset."""

import numpy as np
from scipy import ndimage

__all__ = ["normalize"]

_PATCH = 24  # pixels; holds a star's light together while its seeing changes
_SAMPLES = 2_500_000  # pixels of all frames that the patches hold together
_THIN = 512  # pixels along an axis that the first look takes
_MODEL_ERROR = 0.003  # relative: what seeing and registration do to the light of a patch


def normalize(image_set, how="auto", exptime=None):
    """Find what brings the frames to one scale.

    Robust straight lines of each frame against the median of the set, in two steps. The first takes a thin sample
    of pixels: it is not moved by hits on 10 % of them. The second takes the means of patches around the
    brightest structures and on a grid, from which hits are left out: a change of seeing moves light between pixels
    but not out of a patch, so the scale follows the flux of the stars and not their peaks.

    Parameters
    ----------
    image_set : ImageSet
    how : str
        One of `glue_cleanset.core.settings.NORMALIZATIONS`. With 'auto' the frames get a factor and a constant
        only where that describes the set better than one of them alone (Bayesian information criterion).
    exptime : ndarray, (N,), optional
        Exposure times [s], for ``how='exptime'``.

    Returns
    -------
    scales, offsets : ndarray, (N,), float64
        Their median is 1 and 0: the reference is on the level of a typical frame.
    patches : ndarray, (N, M, pixels), float64
        The M patches of every frame [ADU], half of them around the brightest structures; NaN = not to be used.

    Raises
    ------
    ValueError
        Where ``how='exptime'`` and the exposure times are not known, or the good pixels of the frames do not overlap.
    """
    n, ny, nx = image_set.shape
    if how == "exptime" and exptime is None:
        raise ValueError("normalize is 'exptime' but exptime is not known; give exptime or choose another")
    step = max(1, min(ny, nx) // _THIN)
    thin = image_set.read(slice(step // 2, None, step), slice(step // 2, None, step))
    fixed = {"exptime": exptime, "none": np.ones(n)}.get(how)
    fixed = None if fixed is None else fixed / np.median(fixed)
    kinds = {"auto": ("offset", "scale", "both"), "exptime": ("offset",), "none": ("offset",)}.get(how, (how,))
    starts = {kind: _fit_pixels(thin, kind, fixed) for kind in kinds}
    # where the bright structures are does not hang on the kind of line
    reference = column_median(_to_reference(thin, *starts[kinds[0]]))
    patches = _read_patches(image_set, reference, step)
    if how == "none":
        return np.ones(n), np.zeros(n), patches
    fits = {kind: _fit_patches(patches, *starts[kind], kind, fixed) for kind in kinds}
    kind = kinds[0]
    if how == "auto":
        simple = min(("offset", "scale"), key=lambda kind: fits[kind][2])
        price = 0.5 * n * np.log(patches.shape[1])
        kind = "both" if fits["both"][2] + price < fits[simple][2] else simple
    scales, offsets, _ = fits[kind]
    if kind != "scale":
        # z = (f - o) / s: moving every z by c moves the offsets by -c * s
        offsets = offsets - np.median(offsets / scales) * scales
    return scales, offsets, patches


def _to_reference(frames, scales, offsets):
    shape = (-1,) + (1,) * (frames.ndim - 1)
    return (frames - offsets.reshape(shape)) / scales.reshape(shape)


def _fit_pixels(thin, kind, fixed):
    n = len(thin)
    pixels = thin.reshape(n, -1).astype(float)
    pixels = pixels[:, :: max(1, pixels.shape[1] // 20000)]
    levels = np.array([_median(frame) for frame in pixels])
    scales, offsets = np.ones(n) if fixed is None else fixed.copy(), np.zeros(n)
    if kind == "scale":
        scales = levels / np.median(levels) if (levels > 0).all() else scales
    else:
        offsets = levels - np.median(levels) * scales
    for _ in range(3):
        reference = column_median(_to_reference(pixels, scales, offsets))
        sky = _median(reference)
        for i in range(n):
            r = pixels[i] - (scales[i] * reference + offsets[i])
            good = np.isfinite(r)
            if not good.any():
                raise ValueError("no pixel is good in more than one frame; the frames or their masks do not overlap")
            v = np.full(good.sum(), _width(r) ** 2)
            scales[i], offsets[i], _ = _line(reference[good], r[good], v, kind, sky, scales[i], offsets[i])
        if fixed is None:
            scales = scales / np.median(scales)
    return scales, offsets


def _read_patches(image_set, reference, step):
    """Patches around the brightest structures of the thinned reference, and on a grid."""
    n, *shape = image_set.shape
    size = np.minimum(_PATCH, shape)
    half = int(np.clip(_SAMPLES / (n * size.prod()), 40, 300)) // 2
    image = np.where(np.isfinite(reference), reference, _median(reference))
    # a patch collects light; where its sum peaks it holds a structure whole
    reach = np.maximum(1, size // step)
    light = ndimage.uniform_filter(image, reach, mode="nearest")
    peaks = light == ndimage.maximum_filter(light, 2 * reach + 1, mode="nearest")
    bright = np.argwhere(peaks)[np.argsort(-light[peaks], kind="stable")][:half] * step + step // 2
    side = np.ceil(np.sqrt(half)).astype(int)
    grid = np.stack(np.meshgrid(*[(np.arange(side) + 0.5) * length / side for length in shape]), -1).reshape(-1, 2)
    corners = np.concatenate([bright, grid.astype(int)]) - size // 2
    corners = np.unique(np.clip(corners, 0, np.subtract(shape, size)), axis=0)
    parts = [image_set.read(slice(y, y + size[0]), slice(x, x + size[1])) for y, x in corners.tolist()]
    return np.stack(parts, axis=1).reshape(n, len(parts), -1).astype(float)


def _fit_patches(patches, scales, offsets, kind, fixed):
    n = len(scales)
    scales, offsets = scales.copy(), offsets.copy()
    good = np.isfinite(patches).all(axis=0)
    some = good.any(axis=1)
    if not some.any():
        return scales, offsets, np.inf
    patches, good = patches[:, some], good[some]
    count = good.sum(axis=1)
    for _ in range(2):
        reference = column_median(_to_reference(patches, scales, offsets))
        sky = _median(reference)
        light = np.abs(reference - sky)
        x = np.where(good, reference, 0).sum(axis=1) / count
        cost = 0.0
        for i in range(n):
            d = np.where(good, patches[i] - (scales[i] * reference + offsets[i]), 0)
            width = 1.4826 * np.median(np.abs(d), axis=1, keepdims=True)
            width = np.maximum(width, _width(d) * 0.5)
            # a hit stands out of the patch; a star's core under another seeing stays below a share of its light
            d[np.abs(d) > 5 * width + 0.3 * scales[i] * light] = 0
            v = width[:, 0] ** 2 / count + (_MODEL_ERROR * scales[i] * (x - sky)) ** 2
            scales[i], offsets[i], c = _line(x, d.sum(axis=1) / count, v, kind, sky, scales[i], offsets[i])
            cost += c
        if fixed is None:
            scales = scales / np.median(scales)
    return scales, offsets, cost


def _line(x, r, v, kind, centre, scale, offset):
    """Scale and offset moved by a robust line r = ds * x + do (Cauchy loss), and its cost; 'offset' and 'scale' hold
    one of them still."""
    s = o = 0.0
    scale_only = kind == "scale"
    dx = x if scale_only else x - centre
    for _ in range(10):
        d = r - (s * dx + o)
        w = 1 / (v * (1 + d * d / (9 * v)))
        sw, swx, swxx = np.sum(w), np.sum(w * dx), np.sum(w * dx * dx)
        swd, swxd = np.sum(w * d), np.sum(w * dx * d)
        det = sw * swxx - swx * swx
        if scale_only:
            s += swxd / swxx if swxx > 0 else 0.0
        elif kind == "offset" or det <= 1e-12 * sw * swxx:
            o += swd / sw
        else:
            s += (sw * swxd - swx * swd) / det
            o += (swxx * swd - swx * swxd) / det
    d = r - (s * dx + o)
    cost = np.sum(4.5 * np.log1p(d * d / (9 * v)) + 0.5 * np.log(v))
    if not scale + s > 0.01:
        # a frame that runs against the others is nothing a factor can mend
        return scale, offset, cost
    return scale + s, offset + o - (0.0 if scale_only else s * centre), cost


def _width(r):
    """Robust rms of residuals; quantised data, where the median deviation is 0, get their clipped rms."""
    r = r[np.isfinite(r)]
    r = r - np.median(r)
    width = 1.4826 * np.median(np.abs(r))
    if width == 0:
        width = np.sqrt(np.mean(np.minimum(r * r, np.percentile(r * r, 99))))
    return width or 1e-30


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if values.size else np.nan


def column_median(z):
    """Median over the first axis, NaN where no frame is good."""
    good = np.isfinite(z)
    if good.all():
        return np.median(z, axis=0)
    order = np.sort(np.where(good, z, np.inf), axis=0)
    count = good.sum(axis=0)[None]
    lower = np.take_along_axis(order, np.maximum(count - 1, 0) // 2, axis=0)[0]
    upper = np.take_along_axis(order, np.minimum(count // 2, len(z) - 1), axis=0)[0]
    return np.where(count[0] > 0, 0.5 * (lower + upper), np.nan)
