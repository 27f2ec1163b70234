"""Scale and offset of each frame: frame = scale * reference + offset + gradient * position."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from . import kernels
from .threads import at_once, in_threads, pieces

__all__ = ["Normalization", "median", "normalize", "sample_size", "stack_median", "typical_value"]

_PATCH = 24  # pixels; holds a star's light together while its seeing changes
_SAMPLES = 1_800_000  # pixels of all frames that the patches of many frames hold together
_FEW = 128  # pixels along an axis that tell the level of a frame
_THIN = 512  # pixels along an axis, and frames, that tell where the stars are
_SOME = 9
_RANGE = 25  # variance of the patches of the reference, in units of their noise, from which a line can be told
_SEEING, _MOVED = 7, 0.7  # pixels across that seeing moves light about, and the share of the light it moves at least
_BRIGHT, _ENOUGH = 30, 5  # a peak tells of that share above so many times the scatter, where there are as many
_SETTLED = 3e-4  # relative change of the scales
_MODEL_ERROR = 0.003  # relative: what seeing and registration do to the light of a patch


@dataclass(frozen=True, eq=False)
class Normalization:
    """What brings the frames to one scale.

    Attributes
    ----------
    scales, offsets : ndarray, (N,)
        Their median is 1 and 0: the reference is on the level of a typical frame. Offsets [ADU] at the centre.
        A frame that shares no good pixel with the others keeps 1 and 0.
    gradients : ndarray, (N, 2)
        Slope of the offset along y and x [ADU / pixel]; 0 where the frames' skies do not differ.
    shape : (int, int)
        ny, nx.
    alone : tuple of int
        Frames (0-based) that share no good pixel with the others.
    """

    scales: np.ndarray
    offsets: np.ndarray
    gradients: np.ndarray
    shape: tuple[int, int]
    alone: tuple[int, ...] = ()

    @property
    def origins(self):
        """The offset at pixel (0, 0) of each frame, (N,)."""
        return self.offsets - self.gradients @ ((np.array(self.shape) - 1) / 2)

    def offset_at(self, frame, y, x):
        """The offset [ADU] of a frame (0-based number) at a pixel; arrays of one shape."""
        return self.origins[frame] + self.gradients[frame, 0] * y + self.gradients[frame, 1] * x


def normalize(image_set, how="auto", exptime=None):
    """Find what brings the frames to one scale.

    Robust straight lines (Cauchy loss) of each frame against the median of the set, through the means of patches around
    the brightest structures and on a grid, from which hits are left out. A change of seeing moves light between
    pixels but not out of a patch, so the scale follows the flux of the stars and not their peaks.

    Parameters
    ----------
    image_set : ImageSet
    how : str
        One of `glue_cleanset.core.settings.NORMALIZATIONS`. With 'auto' the frames get a factor, a constant, both,
        and a sky that slopes only where that describes the set better (Bayesian information criterion).
    exptime : ndarray, (N,), optional
        Exposure times [s], for ``how='exptime'``.

    Returns
    -------
    Normalization
    sample : ndarray, (N, M, h, w), float
        The M patches of every frame [ADU], half of them around the brightest structures; NaN = not to be used.

    Raises
    ------
    ValueError
        Where ``how='exptime'`` and the exposure times are not known.
    """
    n, *shape = image_set.shape
    if how == "exptime" and exptime is None:
        raise ValueError("normalize is 'exptime' but exptime is not known; give exptime or choose another")
    fixed = exptime / np.median(exptime) if how == "exptime" else np.ones(n) if how in ("none", "offset") else None
    few, _ = _thinned(image_set, _FEW)
    scales, offsets, levels = _first_look(few, how, fixed)
    # dark and bright frames, the same ones whatever order the set comes in
    order = np.lexsort((np.nansum(few * few, axis=(1, 2)), np.nansum(few, axis=(1, 2)), levels))
    some = order[np.linspace(0, n - 1, min(n, _SOME)).round().astype(int)]
    thin, step = _thinned(image_set, _THIN, some)
    reference = stack_median(_to_reference(thin, scales[some], offsets[some]))
    if not np.isfinite(reference).any():
        raise ValueError("no pixel is good in any frame that was looked at; look at the mask")
    patches, centres = _read_patches(image_set, reference, step)
    good, alone = np.isfinite(patches), ()
    if not good.all():
        alone = tuple(np.flatnonzero(~(good & (good.sum(axis=0) > 1)).any(axis=(1, 2, 3))).tolist())
    if how == "none":
        scales, offsets, planes = np.ones(n), np.zeros(n), np.zeros((n, 2))
    else:
        kinds = [(how in ("scale", "both"), how != "scale", False)]
        if how == "auto":
            kinds = [(s, o, p) for s, o in ((False, True), (True, False), (True, True)) for p in (False, True)]
        planes = np.zeros((n, 2))
        for _ in range(8):
            last = scales
            x, y, v, sky = _patch_means(patches, centres, scales, offsets, planes)
            if len(kinds) > 1:
                # where the reference holds noise only, a line through it would follow that
                if np.mean((x - sky) ** 2 * n / v.min(axis=0)) < _RANGE:
                    kinds = [kind for kind in kinds if not (kind[0] and kind[1])]
                if np.mean(_beside_plane(x.mean(axis=0), centres) ** 2 * n / v.min(axis=0)) < _RANGE:
                    kinds = [kind for kind in kinds if not (kind[0] and kind[2])]
            fits = [_lines(x, y, v, centres, sky, kind, fixed) for kind in kinds]
            # a number more for each frame must earn its place
            prices = [0.5 * n * (s + o + 2 * p) * np.log(max(x.shape[1], 2)) for s, o, p in kinds]
            best = np.argmin([fit[-1] + price for fit, price in zip(fits, prices, strict=True)])
            scales, offsets, planes, _ = fits[best]
            kinds = [kinds[best]]
            middle = np.median(scales) if fixed is None else 1.0
            scales = scales / middle
            if kinds[0][1]:
                # z = (f - o) / s: moving every z by c moves the offsets by -c * s
                offsets = offsets - np.median(offsets / scales) * scales
            planes = planes - np.median(planes / scales[:, None], axis=0) * scales[:, None]
            if (np.abs(scales - last) < _SETTLED * scales).all():
                break
    normalization = Normalization(scales, offsets, planes / np.array(shape), tuple(shape), alone)
    if patches.shape[-1] < _PATCH:
        # a small image is a sample of itself
        patches = image_set.read()[:, None]
        centres = np.zeros((1, 2))
    if planes.any():
        patches = patches - _plane(planes, centres)[:, :, None, None].astype(patches.dtype)
    return normalization, patches


def sample_size(n):
    """Pixels of n frames that the patches hold together: few frames need more of them to tell the read noise."""
    return _SAMPLES * min(2, max(1, 20 / n))


def stack_median(z):
    """Median over the first axis, of the shape of the others; NaN where no value is finite."""
    n = len(z)
    if n == 2:
        a, b = z
        return np.where(np.isfinite(a) & np.isfinite(b), (a + b) / 2, np.where(np.isfinite(a), a, b))
    shape = z.shape[1:]
    z = np.ascontiguousarray(z).reshape(n, shape[0], -1)
    model = tuple(np.full(n, value, z.dtype) for value in (1, 0, 0, 0, 0, 0, 0, 1))
    network = kernels.median_network(n)
    median, scatter = np.empty((2, *z.shape[1:]), z.dtype)

    def piece(a, b):
        kernels.stack_scatter(z, a, b, 0, model, *network, 1, median[a:b], scatter[a:b])

    in_threads(piece, pieces(shape[0], 1 + z.size // 500_000))
    return median.reshape(shape)


def _thinned(image_set, pixels, frames=slice(None)):
    """About so many pixels along the shorter axis, of all frames or some, and the step between them."""
    step = max(1, min(image_set.shape[1:]) // pixels)
    # an odd one: what is masked with period 2 (one colour of a mosaic) does not hide the rest
    step += 1 - step % 2
    every = slice(step // 2, None, step)
    return image_set.read(every, every, frames), step


def _first_look(thin, how, fixed):
    """Rough scales and offsets: the kind that leaves less behind, of the simple ones; and the levels of the frames."""
    n = len(thin)
    levels = np.array([typical_value(frame) for frame in thin])
    if np.isnan(levels).any():
        # nothing good among the pixels looked at: start from the frames as they are
        levels = np.where(np.isnan(levels), np.nanmedian(levels) if np.isfinite(levels).any() else 0.0, levels)
    scales = np.ones(n) if fixed is None else fixed
    starts = [(scales, np.zeros(n) if how == "none" else levels - np.median(levels) * scales)]
    # (a set that only a constant is added to must not begin elsewhere)
    if how in ("auto", "scale") and (levels > 0).all():
        starts.append((levels / np.median(levels), np.zeros(n)))
    best = None
    for scales, offsets in starts:
        z = _to_reference(thin, scales, offsets)
        some = _some(stack_median(z))
        cost = np.sum([np.log(_width(_some(frame) - some)) for frame in z])
        if best is None or cost < best[0]:
            best = cost, scales, offsets
    return *best[1:], levels


def _to_reference(frames, scales, offsets):
    """z of some pixels of the frames; `offsets` may have further axes of `frames`."""
    offsets, scales = (
        values.reshape(*values.shape, *[1] * (frames.ndim - values.ndim)).astype(frames.dtype)
        for values in (offsets, scales)
    )
    z = frames - offsets
    z /= scales
    return z


def _read_patches(image_set, reference, step):
    """Patches (N, M, h, w) around the brightest structures of the thinned reference and on a grid, and their centres
    in units of the image, 0 in its middle, (M, 2)."""
    n, *shape = image_set.shape
    size = np.full(2, np.clip(min(shape) // 8, 1, _PATCH))
    half = int(np.clip(sample_size(n) / (n * size.prod()), 40, 600)) // 2
    image = np.where(np.isfinite(reference), reference, typical_value(reference))
    # a patch collects light; where its sum peaks it holds a structure whole
    reach = np.maximum(1, size // step)
    light = ndimage.uniform_filter(image, reach, mode="nearest")
    bright = _peaks(light, np.maximum(1, reach // 2))[:half] * step + step // 2
    side = np.ceil(np.sqrt(half)).astype(int)
    grid = np.stack(np.meshgrid(*[(np.arange(side) + 0.5) * length / side for length in shape]), -1).reshape(-1, 2)
    corners = np.concatenate([bright, grid.astype(int)]) - size // 2
    corners = np.unique(np.clip(corners, 0, np.subtract(shape, size)), axis=0)
    boxes = image_set.boxes([(slice(y, y + size[0]), slice(x, x + size[1])) for y, x in corners.tolist()])
    return np.stack(boxes, axis=1), (corners + (size - 1) / 2 - (np.array(shape) - 1) / 2) / shape


def _peaks(image, reach):
    """Where the image peaks, at most once in each block of `reach` pixels, the brightest first; (K, 2)."""
    reach = np.minimum(reach, image.shape)
    number = image.shape // reach
    blocks = image[: number[0] * reach[0], : number[1] * reach[1]].reshape(number[0], reach[0], number[1], reach[1])
    blocks = blocks.swapaxes(1, 2).reshape(*number, -1)
    # (along the first axis numpy is far faster than along a short last one)
    highest = np.ascontiguousarray(np.moveaxis(blocks, 2, 0)).max(axis=0)
    peaks = np.argwhere(highest == ndimage.maximum_filter(highest, 3, mode="nearest"))
    peaks = peaks[np.argsort(-highest[tuple(peaks.T)], kind="stable")]
    inside = np.unravel_index(blocks[tuple(peaks.T)].argmax(axis=1), reach)
    return peaks * reach + np.transpose(inside)


def _plane(planes, centres):
    return planes @ centres.T


def _beside_plane(values, centres):
    design = np.column_stack([np.ones(len(centres)), centres])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _patch_means(patches, centres, scales, offsets, planes):
    """Means of the patches of every frame, without hits, and of the reference over the same pixels, each (N, M); the
    variance of the former; the sky."""
    n, m, *size = patches.shape
    pixels = np.prod(size)
    lift = _plane(planes, centres) + offsets[:, None]
    z = _to_reference(patches.reshape(n, m, -1), scales, lift)
    reference = stack_median(z)
    sky = typical_value(reference) if np.isfinite(reference).any() else 0.0
    x, d, count = np.empty((3, n, m))
    width = np.empty((n, m))
    some = _some(reference)
    # a hit stands out of its patch; what a star gains or loses under another seeing stays below the light beside it
    light = np.abs(np.nan_to_num(reference - sky)).reshape(m, *size)
    around, rough = at_once(
        lambda: ndimage.maximum_filter(light, (0, _SEEING, _SEEING), mode="nearest").reshape(m, -1),
        lambda: np.array([_width(_some(frame) - some) for frame in z]),
    )
    moved = _moved(z, reference, light, rough)

    def piece(a, b):
        kernels.patch_means(z, reference, around, a, b, rough, moved, pixels >= 64, x, d, count, width)

    in_threads(piece, pieces(m))
    y = (x + d) * scales[:, None] + lift
    v = (width**2 / np.maximum(count, 1) + (_MODEL_ERROR * (x - sky)) ** 2) * scales[:, None] ** 2
    # a patch that is blind in a frame has no weight
    return (np.where(count, x, sky), np.where(count, y, sky), np.where(count, v, np.inf), sky)


def _moved(z, reference, light, rough):
    """Which share of the light around a pixel each frame may differ by there without a hit, (N,): more than that of
    most peaks. A frame that is far sharper than the others has twice their light there."""
    # of a peak that pixels beside it are part of: no hit that the median has kept
    core = light[:, 1:-1, 1:-1]
    for beside in (light[:, :-2, 1:-1], light[:, 2:, 1:-1], light[:, 1:-1, :-2], light[:, 1:-1, 2:]):
        core = np.minimum(core, beside)
    moved = np.full(len(z), _MOVED)
    if not core.size:
        return moved
    y, x = np.divmod(core.reshape(len(core), -1).argmax(axis=1), core.shape[2])
    patch = np.arange(len(core))
    clear = core[patch, y, x] > _BRIGHT * np.median(rough)
    patch, place = patch[clear], ((y + 1) * light.shape[2] + x + 1)[clear]
    difference = np.abs(z[:, patch, place] - reference[patch, place])
    for i, one in enumerate(difference / light.reshape(len(light), -1)[patch, place]):
        one = _finite(one)
        if one.size >= _ENOUGH:
            moved[i] = max(_MOVED, 1.5 * np.percentile(one, 75))
    return moved


def _lines(x, y, v, centres, sky, kind, fixed):
    """Robust y = s * x + o + plane of each frame; `kind` tells which of the three are free. And the cost."""
    free_scale, free_offset, free_plane = kind
    n = len(y)
    # without a constant the line goes through the origin, and the scale is about the whole level
    zero = sky if free_offset else 0.0
    start = np.ones(n) if fixed is None else fixed
    columns = [x - zero] if free_scale else []
    columns += [np.ones_like(x)] if free_offset else []
    columns += [np.broadcast_to(column, x.shape) for column in centres.T] if free_plane else []
    design = np.stack(columns, axis=1).astype(float)
    y = y - start[:, None] * (x - zero)
    fine = np.isfinite(v)
    theta = np.zeros((n, design.shape[1]))
    if free_offset:
        # a frame that shares no pixel with the others stays as it is: nothing tells its constant
        theta[:, int(free_scale)] = [
            median(values[here]) if here.any() else zero for values, here in zip(y, fine, strict=True)
        ]
    for _ in range(30):
        d = y - np.einsum("ik,ikm->im", theta, design)
        w = np.where(fine, 1 / (v * (1 + d * d / (9 * v))), 0)
        normal = np.einsum("im,ikm,ilm->ikl", w, design, design)
        size = np.sqrt(np.einsum("ikk->ik", normal))
        size[size == 0] = 1
        normal = normal / (size[:, :, None] * size[:, None, :])
        right = np.einsum("im,ikm->ik", w * d, design) / size
        # (what the data do not tell stays as it is)
        change = np.linalg.solve(normal + 1e-6 * np.eye(len(size[0])), right[:, :, None])[:, :, 0]
        theta += change / size
        # in units of its error
        if (change * change < 1e-4).all():
            break
    d = y - np.einsum("ik,ikm->im", theta, design)
    cost = np.sum(4.5 * np.log1p((d * d / (9 * v))[fine])) + 0.5 * np.sum(np.log(v[fine]))
    scales = start + theta[:, 0] if free_scale else start
    if not (scales > 0.01).all():
        # a frame that runs against the others is nothing a factor can mend
        return start, np.zeros(n), np.zeros((n, 2)), np.inf
    offsets = theta[:, int(free_scale)] - zero * scales if free_offset else np.zeros(n)
    return scales, offsets, theta[:, -2:] if free_plane else np.zeros((n, 2)), cost


def _width(r):
    """Robust rms of residuals; quantised data, where the median deviation is 0, get their clipped rms."""
    r = _finite(r)
    if not r.size:
        return 1e-30
    r = r - median(r)
    width = 1.4826 * median(np.abs(r))
    if width == 0:
        width = np.sqrt(np.mean(np.minimum(r * r, np.percentile(r * r, 99))))
    return width or 1e-30


def typical_value(values):
    """Median of some of the finite values, NaN where there is none."""
    values = _finite(_some(values))
    return median(values) if values.size else np.nan


def median(values):
    """Median of some finite values, (K,): that of numpy, which takes several times as long."""
    middle = values.size // 2
    order = np.partition(values, middle)
    return order[middle] if values.size % 2 else (order[:middle].max() + order[middle]) / 2


def _some(values):
    """Some 5000 of the values: enough for a median to a fiftieth of the scatter."""
    values = values.reshape(-1)
    # a step that shares no factor with the width of an image walks through its columns
    step = max(1, values.size // 5_000)
    return values[:: step + 1 - step % 2]


def _finite(values):
    return values[np.isfinite(values)]
