"""A person's word against the machine's: pixels given back, and pixels rejected by hand."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from .detect import Detector, Outliers
from .events import FACTS, events_of_tracks, find_events, kind_codes, map_kinds, summarize
from .imageset import ImageSet, as_mask
from .kinds import WHOLE
from .ondemand import nonzero, union
from .repair import REACH, copied_dtype, light_of_kept, repaired_values

__all__ = ["Compared", "Overruled", "apply", "overrule", "plan", "work_out"]


class Compared:
    """The frames of a cleaning compared with each other, for any number of overrules: what one leaves as it is is not
    measured again by the next.

    Parameters
    ----------
    image_set : ImageSet
        What was cleaned.
    settings : CleanSettings
        Of the cleaning; its limits on how many frames may be rejected do not bind a person.
    model : SetModel
        Of the cleaning.
    """

    def __init__(self, image_set, settings, model):
        self.image_set, self.settings, self.model = image_set, settings, model
        self._detector = self._outliers = self._report = None

    def measure(self, index, before, reference, report):
        """As `Detector.measure_again`; report(share), 0 to 1, is told how much is done, and may raise to stop."""
        self._report = report
        try:
            if self._detector is None:
                # (it outlives this overrule, and what is told of it)
                self._detector = Detector(self.image_set, self.model, self.settings, progress=self._tell)
            self._outliers, columns = self._detector.measure_again(
                index, before, reference, self._outliers, lambda share: self._tell(0.45 + 0.5 * share)
            )
        finally:
            self._report = None
        # the next one starts from these
        own = {name: image.copy() for name, image in self._outliers.images().items()}
        return replace(self._outliers, **own), columns

    def _tell(self, share):
        self._report(share)


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
        All that stands out now; its reference is complete.
    events, summary : astropy.table.Table
        As in `glue_cleanset.CleanResult`. Events that stay keep their numbers and their kinds.
    numbers : ndarray, int32
        The event of each pixel of ``outliers.index``.
    kind_map : ndarray, (ny, nx), uint8
        As in `glue_cleanset.CleanResult`.
    kept : ndarray, (P,), int64
        Which of ``restored`` stay part of an event.
    """

    restored: np.ndarray
    rejected: np.ndarray
    index: np.ndarray
    values: np.ndarray
    outliers: Outliers
    events: Table
    summary: Table
    numbers: np.ndarray
    kind_map: np.ndarray
    kept: np.ndarray

    def describe(self):
        """In words, for the records; '' where nothing changes."""
        given_back = np.setdiff1d(self.restored, self.kept, assume_unique=True)
        parts = ((given_back, "restored"), (self.kept, "kept"), (self.rejected, "rejected by hand"))
        return ", ".join(
            f"{len(pixels)} pixel{'s' if len(pixels) > 1 else ''} {done}" for pixels, done in parts if len(pixels)
        )


def overrule(result, frames, *, restore=None, reject=None, keep=None):
    """Give pixels of a cleaned set their original values back, or have others repaired.

    Parameters
    ----------
    result : CleanResult
        Not modified.
    frames : ImageSet or array-like, (N, ny, nx)
        What was cleaned; what was masked then is masked now.
    restore, reject : array-like of bool, (N, ny, nx) or (ny, nx), optional
        True = not to be rejected; to be rejected, whatever the value. What is masked or not finite is never
        rejected. A pixel in both is restored. What is restored is no event any more; what is kept already stays one.
    keep : array-like of bool, (N, ny, nx) or (ny, nx), optional
        True = gets its original value back where it is rejected, but its event stays, as one that is kept.

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
    change = plan(result, image_set, restore=restore, reject=reject, keep=keep)
    cleaned = result.cleaned.copy()
    cleaned.reshape(-1)[change.index] = change.values
    return replace(apply(result, change), cleaned=cleaned, rejected=change.outliers.flags())


def plan(result, image_set, **said):
    """What changes in a result by a person's word, as for `work_out`; `image_set` is what was cleaned."""
    events = result.event_pixels, result.event_numbers
    kept = np.isin(result.event_numbers, result.events["event"][np.asarray(result.events["kept"])])
    rejected = result.event_pixels[~kept]
    compared = Compared(image_set, result.settings, result.model)
    return work_out(compared, rejected, result.reference, events, result.events, light=result.light, **said)


def apply(result, change):
    """The result with a change, but for its ``cleaned`` and ``rejected``."""
    outliers = change.outliers
    change.summary["remark"] = result.summary["remark"]
    tracks = result.tracks
    if tracks is not None and len(tracks):
        tracks = tracks.copy()
        tracks["events"] = events_of_tracks(change.events["track"], tracks["track"])
    return replace(
        result,
        **outliers.images(),
        events=change.events,
        summary=change.summary,
        event_pixels=outliers.index,
        event_numbers=change.numbers,
        kind_map=change.kind_map,
        tracks=tracks,
        overrules=(*result.overrules, *filter(None, [change.describe()])),
    )


def work_out(
    compared,
    rejected,
    reference,
    events,
    table=None,
    restore=None,
    reject=None,
    keep=None,
    light=None,
    report=lambda share: None,
):
    """Find what changes when pixels are restored or rejected by hand; changes nothing.

    Parameters
    ----------
    compared : Compared
    rejected : ndarray, (R,), int64
        Flat index of what is rejected now, ascending.
    reference : ndarray, (ny, nx)
        As it is now [ADU].
    events : (ndarray, ndarray), (K,)
        Flat index of each pixel that is part of an event now, ascending, and the number of its event; pixels that are
        not `rejected` are kept.
    table : astropy.table.Table, optional
        ``event``, ``kind``, ``confidence`` and ``track`` of these events; without it they are of no kind.
    restore, reject, keep : array-like of bool, (N, ny, nx) or (ny, nx), optional
        As for `overrule`; on demand as well, as `glue_cleanset.core.ondemand.marked`.
    light : (ndarray, ndarray), optional
        As `glue_cleanset.CleanResult.light`.
    report : callable, optional
        Called with the share of the work that is done, 0 to 1; may raise to stop.

    Returns
    -------
    Overruled
    """
    image_set, settings, model = compared.image_set, compared.settings, compared.model
    shape = image_set.shape
    give_back, take, hold = (
        None if words is None else as_mask(name, words, shape)
        for name, words in (("restore", restore), ("reject", reject), ("keep", keep))
    )
    pixels, old_numbers = events
    flags = rejected
    if take is not None:
        taken = np.setdiff1d(nonzero(take)[0], rejected, assume_unique=True)
        # masked pixels are not judged, by nobody
        flags = union(flags, taken[image_set.usable(np.unravel_index(taken, shape))])
    held = np.setdiff1d(pixels, flags, assume_unique=True)
    if give_back is not None:
        flags = flags[~give_back[np.unravel_index(flags, shape)]]
    if hold is not None:
        holds = hold[np.unravel_index(flags, shape)]
        held, flags = union(held, flags[holds]), flags[~holds]
    changed = np.setxor1d(flags, rejected, assume_unique=True)
    gone = np.isin(changed, rejected, assume_unique=True)
    # what is kept stands out as well, and has no say in the reference
    before, flags = union(rejected, pixels), union(flags, held)
    outliers, columns = compared.measure(flags, before, reference, report)
    outliers = outliers.keep(np.isin(outliers.index, held, assume_unique=True))

    hit = np.zeros(reference.size, bool)
    hit[columns] = True
    hit[changed % reference.size] = True
    again = hit[outliers.index % reference.size] | _beside(outliers, changed, settings, shape)
    if light is not None:
        # the object may be repaired or kept from now on
        again |= np.isin(outliers.index, light[0], assume_unique=True)
    again = np.flatnonzero(again & ~outliers.kept)
    light = light_of_kept(light, outliers)
    repaired = repaired_values(image_set, outliers, again, model.normalization, settings, light)
    index = np.concatenate([outliers.index[again], changed[gone]])
    values = np.empty(index.size, copied_dtype(image_set))
    values[: again.size] = repaired
    values[again.size :] = image_set.frames[np.unravel_index(changed[gone], shape)]

    numbers, found = _relabel(outliers, pixels, old_numbers, table, settings.grow > 0, changed)
    kinds = kind_codes(found)
    summary = summarize(outliers, shape, found, kinds, image_set.names, model.normalization, model.noise.mismatch)
    return Overruled(
        changed[gone],
        changed[~gone],
        index,
        values,
        outliers,
        found,
        summary,
        numbers,
        map_kinds(outliers, found, numbers, kinds),
        np.intersect1d(changed[gone], held, assume_unique=True),
    )


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


def _look_up(index, old_index, old_numbers):
    """The number that the event of each pixel had, 0 = none."""
    if not old_index.size:
        return np.zeros(index.size, int)
    place = np.minimum(np.searchsorted(old_index, index), old_index.size - 1)
    return np.where(old_index[place] == index, old_numbers[place], 0)


def _around(index, shape):
    """Flat indices of some pixels and of those beside them in the same frame."""
    frame, y, x = np.unravel_index(index, shape)
    step = np.array([-1, 0, 1])
    y = np.clip(y[:, None, None] + step[:, None], 0, shape[1] - 1)
    x = np.clip(x[:, None, None] + step, 0, shape[2] - 1)
    return np.ravel_multi_index(np.broadcast_arrays(frame[:, None, None], y, x), shape).reshape(-1)


def _relabel(outliers, old_index, old_numbers, table, mixed, changed):
    """The events that there are now, (numbers of the pixels, table); events keep the numbers they had: of two that an
    event fell into the first, of two that were joined too."""
    index, shape = outliers.index, outliers.shape
    old = _look_up(index, old_index, old_numbers)
    facts = {name: np.zeros(np.max(old_numbers, initial=0) + 1, dtype) for name, dtype in FACTS.items()}
    facts["kind"][:] = "other"
    if table is not None:
        for name, values in facts.items():
            values[table["event"]] = table[name]
    # a trail or a moving object is one event, whatever lies beside it; what is kept is none with what is rejected;
    # where no pixel has changed an event stays what it was, whatever a person calls it
    stays = np.ones(len(facts["kind"]), bool)
    stays[_look_up(_around(changed, shape), old_index, old_numbers)] = False
    stays[0] = False
    whole = (stays | np.isin(facts["kind"], WHOLE))[old]
    group = 2 * np.where(whole, old, 0) + outliers.kept
    found, numbers = find_events(index, outliers.residual, outliers.significance, shape, group, whole, mixed)
    had = np.flatnonzero(old)
    origin = np.zeros(len(found), np.int64)
    # the first pixel that had a number counts: written last
    origin[numbers[had[::-1]] - 1] = old[had[::-1]]
    for name, values in facts.items():
        found[name] = values[origin]
    found["kept"] = outliers.kept[np.unique(numbers, return_index=True)[1]]
    wanted = origin.copy()
    order = np.argsort(np.where(wanted > 0, wanted, np.iinfo(np.int64).max), kind="stable")
    first = np.ones(len(found), bool)
    first[order[1:]] = np.diff(wanted[order]) != 0
    new = np.flatnonzero((wanted == 0) | ~first)
    wanted[new] = np.max(old_numbers, initial=0) + 1 + np.arange(new.size)
    found["event"] = wanted.astype(np.int32)
    found.sort("event")
    return wanted[numbers - 1].astype(np.int32), found
