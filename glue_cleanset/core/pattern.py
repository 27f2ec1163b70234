"""The detector's own pattern: pixels that are hot or cold in frame after frame, though registration moved them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from . import kernels_pattern
from .imageset import as_shifts
from .threads import in_threads, pieces

__all__ = ["HotPixels", "Pattern", "find_pattern", "hot_pixel_map", "judge_events"]

# points that take part in the measurement of the shifts: sharp, off stars, and clear
_SHARP, _CLEAR = 6, 6.0  # most pixels, least significance [sigma]
# (points of the one frame, the largest shift between two frames [pixels]) of the tries to find it, the cheapest first;
# and how many comparisons the last one may cost
_TRIES, _PAIRS = ((60, 100), (200, 400), (None, 400)), 1_500_000
_TRIED = 3  # how many frames are tried where that is dear, and with how many each
_APART = 2  # frames that differ by less show no pattern [pixels]
_CHANCE = 1e-6  # that a peak of the differences has come about by chance
# A repeat is looked for in so many frames where none shows any, and where some do. That is enough to know.
_LOOKED_AT = 6, 24
# A hot pixel is seen in a frame that can show it with this probability; and what part of the events are hot before
# anything is known, as odds.
_SEEN, _ODDS = 0.9, 0.3
_NOWHERE = -1_000_000


@dataclass(frozen=True, eq=False)
class Pattern:
    """What the detector's pattern tells of each event.

    Attributes
    ----------
    shifts : ndarray, (N, 2), float64
        dy, dx [pixels] of each frame: what falls on detector pixel (y, x) is at (y + dy, x + dx) of the registered
        frame. NaN = not known. Measured ones are relative to the first frame that has one.
    source : str
        Where they come from: ``'given'``, ``'headers'``, ``'file'`` or ``'measured'``.
    seen, visible : ndarray, (E,), int32
        Of the other frames that were looked at: in how many the event's detector pixel stands out alike, and in how
        many it could be seen to. Frames that are shifted alike do not count: they cannot tell a pixel from a place on
        the sky. At most 24 frames are looked at, and 6 where none of these shows anything; events
        of one detector pixel that are alike share what was found for the first of them.
    likeness : ndarray, (E,), float32
        Probability that the event is a hot (bright) or cold (dark) pixel; 0 where no other frame could show it.
    level : ndarray, (E,), float32
        Mean excess in the frames in which it is seen, on the mean scale of the set [ADU]; negative = dark.
    y, x : ndarray, (E,), int32
        The detector pixel of the event's peak (of its centre, where frames were resampled); -1000000 where the shift of
        its frame is not known.
    """

    shifts: np.ndarray
    source: str
    seen: np.ndarray
    visible: np.ndarray
    likeness: np.ndarray
    level: np.ndarray
    y: np.ndarray
    x: np.ndarray


@dataclass(frozen=True, eq=False)
class HotPixels:
    """The hot and cold pixels in the frame of the detector.

    Attributes
    ----------
    image : ndarray, (ny', nx'), float32
        Mean excess [ADU, on the mean scale of the set] of the pixels that are hot (positive) or cold (negative); 0
        elsewhere, NaN where no frame lies.
    seen, visible : ndarray, (ny', nx'), uint16
        In how many frames the pixel stands out, and within how many it lies.
    origin : (int, int)
        y, x of image[0, 0] in detector coordinates: those of a frame minus its shift.
    shifts : ndarray, (N, 2)
    source : str
        As in `Pattern`.
    hot, cold : int
        How many there are.
    """

    image: np.ndarray
    seen: np.ndarray
    visible: np.ndarray
    origin: tuple[int, int]
    shifts: np.ndarray
    source: str
    hot: int
    cold: int


def find_pattern(detector, outliers, events, shifts=None):
    """Which events repeat at the same pixel of the detector.

    An event is judged by its peak: where a cosmic ray has hit beside a hot pixel and outshines it, the event is
    no hot pixel.

    Parameters
    ----------
    detector : Detector
        That has judged the set.
    outliers : Outliers
        What it found.
    events : astropy.table.Table
        Of these outliers, `glue_cleanset.core.events.find_events`.
    shifts : array-like, (N, 2), optional
        dy, dx of each frame [pixels], as `ImageSet.shifts`, which are taken where these are None. Where there are none
        either they are measured: the differences of position between the events of two frames agree for what sits on
        the detector.

    Returns
    -------
    Pattern or None
        None where the frames are not shifted against each other, or no pattern is seen: also where registration has
        turned or stretched the frames by more than a pixel.

    Raises
    ------
    ValueError
        Where `shifts` are not N pairs.
    """
    image_set = detector.rows.image_set
    source = "given"
    if shifts is None:
        shifts, source = image_set.shifts, image_set.shifts_source
    points = _Points(detector, outliers, events)
    if shifts is None:
        shifts, source = _measure_shifts(points), "measured"
    else:
        shifts = as_shifts(shifts, len(image_set))
        if source == "file":
            shifts = _signed(points, shifts)
    if not _differ(shifts):
        return None
    return _judge(detector, outliers, events, shifts, source)


def judge_events(pattern, detector, outliers, events):
    """The same pattern, and what it tells of other events; arguments as for `find_pattern`."""
    return _judge(detector, outliers, events, pattern.shifts, pattern.source)


def hot_pixel_map(pattern, shape, hot=None):
    """Put what the pattern shows together, in the frame of the detector.

    A pixel that no single frame flagged is not in it.

    Parameters
    ----------
    pattern : Pattern
    shape : (int, int, int)
        N, ny, nx of the set.
    hot : ndarray, (E,), bool, optional
        Which of the events are hot or cold pixels; None = those whose likeness is above 0.5.

    Returns
    -------
    HotPixels
    """
    shifts = np.rint(pattern.shifts[np.isfinite(pattern.shifts[:, 0])]).astype(int)
    low, high = -shifts.max(axis=0), np.array(shape[1:]) - shifts.min(axis=0)
    size = tuple(high - low)
    edges = [np.unique([-shifts[:, k] - low[k], shape[1 + k] - shifts[:, k] - low[k]]) for k in (0, 1)]
    # between two edges every frame is either there or not
    inside = [
        (edge[:-1] >= (-shifts[:, k] - low[k])[:, None]) & (edge[1:] <= (shape[1 + k] - shifts[:, k] - low[k])[:, None])
        for k, edge in enumerate(edges)
    ]
    counts = np.einsum("ia,ib->ab", *(part.astype(np.uint16) for part in inside))
    visible, image = np.empty(size, np.uint16), np.zeros(size, np.float32)
    for a, (y0, y1) in enumerate(pairwise(edges[0])):
        line = np.repeat(counts[a], np.diff(edges[1]))
        visible[y0:y1] = line
        if not line.all():
            image[y0:y1, line == 0] = np.nan

    hot = pattern.likeness > 0.5 if hot is None else np.asarray(hot, bool)
    hot = hot & (pattern.y > _NOWHERE)
    flat = np.ravel_multi_index((pattern.y[hot] - low[0], pattern.x[hot] - low[1]), size)
    if _resampled(pattern.shifts):
        flat = _together(flat, size)
    seen = np.zeros(size, np.uint16)
    where, place = np.unique(flat, return_inverse=True)
    number = np.zeros(len(where), np.uint16)
    np.maximum.at(number, place, (pattern.seen[hot] + 1).astype(np.uint16))
    seen.reshape(-1)[where] = np.maximum(number, np.bincount(place, minlength=len(where)))
    level = np.bincount(place, pattern.level[hot], len(where)) / np.bincount(place, minlength=len(where))
    image.reshape(-1)[where] = level
    hot, cold = (int(np.count_nonzero(sign * level > 0)) for sign in (1, -1))
    return HotPixels(image, seen, visible, (int(low[0]), int(low[1])), pattern.shifts, pattern.source, hot, cold)


def _together(flat, size):
    """Each place moved to the one of its 3 x 3 neighbours that has most: a resampled pixel wavers."""
    where, place, number = np.unique(flat, return_inverse=True, return_counts=True)
    best, target = number.copy(), where.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = where + dy * size[1] + dx
            k = np.minimum(np.searchsorted(where, near), max(len(where) - 1, 0))
            more = (where[k] == near) & (number[k] > best) if len(where) else np.zeros(0, bool)
            best[more], target[more] = number[k][more], near[more]
    return target[place]


class _Points:
    """Sharp clear events off stars of each frame, ordered by y: `y`, `x` of the peak, `centres` (2, K), `strength` on
    the mean scale."""

    def __init__(self, detector, outliers, events):
        self.shape = detector.rows.image_set.shape
        n, ny, _ = self.shape
        y, x, frame = (np.asarray(events[name]).astype(np.int32) for name in ("y_peak", "x_peak", "frame"))
        structure = detector.structure
        take = np.flatnonzero(np.asarray(events["pixels"]) <= _SHARP)
        take = take[np.abs(np.asarray(events["peak_significance"])[take]) >= _CLEAR]
        take = take[structure[y[take], x[take]] == 0]
        take = take[np.argsort((frame[take] - 1).astype(np.int64) * ny + y[take], kind="stable")]
        self.y, self.x = y[take], x[take]
        self.centres = np.stack([np.asarray(events[name])[take] for name in ("y", "x")])
        frame = frame[take] - 1
        self.strength = np.asarray(events["peak"])[take] / detector.rows.exact[0][frame]
        self.bounds = np.searchsorted(frame, np.arange(n + 1))

    def of(self, i, step=1):
        part = slice(self.bounds[i], self.bounds[i + 1], step)
        return self.y[part], self.x[part], self.strength[part]

    def centres_of(self, i):
        part = slice(self.bounds[i], self.bounds[i + 1])
        return *self.centres[:, part], self.strength[part]

    def number(self, i):
        return self.bounds[i + 1] - self.bounds[i]


def _measure_shifts(points):
    """Shifts (N, 2) against the first frame that has one; NaN where a frame shares no pattern with the others."""
    n = points.shape[0]
    numbers = np.diff(points.bounds)
    # begin with frames as the others are: a bad one has many points or none
    typical = np.argsort(np.abs(numbers - np.median(numbers)), kind="stable")
    shifts = np.full((n, 2), np.nan)
    for start in typical[:3]:
        found = np.full((n, 2), np.nan)
        found[start] = 0
        _place(points, found, [(start, j) for j in range(n) if j != start])
        if np.isfinite(found[:, 0]).sum() > np.isfinite(shifts[:, 0]).sum():
            shifts = found
        if np.isfinite(shifts[:, 0]).sum() > n / 2:
            break
    tried = {j: [] for j in range(n)}

    def try_again(frames):
        """Against the nearest known frame that they have not been compared with yet; whether there was any left."""
        known = np.flatnonzero(np.isfinite(shifts[:, 0]))
        pairs = []
        for j in frames:
            left = [i for i in known[np.argsort(np.abs(known - j))] if i not in tried[j]]
            if left and len(tried[j]) < _TRIED:
                tried[j].append(left[0])
                pairs.append((left[0], j))
        _place(points, shifts, pairs, thorough=True)
        return bool(pairs)

    if not _differ(shifts):
        # a pattern that is fainter or further away is in some of the others too, if there is one
        try_again([j for j in typical if np.isnan(shifts[j, 0])][:_TRIED])
    # what has drifted too far from the first is compared with what has not
    while _differ(shifts):
        if not try_again(np.flatnonzero(np.isnan(shifts[:, 0]))):
            return shifts - shifts[np.isfinite(shifts[:, 0])][0]
    return np.full((n, 2), np.nan)


def _differ(shifts):
    """Whether two frames at least are known to be shifted against each other."""
    known = np.isfinite(shifts[:, 0])
    return known.sum() > 1 and np.ptp(shifts[known], axis=0).max() >= _APART


def _resampled(shifts):
    """Whether frames are shifted by fractions of a pixel against each other."""
    steps = shifts[np.isfinite(shifts[:, 0])]
    steps = steps - steps[0]
    return np.abs(steps - np.rint(steps)).max() > 0.1


def _place(points, shifts, pairs, thorough=False):
    """Measure the shift of frame j against frame i, whose own is known, for each pair."""

    def measure(i, j):
        lag = _lag(points, i, j, thorough)
        if lag is not None:
            shifts[j] = shifts[i] + lag

    in_threads(measure, pairs)


def _lag(points, i, j, thorough):
    """How much further frame j is shifted than frame i (dy, dx), or None."""
    _, ny, nx = points.shape
    own, others = points.number(i), points.number(j)
    if min(own, others) < 3 or min(ny, nx) < 4:
        return None
    for number, furthest in _TRIES if thorough else _TRIES[:1]:
        reach, reach_x = (min(furthest, 3 * size // 4) for size in (ny, nx))
        if number is None:
            number = max(int(_PAIRS / (others * min(1, 2 * reach / ny))), 1)
        lags = np.zeros((2 * reach + 1, 2 * reach_x + 1), np.uint16)
        kernels_pattern.count_differences(*points.of(i, -(-own // number)), *points.of(j), lags)
        # by chance there are as many at every difference as the frames then overlap
        along, along_x = (1 - np.abs(np.arange(-r, r + 1)) / size for r, size in ((reach, ny), (reach_x, nx)))
        # in one place where whole pixels were moved; in several where a pixel was resampled
        for wide in (False, True):
            best, row, column, second, none, total = kernels_pattern.find_peaks(lags, wide)
            chance = (9 if wide else 1) * total / (along.sum() * along_x.sum())
            here = chance * along[row] * along_x[column]
            if _is_clear(best, here, lags.size) and best - here > 1.5 * (second - here):
                return _refine(points, i, j, row - reach, column - reach_x)
    if thorough and _is_clear(none, chance, 1):
        return _refine(points, i, j, 0, 0)
    return None


def _is_clear(count, chance, trials):
    return count >= 3 and special.pdtrc(count - 1, chance) * trials < _CHANCE


def _refine(points, i, j, dy, dx):
    """The difference from the centres of the events, whose pixels a resampling has spread."""
    differences = np.empty((2, 2 * points.number(i)))
    number = kernels_pattern.pair_up(*points.centres_of(i), *points.centres_of(j), dy, dx, differences)
    return np.median(differences[:, :number], axis=1) if number else np.array([dy, dx], float)


def _signed(points, shifts):
    """The shifts of a file, or their negative: some list what was added to the positions, some where the field was. The
    pattern tells."""
    frame = np.repeat(np.arange(len(shifts)), np.diff(points.bounds))
    known = np.isfinite(shifts[frame, 0])
    repeats = []
    for sign in (1, -1):
        y, x = np.rint(np.stack([points.y, points.x]) - sign * shifts[frame].T)[:, known].astype(np.int64)
        repeats.append(known.sum() - len(np.unique(y * 2**32 + x)))
    return shifts if repeats[0] >= repeats[1] else -shifts


def _judge(detector, outliers, events, shifts, source):
    n, ny, nx = detector.rows.image_set.shape
    known = np.isfinite(shifts[:, 0])
    reach = int(_resampled(shifts))
    share = len(outliers.index) / (n * ny * nx)
    frame = np.asarray(events["frame"]) - 1
    y, x = (np.asarray(events[name]).astype(np.float32) for name in ("y_peak", "x_peak"))
    if reach:
        # where the pixel of the detector was spread over several, their centre tells more
        small = np.asarray(events["pixels"]) <= _SHARP
        y, x = (np.where(small, np.asarray(events[name]).astype(np.float32), v) for name, v in (("y", y), ("x", x)))
    level = (np.asarray(events["peak"]) / detector.rows.exact[0][frame]).astype(np.float32)
    place = np.full((2, len(frame)), _NOWHERE, np.int32)
    judged = np.flatnonzero(known[frame] & np.isfinite(level))
    place[:, judged] = np.rint(np.stack([y, x])[:, judged] - shifts[frame[judged]].T)
    seen, visible = np.zeros((2, len(frame)), np.int32)
    likeness = np.zeros(len(frame), np.float32)

    def judge(some):
        counts = _look(detector, shifts, reach, place[0, some], *(values[some] for values in (frame, y, x, level)))
        seen[some], visible[some], total, limits = counts
        likeness[some] = _likeness(seen[some], visible[some], limits, share, reach)
        level[some] = (level[some] + total) / (1 + seen[some])

    # in the order of the detector's pixels, whose first event is judged
    for values in (place[1], place[0]):
        judged = judged[_order(values[judged])]
    ahead = np.append(True, (np.diff(place[:, judged], axis=1) != 0).any(axis=0))[: len(judged)]
    first = judged[ahead]
    own = level.copy()
    judge(first)
    # and speaks for the others that are like it
    speaker = first[np.cumsum(ahead) - 1]
    ratio = own[judged] / level[speaker]
    alike = (likeness[speaker] > 0.9) & (ratio > 1 / 3) & (ratio < 3) & ~ahead
    for values in (seen, visible, likeness, level):
        values[judged[alike]] = values[speaker[alike]]
    rest = judged[~alike & ~ahead]
    if rest.size:
        judge(rest)
    return Pattern(shifts, source, seen, visible, likeness, level, *place)


def _order(values):
    """A stable order of integers, which lie close together."""
    low = values.min(initial=0)
    close = values.max(initial=0) - low < 2**16
    return np.argsort((values - low).astype(np.uint16 if close else np.int64), kind="stable")


def _look(detector, shifts, reach, row, frame, y, x, excess):
    """Look at the detector pixels of some events, ordered by their `row` on the detector, in the other frames.

    Returns (seen, visible, sum of the excess where seen, mean of the least excess that counts [sigma]).
    """
    rows = detector.rows
    n, ny, nx = rows.image_set.shape
    known = np.isfinite(shifts[:, 0])
    seen, visible = np.zeros((2, len(row)), np.int32)
    total, limits = np.zeros((2, len(row)), np.float32)
    # the kernel multiplies by the scale
    model = (1 / rows.exact[0], *rows.exact[1:])
    frames = rows.image_set.frames
    as_they_are = not rows.image_set.on_demand and rows.image_set.mask is None
    as_they_are = as_they_are and frames.dtype.isnative and frames.flags.c_contiguous
    as_they_are &= frames.dtype.char in "bBhHiIlLqQfd"
    nothing = np.empty((0, nx), frames.dtype if as_they_are else rows.dtype)
    # frames from all over the set come first
    visits = []
    for j in np.argsort(np.arange(n) * 0.618034 % 1):
        if known[j]:
            steps = np.zeros((n, 3))
            steps[known, :2] = shifts[j] - shifts[known]
            if reach == 0:
                steps = np.rint(steps)
            # frames that are shifted alike see a pixel at the same place as what is on the sky
            steps[:, 2] = known & (np.abs(steps[:, :2]).max(axis=1) >= _APART + reach)
            visits.append((j, steps))

    def look(k0, k1):
        arguments = [values[k0:k1] for values in (frame, y, x, excess, seen, visible, total, limits)]
        for j, steps in visits:
            # a rim for what is around a pixel
            a = max(int(np.floor(row[k0] + shifts[j, 0])) - 4, 0)
            b = min(int(np.ceil(row[k1 - 1] + shifts[j, 0])) + 5, ny)
            if a >= b:
                continue
            pair = (j, 1 - j) if n == 2 else (j,)
            if as_they_are:
                read = [frames[i, a:b] for i in pair]
            else:
                read = [rows.image_set.read(slice(a, b), frames=slice(i, i + 1))[0] for i in pair]
            part, other = read if n == 2 else (*read, nothing)
            kernels_pattern.look(part, other, a, j, model, detector.surroundings, steps, reach, _LOOKED_AT, *arguments)

    if len(row):
        # small ones where the frames have to be copied
        in_threads(look, pieces(len(row), min(1 + len(row) // 1000, 4) if as_they_are else 16))
    return seen, visible, total, limits / np.maximum(visible, 1)


def _likeness(seen, visible, limit, share, reach):
    """Probability of a pixel that repeats, where a `share` of all pixels stands out."""
    # how often another event of that frame, or noise, stands out alike by chance
    limit = np.maximum(limit, 1)
    noise = np.exp(-0.5 * limit**2) / (2.5 * limit)
    chance = np.clip((1 + reach) ** 2 * (0.5 * share + noise), 1e-6, 0.5)
    odds = np.log(_ODDS) + seen * np.log(_SEEN / chance) + (visible - seen) * np.log((1 - _SEEN) / (1 - chance))
    return np.where(visible > 0, 1 / (1 + np.exp(-np.clip(odds, -50, 50))), 0)
