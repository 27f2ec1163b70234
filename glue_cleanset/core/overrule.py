"""A person's word against the machine's: pixels given back, and pixels rejected by hand."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from .detect import Detector, Outliers
from .events import find_events, summarize
from .imageset import ImageSet, as_mask
from .repair import REACH, copied_dtype, repaired_values

__all__ = ["Overruled", "apply", "overrule", "work_out"]


@dataclass(frozen=True, eq=False)
class Overruled:
    """What changes when pixels are restored or rejected by hand.

    Attributes
    ----------
    restored, rejected : ndarray, (R,), (J,), int64
        Flat indices into (N, ny, nx) of the pixels that leave the rejected set, and of those that join it; ascending.
    index : ndarray, (K,), int64
        All pixels whose value may change: those, and the others that were repaired at the same places.
    values : ndarray, (K,)
        What `CleanResult.cleaned` has there from now on [ADU].
    outliers : Outliers
        All that is rejected now; its reference is complete.
    events, summary : astropy.table.Table
        As in `glue_cleanset.CleanResult`. Events that stay keep their numbers.
    numbers : ndarray, int32
        The event of each pixel of ``outliers.index``.
    """

    restored: np.ndarray
    rejected: np.ndarray
    index: np.ndarray
    values: np.ndarray
    outliers: Outliers
    events: Table
    summary: Table
    numbers: np.ndarray

    def describe(self):
        """In words, for the records; '' where nothing changes."""
        parts = ((self.restored, "restored"), (self.rejected, "rejected by hand"))
        return ", ".join(
            f"{len(pixels)} pixel{'s' if len(pixels) > 1 else ''} {done}" for pixels, done in parts if len(pixels)
        )


def overrule(result, frames, *, restore=None, reject=None):
    """Give pixels of a cleaned set their original values back, or have others repaired.

    Parameters
    ----------
    result : CleanResult
        Not modified.
    frames : ImageSet or array-like, (N, ny, nx)
        What was cleaned; what was masked then is masked now.
    restore, reject : array-like of bool, (N, ny, nx) or (ny, nx), optional
        True = not to be rejected; to be rejected, whatever the value. What is masked or not finite is never
        rejected. A pixel in both is restored.

    Returns
    -------
    CleanResult
        Outside of its ``rejected``, its ``cleaned`` equals the frames.

    Raises
    ------
    ValueError, TypeError
        Where the frames or masks have another shape than the result.
    """
    image_set = frames if isinstance(frames, ImageSet) else ImageSet(frames)
    if image_set.shape != result.rejected.shape:
        raise ValueError(f"frames have the shape {image_set.shape}, the result {result.rejected.shape}; give its own")
    if result.mask is not None:
        image_set = image_set.without(result.mask)
    change = work_out(
        image_set, result.settings, result.model, result.rejected, result.reference,
        (result.event_pixels, result.event_numbers), restore, reject,
    )  # fmt: skip
    return apply(result, change, result.cleaned.copy())


def apply(result, change, cleaned):
    """The result with a change; `cleaned` are its frames, which are changed in place."""
    cleaned.reshape(-1)[change.index] = change.values
    outliers = change.outliers
    return replace(
        result,
        cleaned=cleaned,
        **outliers.images(),
        events=change.events,
        summary=change.summary,
        event_pixels=outliers.index,
        event_numbers=change.numbers,
        overrules=(*result.overrules, *filter(None, [change.describe()])),
    )


def work_out(image_set, settings, model, rejected, reference, events, restore=None, reject=None):
    """Find what changes when pixels are restored or rejected by hand; changes nothing.

    Parameters
    ----------
    image_set : ImageSet
    settings : CleanSettings
        Of the cleaning; its limits on how many frames may be rejected do not bind a person.
    model : SetModel
        Of the cleaning.
    rejected : ndarray, (N, ny, nx), bool
        What is rejected now.
    reference : ndarray, (ny, nx)
        As it is now [ADU].
    events : (ndarray, ndarray), (K,)
        Flat index of each pixel that is rejected now, ascending, and the number of its event.
    restore, reject : array-like of bool, (N, ny, nx) or (ny, nx), optional
        As for `overrule`.

    Returns
    -------
    Overruled
    """
    shape = image_set.shape
    _, ny, nx = shape
    keep = None if restore is None else as_mask("restore", restore, shape)
    take = None if reject is None else as_mask("reject", reject, shape)
    flags = rejected.copy()
    if take is not None:
        # masked pixels are not judged, by nobody
        flags |= take & image_set.usable(slice(None))
    if keep is not None:
        flags &= ~keep
    changed = np.flatnonzero(flags != rejected)
    gone = rejected.reshape(-1)[changed]
    detector = Detector(image_set, model, settings)
    outliers = detector.measure(flags)
    columns = np.unique(changed % (ny * nx))
    reference = reference.copy()
    y, x = np.divmod(columns, nx)
    reference[y, x] = _weighted_mean(detector, flags, y, x)
    outliers = replace(outliers, reference=reference)

    hit = np.zeros(ny * nx, bool)
    hit[columns] = True
    again = hit[outliers.index % (ny * nx)] | _beside(outliers, changed, settings, shape)
    again = np.flatnonzero(again)
    measured = {name: getattr(outliers, name)[again] for name in ("index", "median", "mean", "missing_noise")}
    repaired = repaired_values(image_set, replace(outliers, **measured), model.normalization, settings)
    index = np.concatenate([measured["index"], changed[gone]])
    values = np.empty(index.size, copied_dtype(image_set))
    values[: again.size] = repaired
    values[again.size :] = image_set.frames[np.unravel_index(changed[gone], shape)]

    table, numbers = find_events(outliers.index, outliers.residual, outliers.significance, shape)
    numbers, table = _renumber(outliers.index, numbers, table, *events)
    normalization = model.normalization
    summary = summarize(
        outliers.index, shape, table, image_set.names, normalization.scales, normalization.offsets, model.noise.mismatch
    )
    return Overruled(changed[gone], changed[~gone], index, values, outliers, table, summary, numbers)


def _beside(outliers, changed, settings, shape):
    """Which of the rejected pixels are repaired from neighbours of which some have changed."""
    alone = np.full(outliers.index.size, settings.repair == "neighbours")
    if settings.repair in ("median", "mean"):
        alone = np.isnan(outliers.median)
    where = np.flatnonzero(alone)
    if not where.size or not changed.size:
        return np.zeros(alone.size, bool)
    apart = [4.0 * REACH, 1, 1]  # no pixel is the neighbour of one in another frame
    sought, others = (
        np.transpose(np.unravel_index(index, shape)) * apart for index in (outliers.index[where], changed)
    )
    distance, _ = cKDTree(others).query(sought, p=np.inf, distance_upper_bound=REACH + 0.5)
    alone[where] = np.isfinite(distance)
    return alone


def _weighted_mean(detector, flags, y, x):
    """Noise-weighted mean of the frames that survive at some pixels; NaN where none does."""
    z, survives, variance = detector.samples(y, x, flags[:, y, x])
    weight = np.where(survives, 1 / variance, 0)
    with np.errstate(invalid="ignore"):
        return np.sum(np.where(survives, weight * z, 0), axis=0) / np.sum(weight, axis=0)


def _renumber(index, numbers, table, old_index, old_numbers):
    """Let events keep the numbers they had: of two that an event fell into the first, of two that were joined too."""
    if not len(table):
        return numbers, table
    place = np.minimum(np.searchsorted(old_index, index), max(old_index.size - 1, 0))
    old = np.where(old_index[place] == index, old_numbers[place], 0) if old_index.size else np.zeros(index.size, int)
    had = np.flatnonzero(old)
    wanted = np.zeros(len(table), np.int64)
    # the first pixel that had a number counts: written last
    wanted[numbers[had[::-1]] - 1] = old[had[::-1]]
    order = np.argsort(np.where(wanted > 0, wanted, np.iinfo(np.int64).max), kind="stable")
    first = np.ones(len(table), bool)
    first[order[1:]] = np.diff(wanted[order]) != 0
    new = np.flatnonzero((wanted == 0) | ~first)
    wanted[new] = np.max(old_numbers, initial=0) + 1 + np.arange(new.size)
    table["event"] = wanted.astype(np.int32)
    table.sort("event")
    return wanted[numbers - 1].astype(np.int32), table
