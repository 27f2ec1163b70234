"""One pixel, or a part of the image, judged again with what a cleaning learned of the whole set."""

from dataclasses import dataclass

import numpy as np

from .detect import Detector

__all__ = ["PixelTrace", "preview", "trace_pixel"]

# the verdict on a pixel rests on the pixels this near
_REACH = 10


@dataclass(frozen=True, eq=False)
class PixelTrace:
    """One pixel through all frames, and what was allowed there.

    Attributes
    ----------
    y, x : int
    reference : float
        Noise-weighted mean of the frames that survive, on the mean scale and offset [ADU]; NaN where none does.
    value : ndarray, (N,), float64
        Of the frames [ADU]; NaN where the sample is not to be used.
    expected : ndarray, (N,), float64
        What the other frames that survive let expect, on the frame's own scale [ADU]; NaN where there are none.
    sigma : ndarray, (N,), float64
        Noise of the difference of the two [ADU], with the local inflation.
    lowest, highest : ndarray, (N,), float64
        What a pixel may have without being rejected on its own [ADU]; NaN where the detection knows no such limits.
    rejected : ndarray, (N,), bool
    """

    y: int
    x: int
    reference: float
    value: np.ndarray
    expected: np.ndarray
    sigma: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    rejected: np.ndarray

    @property
    def significance(self):
        """(value - expected) / sigma, (N,)."""
        return (self.value - self.expected) / self.sigma


def trace_pixel(image_set, model, settings, y, x, rejected):
    """Follow one pixel through the frames of a set that was cleaned.

    Parameters
    ----------
    image_set : ImageSet
    model : SetModel
        Of its cleaning.
    settings : CleanSettings
        Of its cleaning.
    y, x : int
    rejected : array-like, (N,), bool
        In which frames it is rejected.

    Returns
    -------
    PixelTrace

    Raises
    ------
    ValueError
        Where the pixel lies outside the image.
    """
    _, ny, nx = image_set.shape
    if not (0 <= y < ny and 0 <= x < nx):
        raise ValueError(f"the pixel y={y}, x={x} lies outside the image of {ny} x {nx} pixels")
    detector, top, left = _look_at(image_set, model, settings, y, y + 1, x, x + 1)
    here = np.array([y - top]), np.array([x - left])
    rejected = np.asarray(rejected, bool)
    z, survives, variance = (values[:, 0] for values in detector.samples(*here, rejected[:, None]))
    weight = np.where(survives, 1 / variance, 0)
    total = weight.sum()
    others = total - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        product = np.where(survives, weight * z, 0)
        reference = product.sum() / total
        expected = (product.sum() - product) / others
        # rounding is no witness
        expected[others < 1e-9 * total] = np.nan
        sigma = np.sqrt(variance + 1 / others)
    bright, dark = settings.high_pair if settings.high is not None else (np.nan, np.nan)
    lowest, highest = expected - dark * sigma, expected + bright * sigma
    if not settings.by_noise:
        lowest, highest = (np.full(z.shape, v) for v in _clipped(z[survives], settings, bright, dark))
    normalization = model.normalization
    scale, frames = normalization.scales, np.arange(len(z))
    offset = normalization.offset_at(frames, y, x)
    value, expected, lowest, highest = (scale * v + offset for v in (z, expected, lowest, highest))
    return PixelTrace(y, x, float(reference), value, expected, scale * sigma, lowest, highest, rejected)


def preview(image_set, model, settings, rows, columns):
    """What other settings would reject in a part of the image, with noise and normalisation of the whole set.

    Parameters
    ----------
    image_set : ImageSet
        The whole set.
    model : SetModel
        Of a cleaning of it, with whatever settings.
    settings : CleanSettings
    rows, columns : (int, int)
        First and last + 1 of the part.

    Returns
    -------
    ndarray, (N, rows, columns), bool
        True = rejected.
    """
    y0, y1, x0, x1 = *rows, *columns
    detector, top, left = _look_at(image_set, model, settings, y0, y1, x0, x1)
    return detector.find().flags()[:, y0 - top : y1 - top, x0 - left : x1 - left]


def _look_at(image_set, model, settings, y0, y1, x0, x1):
    """A detector of a part and its surroundings, and the pixel (y, x) at which that begins."""
    reach = _REACH + settings.grow
    top, left = max(y0 - reach, 0), max(x0 - reach, 0)
    part = image_set.part(slice(top, y1 + reach), slice(left, x1 + reach))
    return Detector(part, model, settings, (top, left)), top, left


def _clipped(z, settings, bright, dark):
    """Limits of the clips about what they left."""
    if z.size < 2:
        return np.nan, np.nan
    centre = np.mean(z) if settings.detection == "sigma" and settings.centre == "mean" else np.median(z)
    if settings.detection == "sigma":
        deviation = np.std(z)
    elif settings.detection == "mad":
        deviation = 1.4826 * np.median(np.abs(z - centre))
    elif settings.detection == "percentile":
        deviation = abs(centre)
    else:
        return np.nan, np.nan
    return centre - dark * deviation, centre + bright * deviation
