"""Is the set registered? The shift of every frame against the middle one, from the structure they show."""

import numpy as np
from astropy.table import Column, Table
from scipy import fft, ndimage
from scipy.signal.windows import tukey

from ..core.imageset import ImageSet

__all__ = ["measure_shifts", "registration_warning"]

# Frames registered by whole pixels are up to half a pixel off; the measurement itself is good to 0.1 px
# (on 20 real frames with known shifts of up to 25 px it was 0.08 px off at most).
TOLERANCE = 0.5
ERROR = 0.1

_WINDOW = 1024  # larger frames are judged by their central part [pixels]
_SKY_BLOCK = 128  # the sky is followed on this scale [pixels]
_SMALLEST = 24  # a frame with a smaller side holds too little to tell a shift [pixels]
_THRESHOLD = 2.0  # what counts as structure [sigma of the sky]
# A match is believed when enough pixels carry it, and when half of the structure takes part, or it stands out from the
# matches at all other shifts. Darks with cosmic rays: 20 pixels; other fields: 0.35 and 15 sigma;
# six faint stars: 100 pixels, 80 sigma; a galaxy: 3 sigma, but 0.99.
_LEAST_PIXELS = 45
_GOOD_MATCH = 0.5
_LEAST_SIGMA = 20


def measure_shifts(frames, *, reference=None):
    """Measure the shift of every frame against a reference frame.

    Only the structure above the sky is compared. Hot pixels stay where they are while the sky drifts, so a
    3x3 median takes them out first; what is left is compressed, so that no single star decides.

    Parameters
    ----------
    frames : ImageSet or array-like, (N, ny, nx)
        The set [ADU].
    reference : int, optional
        Index of the reference frame. None = the middle one (N // 2), or the first or the last where the
        middle one matches fewer than half of the others.

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
    """
    image_set = frames if isinstance(frames, ImageSet) else ImageSet(frames)
    n = len(image_set)
    if reference is not None and not 0 <= reference < n:
        raise ValueError(f"reference is {reference}; the set has the frames 0 to {n - 1}")
    best = None
    for candidate in dict.fromkeys([n // 2, 0, n - 1] if reference is None else [reference]):
        shifts = _shifts_against(image_set, candidate)
        matched = int(np.isfinite(shifts[:, 0]).sum()) - 1
        if best is None or matched > best[0]:
            best = (matched, candidate, shifts)
        if 2 * matched >= n - 1:
            break
    _, reference, shifts = best
    table = Table(meta={"reference": reference})
    table["frame"] = np.arange(1, n + 1)
    table["name"] = list(image_set.names)
    for column, values in zip(("dy", "dx"), shifts.T, strict=False):
        table[column] = Column(values, unit="pix", format="+.2f")
    table["match"] = Column(shifts[:, 2], format=".2f")
    return table


def registration_warning(frames):
    """Say which frames are more than half a pixel off.

    A frame is off when it lies more than 0.5 px, and the 0.1 px that the measurement may err, from where
    most frames lie, in y or in x; where the frames lie all over, and in a set of two, from the reference.

    Parameters
    ----------
    frames : ImageSet or array-like, (N, ny, nx)
        The set [ADU].

    Returns
    -------
    str
        The warning, with the shifts; empty when the set is registered or shows no structure to tell by.
    """
    table = measure_shifts(frames)
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
            f"{off.sum()} of {len(table)} frames are more than {TOLERANCE} px off; "
            f"shifts against {table['name'][reference]}: {listed}. "
            "Register the frames first, or stars are taken for events."
        )
    if not known.all() and 2 * known.sum() > len(table):
        names = ", ".join(table["name"][i] for i in np.flatnonzero(~known))
        texts.append(f"{names}: shows nothing in common with {table['name'][reference]}; is it the same field?")
    return "The set is not registered: " + " ".join(texts) if texts else ""


def _structure(image_set, i):
    """What stands above the sky of frame `i`, compressed and apodised: (my, mx) float32, 0 where nothing does."""
    _, ny, nx = image_set.shape
    my, mx = min(ny, _WINDOW), min(nx, _WINDOW)
    y0, x0 = (ny - my) // 2, (nx - mx) // 2
    part = np.s_[y0 : y0 + my, x0 : x0 + mx]
    image = np.array(image_set.frames[i][part], np.float32)
    nothing = np.zeros_like(image)
    good = np.isfinite(image)
    if image_set.mask is not None:
        good &= ~image_set.mask[i][part]
    if min(my, mx) < _SMALLEST or not good.any():
        return nothing
    image[~good] = np.median(image[good])
    image = ndimage.median_filter(image, 3, mode="nearest")
    image -= _sky(image)
    level, sigma = _level_and_scatter(image)
    if not sigma > 0:
        return nothing
    image = np.arcsinh(np.maximum((image - level) / sigma - _THRESHOLD, 0))
    image[~good] = 0
    image *= tukey(my, 0.2).astype(np.float32)[:, None] * tukey(mx, 0.2).astype(np.float32)
    return image


def _sky(image):
    """Medians of coarse blocks, joined bilinearly."""
    ny, nx = image.shape
    rows = np.array_split(np.arange(ny), max(1, ny // _SKY_BLOCK))
    columns = np.array_split(np.arange(nx), max(1, nx // _SKY_BLOCK))
    coarse = np.array([[np.median(image[r[0] : r[-1] + 1, c[0] : c[-1] + 1]) for c in columns] for r in rows])
    y = np.interp(np.arange(ny), [r.mean() for r in rows], np.arange(len(rows)))
    x = np.interp(np.arange(nx), [c.mean() for c in columns], np.arange(len(columns)))
    return ndimage.map_coordinates(coarse, np.meshgrid(y, x, indexing="ij"), order=1, output=np.float32)


def _level_and_scatter(image):
    # a standard deviation with clipping, not a MAD: coarsely digitised sky has a MAD of 0 or of 1
    values = image.reshape(-1)[:: max(1, image.size // 65536)].astype(float)
    for _ in range(6):
        level, sigma = np.median(values), values.std()
        values = values[np.abs(values - level) <= 3 * sigma]
    return np.median(values), values.std()


def _shifts_against(image_set, reference):
    """(N, 3): dy, dx, match; NaN in the first two where the frames have nothing in common."""
    # imported here: scikit-image is not needed to read or write a set
    from skimage.registration import phase_cross_correlation

    base = _structure(image_set, reference)
    base_power = float(np.vdot(base, base))
    transform = fft.fft2(base)
    result = np.full((len(image_set), 3), np.nan)
    result[:, 2] = 0
    result[reference] = 0, 0, 1
    for i in range(len(image_set)):
        if i == reference:
            continue
        image = _structure(image_set, i)
        power = float(np.vdot(image, image))
        if not base_power or not power:
            continue
        other = fft.fft2(image)
        # the structure itself is correlated, not its phase: the phase of a sparse field is that of its noise
        shift = phase_cross_correlation(transform, other, space="fourier", upsample_factor=20, normalization=None)[0]
        product = base * np.roll(image, np.round(shift).astype(int), axis=(0, 1))
        total, square = float(product.sum()), float(np.vdot(product, product))
        match = total / np.sqrt(base_power * power)
        result[i, 2] = match
        # mean and scatter of the correlation over all shifts, by Parseval's theorem
        mean = float(base.sum()) * float(image.sum()) / image.size
        scatter = np.linalg.norm(np.abs(transform) * np.abs(other)) / image.size
        believed = match >= _GOOD_MATCH or total - mean >= _LEAST_SIGMA * np.sqrt(max(scatter**2 - mean**2, 0))
        if believed and square and total**2 / square >= _LEAST_PIXELS:
            result[i, :2] = -shift + 0.0
    return result
