"""clean_image_set(): the stages in their order, and CleanResult."""

from dataclasses import dataclass, field

import numpy as np
from astropy.table import Table

from .noise import NoiseModel
from .settings import CleanSettings

__all__ = ["CleanCancelled", "CleanResult", "clean_image_set"]


class CleanCancelled(Exception):
    """The progress callback asked to stop; nothing was changed."""


@dataclass(frozen=True, eq=False)
class CleanResult:
    """What a cleaning found, and the repaired frames.

    Attributes
    ----------
    cleaned : ndarray, (N, ny, nx), float
        The repaired frames [ADU], native byte order; equal to the input outside `rejected`.
    rejected : ndarray, (N, ny, nx), bool
        True = this pixel of this frame is an outlier.
    rejection_map : ndarray, (ny, nx), uint16
        Number (1 ... N) of the frame rejected there, the most significant where several are; 0 = none.
    rejection_count : ndarray, (ny, nx), uint16
        In how many frames the pixel was rejected.
    peak_significance : ndarray, (ny, nx), float32
        Greatest significance [sigma] among the frames rejected there; 0 where none.
    reference : ndarray, (ny, nx), float32
        The expected image, on the mean scale and offset of the set [ADU]; NaN where no frame is good.
    events : astropy.table.Table
        One row per event: ``event`` (1 ...), ``frame`` (1 ...), ``y``, ``x`` (centre, 0-based), ``y_peak``, ``x_peak``,
        ``pixels``, ``total`` and ``peak`` [ADU above the reference], ``peak_significance`` [sigma],
        ``polarity`` ('bright' or 'dark').
    summary : astropy.table.Table
        One row per frame: ``frame``, ``name``, ``events``, ``pixels``, ``percent``, ``scale``, ``offset`` [ADU].
    noise : NoiseModel
        Gain and read noise used, and where they come from.
    scales, offsets : ndarray, (N,)
        frame = scale * reference + offset.
    settings : CleanSettings
        As they were used.
    warnings : tuple of str
        What a person should know before trusting the result: frames that lost many pixels, a noise
        model that could not be fitted.
    event_pixels, event_numbers : ndarray, 1-D
        Flat index into (N, ny, nx) of every rejected pixel, ascending, and the number of its event.
    """

    cleaned: np.ndarray
    rejected: np.ndarray
    rejection_map: np.ndarray
    rejection_count: np.ndarray
    peak_significance: np.ndarray
    reference: np.ndarray
    events: Table
    summary: Table
    noise: NoiseModel
    scales: np.ndarray
    offsets: np.ndarray
    settings: CleanSettings
    warnings: tuple[str, ...] = ()
    event_pixels: np.ndarray = field(repr=False, default=None)
    event_numbers: np.ndarray = field(repr=False, default=None)

    def event_labels(self):
        """The number of the event every pixel belongs to: (N, ny, nx) int32, 0 = none."""
        labels = np.zeros(self.rejected.shape, np.int32)
        labels.reshape(-1)[self.event_pixels] = self.event_numbers
        return labels


def clean_image_set(
    frames, settings=CleanSettings(), *, mask=None, gain=None, readnoise=None, exptime=None, progress=None
):
    raise NotImplementedError
