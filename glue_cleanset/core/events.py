"""Rejected pixels to events: labelled, measured, tabled."""

import numpy as np
from astropy import units as u
from astropy.table import Column, Table

from . import kernels
from .settings import KINDS

__all__ = ["FACTS", "add_facts", "events_of_tracks", "find_events", "kind_codes", "map_kinds", "summarize"]

# what is said of an event beyond what is measured
FACTS = {"kind": "U13", "confidence": float, "track": np.int32}


def find_events(index, residual, significance, shape, group=None, whole=None, mixed=False):
    """Join adjacent pixels of one frame and one polarity to events, and measure them.

    Parameters
    ----------
    index : ndarray, (K,), int
        Flat index of each pixel in `shape`, ascending.
    residual, significance : ndarray, (K,)
        Of each pixel [ADU], [sigma]; NaN where nothing was left to compare with.
    shape : (int, int, int)
        N, ny, nx.
    group : ndarray, (K,), int, optional
        Only pixels of the same group (0 ...) are joined.
    whole : ndarray, (K,), bool, optional
        With `group`: where the group is one event in each frame, whatever its polarity and what lies between.
    mixed : bool
        Join bright and dark pixels too.

    Returns
    -------
    events : astropy.table.Table
        One row per event, see `glue_cleanset.CleanResult`, without what `add_facts` adds.
    number : ndarray, (K,), int32
        The event (1 ...) of each pixel. Events are numbered by their first pixel: frame, row, column.
    """
    ny, nx = shape[1:]
    alike = np.zeros(index.size, np.int32) if mixed else (residual < 0).astype(np.int32)
    if group is not None:
        alike = (2 * group + (alike if whole is None else np.where(whole, 0, alike))).astype(np.int32)
    number = np.empty(index.size, np.int32)
    count = kernels.label(index, alike, ny, nx, number)
    if whole is not None and whole.any():
        count = _join_groups(number, group, index // (ny * nx), np.flatnonzero(whole))
    pixels, peak = np.zeros(count, np.int32), np.full(count, -1, np.int64)
    centre, total = np.zeros((2, count)), np.zeros(count)
    kernels.measure_events(index, residual, significance, number, ny, nx, pixels, peak, centre, total)
    place = index[peak]
    y_peak, x_peak = np.divmod(place % (ny * nx), nx)

    events = Table(
        {
            "event": np.arange(1, count + 1, dtype=np.int32),
            "frame": (place // (ny * nx) + 1).astype(np.int32),
            "y": centre[0] * u.pix,
            "x": centre[1] * u.pix,
            "y_peak": Column(y_peak.astype(np.int32), unit=u.pix),
            "x_peak": Column(x_peak.astype(np.int32), unit=u.pix),
            "pixels": pixels,
            "total": total * u.adu,
            "peak": residual[peak] * u.adu,
            "peak_significance": significance[peak],
            "polarity": np.array(["bright", "dark"])[(residual[peak] < 0).astype(np.uint8)],
        },
        copy=False,
    )
    events.meta["pixel origin"] = "0: the centre of the first pixel is (0, 0)"
    return events, number


def _join_groups(number, group, frame, some):
    """Number the pixels of a group in a frame alike, in place; returns how many events there are."""
    key = group[some].astype(np.int64) * (1 + np.max(frame)) + frame[some]
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    number[some] = number[some][first][which]
    left, number[:] = np.unique(number, return_inverse=True)
    number += 1
    return left.size


def add_facts(events, kinds, confidence, track, keep):
    """Let the table of the events tell their kinds.

    Parameters
    ----------
    events : astropy.table.Table
        Of `find_events`; changed in place.
    kinds : ndarray, (E,), int
        The place of the kind of each event in `KINDS`.
    confidence, track : ndarray, (E,)
        0 ... 1; of `glue_cleanset.CleanResult.tracks`, 0 = none.
    keep : sequence of str
        The kinds that are kept.
    """
    events["kind"] = np.array(list(KINDS), FACTS["kind"])[kinds]
    events["confidence"] = np.floor(1e4 * confidence).astype(FACTS["confidence"]) / 1e4  # more digits tell nothing
    events["track"] = track.astype(FACTS["track"])
    events["kept"] = np.array([kind in keep for kind in KINDS])[kinds]


def events_of_tracks(track, numbers):
    """How many events belong to each of the tracks of some numbers; `track`: that of each event, 0 = none."""
    numbers = np.asarray(numbers)
    return np.bincount(track, minlength=np.max(numbers, initial=0) + 1)[numbers]


def map_kinds(outliers, events, numbers, kinds):
    """Of the most significant event at each pixel, kept ones included, 1 + the place of its kind in `KINDS`.

    Parameters
    ----------
    outliers : Outliers
    events : astropy.table.Table
    numbers : ndarray, (K,), int
        The event of each pixel of ``outliers.index``.
    kinds : ndarray, (E,), int
        The place of the kind of each event in `KINDS`, see `kind_codes`.

    Returns
    -------
    ndarray, (ny, nx), uint8
        0 = no event.
    """
    codes = np.zeros(np.max(numbers, initial=0) + 1, np.uint8)
    codes[events["event"]] = kinds + 1
    image = np.zeros(outliers.rejection_map.shape, np.uint8)
    flat, first = image.reshape(-1), outliers.rejection_map.reshape(-1)
    kernels.put_kinds(outliers.index, outliers.kept, numbers, codes, first, flat)
    kept = np.flatnonzero(outliers.kept)
    column, strength = outliers.index[kept] % flat.size, np.abs(np.nan_to_num(outliers.significance[kept]))
    over = strength >= outliers.peak_significance.reshape(-1)[column]
    kept = kept[over][np.argsort(strength[over], kind="stable")]
    flat[outliers.index[kept] % flat.size] = codes[numbers[kept]]
    return image


def kind_codes(events):
    """The place of the kind of each event in `KINDS`."""
    codes = np.zeros(len(events), np.uint8)
    for code, kind in enumerate(KINDS):
        codes[np.asarray(events["kind"]) == kind] = code
    return codes


def summarize(outliers, shape, events, kinds, names, normalization, mismatch, remarks=None):
    """The verbose summary: one row per frame, see `glue_cleanset.CleanResult`; `shape` and `kinds` as above."""
    n, ny, nx = shape
    pixels = np.bincount(outliers.index[~outliers.kept] // (ny * nx), minlength=n)
    frame = np.asarray(events["frame"]) - 1
    table = Table(
        {
            "frame": np.arange(1, n + 1, dtype=np.int32),
            "name": np.array(names, dtype=str),
            "events": np.bincount(frame[~np.asarray(events["kept"])], minlength=n),
            "pixels": pixels,
            "percent": 100 * pixels / (ny * nx) * u.percent,
            "scale": normalization.scales,
            "offset": normalization.offsets * u.adu,
            "mismatch": 100 * mismatch * u.percent,
        }
    )
    counts = np.bincount(frame * len(KINDS) + kinds, minlength=n * len(KINDS)).reshape(n, -1)
    for kind, count in zip(KINDS, counts.T, strict=True):
        table[kind.replace(" ", "_")] = count
    table["remark"] = np.full(n, "") if remarks is None else np.array(remarks, dtype=str)
    return table
