"""Moving objects: points of light that keep to a straight line and a steady rate through the set."""

import itertools
from dataclasses import dataclass
from math import lgamma

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy import ndimage

from . import kernels_tracks as kernels
from .detect import CAP, JOINT, Detector
from .ondemand import union
from .psf import Psf
from .threads import at_once, in_threads

__all__ = ["MovingObjects", "find_tracks", "track_table"]

# points of light in one frame: sigma of all pixels together, reduced chi^2 of the form; and where its own light in the
# other frames hides it
_LEAST, _WORST = 6.5, 3.0
_LEAST_HIDDEN, _WORST_HIDDEN = 5.0, 6.0
_MOST_POINTS = 400  # of one frame, the brightest; where there are more they are no objects
_STREAK = -1.0  # stands in the place of chi^2
_RESTLESS = 1.8, 2.0  # factor of the variance around what moves slowly; more is needed where few frames tell it
_LIVELY = 0.25  # its scatter, as a share of its light in the median

# lines through points
_RATES = 0.45, 60.0  # [pixels per step]
_SPREAD = 0.35  # error of a place [pixels]
_GAP = 3  # frames from the first to the second point of a line, at most
_MOST_RESTLESS = 600  # places of a set
_BOXES = 20_000  # of single frames that are looked at together
_LINES = 50_000  # at most
_CHANCE = 0.003  # lines that chance may give, of a set
_CHANCE_FIRST = 100.0  # the same of those that are looked at in the other frames before they count
_TRIES = 2  # lines through much the same points

# the joint fit
_WRONG = 0.1  # share by which the light of an object may differ from the form of the stars: seeing, its motion
_WIDE = 1.7  # FWHM; how far from its centre an object is fitted
_STEPS = 10
_WELL = 1.15  # reduced chi^2 of an object that needs no trail
_FAINTEST = 2.5  # sigma of the peak; a long trail gathers much that is no light
_LOST = 0.2  # share of the frames that may miss it where it should be seen
_REST = 20.0  # chi^2 by which what moves must fit better than what stands still and varies

# what is judged again
_OFF = 0.15  # pixels by which its place may be wrong in a frame
_FAR = 40  # pixels; no light of an object reaches farther
_HIGH = 4.5  # sigma, where the settings hold none
_RIM, _ROOM = 6, 12  # pixels around it where its light spoils what is learned; more, that tell what is normal


@dataclass(frozen=True, eq=False)
class MovingObjects:
    """What moves through a set.

    Attributes
    ----------
    table : astropy.table.Table
        One row per object: ``track`` (1 ...), ``frames`` (in how many it is seen), ``events`` (0 until they are
        joined and counted), ``first``, ``last`` (frame numbers from 1), ``y``, ``x`` (in the first frame of the set)
        [pix], ``rate``, ``y_rate``, ``x_rate`` [pix per frame: per median step between consecutive times],
        ``position_angle`` [deg] (0 = +y, 90 = -x), ``flux`` [ADU], ``peak_significance`` [sigma].
    positions : ndarray, (T, N, 2)
        y, x of each object in each frame, also where it is outside.
    index : ndarray, (K,), int64
        Flat index into (N, ny, nx) of the pixels of the objects: where their light exceeds the plain noise; ascending.
    track : ndarray, (K,), int32
        Whose pixel it is.
    flags : ndarray, (K,), int64
        Flat index of what is flagged, now that the objects are known; ascending.
    light : (ndarray, ndarray), (L,)
        Flat index of each hit on an object, ascending, and the object's own light there [ADU of the frame].
    """

    table: Table
    positions: np.ndarray
    index: np.ndarray
    track: np.ndarray
    flags: np.ndarray
    light: tuple[np.ndarray, np.ndarray]


@dataclass(eq=False)
class _Object:
    """A line that passed every test; the motion on the mean scale."""

    motion: np.ndarray  # y, x at t = 0, rates, peak
    places: np.ndarray  # (N, 2)
    fluxes: np.ndarray  # (N, 3), see kernels.fit_fluxes
    seen: np.ndarray  # (N,) bool
    trail: tuple[float, float, float]  # see kernels._trailed
    strength: float
    psf: Psf

    def light(self, i, y, x):
        """Its light at some pixels of a frame, on the mean scale."""
        peak = self.fluxes[i, 0] if self.seen[i] else self.motion[4]
        return peak * _drawn_out(self.psf, self.trail, y - self.places[i, 0], x - self.places[i, 1])

    def extent(self, i, noise):
        """How far from its centre the light exceeds the noise [pixels]."""
        peak = self.fluxes[i, 0] if self.seen[i] else self.motion[4]
        a, b, c, s = self.psf.form
        far = max((peak / noise) ** s - 1, 0.0) / (2**s - 1)
        slowest = (a + c) / 2 - np.hypot((a - c) / 2, b)
        return int(min(np.ceil(np.sqrt(far / slowest) + np.hypot(*self.trail[:2]) / 2), _FAR))


def find_tracks(detector, outliers, events, numbers, psf, times=None, shifts=None):
    """Find what moves through a set at a steady rate.

    Points of light in single frames, no sharper than the stars, are linked along straight lines; a line stays where
    chance would not give it, and where a joint fit of all frames (one place, rate and brightness, before a background
    that stands still) finds the object in at least three of them and in half of those that should show it.

    Parameters
    ----------
    detector : Detector
    outliers : Outliers
    events : astropy.table.Table
        Of the outliers.
    numbers : ndarray, (K,), int
        The event of each outlier.
    psf : Psf or None
        None = no stars: nothing is known of the form of an object, and none is looked for.
    times : array-like, (N,), optional
        Of the frames, any unit, any order. None = evenly spaced.
    shifts : ndarray, (N, 2), optional
        By which the registration has moved what sits on the detector: what goes along with it is no object. NaN = not
        known.

    Returns
    -------
    MovingObjects
    """
    n = outliers.shape[0]
    t = _steps(times, n)
    objects = []
    if psf is not None and n > 2:
        points = _find_points(detector, outliers, events, numbers, psf)
        objects = [one for one in _find_objects(detector, points, psf, t) if not _on_detector(one, shifts)]
    return _describe(detector, outliers, psf, t, objects)


def _steps(times, n):
    """Times in units of the median step, 0 in the middle."""
    t = np.arange(n, dtype=float) if times is None else np.asarray(times, float)
    steps = np.diff(np.sort(t))
    steps = steps[steps > 0]
    if not np.isfinite(t).all() or not steps.size:
        t = np.arange(n, dtype=float)
        steps = np.ones(1)
    t = t / np.median(steps)
    return t - (t.min() + t.max()) / 2


def _find_points(detector, outliers, events, numbers, psf):
    """Points of light in single frames: (6, K), see `kernels_tracks.find_points`."""
    rows, model = detector.rows, detector.model
    median, inflation, _ = detector.surroundings
    n, ny, nx = outliers.shape
    half = 2 if psf.fwhm < 2.2 else 3 if psf.fwhm < 4.5 else 4
    limits = _LEAST, _WORST, _WRONG
    hidden = _LEAST_HIDDEN, _WORST_HIDDEN, _WRONG
    restless = _RESTLESS[0] + _RESTLESS[1] / (n - 2) ** 2
    # half a pixel away from the centre of a pixel its neighbours differ most
    eight = np.mgrid[-1:2, -1:2] + 0.5 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[:, :, None, None]
    eight = psf.light(eight[:, 0], eight[:, 1])
    eight = (eight.sum(axis=(1, 2)) / eight[:, 1, 1]).min() - 1
    sides = 0.6 * psf.light(1.5, 0) / psf.light(0.5, 0), 0.6 * psf.light(0, 1.5) / psf.light(0, 0.5), 0.75 * eight
    found = []

    def look(y0, y1):
        stack, row0, row1, top = rows.read(y0, y1, rim=half)
        first, last = rows.span(y0, y1, rim=half)
        begin = np.arange(n) * ny * nx
        size = np.diff(np.searchsorted(outliers.index, [begin + y0 * nx, begin + y1 * nx]), axis=0).sum()
        points = np.empty((6, size))
        parts = median[first:last], outliers.index, outliers.residual, ny, psf.form, half, sides, limits
        count = kernels.find_points(stack, row0, row1, top, rows.exact, *parts, points)
        found.append(points[:, :count].copy())

    def look_below(z, variance, corner):
        points = np.empty((6, 3 * n))
        count = kernels.find_hidden_points(z, variance, corner, psf.form, half, n // 6, hidden, points)
        found.append(points[:, :count])

    def look_at_restless():
        places = kernels.restless_places(inflation, median, 0, ny, model.sky, rows.exact, restless, _LIVELY, 2)
        worst = np.argsort(-inflation[tuple(places)], kind="stable")
        places = places.T[worst[:_MOST_RESTLESS]].tolist()
        step = max(1, _BOXES // n)
        for first in range(0, len(places), step):
            in_threads(look_below, _boxes(detector, places[first : first + step], 4 + 2 * half))

    def look_for_streaks():
        # what moved while the shutter was open: its peak as if it had stood still
        streaks = np.zeros((6, 50 * n))
        width, lengths = (psf.fwhm / 2.355) ** 2, (0.8 * psf.fwhm, _FAR)
        parts = outliers.index, outliers.residual, numbers, len(events), ny, nx, width, lengths
        streaks = streaks[:, : kernels.find_streaks(*parts, streaks)]
        streaks[5] = _STREAK
        streaks[3] /= psf.total * rows.exact[0][streaks[0].astype(int)]
        found.append(streaks)

    together = not rows.image_set.on_demand
    at_once(lambda: rows.each(look), look_at_restless, look_for_streaks, together=together)
    return _without_twins(np.concatenate(found, axis=1), psf)


def _boxes(detector, places, reach):
    """Of small boxes around some pixels (y, x): z, (N, h, w), the variance of a pixel of each frame, and the corner."""
    shape = detector.rows.image_set.shape[1:]
    scale, origin, gy, gx, a, b, _, least = (values[:, None, None] for values in detector.rows.exact)
    where = [
        tuple(slice(max(at - reach, 0), min(at + reach + 1, length)) for at, length in zip(place, shape, strict=True))
        for place in places
    ]
    found = []
    for (y, x), (rows, columns), z in zip(places, where, detector.rows.image_set.boxes(where), strict=True):
        sky = origin + gy * np.arange(rows.start, rows.stop)[:, None] + gx * np.arange(columns.start, columns.stop)
        level = float(detector.surroundings[0][y, x])
        variance = np.maximum(a + b * level, least)[:, 0, 0]
        found.append(((z.astype(float) - sky) / scale, variance, (rows.start, columns.start)))
    return found


def _without_twins(points, psf):
    """Each point once: the same one may have been found from several places."""
    order = np.lexsort((-points[3], points[0]))
    points = points[:, order]
    keep = np.ones(points.shape[1], bool)
    first = np.searchsorted(points[0], np.arange(points[0].max(initial=-1) + 2))
    for a, b in itertools.pairwise(first):
        y, x = points[1:3, a:b]
        close = np.hypot(y[:, None] - y, x[:, None] - x) < 0.6 * psf.fwhm
        keep[a:b] = ~np.tril(close, -1).any(axis=1)
        keep[a:b] &= np.arange(b - a) < _MOST_POINTS
    return points[:, keep]


def _find_objects(detector, points, psf, t):
    """Lines through the points that pass every test."""
    n, ny, nx = detector.rows.image_set.shape
    when = np.argsort(t, kind="stable")
    place = np.empty(n, int)
    place[when] = np.arange(n)
    frame = place[points[0].astype(int)]
    order = np.lexsort((points[1], frame))
    frame, (y, x, flux), streak = frame[order], points[1:4, order], points[5, order] == _STREAK
    first = np.searchsorted(frame, np.arange(n + 1))
    members = np.empty((_LINES, n), np.int32)
    chance = np.empty(_LINES)
    count, pairs = kernels.link(first, y, x, flux, t[when], float(ny * nx), _GAP, _RATES, _SPREAD, members, chance)
    members, chance = members[:count], chance[:count]
    held = np.count_nonzero(members >= 0, axis=1)
    # how many such lines the pairs that there are would give by chance
    others = np.array([lgamma(n - 1) - lgamma(k - 1) - lgamma(n - k + 1) for k in range(2, n + 1)])
    chance = chance + np.log(max(pairs, 1)) + others[held - 2]
    lone = np.log(np.clip(12 * y.size / (n * ny * nx), 1e-9, 1))  # the place is known to 2 pixels
    used = np.zeros(y.size, bool)
    objects = []
    failed = np.empty((0, n), np.int32)
    for k in np.lexsort((chance, -held)):
        if chance[k] > np.log(_CHANCE if held[k] < n / 2 else _CHANCE_FIRST):
            continue
        mine = members[k][members[k] >= 0]
        # most of its points belong to an object, or to lines that came to nothing
        again = np.count_nonzero((failed == members[k]) & (failed >= 0), axis=1) >= max(3, 0.6 * mine.size)
        if used[mine].sum() > mine.size - 3 or again.sum() >= _TRIES:
            continue
        here = when[frame[mine]]
        line = np.polyfit(t[here], np.column_stack([y[mine], x[mine]]), 1)
        start = np.array([*line[1], *line[0], np.median(flux[mine])])
        # stars that vary are found time and again where they are
        if np.hypot(*line[0]) < 0.7 * _RATES[0]:
            continue
        one = _confirm(detector, psf, t, start, streak[mine].sum() > 2)
        # frames that show it though nothing was found there before count as well
        extra = 0 if one is None else max(one.seen.sum() - held[k], 0)
        if one is None or chance[k] + extra * lone > np.log(_CHANCE):
            failed = np.vstack([failed, members[k]])
            continue
        used[mine] = True
        if not any(_same(one, other, psf) for other in objects):
            objects.append(one)
    return objects


def _on_detector(one, shifts):
    """Whether an object moves as the detector does under the registered frames."""
    known = np.zeros(len(one.places), bool) if shifts is None else np.isfinite(shifts).all(axis=1)
    if known.sum() < 3:
        return False
    moved = shifts[known] - shifts[known].mean(axis=0)
    way = one.places[known] - one.places[known].mean(axis=0)
    return np.hypot(*moved.T).max() > 1 and np.hypot(*(way - moved).T).max() < max(1, 0.15 * np.hypot(*moved.T).max())


def _same(one, other, psf):
    apart = np.hypot(*(one.places - other.places).T)
    return np.count_nonzero((apart < psf.fwhm) & (one.seen | other.seen)) >= min(3, one.seen.sum())


def _along(places, reach, shape):
    """The pixels within reach of any of the places, in one frame or another: y, x."""
    ny, nx = shape
    axis = np.arange(-reach, reach + 1)
    middle = np.rint(places).astype(int)
    y = (middle[:, 0, None, None] + axis[:, None] + 0 * axis).ravel()
    x = (middle[:, 1, None, None] + axis + 0 * axis[:, None]).ravel()
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return np.divmod(np.unique(y[inside] * nx + x[inside]), nx)


def _samples(detector, y, x):
    """z of some pixels, (N, K), NaN = not to be used; the variance without what the surroundings tell; the median."""
    a, b, c, least = (values[:, None] for values in detector.rows.exact[4:])
    median, _, structure = (image[y, x].astype(float) for image in detector.surroundings)
    return detector.rows.samples(y, x), np.maximum(a + b * median, least) + c * structure, median


def _confirm(detector, psf, t, start, trailed):
    """The object on a line, or None; `trailed`: its light was drawn out in single frames."""
    one, misfit = _fit_line(detector, psf, t, start, 0.0)
    if (one is None and not trailed) or misfit < _WELL:
        return one
    # for how much of a step the shutter was open
    best = 0.0
    for spread, centre in ((0.25, 0.625), (0.1, None)):
        for k in (-1.5, -0.5, 0.5, 1.5):
            share = (best if centre is None else centre) + k * spread
            other, worse = _fit_line(detector, psf, t, start, share) if share > 0.05 else (None, np.inf)
            if worse < misfit - 0.01:
                one, misfit, best = other, worse, share
        if best == 0:
            break
    return one


def _fit_line(detector, psf, t, start, share):
    """The object on a line, or None where it fails a test, and its reduced chi^2; `share` of a step for which the
    shutter was open."""
    n, *shape = detector.rows.image_set.shape
    _, _, _, _, floor, photons, _, least = detector.rows.exact
    nothing = None, np.inf
    length = share * np.hypot(*start[2:4])
    # a trail shorter than half the width of a star is none
    if length > _FAR or 0 < length < 0.5 * psf.fwhm:
        return nothing
    trail = (*(share * start[2:4]), np.ceil(2 * length / psf.fwhm) + 1 if share else 1.0)
    reach = int(np.ceil(_WIDE * psf.fwhm + length / 2))
    motion, error = start.copy(), np.empty(5)
    for _ in range(2):
        y, x = _along(motion[:2] + t[:, None] * motion[2:4], reach + 1, shape)
        if y.size == 0:
            return nothing
        z, variance, middle = _samples(detector, y, x)
        parts = z, variance, photons, y, x, middle
        still = np.empty(y.size)
        chi, samples = kernels.fit_motion(*parts, t, psf.form, trail, reach, _WRONG, _STEPS, motion, error, still)
        if not np.isfinite(chi) or samples < 10:
            return nothing
    misfit = chi / samples
    places = motion[:2] + t[:, None] * motion[2:4]
    rate = np.hypot(*motion[2:4])
    if not (_RATES[0] <= rate <= 1.2 * _RATES[1] and motion[4] > 0):
        return None, misfit
    fluxes = np.empty((n, 3))
    kernels.fit_fluxes(*parts, places, motion[4], psf.form, trail, reach, _WRONG, fluxes)
    flux, noise, covered = fluxes.T
    grid = np.arange(-reach, reach + 1)
    whole = _drawn_out(psf, trail, grid[:, None], grid)
    # where most of its light falls on good pixels, and would be seen
    sky_noise = np.sqrt(np.maximum(floor + photons * detector.model.sky, least))
    visible = (covered > 0.5 * np.sum(whole**2)) & (motion[4] > 5 * noise)
    visible &= motion[4] * whole.max() > _FAINTEST * sky_noise
    seen = visible & (flux > 0.4 * motion[4]) & (flux > 4 * noise)
    lost = visible & (flux < 0.4 * motion[4])
    if seen.sum() < max(3, 0.5 * visible.sum()) or lost.sum() > _LOST * visible.sum():
        return None, misfit
    # of few frames only the clear cases: two stars that vary are soon found in three
    way = np.ptp(t[seen]) * rate
    if way < (0.9 if n > 4 else 2) * psf.fwhm or (n < 5 and not seen[visible].all()):
        return None, misfit
    # what walks with the pattern of the detector is sharper than a star
    sharp = *(5 * value for value in psf.form[:3]), psf.form[3]
    other = kernels.fit_motion(*parts, t, sharp, trail, reach, _WRONG, 3, motion.copy(), error, still.copy())
    if other[0] < chi:
        return None, misfit
    if way < 3 * psf.fwhm and _misfit_at_rest(*parts[:5], motion, psf) < chi + _REST:
        return None, misfit
    strength = float(np.max((flux / sky_noise)[seen])) * whole.max()
    return _Object(motion, places, fluxes, seen, trail, strength, psf), misfit


def _drawn_out(psf, trail, dy, dx):
    """Light of a star of peak 1 that moves while the shutter is open, see `kernels_tracks`."""
    ways = (np.arange(trail[2]) + 0.5) / trail[2] - 0.5
    return np.mean([psf.light(dy - k * trail[0], dx - k * trail[1]) for k in ways], axis=0)


def _misfit_at_rest(z, variance, photons, y, x, motion, psf):
    """chi^2 of a source that stands still and varies, at the best place along the way."""
    best = np.inf
    residual = z - np.nanmedian(z, axis=0)
    good = np.isfinite(residual)
    residual = np.where(good, residual, 0)
    steps = np.arange(-psf.fwhm, psf.fwhm + 0.25, 0.5)
    for cy, cx in itertools.product(y.mean() + steps, x.mean() + steps):
        light = psf.light(y - cy, x - cx)
        own = motion[4] * light
        v = variance + photons[:, None] * own + (_WRONG * own) ** 2
        weight = np.where(good & (residual**2 < 25 * v + own**2), light / v, 0)
        power = np.sum(weight * light, axis=1, keepdims=True)
        left = residual - np.sum(weight * residual, axis=1, keepdims=True) / np.maximum(power, 1e-30) * light
        left -= np.median(left, axis=0)
        best = min(best, np.minimum(left**2 / v, 25)[good].sum())
    return best


def _describe(detector, outliers, psf, t, objects):
    n, ny, nx = outliers.shape
    positions = np.array([one.places for one in objects]).reshape(-1, n, 2)
    index, track = _footprints(detector, objects, (n, ny, nx))
    flags, light = outliers.index, (np.empty(0, np.int64), np.empty(0))
    if objects:
        flags, light = _judge_again(detector, outliers, objects, index)
    return MovingObjects(track_table(objects, positions, t, psf), positions, index, track, flags, light)


def track_table(objects, positions, t, psf):
    """The table of some objects, see `MovingObjects`; `positions`: (T, N, 2), `t`: (N,) in units of the median step."""
    motion = np.array([one.motion for one in objects]).reshape(-1, 5)
    seen = [np.flatnonzero(one.seen) for one in objects]
    return Table(
        {
            "track": np.arange(1, len(objects) + 1, dtype=np.int32),
            "frames": np.array([len(frames) for frames in seen], np.int32),
            "events": np.zeros(len(objects), np.int32),
            "first": np.array([frames[np.argmin(t[frames])] + 1 for frames in seen], np.int32),
            "last": np.array([frames[np.argmax(t[frames])] + 1 for frames in seen], np.int32),
            "y": positions[:, 0, 0] * u.pix,
            "x": positions[:, 0, 1] * u.pix,
            "rate": np.hypot(motion[:, 2], motion[:, 3]) * u.pix,
            "y_rate": motion[:, 2] * u.pix,
            "x_rate": motion[:, 3] * u.pix,
            "position_angle": np.rad2deg(np.arctan2(-motion[:, 3], motion[:, 2])) % 360 * u.deg,
            "flux": motion[:, 4] * (psf.total if psf else 0.0) * u.adu,
            "peak_significance": np.array([one.strength for one in objects], float),
        }
    )


def _footprints(detector, objects, shape):
    """Flat indices of the pixels where the light of the objects exceeds the plain noise, and whose they are."""
    n, ny, nx = shape
    _, _, _, _, a, b, _, least = detector.rows.exact
    median = detector.surroundings[0]
    found, whose, brightest = [], [], []
    for k, one in enumerate(objects):
        for i in range(n):
            where = _square(one.places[i], one.extent(i, np.sqrt(least[i])), (ny, nx))
            if where is None:
                continue
            y, x = np.mgrid[where]
            light = one.light(i, y, x)
            level = np.nan_to_num(median[where], nan=detector.model.sky)
            inside = light > np.sqrt(np.maximum(a[i] + b[i] * level, least[i]))
            inside &= detector.rows.image_set.usable((i, *where))
            found.append((i * ny + y[inside]) * nx + x[inside])
            whose.append(np.full(inside.sum(), k + 1, np.int32))
            brightest.append(light[inside])
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    found, whose, brightest = (np.concatenate(parts) for parts in (found, whose, brightest))
    order = np.lexsort((-brightest, found))
    found, whose = found[order], whose[order]
    once = np.ones(found.size, bool)
    once[1:] = np.diff(found) != 0
    return found[once], whose[once]


def _square(place, reach, shape):
    y, x = np.rint(place).astype(int)
    y0, y1, x0, x1 = max(y - reach, 0), min(y + reach + 1, shape[0]), max(x - reach, 0), min(x + reach + 1, shape[1])
    return (slice(y0, y1), slice(x0, x1)) if y0 < y1 and x0 < x1 else None


def _judge_again(detector, outliers, objects, index):
    """What is flagged, judged anew around the objects with their pixels left out; the hits on them, and the light
    below."""
    shape = outliers.shape
    flags = np.setdiff1d(outliers.index, index, assume_unique=True)
    frame, y, x = np.unravel_index(index, shape)
    noise = np.sqrt(detector.rows.exact[7])
    found = []
    for (rows, columns), around in _parts(index, shape):
        box = detector.rows.image_set.part(rows, columns)
        own = np.zeros(box.shape, bool)
        inside = _in_box(y, x, rows, columns)
        own[frame[inside], y[inside] - rows.start, x[inside] - columns.start] = True
        again = Detector(box.hide(own), detector.model, detector.settings, (rows.start, columns.start))
        rejected = again.find().flags()
        flags = flags[~_inside(flags, rows, columns, around, shape)]
        i, b, a = np.nonzero(rejected & around)
        flags = union(flags, np.ravel_multi_index((i, b + rows.start, a + columns.start), shape))
        light, error = np.zeros((2, *box.shape))
        for one in objects:
            _add_light(light, error, one, noise, (rows.start, columns.start))
        i, b, a = _hits(detector.settings, again, box, own & around, light, error, rejected)
        hits = np.ravel_multi_index((i, b + rows.start, a + columns.start), shape)
        flags = union(flags, hits)
        found.append((hits, detector.rows.exact[0][i] * light[i, b, a]))
    hits, light = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(hits, kind="stable")
    return flags, (hits[order], light[order])


def _in_box(y, x, rows, columns):
    return (y >= rows.start) & (y < rows.stop) & (x >= columns.start) & (x < columns.stop)


def _inside(index, rows, columns, around, shape):
    """Which of some pixels lie where `around` is true, the image of a box."""
    _, y, x = np.unravel_index(index, shape)
    inside = _in_box(y, x, rows, columns)
    inside[inside] = around[y[inside] - rows.start, x[inside] - columns.start]
    return inside


def _add_light(light, error, one, noise, corner):
    """The light of an object in a box (N, h, w) on the mean scale, and by how much it may be wrong."""
    for i in range(len(light)):
        where = _square(one.places[i] - corner, one.extent(i, noise[i] / 4), light.shape[1:])
        if where is None:
            continue
        y, x = np.mgrid[where]
        y, x = y + corner[0], x + corner[1]
        own = one.light(i, y, x)
        slopes = [own - one.light(i, y + oy, x + ox) for oy, ox in ((_OFF, 0), (0, _OFF))]
        light[i][where] += own
        error[i][where] = np.sqrt(error[i][where] ** 2 + (_WRONG * own) ** 2 + slopes[0] ** 2 + slopes[1] ** 2)


def _hits(settings, again, box, own, light, error, rejected):
    """Frame, y, x in a box of the pixels of the objects that deviate from their light by more than it may be wrong."""
    high = settings.high_pair if settings.by_noise else (_HIGH, _HIGH)
    beside = np.ones((3, 3), bool)
    beside[1, 1] = False
    found = np.zeros(own.shape, bool)
    for i, (scale, origin, gy, gx, a, b, c, least) in enumerate(zip(*again.rows.exact, strict=True)):
        if not own[i].any():
            continue
        lines = (np.flatnonzero(own[i].any(axis=axis)) for axis in (1, 0))
        part = tuple(
            slice(max(line[0] - 1, 0), min(line[-1] + 2, length))
            for line, length in zip(lines, own[i].shape, strict=True)
        )
        y, x = np.mgrid[part]
        median, inflation, structure = (image[part].astype(float) for image in again.surroundings)
        z = (box.read(*part, frames=i).astype(float) - (origin + gy * y + gx * x)) / scale
        v = np.maximum(a + b * median, least)
        noise = np.sqrt(np.maximum(v * inflation, v + c * structure) + b * light[i][part] + error[i][part] ** 2)
        strength = np.nan_to_num((z - median - light[i][part]) / noise) * (own | rejected)[i][part]
        for sign, limit in ((1, high[0]), (-1, high[1])):
            # beside a strong one a weaker one counts, as for every other pixel
            strong = sign * strength
            strongest = ndimage.maximum_filter(
                np.minimum(strong, CAP * limit), footprint=beside, mode="constant", cval=0.0
            )
            found[i][part] |= strong > limit
            found[i][part] |= (strong > limit / 2) & (strong + strongest > JOINT * limit)
    return np.nonzero(found & own)


def _parts(index, shape):
    """Boxes (rows, columns) around the objects, and which of their pixels are judged anew."""
    _, ny, nx = shape
    image = np.zeros((ny, nx), bool)
    image.reshape(-1)[index % (ny * nx)] = True
    image = ndimage.binary_dilation(image, np.ones((3, 3), bool), iterations=_RIM)
    labels, _ = ndimage.label(image)
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        big = tuple(
            slice(max(s.start - _ROOM, 0), min(s.stop + _ROOM, length))
            for s, length in zip((rows, columns), (ny, nx), strict=True)
        )
        yield big, labels[big] == k
