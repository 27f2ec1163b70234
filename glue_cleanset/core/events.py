"""Rejected pixels to events: labelled, measured, tabled."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from . import kernels

__all__ = ["find_events", "summarize"]


def find_events(index, residual, significance, shape):
    """Join adjacent rejected pixels of one frame and one polarity to events, and measure them.

    Parameters
    ----------
    index : ndarray, (K,), int
        Flat index of each rejected pixel in `shape`, ascending.
    residual, significance : ndarray, (K,)
        Of each rejected pixel [ADU], [sigma]; NaN where nothing was left to compare with.
    shape : (int, int, int)
        N, ny, nx.

    Returns
    -------
    events : astropy.table.Table
        One row per event, see `glue_cleanset.CleanResult`.
    number : ndarray, (K,), int32
        The event (1 ...) of each rejected pixel. Events are numbered by their first pixel: frame, row, column.
    """
    dark = residual < 0
    frame, y, x = np.unravel_index(index, shape)
    ny, nx = shape[1:]
    number = np.empty(index.size, np.int32)
    count = kernels.label(index, dark, ny, nx, number)
    event = number - 1
    weight = np.abs(np.nan_to_num(residual))
    weight = np.where(np.bincount(event, weight, count)[event] > 0, weight, 1.0)
    strength = np.abs(np.nan_to_num(significance))
    strongest = np.zeros(count)
    np.maximum.at(strongest, event, strength)
    last = np.flatnonzero(strength == strongest[event])
    peak = np.empty(count, int)
    peak[event[last]] = last

    def total(values):
        return np.bincount(event, values, count)

    events = Table(
        {
            "event": np.arange(1, count + 1, dtype=np.int32),
            "frame": (frame[peak] + 1).astype(np.int32),
            "y": (total(weight * y) / total(weight)) * u.pix,
            "x": (total(weight * x) / total(weight)) * u.pix,
            "y_peak": y[peak].astype(np.int32) * u.pix,
            "x_peak": x[peak].astype(np.int32) * u.pix,
            "pixels": np.bincount(event, minlength=count).astype(np.int32),
            "total": total(np.nan_to_num(residual)) * u.adu,
            "peak": residual[peak] * u.adu,
            "peak_significance": significance[peak],
            "polarity": np.where(dark[peak], "dark", "bright").astype("U6"),
        }
    )
    events.meta["pixel origin"] = "0: the centre of the first pixel is (0, 0)"
    return events, number


def summarize(index, shape, events, names, scales, offsets, mismatch):
    """The verbose summary: one row per frame, see `glue_cleanset.CleanResult`; `index`, `shape` as above."""
    n, ny, nx = shape
    pixels = np.bincount(index // (ny * nx), minlength=n)
    return Table(
        {
            "frame": np.arange(1, n + 1, dtype=np.int32),
            "name": np.array(names, dtype=str),
            "events": np.bincount(events["frame"], minlength=n + 1)[1:],
            "pixels": pixels,
            "percent": 100 * pixels / (ny * nx) * u.percent,
            "scale": scales,
            "offset": offsets * u.adu,
            "mismatch": 100 * mismatch * u.percent,
        }
    )
