"""The noise model: gain and read noise, given or fitted to the set."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from . import kernels
from .normalize import median, sample_size, stack_median, typical_value
from .threads import at_once, in_threads, pieces

__all__ = ["NoiseModel", "fit_noise", "full_light", "structure_above_noise"]

_SHARE = 1 / 3  # of the pixels of the patches that the noise is fitted to
_CLIP = 4.0
# a Gaussian cut at +-4 sigma keeps this share of its variance
_CLIPPED_VARIANCE = 0.99893
# a scatter is known from so many samples; a patch with light varies by so many sigma more than usual, a tenth at least
_FEW, _VARIES = 100, 5
# frames whose variance differs by less than so many times the error of that have the same; it is settled where it
# changes by no more than this share, or after so many steps
_ALIKE, _SETTLED, _STEPS = 2, 0.03, 3
_MARGIN = 1.5  # on the variance of mismatch, whose residuals are patterns and not a Gaussian
_FAR_ABOVE = 50  # sigma of the sky; coarsely quantised noise has a brightest value that many pixels share
_BRIGHTEST = 95  # percentile of the sample, half of which is light
_PEDESTAL = 0.1  # a given noise model that exceeds the scatter by this share at the sky tells of a pedestal


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """What gain and read noise a cleaning used, and where they come from.

    Attributes
    ----------
    gain, readnoise : ndarray, (N,)
        Gain [e-/ADU] and read noise [e- rms] of each frame; NaN where the set cannot tell. Of a fit the usual ones,
        alike for all frames.
    gain_source, readnoise_source : str
        ``'given'``, ``'fitted'``, or ``'unknown'`` where the set holds too little to fit one.
    floor, slope : ndarray, (N,)
        What the cleaning works with: variance [ADU^2] = floor + slope * level [ADU]. Of a fit the slope exceeds
        1 / gain where stars vary, and a frame whose noise differs from the others' has both times a factor of its own.
    least : ndarray, (N,)
        Variance [ADU^2] of the darkest pixels: the variance is never below it.
    mismatch : ndarray, (N,)
        By which share of its surroundings' range a frame differs from the others on stars: seeing, registration.
    message : str
        What a person should know about the fit; empty where all is well.
    """

    gain: np.ndarray
    readnoise: np.ndarray
    gain_source: str
    readnoise_source: str
    floor: np.ndarray
    slope: np.ndarray
    least: np.ndarray | None = None
    mismatch: np.ndarray | None = None
    message: str = ""

    def on_reference(self, scales, offsets):
        """(a, b, c, d), each (N,): the variance of z = (frame - offset) / scale is
        max(a + b * reference, d) + c * structure."""
        return (
            (self.floor + self.slope * offsets) / scales**2,
            self.slope / scales,
            _MARGIN * self.mismatch**2,
            self.least / scales**2,
        )

    def sigma(self, level):
        """Noise [ADU] of each frame at a level [ADU], (N,)."""
        return np.sqrt(np.maximum(self.floor + self.slope * level, self.least))


def fit_noise(sample, scales, offsets, gain=None, readnoise=None):
    """Gain and read noise from the scatter of the frames about each other, as a function of the level.

    The photon transfer curve (Janesick 2007, Photon Transfer, doi:10.1117/3.725073) over a sample of the set: every
    frame against the mean of the others that survive at that pixel, whose own noise is part of the model, so that
    no correction for the number of frames is needed. Residuals beyond 4 sigma (hits) are left out. Terms
    that grow with the light and with its range around the pixel take up what seeing and registration add on stars;
    stars that vary, in whose patch the frames scatter more than in others, are left out. A frame whose noise at the sky
    differs from that of the others by more than chance (it was interpolated, or is of another camera) has the same
    curve times a factor. The noise of the sky, where most pixels are, is then made exact.

    Parameters
    ----------
    sample : ndarray, (N, M, h, w)
        Patches of the set [ADU] with some range in level, free of gradients; NaN = not to be used.
    scales, offsets : ndarray, (N,)
        Of the frames.
    gain, readnoise : ndarray, (N,), optional
        What is known [e-/ADU], [e-]; the rest is fitted.

    Returns
    -------
    NoiseModel
    """
    n = len(sample)
    z = np.empty_like(sample)

    def bring(i):
        z[i] = (sample[i] - offsets[i]) / scales[i]

    in_threads(bring, [(i,) for i in range(n)])
    reference = stack_median(z)
    some = slice(None, None, max(1, sample.shape[1] // 20))
    start = _clipped_variance(z[:, some] - reference[some]) * n / (n - 1)
    # equal frames have no noise but that of rounding
    rounding = np.finfo(np.float32).eps * np.nanmax(np.abs(reference[np.isfinite(reference)]), initial=1e-15)
    start = max(start, rounding**2)
    # of two frames the darker one holds no hits
    shape = np.fmin(*z) if n == 2 else reference
    spread = np.array([kernels.range_around(patch, 0, len(patch)) for patch in shape])
    structure = structure_above_noise(spread, start, n)
    # full pixels have no noise
    sky = np.nan_to_num(typical_value(reference))
    reference[reference - reference.dtype.type(sky) >= full_light(reference, sky, start, scales)] = np.nan
    patch = np.repeat(np.arange(sample.shape[1]), reference[0].size)
    reference, structure = reference.ravel(), structure.ravel()
    some = _thin(reference, structure, n)
    z = z.reshape(n, -1).take(some, axis=1).astype(float, copy=False)
    reference, structure, patch = reference[some], structure[some], patch[some]
    sky = np.median(reference[structure == 0]) if (structure == 0).any() else np.median(reference)
    plain = (structure == 0) & ((reference - sky) ** 2 < 9 * start)
    # the noise of the level itself would flatten the curve
    smooth = np.where(plain, sky, reference)
    s = scales[:, None]
    level = s * smooth + offsets[:, None]
    terms = np.empty((4, *z.shape))
    terms[0], terms[1] = 1, level
    np.multiply(s * s, (smooth - sky) ** 2, out=terms[2])
    np.multiply(s * s, structure, out=terms[3])
    # about where the noise of the sky and that of the brightest pixels lie, wherever zero is
    usual = np.mean(scales * sky + offsets)
    bright = reference >= np.percentile(reference, _BRIGHTEST)
    rise = _clipped_variance(z[:, bright] - reference[bright]) * n / (n - 1) - start
    height = np.mean(smooth[bright]) - sky
    # (the brightest of noise are no light)
    steep = max(rise / height, 0.0) if height > 5 * np.sqrt(start) else 0.0
    theta = np.array([start - steep * usual, steep, 0.0, 0.0])
    # (at one level any slope would do)
    one_level = max(height, np.ptp(scales * sky + offsets)) < np.sqrt(start)
    slope = np.mean(1 / gain) if gain is not None else 0.0 if one_level else None
    # a part of the sample tells where to begin
    whole = z, reference, terms
    part = [np.ascontiguousarray(values[..., ::5]) for values in whole]
    light = slice(np.count_nonzero(structure))  # they come first
    own = np.ones(n)
    for left in range(_STEPS, -1, -1):
        for these in (part, part, whole):
            residual, differences = _against_others(*these, scales, theta, 0.02 * start)
            theta, error = _fit_variance(residual, differences, slope, theta)
        told, of_camera = gain is not None, theta[1]
        if told:
            break
        # (at a single level floor and slope may run away together)
        of_sky = theta[0] + theta[1] * usual
        told = theta[1] > 5 * error and of_sky > 0.02 * start
        if slope is None:
            # the cleaning expects of any star that it varies; the camera is told by those that do not
            varies = np.zeros(structure.shape, bool)
            varies[light] = _varies(residual[:, light], theta, differences[:, :, light], 0.02 * start, patch[light])
            if varies.any():
                steady, its_error = _fit_variance(residual[:, ~varies], differences[:, :, ~varies], None, theta)
                of_camera = steady[1] if steady[1] > 5 * its_error else of_camera
        if not left:
            break
        steep = of_camera if told else 0.0
        quiet = _of_one(residual, differences, plain, (of_sky - steep * usual, steep), 0.02 * start)
        last, own = own, _own_noise(quiet, patch[plain], own)
        if (np.abs(own - last) <= _SETTLED * last).all():
            own = last
            break
        for values in (terms, part[2]):
            values[:2] *= (own / last)[:, None]
    if not told:
        theta = np.array([start * np.mean(scales) ** 2, 0, 0, 0])
    # the level that most pixels have, and the darkest, are measured and not left to a line
    dark = reference <= np.percentile(reference, 10)
    at_sky, in_dark = at_once(
        lambda: _clipped_variance(_of_one(residual, differences, plain, theta, 0.02 * start)),
        lambda: _clipped_variance(_of_one(residual, differences, dark, (1, 0), 0)),
    )
    if at_sky > 0:
        theta[0] += (at_sky - 1) * (theta[0] + theta[1] * usual)
    model = _model(own, theta, of_camera, told, gain, readnoise, usual)
    least = np.minimum(in_dark * own, 0.9 * (model.floor + model.slope * usual))
    z, level, structure = z[:, light] - reference[light], level[:, light], terms[3][:, light]

    def mismatch(i):
        variance = np.maximum(model.floor[i] + model.slope[i] * level[i], np.maximum(least[i], 1e-30))
        return _mismatch(scales[i] * z[i], variance, structure[i], n)

    mismatches = in_threads(mismatch, [(i,) for i in range(n)])
    return replace(model, least=np.maximum(least, 0), mismatch=np.array(mismatches))


def _of_one(residual, terms, which, theta, smallest):
    """Residuals of some columns in units of what is expected; none where they are too few to tell."""
    which = np.flatnonzero(which)
    r, constant, line = (values.take(which, axis=1) for values in (residual, *terms[:2]))
    expected = np.maximum(theta[0] * constant + theta[1] * line, smallest * constant)
    r /= np.sqrt(np.maximum(expected, 1e-40, out=expected), out=expected)
    return r if np.isfinite(r).sum() > _FEW else np.empty(0)


def _own_noise(residual, patch, own):
    """The variance of each frame in units of the usual, (N,), given its residuals at the sky, (N, K), in units of what
    was expected with the factors `own`, and the patch each is of. Frames that were interpolated have less noise, each
    by a factor of its own."""
    n = len(own)
    if n < 3 or not residual.size:
        return own
    count, scatter = _in_patches(residual**2, patch)
    if not count.any(axis=1).all():
        return own
    # of most patches: in some there is a star that varies
    with np.errstate(invalid="ignore"):
        scatter = np.nanmedian(scatter / count, axis=1)
    # of each frame, and of the mean of the others
    weight = 1 / own
    shares = (weight / (weight.sum() - weight)[:, None]) ** 2
    np.fill_diagonal(shares, 1)
    found = np.linalg.solve(shares, scatter * (shares @ own))
    found = np.clip(found / np.median(found), 0.01, 100)
    error = np.mean(np.pi / count.sum(axis=1)) * ((n - 1) / (n - 2)) ** 2
    return 1 + (found - 1) * max(0.0, 1 - _ALIKE**2 * error / np.mean((found - 1) ** 2))


def _model(own, theta, of_camera, told, gain, readnoise, sky):
    """The noise model that the fitted floor and slope, the slope without variable stars, the factor of each frame, and
    what is given, tell of."""
    n, floor, slope = len(own), theta[0] * own, theta[1] * own
    sources = {
        "gain_source": "given" if gain is not None else "fitted" if told else "unknown",
        "readnoise_source": "given" if readnoise is not None else "fitted" if told else "unknown",
    }
    message = ""
    if not told:
        message = (
            "the levels in this set differ too little to tell photon noise from read noise; one noise, "
            f"{np.sqrt(theta[0]):.4g} ADU, is used for all levels (give gain and readnoise if you know them)"
        )
        gain = np.full(n, np.nan)
        readnoise = np.full(n, np.nan) if readnoise is None else readnoise
        return NoiseModel(gain, readnoise, **sources, floor=floor, slope=slope, message=message)
    if gain is not None:
        slope = 1 / gain
    else:
        gain = np.full(n, 1 / of_camera)
    if readnoise is not None:
        given = (readnoise * slope) ** 2
        pedestal = np.median((given - floor) / slope)
        excess = pedestal * np.median(slope) / np.median(given + slope * sky)
        if sources["gain_source"] == "given" and excess > _PEDESTAL and pedestal <= sky:
            message = (
                f"the scatter of the frames is smaller than gain and readnoise tell: about {pedestal:.0f} ADU of their "
                "level are taken for a pedestal (bias), which has no photon noise"
            )
        elif sources["gain_source"] == "given":
            floor = given
    else:
        # (the noise of the sky is the same)
        dark = theta[0] + theta[1] * sky - sky / gain
        readnoise = np.sqrt(np.maximum(dark, 0)) * gain
        if dark[0] <= 0:
            readnoise[:] = np.nan
            sources["readnoise_source"] = "unknown"
            message = (
                "the read noise cannot be told from this set (the frames hold a pedestal, or their light varies); "
                "the noise of the sky is right"
            )
    return NoiseModel(gain, readnoise, **sources, floor=floor, slope=slope, message=message)


def structure_above_noise(spread, variance, n):
    """Square of the range of the reference around each pixel, without what noise of that variance gives it.

    `spread`: highest minus lowest of 3 x 3 pixels of the median of n frames; of noise it is 3 sigma, rarely 5.
    """
    noise = 5 * float(np.sqrt(variance * (1.57 if n > 2 else 1.0) / n))
    above = np.fmax(spread, 0)  # (0 where nothing is known)
    above *= above
    above -= noise * noise
    return np.maximum(above, 0, out=above)


def full_light(image, sky, variance, scales):
    """From how much light above the sky the detector was full, inf where it was not: the brightest pixels, far above
    the noise, are alike, and are more than those a little fainter; a peak of light that is measured has half as many.
    What full pixels hold says nothing of the light."""
    light = image - image.dtype.type(sky)
    top = np.nanmax(light)
    below = np.count_nonzero((light > 0.85 * top) & (light <= 0.95 * top))
    alike = np.count_nonzero(light > 0.95 * top) >= max(4, 2 * below)
    if not (alike and top > _FAR_ABOVE * np.sqrt(variance)):
        return np.inf
    # (a frame with a larger scale was full at less light)
    return float(0.97 * top / min(max(scales.max(), 1.0), 1.5))


def _thin(reference, structure, n):
    """Some columns of n frames: half of them with structure, where there are that many, and half without."""
    wanted = int(_SHARE * sample_size(n) / (2 * n))
    keep = []
    for columns in (np.flatnonzero(structure > 0), np.flatnonzero(structure == 0)):
        columns = columns[np.isfinite(reference[columns])]
        keep.append(columns[:: max(1, columns.size // wanted)])
    return np.concatenate(keep)


def _varies(residual, theta, terms, smallest, patch):
    """Which columns, all of them with light, are of patches that scatter more than those usually do: a star varies
    there. Hits are left out."""
    chi = residual * residual / np.maximum(np.einsum("k,kim->im", theta, terms), smallest * terms[0])
    count, scatter = (values.sum(axis=0) for values in _in_patches(chi, patch))
    count = np.maximum(count, 1)
    scatter /= count
    known = count > _FEW
    typical = np.median(scatter[known]) if known.any() else np.inf
    return (known & (scatter > typical * (1 + np.maximum(_VARIES * np.sqrt(2 / count), 0.1))))[patch]


def _in_patches(chi, patch):
    """How many values of each frame, (N, K), are no hits in each patch, and their sum, (N, patches) both; `patch`: that
    of each column."""
    count, total = np.zeros((2, len(chi), patch.max(initial=-1) + 1))
    for i, values in enumerate(chi):
        good = values <= _CLIP**2
        count[i] = np.bincount(patch[good], minlength=count.shape[1])
        total[i] = np.bincount(patch[good], values[good], minlength=count.shape[1])
    return count, total


def _against_others(z, reference, terms, scales, theta, smallest):
    """Residual [ADU] of each frame against the mean of the others that survive at the pixel, and the terms of the
    variance [ADU^2] of that difference, given the terms of the variance of one pixel and what they count for."""
    residual, differences = np.empty(z.shape), np.empty(terms.shape)
    reference = reference.astype(float)
    keep = _CLIP**2 * survival_factor(len(z))

    def piece(a, b):
        kernels.against_others(z, reference, scales, terms, theta, smallest, keep, a, b, residual, differences)

    in_threads(piece, pieces(z.shape[1]))
    return residual, differences


def survival_factor(n):
    """Variance of the difference of one frame to the median (of two frames: to the lower one) in units of its own."""
    return 2.0 if n == 2 else 1 + 1.6 / n


def _fit_variance(residual, terms, slope, theta):
    """residual^2 = sum(theta * terms), weighted for a Gaussian, hits left out; and the error of the slope. Terms 2
    and 3 are there to take up what is not noise: they are never negative."""
    some = residual[:, :: max(1, residual.shape[1] // 2000)]
    some = some[np.isfinite(some)]
    theta = theta.copy()
    if slope is not None:
        theta[1] = slope
    fit = [k for k in range(4) if slope is None or k != 1]
    error = np.inf
    if some.size <= len(fit):
        return theta, error
    smallest = max(0.02 * median(some**2), 1e-9 * theta[0], 1e-40)
    sums = np.empty((len(residual), 4, 5))
    for _ in range(4):

        def add_up(a, b):
            kernels.variance_sums(residual, terms, theta, smallest, _CLIP**2, a, b, sums)

        in_threads(add_up, pieces(len(sums), 2))
        normal, right = np.split(sums.sum(axis=0), [4], axis=1)
        right = right[:, 0]
        fit = [k for k in fit if normal[k, k] > 0]
        held = [k for k in range(4) if k not in fit]
        size = np.sqrt(np.diag(normal))[fit]
        inverse = np.linalg.pinv(normal[np.ix_(fit, fit)] / np.outer(size, size), rcond=1e-10) / np.outer(size, size)
        theta[fit] = inverse @ (right[fit] / _CLIPPED_VARIANCE - normal[np.ix_(fit, held)] @ theta[held])
        errors = dict(zip(fit, np.sqrt(2 * np.maximum(np.diag(inverse), 0)), strict=True))
        error = errors.get(1, np.inf)
        for k in (2, 3):
            # where they are not needed they would take their share from the slope
            if k in fit and not theta[k] > 3 * errors[k]:
                fit.remove(k)
                theta[k] = 0.0
    return theta, error


def _mismatch(residual, variance, structure, n):
    """The share of the structure that covers nearly all of a frame's residuals on it, as those of a Gaussian."""
    # a frame is part of the median, and of two the median is the mean: the residuals are that much smaller
    r2 = residual**2 * n / (n - (1 if n == 2 else 0.65))
    clear = (structure > 25 * variance) & np.isfinite(r2)
    if np.count_nonzero(clear) < 30:
        return 0.0
    # hits are not let in: a tenth of all, as between two frames they cannot be told from what differs
    covered = [(clear, 0.1)]
    if n > 2:
        # what differs by more than .6 of the range is one; of few other pixels another two
        clear = clear & (r2 <= structure / 3)
        covered.append((clear, 0.02 + 2 / max(np.count_nonzero(clear), 30)))
    needed = [0.0]
    for where, beyond in covered:
        share = (r2[where] / special.ndtri(beyond / 2) ** 2 - variance[where]) / structure[where]
        needed.append(_percentile(share, 100 * (1 - beyond)) if share.size else 0.0)
    return np.sqrt(max(needed))


def _clipped_variance(r):
    r = r[np.isfinite(r)]
    if not r.size:
        return 0.0
    # nine tenths of a Gaussian lie within 1.645 sigma; the median would be 0 on coarsely quantised data
    variance = _percentile(r[:: 1 + r.size // 50_000] ** 2, 90) / 1.645**2 or np.mean(r * r)
    r2 = r * r
    for _ in range(8):
        last = variance
        variance = np.mean(r2[r2 <= _CLIP**2 * variance]) / _CLIPPED_VARIANCE
        if abs(variance - last) <= 1e-6 * last:
            break
    return float(variance)


def _percentile(values, percent):
    """As that of numpy, which takes several times as long."""
    place = (values.size - 1) * (percent / 100)
    k = int(place)
    order = np.partition(values, k)
    low, high, share = order[k], order[min(k + 1, values.size - 1) :].min(), place - k
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)
