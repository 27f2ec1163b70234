"""The compiled loops of the detections that clip each pixel by its own scatter. See kernels.py for the arguments."""

import numpy as np

from .imageset import LARGEST
from .kernels import exchange, inline, jit, median_of

# what `clip` does
SIGMA, MAD, WINSORIZED, PERCENTILE, MINMAX, ESD = range(6)
MAD_TO_STD = 1.482602218505602


@inline
def _mean_std(values, count):
    mean = 0.0
    for k in range(count):
        mean += values[k]
    mean /= count
    total = 0.0
    for k in range(count):
        total += (values[k] - mean) * (values[k] - mean)
    return mean, np.sqrt(total / count)


@inline
def _winsorized(values, count, moved):
    """Median and standard deviation, with what lies beyond 1.5 sigma moved there until nothing changes."""
    centre = median_of(values, count)
    _, std = _mean_std(values, count)
    for _ in range(50):
        for k in range(count):
            moved[k] = min(max(values[k], centre - 1.5 * std), centre + 1.5 * std)
        last = std
        # what moving the tails takes from the standard deviation of a Gaussian
        std = 1.134 * _mean_std(moved, count)[1]
        if abs(std - last) <= 0.0005 * last:
            break
    return centre, std


@jit
def clip(frames, row0, row1, top, model, method, use_mean, high, low, maxiters, critical, lows, highs, flags):
    """Flag what stands out of the samples of each pixel, z, by their own scatter; `flags` begins at row0.

    `high`, `low`: thresholds above and below; `maxiters` < 0 = until nothing changes; `critical`: (n + 1, k) critical
    values of the generalized ESD test; `lows`, `highs`: exchanges that bring the middle of n values into place.
    In double precision.
    """
    n, _, nx = frames.shape
    scale, origin, gy, gx = model[:4]
    piece = 128
    z, order = np.empty((2, n, piece))
    mean, total, centre = np.empty((3, piece))
    some = np.empty(piece, np.bool_)
    kept, spare = np.empty((2, n))
    all_at_once = method in (SIGMA, MAD)
    for y in range(row1 - row0):
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            some[:] = not all_at_once
            for i in range(n):
                zi, source = z[i], frames[i, row0 + y, x0 : x0 + width]
                o = origin[i] + gy[i] * (row0 + top + y) + gx[i] * x0
                for x in range(width):
                    zi[x] = (source[x] - (o + gx[i] * x)) / scale[i]
                    # a fill value, infinite, or not a number
                    some[x] |= not np.abs(zi[x]) < LARGEST
            if all_at_once:
                # most pixels hold nothing that stands out: all the columns at once
                _stands_out(z, order, width, method == MAD, use_mean, high, low, lows, highs, mean, total, centre, some)
            for x in range(width):
                if not some[x]:
                    continue
                count = 0
                for i in range(n):
                    if np.abs(z[i, x]) < LARGEST:
                        kept[count] = z[i, x]
                        count += 1
                if count == 0:
                    continue
                lower, upper = _bounds(kept, count, spare, method, use_mean, high, low, maxiters, critical)
                for i in range(n):
                    if z[i, x] < lower or z[i, x] > upper:
                        flags[i, y, x0 + x] = np.abs(z[i, x]) < LARGEST


@jit
def _stands_out(z, order, width, mad, use_mean, high, low, lows, highs, mean, total, centre, some):
    """Where does a sample lie beyond the bounds of the first round of clipping?"""
    n = len(z)
    before, after = (n - 1) // 2, n // 2
    mean[:] = 0
    total[:] = 0
    for i in range(n):
        zi, oi = z[i], order[i]
        for x in range(width):
            mean[x] += zi[x]
            oi[x] = zi[x]
    for x in range(width):
        mean[x] /= n
        centre[x] = mean[x]
    if mad or not use_mean:
        exchange(order, lows, highs, width)
        for x in range(width):
            centre[x] = 0.5 * (order[before, x] + order[after, x])
    if mad:
        for i in range(n):
            zi, oi = z[i], order[i]
            for x in range(width):
                oi[x] = np.abs(zi[x] - centre[x])
        exchange(order, lows, highs, width)
        for x in range(width):
            total[x] = MAD_TO_STD * 0.5 * (order[before, x] + order[after, x])
    else:
        for i in range(n):
            zi = z[i]
            for x in range(width):
                total[x] += (zi[x] - mean[x]) * (zi[x] - mean[x])
        for x in range(width):
            total[x] = np.sqrt(total[x] / n)
    for i in range(n):
        zi = z[i]
        for x in range(width):
            some[x] |= (zi[x] < centre[x] - low * total[x]) | (zi[x] > centre[x] + high * total[x])


@jit
def _bounds(kept, count, spare, method, use_mean, high, low, maxiters, critical):
    """Below and above which of the first `count` samples are outliers; changes their order."""
    if method == ESD:
        return _esd(kept, count, critical)
    if method == PERCENTILE:
        centre = median_of(kept, count)
        return centre - low * np.abs(centre), centre + high * np.abs(centre)
    if method == MINMAX:
        lower, upper = kept[:count].min(), kept[:count].max()
        if lower < upper:
            lower, upper = np.nextafter(lower, np.inf), np.nextafter(upper, -np.inf)
        return lower, upper
    done = 0
    while True:
        if method == MAD:
            centre = median_of(kept, count)
            for k in range(count):
                spare[k] = np.abs(kept[k] - centre)
            std = MAD_TO_STD * median_of(spare, count)
        elif method == WINSORIZED:
            centre, std = _winsorized(kept, count, spare)
        else:
            centre, std = _mean_std(kept, count)
            if not use_mean:
                centre = median_of(kept, count)
        lower, upper = centre - low * std, centre + high * std
        new = 0
        for k in range(count):
            if lower <= kept[k] <= upper:
                kept[new] = kept[k]
                new += 1
        done += 1
        if new in (0, count) or 0 <= maxiters <= done:
            return lower, upper
        count = new


@jit
def _esd(kept, count, critical):
    """Bounds of what the generalized ESD test leaves (Rosner 1983, doi:10.1080/00401706.1983.10487848)."""
    n = count
    lower, upper = kept[:count].min(), kept[:count].max()
    for k in range(min(critical.shape[1], int(0.3 * n), n - 2)):
        mean, std = _mean_std(kept, count)
        std *= np.sqrt(count / (count - 1.0))
        worst = 0
        for j in range(1, count):
            if np.abs(kept[j] - mean) > np.abs(kept[worst] - mean):
                worst = j
        out = np.abs(kept[worst] - mean) > critical[n, k] * std
        count -= 1
        kept[worst] = kept[count]
        if out:
            # the largest number of outliers for which the test speaks
            lower, upper = kept[:count].min(), kept[:count].max()
    return lower, upper
