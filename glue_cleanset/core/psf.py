"""The point-spread function of a set, from the stars of its median image."""

from dataclasses import dataclass, field

import numpy as np

from . import kernels_tracks

__all__ = ["REACH", "Psf", "find_psf"]

REACH = 5  # pixels from the centre of a stamp to its edge
_FIT = 6  # the same of the cut-outs that are fitted, whose rims show the sky around a star
_HEIGHT = 10.0  # sigma of one frame's sky; fainter stars tell little
_MOST = 40  # stars, the brightest
_FEWEST = 3
_SHARPEST = 0.12  # neighbours of a hot pixel hold less than this share of its peak
_ALIKE = 0.1  # a star differs from the others by less, rms over the cut-out in units of the peak
_FWHM = 1.2, 9.0  # pixels; what is beyond is no star, or does not fit into a stamp
_STEPS = 8


@dataclass(frozen=True, eq=False)
class Psf:
    """What a point of light looks like in the median image: an elliptical Moffat function (Moffat 1969).

    Attributes
    ----------
    stamp : ndarray, (11, 11), float
        Values of the pixels for a star at the centre of the middle one, which is 1.
    fwhm : float
        Geometric mean of the axes [pixels].
    form : (float, float, float, float)
        a, b, c, s: the light at (dy, dx) is (1 + w * (a dy^2 + 2 b dy dx + c dx^2))^(-1 / s), w = 2^s - 1.
    stars : int
        From how many stars.
    """

    stamp: np.ndarray = field(repr=False)
    fwhm: float
    form: tuple[float, float, float, float]
    stars: int

    @property
    def total(self):
        """Light of a star whose peak is 1, out to four FWHM."""
        axis = np.arange(-int(4 * self.fwhm), int(4 * self.fwhm) + 1)
        return float(self.light(axis[:, None], axis).sum())

    def light(self, dy, dx):
        """Value of pixels at a distance from a star whose peak is 1; arrays that broadcast [pixels]."""
        return _light(self.form, dy, dx)


def find_psf(image, sky, sky_variance, full=np.inf):
    """Fit the stars of a median image: isolated, bright, not full, alike.

    Parameters
    ----------
    image : ndarray, (ny, nx), float
        The median of the set [ADU]; NaN = not to be used.
    sky, sky_variance : float
        Typical level [ADU], and the variance of one frame there [ADU^2].
    full : float
        From how much light above `sky` the detector is full [ADU].

    Returns
    -------
    Psf or None
        None where there are too few stars, as in darks and flats.
    """
    peaks = kernels_tracks.bright_peaks(image, sky + _HEIGHT * np.sqrt(sky_variance), sky + 0.7 * full, _FIT)
    # a star has neighbours, and stands out of its own surroundings; the brightest first
    grid = np.arange(-_FIT, _FIT + 1)
    y, x = peaks
    cuts = image[y[:, None, None] + grid[:, None], x[:, None, None] + grid].astype(float)
    rim = np.ones(cuts.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    sides = np.sort(cuts[:, [_FIT - 1, _FIT, _FIT, _FIT + 1], [_FIT, _FIT - 1, _FIT + 1, _FIT]], axis=1)
    sky_around = np.median(cuts[:, rim], axis=1) if len(cuts) else np.empty(0)
    height = cuts[:, _FIT, _FIT] - sky_around
    with np.errstate(invalid="ignore"):
        fine = np.isfinite(cuts).all(axis=(1, 2)) & (height > _HEIGHT * np.sqrt(sky_variance))
        fine &= sides[:, 1] - sky_around > _SHARPEST * height
    order = np.flatnonzero(fine)
    order = order[np.argsort(-height[order], kind="stable")][:_MOST]
    if order.size < _FEWEST:
        return None
    values = ((cuts[order] - sky_around[order, None, None]) / height[order, None, None]).reshape(order.size, -1)
    dy, dx = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    form, rms, good = _fit(values, dy, dx)
    a, b, c, _ = form
    if a * c <= b * b:
        return None
    fwhm = 2 * (a * c - b * b) ** -0.25
    if good.sum() < _FEWEST or np.median(rms[good]) > _ALIKE or not _FWHM[0] < fwhm < _FWHM[1]:
        return None
    axis = np.arange(-REACH, REACH + 1)
    return Psf(_light(form, axis[:, None], axis), float(fwhm), tuple(map(float, form)), int(good.sum()))


def _light(form, dy, dx):
    a, b, c, s = form
    return (1 + (2**s - 1) * (a * dy * dy + 2 * b * dy * dx + c * dx * dx)) ** (-1 / s)


def _fit(values, dy, dx):
    """One form for all stars; each has its own place, peak and sky. Gauss-Newton steps, the form and the stars by
    turns. Returns the form, the rms of each star, and which of them are like the others."""
    width = 1.5
    form = np.array([width**-2, 0, width**-2, 0.3])
    place = np.zeros((2, len(values), 1))
    good = np.ones(len(values), bool)
    eps = 1e-4
    for _ in range(_STEPS):
        py, px = dy - place[0], dx - place[1]
        model = _light(form, py, px)
        design = np.stack(
            [
                model,
                np.ones_like(model),
                (_light(form, py - eps, px) - model) / eps,
                (_light(form, py, px - eps) - model) / eps,
            ],
            axis=2,
        )
        normal = design.transpose(0, 2, 1) @ design
        peak, sky, my, mx = np.linalg.solve(normal, design.transpose(0, 2, 1) @ values[:, :, None])[:, :, 0].T
        peak = np.maximum(peak, 0.3)
        place += np.clip(np.stack([my, mx]) / peak, -0.3, 0.3)[:, :, None]
        np.clip(place, -1, 1, out=place)
        left = (values - sky[:, None]) / peak[:, None] - _light(form, dy - place[0], dx - place[1])
        rms = np.sqrt(np.mean(left * left, axis=1))
        good = rms <= 2 * np.median(rms)
        py, px, left = (dy - place[0])[good], (dx - place[1])[good], left[good]
        model = _light(form, py, px)
        change = np.empty((4, model.size))
        for k in range(4):
            moved = form.copy()
            moved[k] += eps
            change[k] = ((_light(moved, py, px) - model) / eps).ravel()
        # a neighbour in the cut-out, a hit that stayed, are beyond the scatter of most
        scatter = 1.4826 * np.median(np.abs(left)) + 1e-9
        weight = (1 / (1 + (left / (4 * scatter)) ** 2)).ravel()
        step = np.linalg.solve(change * weight @ change.T + 1e-9 * np.eye(4), change * weight @ left.ravel())
        form = form + step
        form[[0, 2]] = np.clip(form[[0, 2]], 0.01, 4)
        form[1] = np.clip(form[1], *(np.sqrt(form[0] * form[2]) * np.array([-0.8, 0.8])))
        form[3] = np.clip(form[3], 0.05, 0.8)
    return form, rms, good
