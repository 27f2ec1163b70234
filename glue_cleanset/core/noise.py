"""The noise model: gain and read noise, given or fitted to the set."""

from dataclasses import dataclass

import numpy as np

from .normalize import column_median

__all__ = ["NoiseModel", "fit_noise"]

_CLIP = 4.0
# a Gaussian cut at +-4 sigma keeps this share of its variance
_CLIPPED_VARIANCE = 0.99893


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """What gain and read noise a cleaning used, and where they come from.

    Attributes
    ----------
    gain, readnoise : ndarray, (N,)
        Gain [e-/ADU] and read noise [e- rms] of each frame; NaN where the set cannot tell.
    gain_source, readnoise_source : str
        ``'given'``, ``'fitted'``, or ``'unknown'`` where the set holds too little to fit one.
    floor, slope : ndarray, (N,)
        What the cleaning works with: variance [ADU^2] = floor + slope * level [ADU].
    message : str
        What a person should know about the fit; empty where all is well.
    """

    gain: np.ndarray
    readnoise: np.ndarray
    gain_source: str
    readnoise_source: str
    floor: np.ndarray
    slope: np.ndarray
    message: str = ""

    def on_reference(self, scales, offsets):
        """The variance of z = (frame - offset) / scale at the reference level m, as (a, b) of a + b * m."""
        return (self.floor + self.slope * offsets) / scales**2, self.slope / scales

    def sigma(self, level):
        """Noise [ADU] of each frame at a level [ADU], (N,)."""
        return np.sqrt(np.maximum(self.floor + self.slope * level, 0))


def fit_noise(patches, scales, offsets, gain=None, readnoise=None):
    """Gain and read noise from the scatter of the frames about each other, as a function of the level.

    The photon transfer curve (Janesick 2007, Photon Transfer, doi:10.1117/3.725073) over a sample of the set: every
    frame against the mean of the others that survive at that pixel, whose own noise is part of the model, so that
    no correction for the number of frames is needed. Residuals beyond 4 sigma (hits) are left out. A
    term that grows with the square of the light above the sky takes up what seeing and registration add on stars.

    Parameters
    ----------
    patches : ndarray, (N, ...)
        A sample of the set [ADU] with some range in level; NaN = not to be used.
    scales, offsets : ndarray, (N,)
        Of the frames.
    gain, readnoise : ndarray, (N,), optional
        What is known [e-/ADU], [e-]; the rest is fitted.

    Returns
    -------
    NoiseModel
    """
    n = len(patches)
    if gain is not None and readnoise is not None:
        return NoiseModel(gain, readnoise, "given", "given", (readnoise / gain) ** 2, 1 / gain)
    z = (patches.reshape(n, -1) - offsets[:, None]) / scales[:, None]
    reference = column_median(z)
    level = scales[:, None] * reference + offsets[:, None]
    start = _clipped_variance(scales[:, None] * (z - reference)) * n / max(n - 1, 1)
    light = (level - np.nanmedian(level)) ** 2
    known_slope = None if gain is None else np.mean(1 / gain)
    known_readnoise = None if readnoise is None else np.mean(readnoise)
    floor, slope, excess, error = start, 0.0, 0.0, np.inf
    for _ in range(4):
        variance = np.maximum(floor + slope * level + excess * light, 0.05 * start)
        terms = np.ones_like(level), level, light
        residual, terms = _against_others(z, reference, variance, scales, terms)
        floor, slope, excess, error = _fit_variance(residual, terms, known_slope, known_readnoise, start)
    if gain is None and not slope > 5 * error:
        return _one_noise(z, reference, scales, start, readnoise)
    slopes = np.full(n, slope) if gain is None else 1 / gain
    floors = np.full(n, floor) if readnoise is None else (readnoise * slopes) ** 2
    message = ""
    if readnoise is None and floor < 0:
        message = (
            "the frames hold a pedestal (bias), so the read noise cannot be told; the noise at each level is right"
        )
    return NoiseModel(
        gain=1 / slopes,
        readnoise=np.sqrt(np.maximum(floors, 0)) / slopes if readnoise is None else readnoise,
        gain_source="fitted" if gain is None else "given",
        readnoise_source="fitted" if readnoise is None else "given",
        floor=floors,
        slope=slopes,
        message=message,
    )


def _one_noise(z, reference, scales, start, readnoise):
    """The model where the set holds too little range in level: one noise for all levels."""
    n = len(z)
    residual, (share,) = _against_others(z, reference, np.full_like(z, start), scales, (np.ones_like(z),))
    variance = _clipped_variance(residual / np.sqrt(share))
    return NoiseModel(
        gain=np.full(n, np.nan),
        readnoise=np.full(n, np.nan) if readnoise is None else readnoise,
        gain_source="unknown",
        readnoise_source="unknown" if readnoise is None else "given",
        floor=np.full(n, variance),
        slope=np.zeros(n),
        message="the levels in this set differ too little to tell photon noise from read noise; "
        f"one noise, {np.sqrt(variance):.4g} ADU, is used for all levels (give gain and readnoise if you know them)",
    )


def _against_others(z, reference, variance, scales, terms):
    """Residual [ADU] of each frame against the mean of the others that survive at the pixel, and the terms of the
    variance [ADU^2] of that difference, given the terms of the variance of one pixel."""
    s = scales[:, None]
    r = z - reference
    survives = np.isfinite(r) & (s * s * r * r <= _CLIP**2 * variance * survival_factor(len(z)))
    w = np.where(survives, s * s / variance, 0)
    wr = w * np.where(survives, r, 0)
    others = w.sum(axis=0) - w
    others[others <= 1e-9 * w.max(axis=0)] = np.nan
    residual = s * (r - (wr.sum(axis=0) - wr) / others)
    w2 = (w / s) ** 2
    return residual, [t + (s / others) ** 2 * (np.nansum(w2 * t, axis=0) - np.nan_to_num(w2 * t)) for t in terms]


def survival_factor(n):
    """How much wider than the noise of one frame its difference to the median (of two: to the lower one) is at most."""
    return 2.0 if n == 2 else 1 + 1.6 / n


def _fit_variance(residual, terms, slope, readnoise, start):
    """residual^2 = floor * terms[0] + slope * terms[1] + excess * terms[2], weighted for a Gaussian, hits left out."""
    good = np.isfinite(residual)
    y = residual[good] ** 2
    x = np.stack([t[good] for t in terms])
    fit = [k for k, known in enumerate((readnoise, slope, None)) if known is None]
    theta = np.array([start, 0.0 if slope is None else slope, 0.0])
    error = np.inf
    for _ in range(8):
        expected = np.maximum(theta @ x, 0.05 * start * x[0])
        inside = y <= _CLIP**2 * expected
        weight = inside / expected**2
        target = y / _CLIPPED_VARIANCE
        if readnoise is not None:
            theta[0] = (readnoise * theta[1]) ** 2
        held = [k for k in range(3) if k not in fit]
        target = target - theta[held] @ x[held]
        xw = x[fit] * weight
        normal = xw @ x[fit].T
        scale = np.sqrt(np.diag(normal))
        scale[scale == 0] = 1
        inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-10) / np.outer(scale, scale)
        theta[fit] = inverse @ (xw @ target)
        if theta[2] < 0 and 2 in fit:
            fit.remove(2)
            theta[2] = 0.0
        if 1 in fit:
            error = np.sqrt(2 * inverse[fit.index(1), fit.index(1)])
    return theta[0], theta[1], theta[2], error


def _clipped_variance(r):
    r = r[np.isfinite(r)]
    if not r.size:
        return 0.0
    variance = (1.4826 * np.median(np.abs(r))) ** 2 or np.percentile(r * r, 90) or np.mean(r * r)
    for _ in range(8):
        inside = r * r <= _CLIP**2 * variance
        variance = np.mean(r[inside] ** 2) / _CLIPPED_VARIANCE
    return variance
