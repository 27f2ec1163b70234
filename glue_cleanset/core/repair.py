"""What stands in the place of a rejected pixel."""

import numpy as np

__all__ = ["copy_frames", "repair"]


def copy_frames(image_set):
    """The frames, to be repaired: (N, ny, nx) of the input's own floating dtype in native byte order, else of
    `ImageSet.work_dtype`."""
    frames = image_set.frames
    dtype = frames.dtype.newbyteorder("=") if frames.dtype.kind == "f" else image_set.work_dtype
    return frames.astype(dtype, order="C")


def repair(cleaned, image_set, outliers, normalization, settings):
    """Put values in the place of what was rejected.

    Where no frame survives at a pixel, 'median' and 'mean' fall back to 'neighbours'; where no good neighbour lies
    within 10 pixels, 'neighbours' gives NaN.

    Parameters
    ----------
    cleaned : ndarray, (N, ny, nx)
        What `copy_frames` gave; changed in place.
    image_set : ImageSet
    outliers : Outliers
    normalization : Normalization
        A value from the set is brought to the frame's own scale.
    settings : CleanSettings
        Its `repair` and `constant`.
    """
    frames = image_set.frames
    index = outliers.index
    how = settings.repair
    if how == "none" or not index.size:
        return
    if how in ("zero", "nan", "constant"):
        values = {"zero": 0.0, "nan": np.nan, "constant": settings.constant}[how]
    elif how == "neighbours":
        values = _from_neighbours(image_set, outliers.rejected, index)
    else:
        where = np.unravel_index(index, frames.shape)
        values = normalization.scales[where[0]] * getattr(outliers, how) + normalization.offset_at(*where)
        if settings.add_noise:
            deviates = np.random.default_rng(settings.seed).standard_normal(index.size)
            values += outliers.missing_noise * deviates
        alone = np.isnan(values)
        values[alone] = _from_neighbours(image_set, outliers.rejected, index[alone])
    cleaned.reshape(-1)[index] = values


def _from_neighbours(image_set, rejected, index):
    """Median of the good pixels in the smallest square around each pixel that holds three or more."""
    values = np.full(index.size, np.nan)
    _, ny, nx = image_set.shape
    for k, (i, y, x) in enumerate(zip(*np.unravel_index(index, image_set.shape), strict=True)):
        for reach in range(1, 11):
            here = (
                i,
                slice(max(y - reach, 0), min(y + reach + 1, ny)),
                slice(max(x - reach, 0), min(x + reach + 1, nx)),
            )
            good = image_set.usable(here) & ~rejected[here]
            if good.sum() >= 3:
                values[k] = np.median(image_set.frames[here][good])
                break
    return values
