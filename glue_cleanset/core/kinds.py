"""What each event is, and what of it is kept."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from astropy.table import Table
from scipy import special
from scipy.spatial import cKDTree

from . import kernels_kinds
from .detect import Outliers
from .events import events_of_tracks, find_events
from .kernels_tracks import bright_peaks
from .ondemand import union
from .pattern import Pattern, find_pattern, judge_events
from .psf import find_psf
from .settings import KINDS
from .threads import at_once
from .tracks import find_tracks, track_table
from .trails import find_trails

__all__ = ["WHOLE", "Told", "tell_kinds"]

# one event in each frame, whatever lies beside it
WHOLE = ("moving object", "trail", "variable star")

_CODES = {kind: code for code, kind in enumerate(KINDS)}
_STAR = 10.0  # sigma of one frame's sky, from which the light of a star can be compared from frame to frame
_VARIED = 0.08, 5.0  # share of its light, and error of that, by which a star that varies differs from the others
_EXPLAINED = 0.7  # share of what differs that is the star's own light
_OFTEN = 3  # frames in which a variable star varies at least
_CLEAR = 0.05  # error of the share in a star that tells of the whole frame
_CLOUDED = 0.08  # scatter of what the stars' light differs by, in a frame with clouds or of another filter
_FEW_STARS, _BRIGHTEST = 8, 100
_RESTLESS = 1.2  # local inflation at a star that may vary
_DIM = (0.6, 0.8), (0.85, 1.3)  # light of the stars and of the sky in a frame with clouds, as shares of the others'
_BLURRED = 0.3  # mismatch of stars in a frame that is called bad
_ALIKE = 1.4  # and by how much more than usual its typical star differs from pixel to pixel
_RIM = 3  # pixels; what is that near to a trail and no sharper than a star is part of it
_FLAT = 0.3  # a star whose neighbours hold less of the peak looks like a cosmic ray


@dataclass(frozen=True, eq=False)
class Told:
    """The events of a set and what they are.

    Attributes
    ----------
    outliers : Outliers
        What stands out, with the whole of trails and moving objects; what is kept is marked.
    events : astropy.table.Table
        As `find_events` gives it.
    numbers : ndarray, (K,), int32
        The event of each pixel of ``outliers.index``.
    kinds : ndarray, (E,), int8
        The place of the kind of each event in `KINDS`.
    confidence, track : ndarray, (E,)
        Of each event.
    tracks : astropy.table.Table
        One row per moving object.
    track_positions : ndarray, (T, N, 2)
        y, x of each in each frame.
    light : (ndarray, ndarray)
        Flat index and light [ADU] of moving objects in pixels that are rejected nevertheless.
    pattern : Pattern or None
        With a likeness for the events that are called hot or cold pixels by it.
    remarks : list of str
        What is to be said of each frame; '' = nothing.
    """

    outliers: Outliers
    events: Table
    numbers: np.ndarray
    kinds: np.ndarray
    confidence: np.ndarray
    track: np.ndarray
    tracks: Table
    track_positions: np.ndarray
    light: tuple[np.ndarray, np.ndarray]
    pattern: Pattern | None
    remarks: list[str]


class _Whole:
    """The pixels of the set that belong to trails, moving objects and variable stars."""

    def __init__(self):
        self.index, self.group, self.kinds, self.tracks = np.zeros(0, np.int64), np.zeros(0, int), [""], [0]

    def add(self, kind, index, group, tracks=None):
        """`group`: 1 ... for each pixel; of pixels that are there already the first word counts."""
        new = ~np.isin(index, self.index)
        self.index = np.concatenate([self.index, index[new]])
        self.group = np.concatenate([self.group, group[new] + len(self.kinds) - 1])
        number = int(np.max(group, initial=0))
        self.kinds += [kind] * number
        self.tracks += list(range(1, number + 1)) if tracks else [0] * number

    def of(self, index):
        """The group of each of some pixels, 0 = none; `index` is ascending."""
        group = np.zeros(index.size, int)
        place = np.minimum(np.searchsorted(index, self.index), max(index.size - 1, 0))
        if index.size:
            there = index[place] == self.index
            group[place[there]] = self.group[there]
        return group

    def find_events(self, outliers, grow):
        """The events, the numbers of the pixels, the place in `KINDS` of the events that are known, else -1, and their
        tracks."""
        group = self.of(outliers.index)
        whole = group > 0
        # what has grown is part of its event, whatever its sign
        measured = outliers.index, outliers.residual, outliers.significance, outliers.shape
        events, numbers = find_events(*measured, group, whole, mixed=grow > 0)
        of_event = np.zeros(len(events), int)
        of_event[numbers[whole] - 1] = group[whole]
        codes = np.array([-1, *(_CODES[kind] for kind in self.kinds[1:])], np.int8)
        return events, numbers, codes[of_event], np.array(self.tracks)[of_event]


def tell_kinds(detector, outliers, progress=lambda share: None):
    """Find the events of what stands out, tell what each is, and mark what is kept.

    Parameters
    ----------
    detector : Detector
    outliers : Outliers
        What it found; its arrays are changed.
    progress : callable
        Called with the share of the whole cleaning that is done; may raise to stop.

    Returns
    -------
    Told
    """
    image_set, settings = detector.rows.image_set, detector.settings
    n = len(image_set)
    whole = _Whole()
    positions = np.zeros((0, n, 2))
    tracks = track_table([], positions, np.zeros(n), None)
    light, remarks = (np.zeros(0, np.int64), np.zeros(0)), [""] * n
    if not settings.kinds:
        events, numbers, codes, track = whole.find_events(outliers, settings.grow)
        codes[:] = _CODES["other"]
        return Told(outliers, events, numbers, codes, 0.0 * track, track, tracks, positions, light, None, remarks)

    median = detector.surroundings[0]
    model = detector.model
    # what the thresholds leave alone is not looked for
    find = settings.detection == "noise" and np.isfinite(settings.high_pair[0])

    def look():
        found = whole.find_events(outliers, settings.grow)
        return found, find_pattern(detector, outliers, found[0])

    def look_for_trails():
        psf = find_psf(median, model.sky, model.sky_variance, model.full)
        return psf, find_trails(detector, outliers, psf and psf.fwhm) if find else None

    def look_at_stars():
        stars = _Stars(detector)
        return stars, _find_bad_frames(detector, stars)

    # what does not fit in memory is looked at by one at a time
    together = not image_set.on_demand
    # there are few sets with a trail, and what is found without one stands
    found, (psf, trails), (stars, remarks) = at_once(look, look_for_trails, look_at_stars, together=together)
    progress(0.91)
    bad = np.array([bool(remark) for remark in remarks])
    varying, trailed = np.zeros((2, 0), int), np.zeros(0, int)
    if find:
        trailed = trails.index
        whole.add("trail", trailed, trails.trail)
        if whole.index.size:
            outliers = _flag(detector, outliers, outliers.index, whole.index)
            found = look()
    (events, numbers, codes, track), pattern = found
    progress(0.92)
    if find:
        shifts = None if pattern is None else pattern.shifts
        moving, (index, star) = at_once(
            lambda: find_tracks(detector, outliers, events, numbers, psf, image_set.times, shifts),
            lambda: stars.variable(bad, settings.most_rejected(n), outliers),
            together=together,
        )
        progress(0.93)
        tracks, positions, light = moving.table, moving.positions, moving.light
        own = ~np.isin(moving.index, light[0])
        whole.add("moving object", moving.index[own], moving.track[own], tracks=True)
        known = _not_moving(index, star, moving.index, outliers.rejection_map.size)
        varying = stars.varying[:, np.unique(star[known]) - 1]
        whole.add("variable star", index[known], star[known])
        if len(tracks) or known.any():
            outliers = _flag(detector, outliers, moving.flags, whole.index)
            events, numbers, codes, track = whole.find_events(outliers, settings.grow)
            judge = find_pattern if pattern is None else partial(judge_events, pattern)
            pattern = judge(detector, outliers, events)
            tracks["events"] = events_of_tracks(track, tracks["track"])
    codes, confidence = _tell(events, codes, detector, psf, pattern, bad, varying, trailed)
    if pattern is not None:
        on_detector = (codes == _CODES["hot pixel"]) | (codes == _CODES["cold pixel"])
        pattern = replace(pattern, likeness=np.where(on_detector, pattern.likeness, 0))
    kept = np.array([kind in settings.keep for kind in KINDS])[codes][numbers - 1]
    if kept.any():
        outliers = outliers.keep(kept)
    if light[0].size:
        hit = outliers.has(light[0])
        light = tuple(values[hit] for values in light)
    return Told(outliers, events, numbers, codes, confidence, track, tracks, positions, light, pattern, remarks)


def _flag(detector, outliers, flags, index):
    """The outliers with these pixels flagged, and those of the index beside them, as far as the settings allow."""
    settings = detector.settings
    limits = settings.min_frames, settings.most_rejected(outliers.shape[0])
    return detector.change(outliers, union(flags, index), *limits)


def _often(n):
    """In how many of n frames a star varies at least."""
    return max(_OFTEN, n // 4)


def _not_moving(index, star, moving, size):
    """Which pixels are of stars that are none of the moving objects, whose pixels are `moving`."""
    times = np.bincount(moving % size, minlength=size)[index % size]
    return np.bincount(star, times)[star] < 2 * np.bincount(star)[star] if index.size else np.zeros(0, bool)


class _Stars:
    """The light of the stars in every frame.

    Attributes
    ----------
    peaks : ndarray, (2, S), int
        y, x of the brightest pixels of the stars in the median image.
    change, error : ndarray, (N, S)
        By which share each differs in a frame, and the error of that; NaN where it is not seen.
    explained : ndarray, (N, S)
        Which share of what differs is the star's own light.
    total : ndarray, (N, S)
        By which share the sum of its light differs, whatever the seeing has made of its form.
    misfit : ndarray, (N, S)
        By how much that share differs from pixel to pixel.
    varying : ndarray, (2, V), int
        y, x of those that `variable` has found.
    """

    def __init__(self, detector):
        rows, model = detector.rows, detector.model
        median = detector.surroundings[0]
        least = model.sky + _STAR * np.sqrt(model.sky_variance)
        peaks = bright_peaks(median, least, model.sky + 0.7 * model.full, 2)
        # the brightest tell of the frames; of the others those that scatter more than noise may vary
        y, x = peaks
        brightest = np.argsort(-median[y, x], kind="stable")[:_BRIGHTEST]
        self.peaks = peaks[:, union(brightest, np.flatnonzero(detector.surroundings[1][y, x] > _RESTLESS))]
        shape = 5, len(rows.image_set), self.peaks.shape[1]
        self.change, self.error, self.explained, self.total, self.misfit = np.full(shape, np.nan)
        self._detector = detector

        def look(y0, y1):
            frames, row0, row1, top = rows.read(y0, y1, rim=kernels_kinds.RADIUS)
            out = self.change, self.error, self.explained, self.total, self.misfit
            kernels_kinds.star_changes(frames, row0, row1, top, rows.exact, median, self.peaks, *out)

        if self.peaks.size:
            rows.each(look)

    def scatter(self):
        """Typical difference of the light of the stars in each frame from one share for all, (N,); NaN = too few."""
        scatter = np.full(len(self.total), np.nan)
        for i, clear in enumerate(self.error < _CLEAR):
            if clear.sum() >= _FEW_STARS:
                low, high = np.percentile(self.total[i, clear], [16, 84])
                scatter[i] = (high - low) / 2
        return scatter

    def typical_misfit(self):
        """Misfit of the typical star of each frame, (N,); NaN = too few."""
        few = np.nan_to_num(self.error, nan=1.0) < _CLEAR
        return np.array(
            [
                np.median(one[clear]) if clear.sum() >= _FEW_STARS else np.nan
                for one, clear in zip(self.misfit, few, strict=True)
            ]
        )

    def variable(self, bad, most, outliers):
        """The pixels of the stars that vary, in the frames in which they differ most: flat index, and number of star.

        A star varies where it differs by one share of its light, more than seeing does, in some frames at least.
        Pixels of the outliers that the change of the star does not explain are none of them: they have been hit.
        """
        change, n = self.change, len(self.change)
        usual = np.nan_to_num(self.scatter())[:, None]
        with np.errstate(invalid="ignore"):
            # what most frames share is the fault of the median
            own = change - np.nanmedian(np.where(np.isfinite(change).any(axis=0), change, 0), axis=0)
            clear = np.minimum(np.abs(change), np.abs(own)) > np.maximum(
                np.maximum(_VARIED[0], 4 * usual), _VARIED[1] * self.error
            )
            clear &= (self.explained > _EXPLAINED) & (self.total / change > 0.5) & ~bad[:, None]
        found = np.flatnonzero(clear.sum(axis=0) >= _often(n)) if n > _OFTEN else np.zeros(0, int)
        self.varying = self.peaks[:, found]
        pixels, group = [np.zeros(0, np.int64)], [np.zeros(0, int)]
        for number, s in enumerate(found, start=1):
            order = np.argsort(-np.abs(np.where(clear[:, s], change[:, s], 0)), kind="stable")[:most]
            for i in order[clear[order, s]]:
                pixels.append(self._pixels(i, s, outliers))
                group.append(np.full(pixels[-1].size, number))
        return np.concatenate(pixels), np.concatenate(group)

    def _pixels(self, i, s, outliers):
        """Flat index of the pixels in which star s has changed by more than the noise in frame i, and not been hit."""
        detector = self._detector
        shape = outliers.shape
        y, x = self.peaks[:, s]
        reach = kernels_kinds.RADIUS
        y0, y1, x0, x1 = max(y - 6, 0), min(y + 7, shape[1]), max(x - 6, 0), min(x + 7, shape[2])
        yy, xx = np.mgrid[y0:y1, x0:x1]
        median = detector.surroundings[0][y0:y1, x0:x1]
        light = self.change[i, s] * (median - np.nanmin(median))
        scale, origin, gy, gx, a, b, _, least = (values[i] for values in detector.rows.exact)
        image_set = detector.rows.image_set
        z = (image_set.frames[i, y0:y1, x0:x1] - (origin + gy * yy + gx * xx)) / scale
        sigma = np.sqrt(np.maximum(a + b * median, least))
        with np.errstate(invalid="ignore"):
            mine = (np.abs(light) > sigma) & image_set.usable((i, slice(y0, y1), slice(x0, x1)))
            mine &= np.hypot(yy - y, xx - x) <= reach
            hit = np.abs(z - median - light) > 0.6 * np.abs(z - median) + sigma
        mine &= ~(hit & outliers.has(np.ravel_multi_index((np.full(yy.shape, i), yy, xx), shape)))
        return np.ravel_multi_index((np.full(mine.sum(), i), yy[mine], xx[mine]), shape)


def _find_bad_frames(detector, stars):
    """What is wrong with each frame as a whole, in words; '' = nothing."""
    model, image_set = detector.model, detector.rows.image_set
    normalization, mismatch = model.normalization, model.noise.mismatch
    n = len(image_set)
    remarks = [""] * n
    if n < 3:
        return remarks
    seconds = np.ones(n) if image_set.exptime is None else image_set.exptime / np.median(image_set.exptime)
    light = normalization.scales / seconds / np.median(normalization.scales / seconds)
    level = (normalization.scales * model.sky + normalization.offsets) / seconds
    dim = np.any([(light < faint) & (level > bright * np.median(level)) for faint, bright in _DIM], axis=0)
    scatter, misfit = stars.scatter(), stars.typical_misfit()
    usual, fine = (np.nanmedian(v) if np.isfinite(v).any() else np.nan for v in (scatter, misfit))
    for i in range(n):
        # many hits, or a bright trail, are no fault of the stars
        if mismatch[i] > max(_BLURRED, 2 * np.median(mismatch)) and not misfit[i] <= _ALIKE * fine:
            remarks[i] = (
                f"its stars differ by {100 * mismatch[i]:.0f} % of their local range: blurred, trailed or shifted"
            )
        elif scatter[i] > max(_CLOUDED, 4 * usual):
            remarks[i] = f"the light of its stars differs by {100 * scatter[i]:.0f} %, each by another share: clouds?"
        elif dim[i] and dim.sum() < n / 3:
            remarks[i] = f"its stars have {100 * light[i]:.0f} % of their light, its sky has more: clouds?"
    return [remark and f"bad frame: {remark}" for remark in remarks]


def _tell(events, codes, detector, psf, pattern, bad, varying, trailed):
    """The place in `KINDS` of every event, and how sure that is; `codes`: what is known, else -1; `varying`: y, x of
    the stars that vary; `trailed`: flat index of the pixels of trails."""
    codes, confidence = codes.copy(), np.ones(len(events))
    likeness = np.zeros(len(events)) if pattern is None else pattern.likeness
    sharp, error = _shapes(events, detector, (codes < 0) & (likeness <= 0.5))
    # neighbours of the peak of a star hold at least this share of it
    star = _FLAT if psf is None else max(_FLAT, (psf.stamp[4:7, 4:7].sum() - psf.stamp[5, 5]) / psf.stamp[5, 5] / 8)
    with np.errstate(invalid="ignore"):
        pointed = special.ndtr((0.75 * star - sharp) / np.hypot(error, 0.1 * star))
    pointed = np.nan_to_num(pointed, nan=0.5)
    dark = np.asarray(events["polarity"]) == "dark"
    in_bad = bad[np.asarray(events["frame"]) - 1]

    def tell(where, kind, sure):
        where = np.flatnonzero(where & (codes < 0))
        codes[where] = _CODES[kind]
        confidence[where] = sure[where]

    tell((likeness > 0.5) & ~dark, "hot pixel", likeness)
    tell((likeness > 0.5) & dark, "cold pixel", likeness)
    tell(in_bad & (dark | (pointed < 0.9)), "bad frame", 1 - pointed / 2)
    tell(dark & (pointed > 0.5), "cold pixel", pointed * (0.6 if pattern is None else 0.4))
    tell(~dark & (pointed > 0.5), "cosmic ray", pointed * (1 - likeness))
    blunt = np.flatnonzero(codes < 0)
    beside = blunt[_beside(events[blunt], trailed, detector.rows.image_set.shape)]
    codes[beside], confidence[beside] = _CODES["trail"], 1 - pointed[beside]
    blunt = np.flatnonzero(codes < 0)
    again = blunt[_on_varying(events[blunt], varying) | _appears_again(events[blunt], detector)]
    codes[again], confidence[again] = _CODES["variable star"], 1 - pointed[again]
    tell(codes < 0, "other", 1 - pointed)
    return codes, confidence


def _beside(events, trailed, shape):
    """Which of some events touch a trail, or nearly do: its faint rim."""
    if not trailed.size or not len(events):
        return np.zeros(len(events), bool)
    apart = [100.0, 1, 1]  # no frame is near another
    trail = cKDTree(np.column_stack(np.unravel_index(trailed, shape)) * apart)
    places = np.column_stack([events["frame"] - 1, events["y_peak"], events["x_peak"]])
    return trail.query(places * apart, distance_upper_bound=_RIM + 0.5)[0] <= _RIM


def _on_varying(events, varying):
    """Which of some events lie on stars that vary."""
    if not varying.size or not len(events):
        return np.zeros(len(events), bool)
    distance, _ = cKDTree(varying.T).query(np.column_stack([events["y_peak"], events["x_peak"]]))
    return distance <= kernels_kinds.RADIUS


def _appears_again(events, detector):
    """Which of some events are found at one dark place of the sky, brighter than it, in as many frames as a variable
    star: one that has flared up."""
    frame, y, x = (np.asarray(events[name], np.int64) for name in ("frame", "y_peak", "x_peak"))
    here = np.flatnonzero((detector.structure[y, x] == 0) & (np.asarray(events["polarity"]) == "bright"))
    found = np.zeros(len(events), bool)
    if here.size:
        near = cKDTree(np.column_stack([y, x])[here])
        for k, others in zip(here, near.query_ball_point(near.data, 1.5), strict=True):
            found[k] = np.unique(frame[here[others]]).size >= _often(len(detector.rows.image_set))
    return found


def _shapes(events, detector, wanted):
    """Mean residual of the neighbours of each peak as a share of its own, and the error of that, each (E,); NaN where
    it is not wanted."""
    rows, median = detector.rows, detector.surroundings[0]
    wanted = np.flatnonzero(wanted)
    frame, y, x = (np.asarray(events[name][wanted], np.int64) for name in ("frame", "y_peak", "x_peak"))
    order = np.argsort(y.astype(np.uint16), kind="stable")
    frame, y, x = frame[order] - 1, y[order], x[order]
    sharp, error = np.full((2, wanted.size), np.nan)

    def look(y0, y1):
        frames, row0, row1, top = rows.read(y0, y1, rim=1)
        first, last = np.searchsorted(y, [y0, y1])
        kernels_kinds.event_shapes(frames, row0, row1, top, rows.exact, median, frame, y, x, first, last, sharp, error)

    rows.each(look)
    shapes = np.full((2, len(events)), np.nan)
    shapes[:, wanted[order]] = sharp, error
    return shapes
