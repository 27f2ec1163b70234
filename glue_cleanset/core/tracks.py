"""Moving objects: points of light that keep to a straight line and a steady rate through the set."""

from dataclasses import dataclass
from math import lgamma

import numpy as np
from astropy import units as u
from astropy.table import Table

from . import kernels_tracks as kernels
from .detect import Detector

__all__ = ["MovingObjects", "find_tracks"]

_LEAST = 6.5  # sigma of a point of light in one frame, all of its pixels together
_WORST = 3.0  # reduced chi^2 of its form
_WRONG = 0.1  # share by which the light of an object may differ from the form of the stars: seeing, its motion
_RATES = 0.3, 60.0  # [pixels per step]
_RESTLESS = 1.8  # factor of the variance around what moves slowly
_LIVELY = 0.25  # its scatter, as a share of its light in the median
_GAP = 3  # frames
_MOST_POINTS = 400  # of one frame, the brightest; more are no objects
_LINES = 50_000
_CHANCE = 0.003  # lines of points that chance may give, of a set
_STEPS = 10
_WIDE = 1.7  # FWHM; how far from its centre an object is fitted
_RIM = 6  # pixels around the object where its light spoils what is learned of the neighbourhood


@dataclass(frozen=True, eq=False)
class MovingObjects:
    """What moves through a set.

    Attributes
    ----------
    table : astropy.table.Table
        One row per object: ``track`` (1 ...), ``frames`` (in how many it is seen), ``events``, ``first``, ``last``
        (frame numbers from 1), ``y``, ``x`` (in the first frame of the set) [pix], ``rate``, ``y_rate``, ``x_rate``
        [pix per frame: per median step between consecutive times], ``position_angle`` [deg] (0 = +y, 90 = -x), ``flux``
        [ADU], ``peak_significance`` [sigma].
    positions : ndarray, (T, N, 2)
        y, x of each object in each frame, also where it is outside.
    index : ndarray, (K,), int64
        Flat index into (N, ny, nx) of the pixels of the objects: where their light exceeds the plain noise; ascending.
    track : ndarray, (K,), int32
        Whose pixel it is.
    flags : ndarray, (N, ny, nx), bool
        What is rejected, now that the objects are known; the very array of the outliers where there are none.
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
    strength: float


def find_tracks(detector, outliers, events, numbers, psf, times=None):
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

    Returns
    -------
    MovingObjects
    """
    n, ny, nx = outliers.rejected.shape
    t = _steps(times, n)
    objects = []
    if psf is not None and n > 2:
        points = _find_points(detector, outliers, events, numbers, psf)
        objects = _find_objects(detector, points, psf, t)
    return _describe(detector, outliers, numbers, psf, t, objects)


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
    median, inflation, structure = detector.surroundings
    n, ny, nx = outliers.rejected.shape
    half = 2 if psf.fwhm < 2.2 else 3 if psf.fwhm < 4.5 else 4
    limits = _LEAST, _WORST, _WRONG
    # half a pixel away from the centre of a pixel its neighbours differ most
    sides = 0.6 * np.array([psf.light(1.5, 0) / psf.light(0.5, 0), psf.light(0, 1.5) / psf.light(0, 0.5)])
    bright = (outliers.residual > 0) & (np.asarray(events["pixels"]) > 1)[numbers - 1]
    found = []

    def look(y0, y1):
        stack, row0, row1, top, first, last = rows.read(y0, y1, rim=half)
        inside = int(np.count_nonzero(bright[:1]))  # (typed)
        size = np.count_nonzero((outliers.index // nx % ny >= y0) & (outliers.index // nx % ny < y1)) + inside
        points = np.empty((6, size))
        count = kernels.find_points(
            stack, row0, row1, top, rows.exact, median[first:last], outliers.index, bright, ny, psf.form, half, sides,
            limits, points,
        )  # fmt: skip
        found.append(points[:, :count])
        places = kernels.restless_places(inflation, median, y0, y1, model.sky, rows.exact, _RESTLESS, _LIVELY, 2)
        for y, x in places.T:
            points = np.empty((6, n))
            z, variance, corner = _box(detector, y, x, 4 + 2 * half)
            count = kernels.find_hidden_points(z, variance, corner, psf.form, half, n // 6, limits, points)
            found.append(points[:, :count])

    rows.work(look)
    points = np.concatenate(found, axis=1) if found else np.empty((6, 0))
    return _without_twins(points, psf)


def _box(detector, y, x, reach):
    """z of a small box around a pixel, (N, h, w), the variance of a pixel of each frame, and the corner."""
    ny, nx = detector.rows.image_set.shape[1:]
    y0, y1 = max(y - reach, 0), min(y + reach + 1, ny)
    x0, x1 = max(x - reach, 0), min(x + reach + 1, nx)
    scale, origin, gy, gx, a, b, _, least = (values[:, None, None] for values in detector.rows.exact)
    z = detector.rows.image_set.read(slice(y0, y1), slice(x0, x1)).astype(float)
    z = (z - (origin + gy * np.arange(y0, y1)[:, None] + gx * np.arange(x0, x1))) / scale
    level = float(detector.surroundings[0][y, x])
    return z, np.maximum(a + b * level, least)[:, 0, 0], (y0, x0)


def _without_twins(points, psf):
    """Each point once: the same one may have been found from several places."""
    order = np.lexsort((-points[3], points[0]))
    points = points[:, order]
    keep = np.ones(points.shape[1], bool)
    first = np.searchsorted(points[0], np.arange(points[0].max(initial=-1) + 2))
    for a, b in zip(first[:-1], first[1:], strict=True):
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
    frame, (y, x, flux) = frame[order], points[1:4, order]
    first = np.searchsorted(frame, np.arange(n + 1))
    members = np.empty((_LINES, n), np.int32)
    chance = np.empty(_LINES)
    count, pairs = kernels.link(first, y, x, flux, t[when], float(ny * nx), _GAP, _RATES, 0.35, members, chance)
    members, chance = members[:count], chance[:count]
    held = np.count_nonzero(members >= 0, axis=1)
    # how many such lines the pairs that there are would give by chance
    others = np.array([lgamma(n - 1) - lgamma(k - 1) - lgamma(n - k + 1) for k in range(2, n + 1)])
    chance = chance + np.log(max(pairs, 1)) + others[held - 2]
    used = np.zeros(y.size, bool)
    objects = []
    tried = set()
    for k in np.lexsort((chance, -held)):
        if chance[k] > np.log(_CHANCE):
            continue
        mine = members[k][members[k] >= 0]
        if used[mine].sum() > len(mine) - 3 or tuple(mine) in tried:
            continue
        tried.add(tuple(mine))
        here = when[frame[mine]]
        line = np.polyfit(t[here], np.column_stack([y[mine], x[mine]]), 1)
        start = np.array([*line[1], *line[0], np.median(flux[mine])])
        one = _confirm(detector, psf, t, start)
        if one is None or any(_same(one, other, psf) for other in objects):
            if one is not None:
                used[mine] = True
            continue
        used[mine] = True
        objects.append(one)
    return objects


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
    scale, origin, gy, gx, a, b, c, least = (values[:, None] for values in detector.rows.exact)
    image_set = detector.rows.image_set
    where = slice(None), y, x
    z = np.where(image_set.usable(where), image_set.frames[where], np.nan)
    z = (z - (origin + gy * y + gx * x)) / scale
    median, _, structure = (image[y, x].astype(float) for image in detector.surroundings)
    return z, np.maximum(a + b * median, least) + c * structure, median


def _confirm(detector, psf, t, start):
    """The object on a line, or None."""
    n, *shape = detector.rows.image_set.shape
    reach = int(np.ceil(_WIDE * psf.fwhm))
    photons = detector.rows.exact[5]
    motion, error = start.copy(), np.empty(5)
    for _ in range(2):
        places = motion[:2] + t[:, None] * motion[2:4]
        y, x = _along(places, reach + 1, shape)
        if y.size == 0:
            return None
        z, variance, middle = _samples(detector, y, x)
        still = np.empty(y.size)
        chi, samples = kernels.fit_motion(
            z, variance, photons, y, x, middle, t, psf.form, reach, _WRONG, _STEPS, motion, error, still
        )
        if not np.isfinite(chi) or samples < 10:
            return None
    places = motion[:2] + t[:, None] * motion[2:4]
    rate = np.hypot(*motion[2:4])
    if not (_RATES[0] <= rate <= 1.2 * _RATES[1] and motion[4] > 0):
        return None
    fluxes = np.empty((n, 3))
    kernels.fit_fluxes(z, variance, photons, y, x, middle, places, motion[4], psf.form, reach, _WRONG, fluxes)
    flux, noise, covered = fluxes.T
    # where most of its light falls on good pixels, and would be seen
    visible = (covered > 0.5 * np.sum(psf.stamp**2)) & (motion[4] > 5 * noise)
    seen = visible & (flux > 0.4 * motion[4]) & (flux > 4 * noise)
    lost = visible & (flux < 0.4 * motion[4])
    if seen.sum() < max(3, 0.5 * visible.sum()) or lost.sum() > 0.25 * visible.sum():
        return None
    if np.ptp(t[seen]) * rate < 1.5:
        return None

    # the light is no sharper than that of the stars, and it does move
    def misfit(form, motion):
        motion, error = motion.copy(), np.empty(5)
        return kernels.fit_motion(
            z, variance, photons, y, x, middle, t, form, reach, _WRONG, 3, motion, error, still.copy()
        )[0]

    sharper = tuple(np.array(psf.form) * [5, 5, 5, 1])
    if misfit(sharper, motion) < chi:
        return None
    strength = float(
        np.max(
            (flux / np.sqrt(np.maximum(detector.rows.exact[4] + photons * detector.model.sky, detector.rows.exact[7])))[
                seen
            ]
        )
    )
    return _Object(motion, places, fluxes, seen, strength)


def _describe(detector, outliers, numbers, psf, t, objects):
    n, ny, nx = outliers.rejected.shape
    positions = np.array([one.places for one in objects]).reshape(-1, n, 2)
    index, track = _footprints(detector, psf, objects, (n, ny, nx))
    flags, light = outliers.rejected, (np.empty(0, np.int64), np.empty(0))
    if objects:
        flags, light = _judge_again(detector, outliers, psf, objects, index)
    order = np.argsort(t, kind="stable")
    number = np.zeros(outliers.index.size, np.int32)
    if index.size and outliers.index.size:
        at = np.minimum(np.searchsorted(index, outliers.index), index.size - 1)
        number = np.where(index[at] == outliers.index, track[at], 0)
    pairs = np.unique(np.stack([number, numbers]), axis=1)[0]
    # per frame: per median step between consecutive times; `t` is in these units
    motion = np.array([one.motion for one in objects]).reshape(-1, 5)
    total = psf.light(*np.mgrid[-12:13, -12:13]).sum() if objects else 0.0
    seen = [np.flatnonzero(one.seen) for one in objects]
    table = Table(
        {
            "track": np.arange(1, len(objects) + 1, dtype=np.int32),
            "frames": np.array([len(frames) for frames in seen], np.int32),
            "events": np.array([np.count_nonzero(pairs == k + 1) for k in range(len(objects))], np.int32),
            "first": np.array([frames[np.argmin(t[frames])] + 1 for frames in seen], np.int32),
            "last": np.array([frames[np.argmax(t[frames])] + 1 for frames in seen], np.int32),
            "y": positions[:, order[0] if False else 0, 0] * u.pix,
            "x": positions[:, 0, 1] * u.pix,
            "rate": np.hypot(motion[:, 2], motion[:, 3]) * u.pix,
            "y_rate": motion[:, 2] * u.pix,
            "x_rate": motion[:, 3] * u.pix,
            "position_angle": np.rad2deg(np.arctan2(-motion[:, 3], motion[:, 2])) % 360 * u.deg,
            "flux": motion[:, 4] * total * u.adu,
            "peak_significance": np.array([one.strength for one in objects], float),
        }
    )
    return MovingObjects(table, positions, index, track, flags, light)


def _footprints(detector, psf, objects, shape):
    """Flat indices of the pixels where the light of the objects exceeds the plain noise, and whose they are."""
    n, ny, nx = shape
    scale, _, _, _, a, b, _, least = detector.rows.exact
    median = detector.surroundings[0]
    found, whose, brightest = [], [], []
    for k, one in enumerate(objects):
        for i in range(n):
            peak = _peak(one, i)
            where = _square(one.places[i], _extent(psf, peak, np.sqrt(least[i])), (ny, nx))
            if where is None:
                continue
            y, x = np.mgrid[where]
            light = peak * psf.light(y - one.places[i, 0], x - one.places[i, 1])
            level = np.nan_to_num(median[where], nan=detector.model.sky)
            inside = light > np.sqrt(np.maximum(a[i] + b[i] * level, least[i]))
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


def _peak(one, i):
    """Of the light in a frame: as measured there where it was, as in the others where not."""
    return one.fluxes[i, 0] if one.seen[i] else one.motion[4]


def _extent(psf, peak, noise):
    """How far from the centre the light exceeds the noise [pixels]."""
    a, b, c, s = psf.form
    far = max((peak / noise) ** s - 1, 0.0) / (2**s - 1)
    slowest = (a + c) / 2 - np.hypot((a - c) / 2, b)
    return int(min(np.ceil(np.sqrt(far / slowest)), 40))


def _square(place, reach, shape):
    y, x = np.rint(place).astype(int)
    y0, y1, x0, x1 = max(y - reach, 0), min(y + reach + 1, shape[0]), max(x - reach, 0), min(x + reach + 1, shape[1])
    return (slice(y0, y1), slice(x0, x1)) if y0 < y1 and x0 < x1 else None


def _judge_again(detector, outliers, psf, objects, index):
    """The flags, judged anew around the objects with their pixels left out; the hits on them, and the light below."""
    n, ny, nx = shape = outliers.rejected.shape
    flags = outliers.rejected.copy()
    flags.reshape(-1)[index] = False
    for part, columns in _parts(index, shape):
        box = detector.rows.image_set.part(*part)
        own = np.zeros(box.shape, bool)
        frame, y, x = np.unravel_index(index, shape)
        inside = (y >= part[0].start) & (y < part[0].stop) & (x >= part[1].start) & (x < part[1].stop)
        own[frame[inside], y[inside] - part[0].start, x[inside] - part[1].start] = True
        again = Detector(box.without(own), detector.model, detector.settings, (part[0].start, part[1].start)).find()
        here = flags[:, part[0], part[1]]
        here[:, columns] = again.rejected[:, columns]
    return flags, (np.empty(0, np.int64), np.empty(0))


def _parts(index, shape):
    """Boxes (rows, columns) around the objects, and which of their pixels are judged anew."""
    from scipy import ndimage

    _, ny, nx = shape
    image = np.zeros((ny, nx), bool)
    image.reshape(-1)[np.unique(index % (ny * nx))] = True
    image = ndimage.binary_dilation(image, np.ones((3, 3), bool), iterations=_RIM)
    labels, _ = ndimage.label(image)
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        big = tuple(
            slice(max(s.start - 12, 0), min(s.stop + 12, length))
            for s, length in zip((rows, columns), (ny, nx), strict=True)
        )
        yield big, labels[big] == k
