"""The compiled loops that look for the detector's pattern. See kernels.py for the arguments."""

import numpy as np

from .imageset import LARGEST
from .kernels import inline, jit, variance_of


@jit
def count_differences(y, x, strength, others_y, others_x, others_strength, lags):
    """Add to `lags` (2 * reach + 1, 2 * reach_x + 1) how often each difference of position, others minus these, occurs
    between points that are alike in sign and, within a factor of 4, in strength. Both are ordered by y."""
    reach, reach_x = lags.shape[0] // 2, lags.shape[1] // 2
    first = 0
    for k in range(len(y)):
        while first < len(others_y) and others_y[first] < y[k] - reach:
            first += 1
        j = first
        own = strength[k]
        while j < len(others_y) and others_y[j] <= y[k] + reach:
            dx = others_x[j] - x[k]
            ratio = others_strength[j] / own
            if (-reach_x <= dx <= reach_x) & (ratio > 0.25) & (ratio < 4):
                lags[others_y[j] - y[k] + reach, dx + reach_x] += 1
            j += 1


@jit
def find_peaks(lags, wide):
    """Where most differences meet; where `wide`, 3 x 3 lags are counted together.

    Returns (highest count, its row, its column; the highest count more than 3 away from there; the count around no
    difference at all, which is none of the former; the number of all differences).
    """
    height, width = lags.shape
    sums, box = np.zeros((2, width), np.int32)
    highest = np.zeros(height, np.int32)
    none, total = 0, 0
    for b in range(1, height - 1):
        here, alone = _count_boxes(lags, b, wide, sums, box)
        none = max(none, alone)
        total += here
        highest[b] = _highest(box)
    row = np.argmax(highest)
    best = highest[row]
    _count_boxes(lags, row, wide, sums, box)
    column = np.argmax(box)
    for b in range(max(row - 3, 1), min(row + 4, height - 1)):
        _count_boxes(lags, b, wide, sums, box)
        box[max(column - 3, 0) : column + 4] = 0
        highest[b] = _highest(box)
    return best, row, column, _highest(highest), none, total


@jit
def _count_boxes(lags, row, wide, sums, box):
    """Counts of the lags in one row, those of next to no difference left out; how many differences are in the row
    itself; the count at no difference."""
    height, width = lags.shape
    total = 0
    for a in range(width):
        total += lags[row, a]
        sums[a] = lags[row - 1, a] + lags[row, a] + lags[row + 1, a]
    if wide:
        for a in range(1, width - 1):
            box[a] = sums[a - 1] + sums[a] + sums[a + 1]
    else:
        box[1 : width - 1] = lags[row, 1 : width - 1]
    none = 0
    if abs(row - height // 2) <= 1:
        none = box[width // 2] if row == height // 2 else 0
        box[width // 2 - 1 : width // 2 + 2] = 0
    return total, none


@jit
def _highest(values):
    most = values[0]
    for v in values:
        most = v if v > most else most
    return most


@jit
def pair_up(y, x, strength, others_y, others_x, others_strength, lag_y, lag_x, differences):
    """The differences of position of the points that are alike and within 1.5 of one difference, as in
    `count_differences`: put into `differences` (2, K), as many as there is room for. Returns how many."""
    number, first = 0, 0
    for k in range(len(y)):
        while first < len(others_y) and others_y[first] < y[k] + lag_y - 3:
            first += 1
        j = first
        while j < len(others_y) and others_y[j] <= y[k] + lag_y + 3:
            dy, dx = others_y[j] - y[k], others_x[j] - x[k]
            ratio = others_strength[j] / strength[k]
            near = (abs(dy - lag_y) < 1.5) & (abs(dx - lag_x) < 1.5)
            if near and ratio > 0.25 and ratio < 4 and number < differences.shape[1]:
                differences[0, number], differences[1, number] = dy, dx
                number += 1
            j += 1
    return number


@jit
def look(part, other, first, j, model, images, steps, reach, most, frame, y, x, excess, seen, visible, total, limits):
    """Look in frame `j` at the detector pixels of some events of the other frames.

    part : (rows, nx), rows `first` ... of the frame; `other`: of the other one where the set has just two, else empty
    images : median, inflation and structure of the whole set
    steps : (N, 3), by how much (dy, dx) the pixel has moved since each other frame, and whether to look (1) or not (0)
    reach : 0 where a pixel is found again in one, 1 where it is spread over 2 x 2
    most : (how many frames are looked at where none repeats the event, and how many where some do)
    frame, y, x, excess : of the events, peak minus the median on the mean scale
    seen, visible, total, limits : of the events, are added to: in how many frames the pixel stands out alike, and could
        be seen to; the excess where it does; the least excess that counts, in sigma
    """
    median, inflation, structure = images
    ny, nx = median.shape
    va, vb, vc, vmin = model[4][j], model[5][j], model[6][j], model[7][j]
    nearest = 0.0 if reach else 0.5
    for k in range(len(frame)):
        i = frame[k]
        if steps[i, 2] == 0 or visible[k] >= (most[1] if seen[k] else most[0]):
            continue
        row, column = int(np.floor(y[k] + steps[i, 0] + nearest)), int(np.floor(x[k] + steps[i, 1] + nearest))
        if row < 0 or row >= ny or column < 0 or column >= nx:
            continue
        sign, size = (1, excess[k]) if excess[k] > 0 else (-1, -excess[k])
        level = median[row, column]
        v = variance_of(va, vb, vc, vmin, level, inflation[row, column], structure[row, column])
        usable = np.abs(np.float64(part[row - first, column])) < LARGEST
        if not (size * size > 12 * v and usable):
            continue
        highest, at_row, at_column = _excess(part, other, first, j, row, column, median, model, sign), row, column
        for b in range(row, min(row + reach + 1, ny)):
            for a in range(column, min(column + reach + 1, nx)):
                r = _excess(part, other, first, j, b, a, median, model, sign)
                if r > highest:
                    highest, at_row, at_column = r, b, a
        sigma = np.sqrt(v)
        limit = max((2.5 + 0.5 * reach) * sigma, size / (3 + reach))
        visible[k] += 1
        limits[k] += limit / sigma
        if not (limit <= highest <= (3 + reach) * size):
            continue
        # light that came through the telescope is wider than a pixel
        around, count = size * 0, 0
        for b in range(at_row - 1, at_row + 2, 2):
            if 0 <= b < ny:
                r = _excess(part, other, first, j, b, at_column, median, model, sign)
                around, count = (around + r, count + 1) if np.abs(r) < LARGEST else (around, count)
        for a in range(at_column - 1, at_column + 2, 2):
            if 0 <= a < nx:
                r = _excess(part, other, first, j, at_row, a, median, model, sign)
                around, count = (around + r, count + 1) if np.abs(r) < LARGEST else (around, count)
        if around <= 0.55 * highest * count:
            seen[k] += 1
            total[k] += sign * highest


@inline
def _excess(part, other, first, j, row, column, median, model, sign):
    scale, origin, gy, gx = model[0], model[1], model[2], model[3]
    z = (part[row - first, column] - (origin[j] + gy[j] * row + gx[j] * column)) * scale[j]
    if len(other) == 0:
        level = median[row, column]
    else:
        # the lower one of two is their median
        level = (other[row - first, column] - (origin[1 - j] + gy[1 - j] * row + gx[1 - j] * column)) * scale[1 - j]
    return sign * (z - level)
