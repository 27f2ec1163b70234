"""Trails: lines of light across a good part of one frame, of satellites, aircraft and meteors."""

from dataclasses import dataclass, replace

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy import ndimage, optimize

from . import kernels_trails
from .threads import in_threads

__all__ = ["Trails", "find_trails"]

_SHORTEST = 100.0  # pixels; tracks of cosmic rays are shorter
_SMALLEST = 64  # pixels: in a smaller field a track of a cosmic ray may be as long as a trail
_BLOCKS = 128  # of the longest side at most
_CANDIDATE = 5.4  # sigma of a line over the blocks
_MOST_TRAILS, _MOST_DOUBTS = 16, 5  # of one frame
_SIGNIFICANT, _IN_STRUCTURE = 8.0, 30.0  # sigma of the whole trail, where the sky around it is plain and where not
_STEADY = 5.0  # the same, where no part of the trail has more than 3 sigma of a say
_CELL = 4  # pixels along a trail that are looked at together
_FAINTEST = 0.35  # sigma of a pixel: what is fainter at first sight reaches the noise nowhere
_WIDEST = 30.0  # pixels
_MARGIN = 1.13  # of the noise: a pixel that the trail just reaches is left alone


@dataclass(frozen=True, eq=False)
class Trails:
    """The trails of a set and their pixels.

    Attributes
    ----------
    table : astropy.table.Table
        One row per trail: ``trail`` (1 ...), ``frame`` (1 ...), ``y_first``, ``x_first``, ``y_last``, ``x_last`` (its
        ends, 0-based) [pix], ``angle`` (from the x axis towards the y axis, 0 to 180) [deg], ``width`` (full width at
        half maximum of its cross section) [pix], ``peak`` (of its mean cross section) [ADU], ``significance`` [sigma].
    index : ndarray, (K,), int64
        Flat index into (N, ny, nx) of every pixel in which a trail exceeds the noise, ascending.
    trail : ndarray, (K,), int32
        The trail of each of them.
    """

    table: Table
    index: np.ndarray
    trail: np.ndarray


@dataclass(frozen=True)
class _Line:
    """A straight line: column = at + slope * row where `steep`, else row = at + slope * column; row (column) first ...
    last of it are meant."""

    steep: bool
    at: float
    slope: float
    first: float
    last: float

    def __call__(self, along):
        return self.at + self.slope * along

    @property
    def stretch(self):
        """Pixels along the line for each row (column)."""
        return float(np.hypot(1, self.slope))

    def moved(self, shift, slope, about):
        """`shift` pixels aside at row (column) `about`, and steeper by `slope`."""
        return replace(self, at=self.at + shift - slope * about, slope=self.slope + slope)

    @property
    def length(self):
        """[pixels]"""
        return (self.last - self.first) * self.stretch

    @property
    def angle(self):
        """From the x axis towards the y axis, 0 to 180 [deg]."""
        return float(np.degrees(np.arctan2(*((1, self.slope) if self.steep else (self.slope, 1)))) % 180)

    def across_frame(self, ny, nx, margin):
        """The line from edge to edge, as far as it is no more than `margin` pixels outside the frame."""
        length, across = (ny, nx) if self.steep else (nx, ny)
        if abs(self.slope) * length < 1e-9:
            return replace(self, first=0, last=length)
        ends = sorted(((-margin - self.at) / self.slope, (across - 1 + margin - self.at) / self.slope))
        first = int(np.clip(np.ceil(ends[0]), 0, length - 1))
        return replace(self, first=first, last=int(np.clip(np.floor(ends[1]) + 1, first + 1, length)))

    def ends(self, ny, nx):
        """y, x of the first and y, x of the last point, in the frame."""
        line = self.across_frame(ny, nx, 0)
        points = [np.clip(v, line.first, line.last - 1) for v in (self.first, self.last - 1)]
        points = [(v, self(v)) if self.steep else (self(v), v) for v in points]
        return [float(v) for point in points for v in point]


def find_trails(detector, outliers, psf_fwhm=None):
    """Find the lines of light across single frames, also where most of their pixels do not exceed the noise.

    Clipped significance against the median image is summed over blocks; lines of blocks are summed by the fast
    discrete Radon transform, which gives parts of lines as well (`kernels_trails.sum_lines`). What stands out is looked
    at pixel by pixel: it must be one straight ridge, of this frame alone, along most of a length of a quarter of the
    shorter side and of 100 pixels (75 % of the shorter side in frames below 133 pixels); in frames below 64 pixels none
    is looked for.

    Parameters
    ----------
    detector : Detector
    outliers : Outliers
        What it found.
    psf_fwhm : float, optional
        Of the stars [pixels]; a line that is much sharper is no light that came through the telescope.

    Returns
    -------
    Trails
    """
    n, ny, nx = detector.rows.image_set.shape
    found = [[] for _ in range(n)]
    if min(ny, nx) >= _SMALLEST:
        shortest = max(min(ny, nx) / 4, min(_SHORTEST, 0.75 * min(ny, nx)))
        sharpest = max(1.5, 0.6 * (psf_fwhm or 0))
        search = _Search(detector, shortest)
        doubts = np.zeros(n, int)

        def look(i):
            line = search.strongest(i)
            if line is not None:
                trail = _verify(detector, outliers, i, line, search.size, shortest, sharpest)
                search.forget(i, *((line, search.size) if trail is None else (trail.line, 1.5 * trail.width)))
                doubts[i] += trail is None
                found[i] += [] if trail is None else [trail]
            more[i] = line is not None and len(found[i]) < _MOST_TRAILS

        more = np.ones(n, bool)
        while more.any():
            in_threads(look, [(i,) for i in np.flatnonzero(more)])
            # (where the frames do not fit each other there are lines without end)
            more &= doubts < (_MOST_DOUBTS if doubts.sum() <= 2 * _MOST_DOUBTS else 1)
    return _gather([trail for trails in found for trail in trails], (n, ny, nx))


class _Search:
    """Lines that stand out in the significance of each frame, summed over blocks of `size` pixels."""

    def __init__(self, detector, shortest):
        self._shape = shape = detector.rows.image_set.shape
        n, ny, nx = shape
        size = 4
        while size * _BLOCKS < max(ny, nx):
            size *= 2
        self.size = size
        rows, columns = -(-ny // size), -(-nx // size)
        self._blocks = np.zeros((n, rows, columns), detector.rows.dtype)
        # trails are wider than a row; four rows of a block tell enough, as larger frames have longer trails
        step = max(1, size // 4)

        def add(y0, y1):
            frames, row0, row1, top = detector.rows.read(y0, y1)
            parts = [image[y0:y1] for image in detector.surroundings]
            blocks = self._blocks[:, y0 // size : -(-y1 // size)]
            kernels_trails.block_sums(frames, row0, row1, top, detector.rows.model, *parts, size, step, blocks)

        height = max(1, detector.rows.blocks()[0][1] // size) * size
        in_threads(add, [(y, min(y + height, ny)) for y in range(0, ny, height)])

        def level(i):
            kernels_trails.level_blocks(self._blocks[i], np.empty((rows + 1, columns + 1)))

        in_threads(level, [(i,) for i in range(n)])
        least = max(0, int(np.log2(shortest / size)) - 1)
        self._tables = [self._table(rows, columns, least), self._table(columns, rows, least)]

    def _table(self, rows, columns, first):
        """(first level, 1 / noise of each sum) for lines that cross the rows."""
        last = max(int(np.ceil(np.log2(rows))), first)
        counts = _sums(np.ones((rows, columns), self._blocks.dtype), first, last)[1:]
        norms = np.where(counts >= 0.7 * 2**first, 1 / np.sqrt(np.maximum(counts, 1)), 0)
        return first, norms.astype(self._blocks.dtype)

    def strongest(self, i):
        """The strongest line of frame i, None where none stands out."""
        best, line = _CANDIDATE, None
        for steep in (True, False):
            first, norms = self._tables[not steep]
            for flipped in (False, True):
                image = self._blocks[i] if steep else self._blocks[i].T
                image = image[:, ::-1] if flipped else image
                rows, columns = image.shape
                sums = _sums(image, first, first + len(norms) - 1)
                value, level, row, column = kernels_trails.strongest_line(sums, norms, first, rows)
                if value > best:
                    best = value
                    height = 2**level
                    begin, shift = row // height * height, row % height
                    # from the centre of one block to that of another
                    x0 = column - (sums.shape[2] - columns)
                    slope = shift / max(height - 1, 1)
                    if flipped:
                        x0, slope = columns - 1 - x0, -slope
                    half = (self.size - 1) / 2
                    at = x0 * self.size + half - slope * (begin * self.size + half)
                    length = self._shape[1 if steep else 2]
                    first_row, last_row = begin * self.size, min((begin + height) * self.size, length)
                    line = _Line(steep, at, slope, first_row, last_row)
        return line

    def forget(self, i, line, width):
        """Leave out the blocks that a line of some width touches."""
        size = self.size
        image = self._blocks[i] if line.steep else self._blocks[i].T
        along = np.arange(image.shape[0])[:, None] * size + (size - 1) / 2
        across = np.arange(image.shape[1]) * size + (size - 1) / 2
        near = np.abs(across - line(along)) < size + width * line.stretch
        image[near & (along >= line.first - size) & (along <= line.last + size)] = 0


def _sums(image, first, last):
    rows, columns = image.shape
    full = np.zeros((2**last, columns), image.dtype)
    full[:rows] = image
    buffers = np.zeros((last - first + 2, 2**last, 2**last + columns), image.dtype)
    kernels_trails.sum_lines(full, first, last, rows, buffers)
    return buffers


class _Strip:
    """The pixels of one frame along a line, (L, W): along the line by across.

    Attributes
    ----------
    along : ndarray, (L, 1), int
    y, x : ndarray, (L, W), int
    good : ndarray, (L, W), bool
        Whether a pixel is to be used.
    median, residual, noise, sigma : ndarray, (L, W)
        The median image; the frame against it; its plain noise; what the residual is to be judged with: on the mean
        scale [ADU]. The residual is 0 and sigma infinite where a pixel is not to be used.
    """

    def __init__(self, detector, i, line, radius):
        _, ny, nx = detector.rows.image_set.shape
        self._detector, self._frame, self._dtype = detector, i, detector.rows.dtype
        self.along = np.arange(line.first, line.last, dtype=np.int32)[:, None]
        self._centre = np.rint(line(self.along)).astype(np.int32)
        self._offset = np.arange(-radius, radius + 1, dtype=np.int32)
        across = self._centre + self._offset
        y, x = np.broadcast_arrays(*((self.along, across) if line.steep else (across, self.along)))
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        self.y, self.x = np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)
        median, inflation, structure = (image[self.y, self.x] for image in detector.surroundings)
        z, self.good = self._samples(i)
        self.good &= inside & np.isfinite(median)
        self.median = np.where(self.good, median, 0)
        self.residual = np.where(self.good, z - median, 0)
        a, b, c, least = (values[i] for values in detector.rows.model[4:])
        variance = np.maximum(a + b * self.median, least)
        self.noise = np.sqrt(variance)
        self.sigma = np.where(self.good, np.sqrt(np.maximum(variance * inflation, variance + c * structure)), np.inf)

    def _samples(self, i):
        image_set = self._detector.rows.image_set
        scale, origin, gy, gx = (values[i] for values in self._detector.rows.model[:4])
        where = i, self.y, self.x
        z = image_set.frames[where].astype(self._dtype)
        z -= (origin + gy * self.y + gx * self.x).astype(self._dtype)
        z /= scale
        return z, image_set.usable(where)

    def distance(self, line, rows=slice(None)):
        """From the line [pixels], (L, W)."""
        centre = (self._centre[rows] - line(self.along[rows])) / line.stretch
        return centre.astype(self._dtype) + (self._offset / line.stretch).astype(self._dtype)

    def against_others(self, outliers):
        """Take the mean of the other frames for the median, in which the trail itself has a say."""
        total, count = np.zeros((2, *self.y.shape), self._dtype)
        for j in range(outliers.shape[0]):
            if j != self._frame:
                z, good = self._samples(j)
                good &= ~outliers.plane(j)[self.y, self.x] & (np.abs(z - self.median) < 4 * self.sigma)
                total[good] += (z - self.median)[good]
                count += good
        self.residual -= total / np.maximum(count, 1)


@dataclass(frozen=True, eq=False)
class _Trail:
    frame: int
    line: _Line
    width: float
    peak: float
    significance: float
    index: np.ndarray


def _verify(detector, outliers, i, line, size, shortest, sharpest):
    """The trail at a candidate line, with its place, width, ends and pixels; None where there is no trail."""
    _, ny, nx = detector.rows.image_set.shape
    strip = _Strip(detector, i, line, 2 * size + 12)
    line, spread, peak = _fit(strip, *_locate(strip, line, size))
    if peak < _FAINTEST * np.median(strip.noise):
        return None
    # the more of it is known, the better is the rest found
    for _ in range(2):
        whole = line.across_frame(ny, nx, 3 * spread)
        strip = _Strip(detector, i, whole, _radius(line, spread))
        line, spread, _ = _fit(strip, _extent(strip, line, spread), spread)
    whole = line.across_frame(ny, nx, 3 * spread)
    strip = _Strip(detector, i, whole, _radius(line, spread))
    line = _extent(strip, line, spread)
    if line.length < shortest:
        return None
    significance = _stand_out(strip, line, spread)
    if significance == 0:
        return None
    strip = _Strip(detector, i, line, _radius(line, spread))
    strip.against_others(outliers)
    distance = strip.distance(line)
    bins, profile = _profile(strip, distance, spread, 1.0)
    brightness = _brightness(strip, np.interp(distance, bins, profile, 0, 0))
    bins, profile = _profile(strip, distance, spread, brightness)
    peak, width = profile.max(), _width(bins, profile)
    # (a bad row or column, or two)
    along_axis = abs(line.slope) * (line.last - line.first) < 1
    if not max(sharpest, 2.2 if along_axis else 0) < width < _WIDEST or _in_all_frames(strip, distance, width, peak):
        return None
    light = np.interp(distance, bins, profile, 0, 0) * brightness
    pixels = strip.good & (light > _MARGIN * strip.noise)
    if np.count_nonzero(pixels.any(axis=1)) < len(pixels) / 4:
        return None
    index = np.ravel_multi_index((i, strip.y[pixels], strip.x[pixels]), detector.rows.image_set.shape)
    return _Trail(i, line, width, peak * detector.rows.exact[0][i], significance, index)


def _radius(line, spread):
    """How many pixels across the line are to be looked at: the light, and as much of the sky."""
    return int(np.ceil((7 * spread + 14) * line.stretch))


def _locate(strip, line, size):
    """The line moved and turned to where the light is, and the spread of the light across it [pixels]."""
    significance = np.clip(strip.residual / strip.sigma, -3, 3)
    length = len(significance)
    edges = np.unique(np.linspace(0, length, 33).astype(int)[:-1])
    sums = np.add.reduceat(significance, edges)
    sums -= np.median(sums, axis=1, keepdims=True)
    middle = (edges + np.append(edges[1:], length)) / 2 / length - 0.5
    most = 2 * size
    tilts = np.arange(-most, most + 1)
    padded = np.pad(sums, ((0, 0), (size, size)))
    columns = np.rint(tilts[:, None] * middle).astype(int)[:, :, None] + size + np.arange(sums.shape[1])
    totals = padded[np.arange(len(edges))[:, None], columns].sum(axis=1)
    steps = np.pad(np.cumsum(totals, axis=1), ((0, 0), (1, 0)))
    best = -np.inf
    for wide in (2, 4, 8, 16):
        boxes = (steps[:, wide:] - steps[:, :-wide]) / np.sqrt(wide)
        if boxes.max() > best:
            best = boxes.max()
            tilt, column = np.unravel_index(np.argmax(boxes), boxes.shape)
            shift = column + (wide - 1) / 2 - sums.shape[1] // 2
            moved = line.moved(shift, tilts[tilt] / length, (line.first + line.last - 1) / 2)
            spread = max(wide / 2.5 / line.stretch, 0.8)
    return moved, spread


def _fit(strip, line, spread):
    """The line and the spread of a ridge of Gaussian cross section, and its peak, by least squares (Gauss-Newton)."""
    rows = ((strip.along >= line.first) & (strip.along < line.last))[:, 0]
    if rows.sum() < 8:
        return line, spread, 0.0
    along, residual, sigma = strip.along[rows], strip.residual[rows], strip.sigma[rows]
    about, length = (line.first + line.last - 1) / 2, line.last - line.first
    core = (np.abs(strip.distance(line, rows)) < max(spread, 1)) & np.isfinite(sigma)
    peak = float(np.median(residual[core])) if core.any() else 0.0
    sky = 0.0
    for _ in range(6):
        distance = strip.distance(line, rows)
        near = (np.abs(distance) < 4 * spread + 3) & np.isfinite(sigma)
        d, w, t = (
            distance[near].astype(float),
            1 / sigma[near],
            np.broadcast_to((along - about) / length, near.shape)[near],
        )
        ridge = np.exp(-0.5 * (d / spread) ** 2)
        model = sky + peak * ridge
        # hits have no say
        most = 4 / w + 0.5 * np.abs(model)
        r = model + np.clip(residual[near] - model, -most, most)
        side = ridge * d / spread**2
        terms = np.stack([ridge, side, side * t, side * d / spread, np.ones_like(d)]) * w
        normal = terms @ terms.T
        found = np.linalg.lstsq(normal, terms @ (r * w), rcond=1e-10)[0]
        peak, sky = found[0], found[4]
        if not peak > 0:
            break
        shift, turn = np.clip(found[1:3] / peak, -spread, spread) * line.stretch
        line = line.moved(shift, turn / length, about)
        wider = np.clip(found[3] / peak, -0.4 * spread, 0.6 * spread)
        spread = float(np.clip(spread + wider, 0.5, 14))
        if max(abs(shift), abs(turn), abs(wider)) < 0.005:
            break
    return line, spread, peak


def _extent(strip, line, spread):
    """The line from where the light begins to where it ends."""
    distance = strip.distance(line)
    ridge = np.exp(-0.5 * (distance / spread) ** 2) * strip.good
    beside = strip.good & (np.abs(distance) > 3 * spread + 1)
    weight = 1 / strip.sigma**2
    residual = np.clip(strip.residual, -4 * strip.noise, None)
    known = (strip.along[:, 0] >= line.first) & (strip.along[:, 0] < line.last)
    peak = _mean(residual, weight * ridge**2 * known[:, None]) if known.any() else 0.0
    # a hit is no more than the trail is
    residual = np.minimum(residual, 2 * max(peak, 0) + 4 * strip.noise)
    cells = np.arange(0, len(residual), _CELL)
    sky = np.add.reduceat((np.clip(residual, None, 3 * strip.noise) * weight * beside).sum(axis=1), cells)
    sky /= np.maximum(np.add.reduceat((weight * beside).sum(axis=1), cells), 1e-30)
    sky = np.repeat(sky, _CELL)[: len(residual), None]
    light = np.add.reduceat(((residual - sky) * ridge * weight).sum(axis=1), cells)
    power = np.add.reduceat((ridge**2 * weight).sum(axis=1), cells)
    known = np.add.reduceat(known.astype(float), cells) > 0
    for _ in range(3):
        if not power[known].sum() > 0:
            break
        peak = light[known].sum() / power[known].sum()
        if not peak > 0:
            break
        # how much likelier each cell is with light than without; a dark part may be a blink
        gain = np.clip(peak * light - peak**2 * power / 2, -1, 2)
        begin, end = _greatest_part(gain)
        known = (np.arange(len(cells)) >= begin) & (np.arange(len(cells)) < end)
    which = np.flatnonzero(known)
    if not which.size:
        return replace(line, last=line.first)
    first, last = int(strip.along[0, 0]), int(strip.along[-1, 0]) + 1
    # what ends near the edge of the frame ends there
    begin = first if which[0] * _CELL <= 16 else first + which[0] * _CELL
    end = last if (len(cells) - 1 - which[-1]) * _CELL <= 16 else min(first + (which[-1] + 1) * _CELL, last)
    return replace(line, first=begin, last=end)


def _mean(values, weights):
    total = weights.sum()
    return (values * weights).sum() / total if total > 0 else 0.0


def _greatest_part(values):
    """(first, last + 1) of the consecutive values whose sum is greatest (Kadane's algorithm)."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    lowest = np.minimum.accumulate(total)
    end = int(np.argmax(total - lowest))
    return int(np.argmin(total[: end + 1])), end


def _stand_out(strip, line, spread):
    """Significance of the light on the line against its parallels; 0 where that is not the steady light of a trail."""
    rows = (strip.along[:, 0] >= line.first) & (strip.along[:, 0] < line.last)
    significance = np.clip(strip.residual / strip.sigma, -4, 4)[rows]
    step = int(np.clip(line.length / 16, 8, 64))
    parts = np.arange(0, len(significance) - step // 2, step)
    # (less than the light is wide, so that little of it gets into the parallels)
    blur = 0.6 * spread * line.stretch
    sums = ndimage.gaussian_filter1d(np.add.reduceat(significance, parts), blur, mode="nearest")
    used = np.add.reduceat(strip.good[rows].astype(float), parts).mean(axis=0) > 0.5 * step
    middle = sums.shape[1] // 2
    distance = (np.arange(sums.shape[1]) - middle) / line.stretch
    left, right = (used & (sign * distance > 3.5 * spread + 2) for sign in (-1, 1))
    if left.sum() < 3 or right.sum() < 3:
        return 0.0
    beside = left | right
    sums -= np.median(sums[:, beside], axis=1, keepdims=True)
    # (the step at an edge is no ridge)
    sky = max(np.median(sums[:, left]), np.median(sums[:, right]), 0)
    plain = np.sqrt(step / (2 * np.sqrt(np.pi) * blur))
    noise = max(1.4826 * np.median(np.abs(sums[:, beside])), 0.7 * plain)
    sums = (sums - sky) / noise
    totals = sums.sum(axis=0) / np.sqrt(len(sums))
    # what goes on along the line, as structure of the sky does, adds up in the parallels as well
    structure = max(1, np.percentile(np.abs(totals[beside]), 75) / 1.15, -totals[beside].min() / 2.5)
    light = sums[:, middle] / structure
    # some stars or hits on a line are no trail, a blinking light is
    steady = np.clip(light, -3, 3).sum() / np.sqrt(len(light)) > _STEADY
    total = float(totals[middle] / structure)
    enough = _SIGNIFICANT if structure * noise < 2 * plain else _IN_STRUCTURE
    return total if steady and total > enough else 0.0


def _profile(strip, distance, spread, brightness):
    """Mean cross section: distances [pixels], half a pixel apart, and light [ADU on the mean scale], which falls to
    either side."""
    residual = strip.residual / np.maximum(brightness, 0.1)
    middle = np.median(np.where(strip.good, residual, 0), axis=0)
    reach = np.floor(distance.max(axis=1).min())
    where = np.rint((distance + reach) * 2).astype(int)
    inside = strip.good & (where >= 0) & (where <= 4 * reach)
    bins, profile = distance.mean(axis=0), middle
    weight = brightness**2 / strip.sigma**2
    for _ in range(3):
        model = np.interp(distance, bins, profile)
        most = 4 * strip.sigma / np.maximum(brightness, 0.1) + 0.3 * np.abs(model)
        use = inside & (np.abs(residual - model) < most)
        total, bins, profile = (np.bincount(where[use], (weight * v)[use]) for v in (1, distance, residual))
        # (along an axis every other bin is empty)
        filled = total > 0
        total = total[filled]
        bins, profile = bins[filled] / total, profile[filled] / total
    outside = np.abs(bins) > 4 * spread + 3
    profile -= np.median(profile[outside]) if outside.any() else 0.0
    smooth = np.convolve(profile, (0.25, 0.5, 0.25), "same")
    peak = int(np.argmax(np.where(np.abs(bins) <= max(spread, 1), smooth, -np.inf)))
    left = optimize.isotonic_regression(profile[: peak + 1], weights=total[: peak + 1]).x
    right = optimize.isotonic_regression(profile[peak:], weights=total[peak:], increasing=False).x
    return bins, np.maximum(np.append(left[:-1], right), 0)


def _brightness(strip, model):
    """Brightness along the trail in units of the mean, (L, 1), as far as it can be told from the noise."""
    # so long that each is known to a tenth
    core = strip.good & (model > 0.5 * model.max())
    power = (core * (model / strip.sigma) ** 2).sum() / len(model)
    step = int(np.clip(100 / max(power, 1e-9), 8, 32))
    begin = np.arange(0, max(len(model) - step // 2, 1), step)
    values, noise = np.ones(len(begin)), np.full(len(begin), np.inf)
    for k, first in enumerate(begin):
        rows = slice(first, first + step if k + 1 < len(begin) else None)
        use = core[rows]
        if use.sum() > 4:
            m, r, s = model[rows][use], strip.residual[rows][use], strip.sigma[rows][use]
            value = np.median(r / m)
            fine = np.abs(r - value * m) < 4 * s
            m, r, w = m[fine], r[fine], 1 / s[fine] ** 2
            power = (w * m * m).sum()
            if power > 0:
                values[k], noise[k] = (w * m * r).sum() / power, 1 / power
    known = np.isfinite(noise)
    if known.sum() < 3:
        return np.ones((len(model), 1))
    scatter = np.var(values[known])
    real = max(0.0, 1 - np.mean(noise[known]) / scatter) if scatter > 0 else 0.0
    values = np.maximum(1 + (values - 1) * real, 0) if real > 0 else np.ones(len(begin))
    return np.interp(np.arange(len(model)), begin + step / 2, values)[:, None]


def _width(bins, profile):
    """Full width at half maximum of a cross section that falls to either side."""
    peak, half = int(np.argmax(profile)), profile.max() / 2
    if not half > 0:
        return 0.0
    left = np.interp(half, profile[: peak + 1], bins[: peak + 1])
    return float(np.interp(-half, -profile[peak:], bins[peak:]) - left)


def _in_all_frames(strip, distance, width, peak):
    """Is there such a ridge in the median image as well, a spike of a bright star or a bleeding column?"""
    middle, distance = np.median(strip.median, axis=0), distance.mean(axis=0)
    beside = np.abs(distance) > min(width + 2, 0.8 * distance.max())
    return np.median(middle[np.abs(distance) <= max(width / 2, 0.7)]) - np.median(middle[beside]) > 0.5 * peak


def _gather(found, shape):
    rows = [
        {
            "trail": number,
            "frame": trail.frame + 1,
            **dict(zip(("y_first", "x_first", "y_last", "x_last"), trail.line.ends(*shape[1:]), strict=True)),
            "angle": trail.line.angle,
            "width": trail.width,
            "peak": trail.peak,
            "significance": trail.significance,
        }
        for number, trail in enumerate(found, start=1)
    ]
    units = {name: u.pix for name in ("y_first", "x_first", "y_last", "x_last", "width")}
    units |= {"angle": u.deg, "peak": u.adu}
    names = ("trail", "frame", "y_first", "x_first", "y_last", "x_last", "angle", "width", "peak", "significance")
    table = Table(
        {
            name: np.array([row[name] for row in rows], np.int32 if name in ("trail", "frame") else float)
            for name in names
        },
        units=units,
    )
    if not found:
        return Trails(table, np.empty(0, np.int64), np.empty(0, np.int32))
    pixels = np.concatenate([trail.index for trail in found])
    trail = np.repeat(np.arange(1, len(found) + 1, dtype=np.int32), [trail.index.size for trail in found])
    # where two cross, the first has the pixel
    index, which = np.unique(pixels, return_index=True)
    return Trails(table, index.astype(np.int64), trail[which])
