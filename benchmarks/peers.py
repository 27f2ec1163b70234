"""The peers, each called through its published interface, with all it can be given.

They get the frames on one scale and offset (the true ones), and those that take an error image get it from the true
gain and read noise at the level of the median, so that a hit does not raise its own error.
"""

import warnings
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import numpy as np

from .score import score

__all__ = ["Peer", "common_scale", "installed_peers", "tune"]

_TUNE_SAMPLES = 1_000_000  # the part of a set that thresholds are tuned on


@dataclass(frozen=True)
class Peer:
    """A peer: ``run(frames, error, **parameters)`` gives the mask; tuned over `grid`, starting from `start`."""

    name: str
    package: str
    run: object
    start: dict
    grid: dict
    defaults: dict | None = field(default=None)  # where the peer's own differ and are worth a line of their own


def installed_peers():
    """The peers whose packages are installed."""
    return [peer for peer in _PEERS if find_spec(peer.package)]


def common_scale(simulated):
    """Frames on one scale and offset, and their errors from gain and read noise: two (N, ny, nx) float32."""
    scales = simulated.scales[:, None, None].astype(np.float32)
    offsets = simulated.offsets[:, None, None].astype(np.float32)
    frames = (simulated.frames - offsets) / scales
    level = _nanmedian(frames)
    error = np.empty_like(frames)
    for i in range(len(frames)):
        adu = np.maximum(level * scales[i] + offsets[i], 0)
        error[i] = np.sqrt(adu / simulated.gain + (simulated.readnoise / simulated.gain) ** 2) / scales[i]
    return frames, error


def tune(peer, simulated):
    """The parameters of the best F1 on the truth: each in turn over its grid, twice. The peer's best case."""
    n, ny, nx = simulated.frames.shape
    rows = slice(0, max(64, min(ny, _TUNE_SAMPLES // (n * nx))))
    cubes = {name: getattr(simulated, name) for name in ("frames", "deposits", "sigma", "mover_light")}
    part = {name: cube if cube is None else cube[:, rows] for name, cube in cubes.items()}
    simulated = replace(simulated, **part, stars=simulated.stars[:0])
    frames, error = common_scale(simulated)
    best, tried = dict(peer.start), {}

    def f1(parameters):
        key = tuple(parameters.values())
        if key not in tried:
            tried[key] = np.nan_to_num(score(simulated, peer.run(frames, error, **parameters))["f1"])
        return tried[key]

    for _ in range(2):
        for name, values in peer.grid.items():
            best = max([best, *({**best, name: value} for value in values)], key=f1)
    return best


def _nanmedian(frames):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        return np.nanmedian(frames, axis=0)


def _stcal_resampled(frames, error, snr1, snr2, scale1, scale2):
    from stcal.outlier_detection.median import nanmedian3D
    from stcal.outlier_detection.utils import flag_resampled_crs

    median = nanmedian3D(frames, overwrite_input=False)
    rejected = np.empty(frames.shape, bool)
    for i, frame in enumerate(frames):
        rejected[i] = flag_resampled_crs(frame, error[i], median, snr1, snr2, scale1, scale2, 0.0)
    return rejected


def _stcal_plain(frames, error, snr):
    from stcal.outlier_detection.median import nanmedian3D
    from stcal.outlier_detection.utils import flag_crs

    median = nanmedian3D(frames, overwrite_input=False)
    rejected = np.empty(frames.shape, bool)
    for i, frame in enumerate(frames):
        rejected[i] = flag_crs(frame, error[i], median, snr)
    return rejected


def _astropy(cenfunc, stdfunc):
    def run(frames, error, sigma, maxiters):
        from astropy.stats import sigma_clip

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Input data contains invalid values")
            clipped = sigma_clip(frames, sigma, maxiters=maxiters, cenfunc=cenfunc, stdfunc=stdfunc, axis=0)
        return np.ma.getmaskarray(clipped)

    return run


def _ccdproc(frames, error, thresh, func, dev_func):
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input data contains invalid values")
        combiner = Combiner([CCDData(frame, unit="adu") for frame in frames], dtype=frames.dtype)
        combiner.sigma_clipping(low_thresh=thresh, high_thresh=thresh, func=func, dev_func=dev_func)
    return combiner.data_arr.mask


def _median_mad(frames, error, k):
    residual = np.abs(frames - _nanmedian(frames))
    return residual > k * 1.4826 * _nanmedian(residual)


_STD = (1.2, 1.3, 1.35, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.2, 2.4, 2.7, 3.0, 3.5, 4.0, 5.0)
_MAD = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 15.0, 18.0, 25.0)
_PEERS = (
    Peer(
        "stcal resampled",
        "stcal",
        _stcal_resampled,
        {"snr1": 4.5, "snr2": 3.0, "scale1": 0.3, "scale2": 0.2},
        {
            "snr1": (3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5, 6.0),
            "snr2": (1.5, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0),
            "scale1": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2),
            "scale2": (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
        },
        # those of the pipeline it was written for
        {"snr1": 5.0, "snr2": 4.0, "scale1": 1.2, "scale2": 0.7},
    ),
    Peer(
        "stcal plain",
        "stcal",
        _stcal_plain,
        {"snr": 4.5},
        {"snr": (3.0, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5, 6.0, 8.0)},
    ),
    Peer(
        "astropy mean/std",
        "astropy",
        _astropy("mean", "std"),
        {"sigma": 2.0, "maxiters": 5},
        {"sigma": _STD, "maxiters": (1, 2, 5, None)},
        {"sigma": 3.0, "maxiters": 5},
    ),
    Peer(
        "astropy median/MAD",
        "astropy",
        _astropy("median", "mad_std"),
        {"sigma": 10.0, "maxiters": 5},
        {"sigma": _MAD, "maxiters": (1, 2, 5, None)},
    ),
    Peer(
        "ccdproc",
        "ccdproc",
        _ccdproc,
        {"thresh": 2.0, "func": "mean", "dev_func": "std"},
        {"func": ("mean", "median"), "dev_func": ("std", "mad_std"), "thresh": tuple(sorted({*_STD, *_MAD}))},
        {"thresh": 3.0, "func": "mean", "dev_func": "std"},
    ),
    Peer("numpy median/MAD", "numpy", _median_mad, {"k": 10.0}, {"k": _MAD}),
)
