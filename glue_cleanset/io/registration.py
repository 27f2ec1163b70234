"""Is the set registered? The shift of every frame against the middle one, from the structure they show."""

from itertools import pairwise

import numpy as np
from astropy.table import Column, Table
from scipy import fft, ndimage

from ..core.imageset import ImageSet
from ..core.threads import CleanCancelled, in_threads

__all__ = ["measure_shifts", "registration_warning"]

# Frames registered by whole pixels are up to half a pixel off; the measurement itself is good to 0.1 px
# (on 20 real frames with known shifts of up to 25 px it was 0.08 px off at most).
TOLERANCE = 0.5
ERROR = 0.1

_WINDOW = 1024  # larger frames are judged by their central part [pixels]
_SKY_BLOCK = 128  # the sky is followed on this scale [pixels]
SAMPLE = 1 << 14  # so many values tell a level well enough
_SMALLEST = 24  # a frame with a smaller side holds too little to tell a shift [pixels]
_THRESHOLD = 2.0  # what counts as structure [sigma of the sky]
# A match is believed when enough pixels carry it, and when half of the structure takes part, or it stands out from the
# matches at all other shifts. Darks with cosmic rays: 20 pixels; other fields: 0.35 and 15 sigma;
# six faint stars: 100 pixels, 80 sigma; a galaxy: 3 sigma, but 0.99.
_LEAST_PIXELS = 45
_GOOD_MATCH = 0.5
_LEAST_SIGMA = 20


def measure_shifts(frames, *, reference=None, window=_WINDOW, progress=None):
    """Measure the shift of every frame against a reference frame.

    Only the structure above the sky is compared. Hot pixels stay where they are while the sky drifts, so a
    3x3 median takes them out first; what is left is compressed, so that no single star decides.

    Parameters
    ----------
    frames : ImageSet or array-like, (N, ny, nx)
        The set [ADU].
    reference : int, optional
        Index of the reference frame. None = the middle one (N // 2), or the first or the last where the
        middle one matches fewer than half of the others and they match more.
    window : int
        Larger frames are judged by a part of that size in their middle [pixels].
    progress : callable, optional
        ``progress(done, total)`` is called as the work goes on; it may return False or raise to stop.

    Returns
    -------
    astropy.table.Table
        One row per frame: ``frame`` (1 ...), ``name``, ``dy``, ``dx`` [pixel], ``match`` (0 ... 1, the
        correlation of the structure). What is seen at (y, x) in the reference is at (y + dy, x + dx) in the
        frame. NaN where the two have no structure in common (darks, noise, another field). The index
        of the reference is ``meta['reference']``.

    Raises
    ------
    ValueError, TypeError
        Where the frames are no image set, or there is no such reference.
    glue_cleanset.core.clean.CleanCancelled
        Where `progress` returned False.
    """
    image_set = frames if isinstance(frames, ImageSet) else ImageSet(frames)
    n = len(image_set)
    if reference is not None and not 0 <= reference < n:
        raise ValueError(f"reference is {reference}; the set has the frames 0 to {n - 1}")
    candidates = [reference] if reference is not None else list(dict.fromkeys([n // 2, 0, n - 1]))
    total = n * min(len(candidates), 2)

    def report(done):
        if progress is not None and progress(done, total) is False:
            raise CleanCancelled("cancelled; nothing was changed")

    report(0)
    found = _shifts_against(image_set, candidates[:1], window, report)
    if len(candidates) > 1 and 2 * _matched(found[0]) < n - 1:
        found += _shifts_against(image_set, candidates[1:], window, lambda done: report(n + done))
    elif n < total:
        report(total)
    best = max(range(len(found)), key=lambda k: _matched(found[k]))  # the first of equals
    reference, shifts = candidates[best], found[best]
    table = Table(meta={"reference": reference})
    table["frame"] = np.arange(1, n + 1)
    table["name"] = list(image_set.names)
    for column, values in zip(("dy", "dx"), shifts.T, strict=False):
        table[column] = Column(values, unit="pix", format="+.2f")
    table["match"] = Column(shifts[:, 2], format=".2f")
    return table


def registration_warning(frames, *, progress=None):
    """Say which frames are more than half a pixel off.

    A frame is off when it lies more than 0.5 px, and the 0.1 px that the measurement may err, from where
    most frames lie, in y or in x; where the frames lie all over, and in a set of two, from the reference.

    Parameters
    ----------
    frames : ImageSet or array-like, (N, ny, nx)
        The set [ADU].
    progress : callable, optional
        ``progress(done, total)`` is called as the work goes on; it may return False or raise to stop.

    Returns
    -------
    str
        The warning, with the shifts; empty when the set is registered or shows no structure to tell by.

    Raises
    ------
    glue_cleanset.core.clean.CleanCancelled
        Where `progress` returned False.
    """
    image_set = frames if isinstance(frames, ImageSet) else ImageSet(frames)
    if min(image_set.shape[1:]) > _WINDOW // 2:
        # a smaller part settles nearly every set that is registered
        table = measure_shifts(image_set, window=_WINDOW // 2, progress=progress)
        shifts = np.column_stack([table["dy"], table["dx"]])
        if (np.abs(shifts - np.median(shifts, axis=0)) <= TOLERANCE - ERROR).all():
            return ""
    table = measure_shifts(image_set, progress=progress)
    reference = table.meta["reference"]
    shifts = np.column_stack([table["dy"], table["dx"]])
    known = np.isfinite(shifts).all(axis=1)
    if known.sum() < 2:
        return ""
    limit = TOLERANCE + ERROR
    origin = shifts[reference]
    if known.sum() > 2:
        centre = np.median(shifts[known], axis=0)
        near = known & (np.abs(shifts - centre) <= limit).all(axis=1)
        if 2 * near.sum() > known.sum():
            origin = centre
            if not near[reference]:  # the reference is the one that is off: show the shifts against one of the many
                distance = np.where(near, np.hypot(*(shifts - centre).T), np.inf)
                reference = int(np.argmin(distance))
    off = known & (np.abs(shifts - origin) > limit).any(axis=1)
    shifts = shifts - shifts[reference]
    texts = []
    if off.any():
        listed = ", ".join(
            f"{table['name'][i]} (dy {shifts[i, 0]:+.2f}, dx {shifts[i, 1]:+.2f} px)" for i in np.flatnonzero(off)
        )
        texts.append(
            f"{off.sum()} of {len(table)} frames are more than {TOLERANCE} px off. "
            "Register the frames first, or stars are taken for events; "
            f"shifts against {table['name'][reference]}: {listed}."
        )
    if not known.all() and 2 * known.sum() > len(table):
        names = ", ".join(table["name"][i] for i in np.flatnonzero(~known))
        texts.append(f"{names}: shows nothing in common with {table['name'][reference]}; is it the same field?")
    return "The set is not registered: " + " ".join(texts) if texts else ""


def _structure(image_set, i, window):
    """What stands above the sky of frame `i`, compressed and apodised: (my, mx) float32, 0 where nothing does."""
    _, ny, nx = image_set.shape
    my, mx = min(ny, window), min(nx, window)
    y0, x0 = (ny - my) // 2, (nx - mx) // 2
    part = np.s_[i, y0 : y0 + my, x0 : x0 + mx]
    image = np.array(image_set.frames[part], np.float32)
    nothing = np.zeros_like(image)
    good = np.isfinite(image)
    if image_set.mask is not None:
        good &= ~image_set.mask[part]
    if min(my, mx) < _SMALLEST or not good.any():
        return nothing
    if not good.all():
        image[~good] = np.median(image[good][:: max(1, image.size // SAMPLE)])
    image = median3(image)
    image -= sky_of(image)
    level, sigma = level_and_scatter(image)
    if not sigma > 0:
        return nothing
    # in place: on arrays of this size new memory costs more than the arithmetic
    image -= level + _THRESHOLD * sigma
    image /= sigma
    np.maximum(image, 0, out=image)
    np.arcsinh(image, out=image)
    if not good.all():
        image[~good] = 0
    image *= _taper(my)[:, None]
    image *= _taper(mx)
    return image


def _taper(length):
    """A Tukey window that falls over a tenth of the length at either end (scipy.signal takes long to import)."""
    place = np.arange(length)
    edge = np.minimum(place, length - 1 - place) / (0.1 * max(length - 1, 1))
    return (np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2).astype(np.float32)


def median3(image):
    """The median of 3x3 pixels, the edge repeated: `scipy.ndimage.median_filter`, ten times as fast."""
    padded = np.pad(image, 1, mode="edge")
    result = np.empty_like(image)
    for start in range(0, len(image), 64):  # pieces that stay in the cache
        piece = padded[start : start + 66]
        low, middle, high = _sort3(piece[:-2], piece[1:-1], piece[2:])
        # of sorted columns the median is that of the highest low, the middle middle and the lowest high
        low = np.maximum(np.maximum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
        high = np.minimum(np.minimum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
        middle = _sort3(middle[:, :-2], middle[:, 1:-1], middle[:, 2:])[1]
        result[start : start + 64] = _sort3(low, middle, high)[1]
    return result


def _sort3(a, b, c):
    a, b = np.minimum(a, b), np.maximum(a, b)
    b, c = np.minimum(b, c), np.maximum(b, c)
    a, b = np.minimum(a, b), np.maximum(a, b)
    return a, b, c


def sky_of(image):
    """The sky of an image, (ny, nx) float32: medians of coarse blocks, joined bilinearly."""
    (rows, to_rows), (columns, to_columns) = (_blocks(n) for n in image.shape)
    coarse = np.array([[np.median(image[r, c][::2, ::2]) for c in columns] for r in rows], np.float32)
    return to_rows @ coarse @ to_columns.T


def _blocks(n):
    """Slices of about `_SKY_BLOCK` that cover 0 ... n, and the matrix that interpolates between their middles."""
    edges = np.linspace(0, n, max(1, n // _SKY_BLOCK) + 1).astype(int)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    weights = [np.interp(np.arange(n), middles, one) for one in np.eye(len(middles))]
    return [slice(*pair) for pair in pairwise(edges)], np.array(weights, np.float32).T


def level_and_scatter(image):
    """Median and standard deviation of what is left of an image without its bright and dark parts."""
    # a standard deviation with clipping, not a MAD: coarsely digitised sky has a MAD of 0 or of 1
    values = image.reshape(-1)[:: max(1, image.size // SAMPLE)].astype(float)
    for _ in range(6):
        level, sigma = np.median(values), values.std()
        values = values[np.abs(values - level) <= 3 * sigma]
    return np.median(values), values.std()


def _matched(shifts):
    return np.isfinite(shifts[:, 0]).sum() - 1


def _shifts_against(image_set, references, window, report):
    """For each of the references (N, 3): dy, dx, match; NaN in the first two where frames have nothing in common."""
    n = len(image_set)
    bases = [_Transformed(_structure(image_set, reference, window)) for reference in references]
    found = [np.full((n, 3), np.nan) for _ in references]

    def look(i):
        image = None
        for reference, base, shifts in zip(references, bases, found, strict=True):
            if i == reference:
                shifts[i] = 0, 0, 1
            else:
                image = image or _Transformed(_structure(image_set, i, window))
                shifts[i] = _compare(base, image)

    in_threads(look, [(i,) for i in range(n)], lambda share: report(round(share * n)))
    return found


class _Transformed:
    """The structure of a frame and its Fourier transform."""

    def __init__(self, structure):
        self.structure = structure
        self.power = float(np.vdot(structure, structure))
        self.transform = fft.rfft2(structure)


def _compare(base, image):
    """(dy, dx, match) of an image against the base."""
    if not base.power or not image.power:
        return np.nan, np.nan, 0
    # the structure itself is correlated, not its phase: the phase of a sparse field is that of its noise
    spectrum = image.transform.conj()
    spectrum *= base.transform
    correlation = fft.irfft2(spectrum, base.structure.shape, overwrite_x=True)
    peak = np.unravel_index(np.argmax(correlation), correlation.shape)
    match = float(correlation[peak]) / np.sqrt(base.power * image.power)
    correlation -= correlation.mean(dtype=float)
    scatter = np.sqrt(np.vdot(correlation, correlation) / correlation.size)
    if match < _GOOD_MATCH and correlation[peak] < _LEAST_SIGMA * scatter:
        return np.nan, np.nan, match
    product = base.structure * np.roll(image.structure, peak, axis=(0, 1))
    if not product.sum() ** 2 >= _LEAST_PIXELS * np.vdot(product, product) > 0:
        return np.nan, np.nan, match
    dy, dx = (-((p + n // 2) % n - n // 2) for p, n in zip(_refine(correlation, peak), correlation.shape, strict=True))
    return dy, dx, match


def _refine(correlation, peak, reach=8, step=0.02):
    """The position of a peak between the pixels, from a spline through its neighbourhood."""
    offsets = np.arange(-reach, reach + 1)
    rows, columns = (
        np.take(np.arange(n), p + offsets, mode="wrap") for p, n in zip(peak, correlation.shape, strict=True)
    )
    near = np.arange(-1, 1 + step / 2, step)
    fine = ndimage.map_coordinates(
        correlation[np.ix_(rows, columns)].astype(float), np.meshgrid(near + reach, near + reach, indexing="ij")
    )
    best = np.unravel_index(np.argmax(fine), fine.shape)
    return [p + near[b] for p, b in zip(peak, best, strict=True)]
