"""The compiled loops: private, typed, without checks. Every one works on some rows of all frames at once.

Common arguments
    frames : (N, rows, nx) float32 or float64, NaN or infinite = not to be used
    row0, row1 : the rows of `frames` to work on
    scale, offset : (N,) z = (frame - offset) / scale
    va, vb : (N,) variance of z at the reference level m is max(va + vb * m, vmin)
"""

import numba
import numpy as np

_JIT = {"nogil": True, "cache": True, "fastmath": {"contract", "arcp", "nsz"}, "boundscheck": False}


@numba.njit(**_JIT)
def _variance(va, vb, vmin, level):
    v = va + vb * level
    return v if v > vmin else vmin


@numba.njit(**_JIT)
def _median_of_good(z, n):
    """Median of the finite values among z[:n], and how many they are; of two values the lower one."""
    good = np.empty(n, z.dtype)
    k = 0
    for i in range(n):
        if np.isfinite(z[i]):
            good[k] = z[i]
            k += 1
    if k == 0:
        return z.dtype.type(np.nan), 0
    good = np.sort(good[:k])
    if k == 2:
        return good[0], 2
    if k % 2:
        return good[k // 2], k
    return z.dtype.type(0.5) * (good[k // 2 - 1] + good[k // 2]), k


@numba.njit(**_JIT)
def stack_scatter(frames, row0, row1, scale, offset, va, vb, vmin, lows, highs, drop, median, scatter):
    """Median of every pixel through the set, and its mean square normalised residual.

    `lows`, `highs` are the exchanges of a network that brings the middle values into place; `drop` is how many of the
    largest residuals are left out. Results go to the rows of `median` and `scatter`, (row1 - row0, nx).
    """
    n, _, nx = frames.shape
    dtype = frames.dtype.type
    piece = 256
    z = np.empty((n, piece), frames.dtype)
    order = np.empty((n, piece), frames.dtype)
    top = np.empty((drop, piece), frames.dtype)
    total = np.empty(piece, frames.dtype)
    bad = np.empty(piece, np.bool_)
    middle, even = n // 2, n % 2 == 0
    rscale = 1 / scale
    for row in range(row0, row1):
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            bad[:] = False
            for i in range(n):
                zi, oi, source, o, r = z[i], order[i], frames[i, row], offset[i], rscale[i]
                for x in range(width):
                    v = (source[x0 + x] - o) * r
                    fine = np.abs(v) < np.inf
                    bad[x] |= not fine
                    zi[x] = v
                    oi[x] = v if fine else dtype(np.inf)
            for k in range(len(lows)):
                lo, hi = order[lows[k]], order[highs[k]]
                for x in range(width):
                    p, q = lo[x], hi[x]
                    lo[x] = p if p < q else q
                    hi[x] = q if p < q else p
            m = median[row - row0, x0 : x0 + width]
            if n == 2:
                for x in range(width):
                    m[x] = order[0, x]
            elif even:
                for x in range(width):
                    m[x] = dtype(0.5) * (order[middle - 1, x] + order[middle, x])
            else:
                for x in range(width):
                    m[x] = order[middle, x]
            q = scatter[row - row0, x0 : x0 + width]
            total[:] = 0
            top[:] = 0
            for i in range(n):
                zi, a, b, floor = z[i], va[i], vb[i], vmin[i]
                for x in range(width):
                    r = zi[x] - m[x]
                    v = a + b * m[x]
                    v = v if v > floor else floor
                    chi = r * r / v if v > 0 else dtype(0)
                    total[x] += chi
                    for k in range(drop):
                        t = top[k, x]
                        top[k, x] = t if t > chi else chi
                        chi = chi if t > chi else t
            if n == 2:
                for x in range(width):
                    q[x] = total[x]
            else:
                for x in range(width):
                    s = total[x]
                    for k in range(drop):
                        s -= top[k, x]
                    q[x] = s / dtype(n - drop)
            for x in range(width):
                if bad[x]:
                    m[x], good = _median_of_good(z[:, x], n)
                    q[x] = _scatter_of_good(z[:, x], m[x], good, va, vb, vmin, drop)


@numba.njit(**_JIT)
def _scatter_of_good(z, m, good, va, vb, vmin, drop):
    dtype = z.dtype.type
    total, largest = dtype(0), dtype(0)
    if good < 3:
        return dtype(np.nan)
    for i in range(len(z)):
        r = z[i] - m
        if np.isfinite(r):
            v = _variance(va[i], vb[i], vmin[i], m)
            chi = r * r / v if v > 0 else dtype(0)
            total += chi
            largest = max(largest, chi)
    return (total - largest) / dtype(good - 1)


@numba.njit(**_JIT)
def _row_significance(
    frames, row, scale, offset, va, vb, vmin, keep, median, inflation, left_out, use_left_out, significance, reference
):
    """Significance of every frame's pixels of one row against the mean of the other frames that survive there."""
    n, _, nx = frames.shape
    dtype = frames.dtype.type
    piece = 256
    r = np.empty((n, piece), frames.dtype)
    w = np.empty((n, piece), frames.dtype)
    weight = np.empty(piece, frames.dtype)
    mean = np.empty(piece, frames.dtype)
    rscale = 1 / scale
    for x0 in range(0, nx, piece):
        width = min(piece, nx - x0)
        m = median[x0 : x0 + width]
        factor = inflation[x0 : x0 + width]
        weight[:] = 0
        mean[:] = 0
        for i in range(n):
            ri, wi, source, o, s = r[i], w[i], frames[i, row], offset[i], rscale[i]
            a, b, floor = va[i], vb[i], vmin[i]
            out = left_out[i, row]
            for x in range(width):
                d = (source[x0 + x] - o) * s - m[x]
                v = a + b * m[x]
                v = (v if v > floor else floor) * factor[x]
                survives = not out[x0 + x] if use_left_out else d * d <= keep * v
                fine = np.abs(d) < np.inf
                u = dtype(1) / v if v > 0 else dtype(0)
                u = u if survives and fine else dtype(0)
                ri[x] = d
                wi[x] = u
                weight[x] += u
                mean[x] += u * (d if u > 0 else dtype(0))
        for x in range(width):
            reference[x0 + x] = m[x] + (mean[x] / weight[x] if weight[x] > 0 else dtype(0))
        for i in range(n):
            ri, wi, sig = r[i], w[i], significance[i]
            a, b, floor = va[i], vb[i], vmin[i]
            for x in range(width):
                v = a + b * m[x]
                v = (v if v > floor else floor) * factor[x]
                others = weight[x] - wi[x]
                # what is left after subtracting the frame's own weight may be rounding only
                alone = others <= dtype(1e-5) * weight[x]
                others = dtype(1) if alone else others
                ref = (mean[x] - (wi[x] * ri[x] if wi[x] > 0 else dtype(0))) / others
                value = (ri[x] - ref) / np.sqrt(v + dtype(1) / others)
                sig[x0 + x] = value if np.abs(value) < np.inf and not alone else dtype(0)


@numba.njit(**_JIT)
def judge(
    frames,
    row0,
    row1,
    scale,
    offset,
    va,
    vb,
    vmin,
    keep,
    median,
    inflation,
    left_out,
    use_left_out,
    high,
    low,
    joint,
    cap,
    reference,
    flags,
):
    """Flag the pixels that deviate. All rows of `frames` are read (those outside row0 ... row1 as neighbours);
    `flags`, `reference`, `median`, `inflation`, `left_out` have the rows of `frames`.

    `high`, `low`, `joint`, `cap`: (bright, dark) [sigma]. A pixel is flagged above `high`; or above `low` where its
    significance and that of its strongest neighbour, counted to `cap`, exceed `joint` together.
    """
    n, rows, nx = frames.shape
    # three rows at a time, with a rim of zeros
    ring = np.zeros((3, n, nx + 2), frames.dtype)
    spare = np.empty(nx, median.dtype)
    for row in range(row0 - 1, row1 + 1):
        here = ring[row % 3]
        if row < 0 or row >= rows:
            here[:] = 0
        else:
            inside = row0 <= row < row1
            _row_significance(
                frames,
                row,
                scale,
                offset,
                va,
                vb,
                vmin,
                keep,
                median[row],
                inflation[row],
                left_out,
                use_left_out,
                here[:, 1 : nx + 1],
                reference[row] if inside else spare,
            )
        y = row - 1
        if y < row0:
            continue
        above, centre, below = ring[(y - 1) % 3], ring[y % 3], ring[(y + 1) % 3]
        for i in range(n):
            for x in range(1, nx + 1):
                s = centre[i, x]
                if s > low[0]:
                    sign, side = 1, 0
                elif s < -low[1]:
                    sign, side = -1, 1
                else:
                    continue
                s = sign * s
                if s <= high[side]:
                    best = max(sign * centre[i, x - 1], sign * centre[i, x + 1])
                    for k in range(x - 1, x + 2):
                        best = max(best, max(sign * above[i, k], sign * below[i, k]))
                    if s + min(best, cap[side]) <= joint[side]:
                        continue
                flags[i, y, x - 1] = True


@numba.njit(**_JIT)
def measure(
    frames, row0, scale, offset, va, vb, vmin, inflation, rejected, frame, row, column, median, mean, noise, survivors
):
    """For each rejected pixel: median and noise-weighted mean of the frames that survive at it, as z, and the noise
    of the difference to the mean. In double precision, whatever the frames are."""
    n = len(frames)
    z = np.empty(n)
    for k in range(len(frame)):
        y, x = row[k], column[k]
        count = 0
        for i in range(n):
            v = (np.float64(frames[i, row0 + y, x]) - offset[i]) / scale[i]
            if np.isfinite(v) and not rejected[i, y, x]:
                z[count] = v
                count += 1
        survivors[k] = count
        if count == 0:
            median[k] = mean[k] = noise[k] = np.nan
            continue
        ordered = np.sort(z[:count])
        m = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
        sum_w, sum_wr = 0.0, 0.0
        for i in range(n):
            v = (np.float64(frames[i, row0 + y, x]) - offset[i]) / scale[i]
            if np.isfinite(v) and not rejected[i, y, x]:
                variance = _variance(va[i], vb[i], vmin[i], m) * inflation[y, x]
                w = 1 / variance if variance > 0 else 1.0
                sum_w += w
                sum_wr += w * (v - m)
        median[k] = m
        mean[k] = m + sum_wr / sum_w
        i = frame[k]
        variance = _variance(va[i], vb[i], vmin[i], m) * inflation[y, x]
        noise[k] = np.sqrt(variance + 1 / sum_w) if variance > 0 else 0.0
