"""What stands in the place of a rejected pixel."""

import numpy as np
from scipy import special

from .threads import in_threads

# how far the good neighbours of a pixel may lie
REACH = 10

__all__ = ["copied_dtype", "copy_frames", "light_of_kept", "repaired_values"]


def copied_dtype(image_set):
    """Of the cleaned frames: the input's own floating dtype in native byte order, else `ImageSet.work_dtype`."""
    dtype = image_set.frames.dtype
    return dtype.newbyteorder("=") if dtype.kind == "f" else image_set.work_dtype


def copy_frames(image_set):
    """The frames, to be repaired: (N, ny, nx)."""
    frames = np.empty(image_set.shape, copied_dtype(image_set))

    def copy(i):
        frames[i] = image_set.frames[i]

    in_threads(copy, [(i,) for i in range(len(frames))])
    return frames


def repaired_values(image_set, outliers, which, normalization, settings, light=None):
    """What stands in the place of each rejected pixel.

    Where no frame survives at a pixel, 'median' and 'mean' fall back to 'neighbours'; where no good neighbour lies
    within 10 pixels, 'neighbours' gives NaN.

    Parameters
    ----------
    image_set : ImageSet
    outliers : Outliers
    which : ndarray
        Those of its pixels that are to be repaired, as an index.
    normalization : Normalization
        A value from the set is brought to the frame's own scale.
    settings : CleanSettings
        Its `repair` and `constant`.
    light : (ndarray, ndarray), optional
        Flat indices, ascending, and light [ADU] of moving objects that are there in single frames; 'median' and 'mean'
        know only what stands still (`light_of_kept`).

    Returns
    -------
    ndarray, (K,), or float
        For each of these pixels [ADU]; with ``repair='none'`` the values that are there.
    """
    index, how = outliers.index[which], settings.repair
    where = np.unravel_index(index, image_set.shape)
    if how == "none":
        return image_set.frames[where]
    if how in ("zero", "nan", "constant"):
        return {"zero": 0.0, "nan": np.nan, "constant": settings.constant}[how]
    if how == "neighbours":
        return _from_neighbours(image_set, outliers, index)
    values = normalization.scales[where[0]] * getattr(outliers, how)[which] + normalization.offset_at(*where)
    if light is not None and len(light[0]):
        place = np.minimum(np.searchsorted(light[0], index), len(light[0]) - 1)
        values += np.where(light[0][place] == index, light[1][place], 0)
    if settings.add_noise:
        values += outliers.missing_noise[which] * _deviates(index, settings.seed)
    alone = np.isnan(values)
    values[alone] = _from_neighbours(image_set, outliers, index[alone])
    return values


def light_of_kept(light, outliers):
    """Of the light of moving objects in pixels that were hit, that of the objects which are kept.

    Parameters
    ----------
    light : (ndarray, ndarray), or None
        As `glue_cleanset.CleanResult.light`.
    outliers : Outliers
        Of all that stands out.

    Returns
    -------
    (ndarray, ndarray), or None
    """
    if light is None:
        return None
    nx = outliers.shape[2]
    around = (np.arange(-2, 3)[:, None] * nx + np.arange(-2, 3)).reshape(-1)
    stays = np.isin(light[0][:, None] + around, outliers.index[outliers.kept]).any(axis=1)
    return tuple(part[stays] for part in light)


def _deviates(index, seed):
    """A standard normal deviate for each pixel, the same one whatever other pixels are repaired: splitmix64 (Steele et
    al. 2014, doi:10.1145/2714064.2660195) of seed and pixel."""
    with np.errstate(over="ignore"):
        x = index.astype(np.uint64) + np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
        x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    # the upper 53 bits, between 0 and 1
    return special.ndtri(((x >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)


def _from_neighbours(image_set, outliers, index):
    """Median of the good pixels in the smallest square around each pixel that holds three or more; `index` ascends."""
    values = np.full(index.size, np.nan)
    frames, y, x = np.unravel_index(index, image_set.shape)
    for i in np.unique(frames):
        frame, good = image_set.frames[i], image_set.usable(i) & ~outliers.plane(i)
        for k in np.flatnonzero(frames == i):
            for reach in range(1, REACH + 1):
                here = tuple(slice(max(at - reach, 0), at + reach + 1) for at in (y[k], x[k]))
                if good[here].sum() >= 3:
                    values[k] = np.median(frame[here][good[here]])
                    break
    return values
