"""The compiled loops of the detections that clip each pixel by its own scatter. See kernels.py for the arguments."""

import numpy as np

from .kernels import inline, jit, on_reference, put_in_order

# what `clip` does
SIGMA, MAD, WINSORIZED, PERCENTILE, MINMAX, ESD = range(6)


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
def _winsorized(values, count, ordered):
    """Median and standard deviation, with what lies beyond 1.5 sigma moved there until nothing changes."""
    centre = put_in_order(values, count, ordered)
    _, std = _mean_std(values, count)
    for _ in range(50):
        for k in range(count):
            ordered[k] = min(max(values[k], centre - 1.5 * std), centre + 1.5 * std)
        last = std
        # what moving the tails takes from the standard deviation of a Gaussian
        std = 1.134 * _mean_std(ordered, count)[1]
        if abs(std - last) <= 0.0005 * last:
            break
    return centre, std


@jit
def clip(frames, row0, row1, top, model, method, use_mean, high, low, maxiters, critical, flags):
    """Flag what stands out of the samples of each pixel, z, by their own scatter; `flags` begins at row0.

    `high`, `low`: thresholds above and below; `maxiters` < 0 = until nothing changes; `critical`: (n + 1, k) critical
    values of the generalized ESD test. In double precision.
    """
    n, _, nx = frames.shape
    z, kept, ordered = np.empty(n), np.empty(n), np.empty(n)
    for y in range(row1 - row0):
        for x in range(nx):
            count = 0
            for i in range(n):
                z[i] = on_reference(frames, i, row0 + y, top, x, model)
                if np.abs(z[i]) < np.inf:
                    kept[count] = z[i]
                    count += 1
            if count == 0:
                continue
            lower, upper = -np.inf, np.inf
            if method == ESD:
                lower, upper = _esd(kept, count, critical)
            elif method == PERCENTILE:
                centre = put_in_order(kept, count, ordered)
                lower, upper = centre - low * np.abs(centre), centre + high * np.abs(centre)
            elif method == MINMAX:
                put_in_order(kept, count, ordered)
                if ordered[0] < ordered[count - 1]:
                    lower, upper = np.nextafter(ordered[0], np.inf), np.nextafter(ordered[count - 1], -np.inf)
            else:
                done = 0
                while True:
                    if method == MAD:
                        centre = put_in_order(kept, count, ordered)
                        for k in range(count):
                            ordered[k] = np.abs(kept[k] - centre)
                        std = 1.482602218505602 * put_in_order(ordered, count, ordered)
                    elif method == WINSORIZED:
                        centre, std = _winsorized(kept, count, ordered)
                    else:
                        centre, std = _mean_std(kept, count)
                        if not use_mean:
                            centre = put_in_order(kept, count, ordered)
                    lower, upper = centre - low * std, centre + high * std
                    new = 0
                    for k in range(count):
                        if lower <= kept[k] <= upper:
                            kept[new] = kept[k]
                            new += 1
                    if new in (0, count):
                        break
                    count = new
                    done += 1
                    if 0 <= maxiters <= done:
                        break
            for i in range(n):
                if z[i] < lower or z[i] > upper:
                    flags[i, y, x] = np.abs(z[i]) < np.inf


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
