"""What each event is, and what of it is kept."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from .detect import Outliers
from .events import find_events

__all__ = ["WHOLE", "Told", "tell_kinds"]

# one event in each frame, whatever lies beside it
WHOLE = ("moving object", "trail")


@dataclass(frozen=True, eq=False)
class Told:
    """The events of a set and what they are.

    Attributes
    ----------
    outliers : Outliers
        What stands out, with the whole of trails and moving objects; what is kept is marked.
    events : astropy.table.Table
    numbers : ndarray, (K,), int32
        The event of each pixel of ``outliers.index``.
    tracks : astropy.table.Table
        One row per moving object.
    track_positions : ndarray, (T, N, 2)
        y, x of each in each frame.
    remarks : list of str
        What is to be said of each frame; '' = nothing.
    """

    outliers: Outliers
    events: Table
    numbers: np.ndarray
    tracks: Table
    track_positions: np.ndarray
    remarks: list[str]


def tell_kinds(detector, outliers):
    """Find the events, tell what each is, and mark what is kept."""
    image_set, settings = detector.rows.image_set, detector.settings
    events, numbers = find_events(outliers.index, outliers.residual, outliers.significance, image_set.shape)
    if settings.kinds:
        dark = np.asarray(events["polarity"]) == "dark"
        events["kind"] = np.where(dark, "cold pixel", "cosmic ray")
        events["confidence"] = 0.5
    events["kept"] = np.isin(events["kind"], settings.keep)
    kept = np.asarray(events["kept"])[numbers - 1]
    if kept.any():
        outliers = outliers.keep(kept)
    return Told(outliers, events, numbers, no_tracks(), np.zeros((0, len(image_set), 2)), [""] * len(image_set))


def no_tracks():
    """A table of tracks without a row."""
    names = ("track", "frames", "events", "first", "last")
    values = ("y", "x", "rate", "y_rate", "x_rate", "position_angle", "flux", "peak_significance")
    return Table(names=names + values, dtype=[np.int32] * len(names) + [float] * len(values))
