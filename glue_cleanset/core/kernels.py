"""The compiled loops: private, typed, without checks. Every one works on some rows of all frames at once.

Common arguments
    frames : (N, rows, nx) float32 or float64, NaN or infinite = not to be used
    row0, row1 : the rows of `frames` to work on
    top : which row of the image the first row of `frames` is
    model : scale, origin, gy, gx, va, vb, vc, vmin, each (N,) of the dtype of `frames`
        z = (frame - origin - gy * y - gx * x) / scale; its variance at the reference level m is
        v = max(va + vb * m, vmin), and with what the surroundings tell max(v * inflation, v + vc * structure)
    inflation, structure : (rows, nx) factor of the variance; squared range of the reference around each pixel
"""

from functools import lru_cache

import numba
import numpy as np

from .imageset import LARGEST

_OPTIONS = {"nogil": True, "cache": True, "fastmath": {"contract", "arcp", "nsz"}, "error_model": "numpy"}
_jit = numba.njit(**_OPTIONS)
_inline = numba.njit(**_OPTIONS, inline="always")

# what the second and the third strongest neighbour count for in the joint test: a track has two at least
_SECOND, _THIRD = 0.35, 0.15
# so many pixels are passed over at once where none of them stands out
_STEP = 32


@_jit
def _exchange(values, lows, highs, width):
    """Bring values[:, x] into the order that the network of exchanges gives, for each x < width."""
    for k in range(len(lows)):
        lo, hi = values[lows[k]], values[highs[k]]
        for x in range(width):
            p, q = lo[x], hi[x]
            lo[x] = p if p < q else q
            hi[x] = q if p < q else p


@_jit
def stack_scatter(frames, row0, row1, top, model, lows, highs, drop, median, scatter):
    """Median of every pixel through the set, and its mean square normalised residual.

    `lows`, `highs` are the exchanges of a network that brings the middle values into place; `drop` is how many of the
    largest residuals are left out. Results go to the rows of `median` and `scatter`, (row1 - row0, nx).
    """
    n, _, nx = frames.shape
    scale, origin, gy, gx, va, vb, _, vmin = model
    dtype = frames.dtype.type
    piece = 256
    z = np.empty((n, piece), frames.dtype)
    order = np.empty((n, piece), frames.dtype)
    largest = np.empty((drop, piece), frames.dtype)
    total = np.empty(piece, frames.dtype)
    bad = np.empty(piece, np.bool_)
    spare = np.empty(n, frames.dtype)
    middle, even = n // 2, n % 2 == 0
    rscale = 1 / scale
    for row in range(row0, row1):
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            bad[:] = False
            for i in range(n):
                zi, oi, source, r = (z[i], order[i], frames[i, row, x0 : x0 + width], rscale[i])
                o, g = origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(x0), gx[i]
                for x in range(width):
                    v = (source[x] - (o + g * dtype(x))) * r
                    fine = np.abs(v) < LARGEST
                    bad[x] |= not fine
                    zi[x] = v
                    oi[x] = v if fine else dtype(np.inf)
            _exchange(order, lows, highs, width)
            m = median[row - row0, x0 : x0 + width]
            q = scatter[row - row0, x0 : x0 + width]
            if n == 2:
                for x in range(width):
                    m[x] = order[0, x]
            elif even:
                for x in range(width):
                    m[x] = dtype(0.5) * (order[middle - 1, x] + order[middle, x])
            else:
                for x in range(width):
                    m[x] = order[middle, x]
            total[:] = 0
            largest[:] = 0
            for i in range(n):
                zi, a, b, floor = z[i], va[i], vb[i], vmin[i]
                for x in range(width):
                    r = zi[x] - m[x]
                    v = a + b * m[x]
                    v = v if v > floor else floor
                    chi = r * r / v
                    total[x] += chi
                    for k in range(drop):
                        t = largest[k, x]
                        largest[k, x] = t if t > chi else chi
                        chi = chi if t > chi else t
            if n == 2:
                for x in range(width):
                    q[x] = total[x]
            else:
                for x in range(width):
                    s = total[x]
                    for k in range(drop):
                        s -= largest[k, x]
                    q[x] = s / dtype(n - drop)
            for x in range(width):
                if bad[x]:
                    m[x], q[x] = _few(z[:, x], spare, va, vb, vmin)


@_jit
def _few(z, spare, va, vb, vmin):
    """Median and scatter where some of the samples are not to be used."""
    dtype = z.dtype.type
    good = 0
    for value in z:
        if np.abs(value) < LARGEST:
            k = good
            while k > 0 and spare[k - 1] > value:
                spare[k] = spare[k - 1]
                k -= 1
            spare[k] = value
            good += 1
    if good == 0:
        return dtype(np.nan), dtype(np.nan)
    m = spare[0] if good == 2 else dtype(0.5) * (spare[(good - 1) // 2] + spare[good // 2])
    if good < 3:
        return m, dtype(np.nan)
    total, largest = dtype(0), dtype(0)
    for i in range(len(z)):
        r = z[i] - m
        if np.abs(r) < LARGEST:
            chi = r * r / max(va[i] + vb[i] * m, vmin[i])
            total += chi
            largest = max(largest, chi)
    return m, (total - largest) / dtype(good - 1)


@_jit
def surroundings(image, row0, row1, lows, highs, middle, high_minus_low):
    """Median of the 5 x 5 pixels around each pixel of the rows row0 ... row1, edges repeated; or, with
    `high_minus_low`, the range of the 3 x 3 pixels around it."""
    ny, nx = image.shape
    piece = 256
    result = np.empty((row1 - row0, nx), image.dtype)
    reach = 1 if high_minus_low else 2
    values = np.empty(((2 * reach + 1) ** 2, piece), image.dtype)
    for row in range(row0, row1):
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            k = 0
            for dy in range(-reach, reach + 1):
                source = image[min(max(row + dy, 0), ny - 1)]
                for dx in range(-reach, reach + 1):
                    for x in range(width):
                        values[k, x] = source[min(max(x0 + x + dx, 0), nx - 1)]
                    k += 1
            out = result[row - row0, x0 : x0 + width]
            if high_minus_low:
                for x in range(width):
                    lo, hi = values[0, x], values[0, x]
                    for j in range(1, k):
                        v = values[j, x]
                        lo = v if v < lo else lo
                        hi = v if v > hi else hi
                    out[x] = hi - lo
            else:
                _exchange(values, lows, highs, width)
                out[:] = values[middle, :width]
    return result


@_inline
def _variance(a, b, c, floor, level, inflation, structure):
    v = a + b * level
    v = v if v > floor else floor
    p, q = v * inflation, v + c * structure
    return p if p > q else q


@_inline
def _on_reference(frames, i, row, top, x, model):
    scale, origin, gy, gx = model[:4]
    dtype = scale.dtype.type
    return (dtype(frames[i, row, x]) - (origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(x))) / scale[i]


@_jit
def _significance(
    frames, row, top, x0, x1, model, keep, median, inflation, structure, work, significance, left, reference
):
    """Significance of the pixels x0 ... x1 of one row of every frame against the mean of the other frames that survive
    there; `left` counts the frames that do not. Results begin at element 0, those of `significance` at 1: it has a rim.
    """
    n = len(frames)
    scale, origin, gy, gx, va, vb, vc, vmin = model
    dtype = frames.dtype.type
    tiny = dtype(1e-30)
    piece = work.shape[2]
    for begin in range(x0, x1, piece):
        width = min(piece, x1 - begin)
        at = begin - x0
        weight, mean = work[2, 0, :width], work[2, 1, :width]
        m, factor = median[begin : begin + width], inflation[begin : begin + width]
        light, out = structure[begin : begin + width], left[at : at + width]
        weight[:] = 0
        mean[:] = 0
        out[:] = 0
        for i in range(n):
            ri, ui, source = work[0, i, :width], work[1, i, :width], frames[i, row, begin : begin + width]
            s, a, b, c, floor = dtype(1) / scale[i], va[i], vb[i], vc[i], vmin[i]
            o, g = origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(begin), gx[i]
            for x in range(width):
                d = (source[x] - (o + g * dtype(x))) * s - m[x]
                v = _variance(a, b, c, floor, m[x], factor[x], light[x])
                survives = d * d <= keep * v
                w = dtype(1) / v
                ri[x] = d
                # the sign tells whether the frame is part of the mean
                ui[x] = w if survives else -w
                weight[x] += w if survives else dtype(0)
                mean[x] += w * d if survives else dtype(0)
                out[x] += dtype(0) if survives else dtype(1)
        for x in range(width):
            weight[x] = weight[x] if weight[x] > tiny else tiny
            mean[x] = mean[x] / weight[x]
            reference[at + x] = m[x] + mean[x]
        for i in range(n):
            ri, ui, sig = work[0, i, :width], work[1, i, :width], significance[i, at + 1 : at + 1 + width]
            for x in range(width):
                # (r - mean of the others) / sqrt(own variance + variance of that mean), multiplied out
                w = np.abs(ui[x])
                others = weight[x] - ui[x] if ui[x] > 0 else weight[x] + w
                value = (ri[x] - mean[x]) * np.sqrt(w * weight[x] / others)
                # nothing but rounding is left where a frame stands alone, and nothing at all where none survives
                fine = (others > dtype(1e-4) * weight[x]) & (weight[x] > tiny) & (np.abs(value) < np.inf)
                sig[x] = value if fine else dtype(0)


@_jit
def _significance_again(frames, row, top, x, model, median, inflation, structure, flagged, significance):
    """The same for one pixel of every frame, now with just the flagged frames left out; returns the reference."""
    n = len(frames)
    va, vb, vc, vmin = model[4:]
    dtype = frames.dtype.type
    m = median[x]
    weight, mean = dtype(0), dtype(0)
    for i in range(n):
        d = _on_reference(frames, i, row, top, x, model) - m
        if not flagged[i] and np.abs(d) < np.inf:
            w = dtype(1) / _variance(va[i], vb[i], vc[i], vmin[i], m, inflation[x], structure[x])
            weight += w
            mean += w * d
    if weight == 0:
        significance[:] = 0
        return m
    mean /= weight
    for i in range(n):
        d = _on_reference(frames, i, row, top, x, model) - m
        w = dtype(1) / _variance(va[i], vb[i], vc[i], vmin[i], m, inflation[x], structure[x])
        others = weight + w if flagged[i] else weight - w
        fine = (others > dtype(1e-4) * weight) & (np.abs(d) < np.inf)
        significance[i] = (d - mean) * np.sqrt(w * weight / others) if fine else dtype(0)
    return m + mean


@_jit
def _outlier(ring, y, i, x, high, low, joint, cap):
    """Is pixel x of row y of frame i an outlier? `ring` holds rows of significance with a rim, row y at y % 5."""
    s = ring[y % 5, i, x]
    if s > low[0]:
        sign, side = 1, 0
    elif s < -low[1]:
        sign, side = -1, 1
    else:
        return False
    s = sign * s
    if s > high[side]:
        return True
    first, second, third = s * 0, s * 0, s * 0
    for dy in range(-1, 2):
        line = ring[(y + dy) % 5, i]
        for dx in range(-1, 2):
            # the pixel itself is no neighbour; written without branches
            v = min(sign * line[x + dx], cap[side]) if dx != 0 or dy != 0 else s * 0
            third = max(third, min(second, v))
            second = max(second, min(first, v))
            first = max(first, v)
    weight = ring.dtype.type
    return s + first + weight(_SECOND) * second + weight(_THIRD) * third > joint[side]


@numba.njit(**{**_OPTIONS, "fastmath": True})
def _stand_out(significance, begin, end, bright, dark, some):
    """For each _STEP pixels from `begin` on: is any of them above `bright` or below `dark`?"""
    for k in range((end - begin + _STEP - 1) // _STEP):
        first = begin + k * _STEP
        highest, lowest = significance[first], significance[first]
        for x in range(first, min(first + _STEP, end)):
            highest, lowest = max(highest, significance[x]), min(lowest, significance[x])
        some[k] = highest > bright or lowest < dark


@_jit
def judge(frames, row0, row1, top, model, keep, median, inflation, structure, high, low, joint, cap, reference, flags):
    """Flag the pixels of the rows row0 ... row1 that deviate, in two passes.

    The first leaves out of the reference what lies beyond `keep` (variances) of the median, the second what
    the first flagged. All rows of `frames` may be read, as neighbours have a say; `median`, `inflation`, `structure`,
    `reference` and `flags` have the rows of `frames`.

    `high`, `low`, `joint`, `cap`: (bright, dark) [sigma]. A pixel is flagged above `high`; or above `low`, where it and
    its strongest neighbours, each counted to `cap`, exceed `joint` together.
    """
    n, rows, nx = frames.shape
    # tiles whose rows stay in the cache
    tile = min(max(16384 // n, 64), nx)
    wide = tile + 4
    bright, dark = low[0], -low[1]
    # five rows of significance with a rim of zeros: the newest two are of the first pass, the others of the second
    ring = np.zeros((5, n, wide + 2), frames.dtype)
    means = np.empty((5, wide), frames.dtype)
    left = np.zeros((5, wide), frames.dtype)
    work = np.empty((3, n, 256), frames.dtype)
    found = np.zeros((n, wide), np.bool_)
    changed, changed_now = np.zeros(wide, np.bool_), np.zeros(wide, np.bool_)
    again = np.empty((n, wide), frames.dtype)
    some = np.empty(wide // _STEP + 1, np.bool_)
    for x0 in range(0, nx, tile):
        x1 = min(x0 + tile, nx)
        # two more columns on either side, where there are any; column 0 of the ring is the rim
        a, b = max(x0 - 2, 0), min(x1 + 2, nx)
        width = b - a
        ring[:] = 0
        changed[:] = False
        for row in range(row0 - 2, row1 + 3):
            here = ring[row % 5]
            if 0 <= row < min(rows, row1 + 2):
                parts = median[row], inflation[row], structure[row]
                _significance(frames, row, top, a, b, model, keep, *parts, work, here, left[row % 5], means[row % 5])
            else:
                here[:] = 0
            # the first pass judges the row before; only then may the second change the row before that
            y = row - 1
            judged = max(row0 - 1, 0) <= y < min(row1 + 1, rows)
            for x in range(width):
                if changed_now[x]:
                    found[:, x] = False
                    changed_now[x] = False
            if judged:
                for i in range(n):
                    ci = ring[y % 5, i]
                    _stand_out(ci, 1, width + 1, bright, dark, some)
                    for k in range((width + _STEP - 1) // _STEP):
                        if some[k]:
                            for x in range(1 + k * _STEP, min(1 + (k + 1) * _STEP, width + 1)):
                                if ci[x] > bright or ci[x] < dark:
                                    found[i, x - 1] = _outlier(ring, y, i, x, high, low, joint, cap)
                                    changed_now[x - 1] |= found[i, x - 1]
            for x in range(width):
                if changed[x]:
                    ring[(row - 2) % 5, :, x + 1] = again[:, x]
                changed[x] = changed_now[x] or (judged and left[y % 5, x] > 0)
            if judged:
                for x in range(width):
                    if changed[x]:
                        means[y % 5, x] = _significance_again(
                            frames,
                            y,
                            top,
                            a + x,
                            model,
                            median[y],
                            inflation[y],
                            structure[y],
                            found[:, x],
                            again[:, x],
                        )
                if row0 <= y < row1:
                    reference[y, x0:x1] = means[y % 5, x0 - a : x1 - a]
            y = row - 3
            if y >= row0:
                for i in range(n):
                    ci = ring[y % 5, i]
                    begin, end = x0 - a + 1, x1 - a + 1
                    _stand_out(ci, begin, end, bright, dark, some)
                    for k in range((end - begin + _STEP - 1) // _STEP):
                        if some[k]:
                            for x in range(begin + k * _STEP, min(begin + (k + 1) * _STEP, end)):
                                if ci[x] > bright or ci[x] < dark:
                                    flags[i, y, a + x - 1] = _outlier(ring, y, i, x, high, low, joint, cap)


@_jit
def excuse(frames, row0, top, model, median, inflation, structure, high, frame, row, column, excused):
    """Which rejected pixels on a star are its own change of light?

    Where the frame differs from the reference all around a pixel by one share of the light above the darkest of the
    9 x 9 pixels around it, a star has varied; a hit differs in its own pixels only. `row` counts from row0; `median`,
    `inflation` and `structure` have the rows of `frames`.
    """
    _, rows, nx = frames.shape
    va, vb, vc, vmin = model[4:]
    share = np.empty(24)
    for k in range(len(frame)):
        i, y, x = frame[k], row0 + row[k], column[k]
        if structure[y, x] == 0:
            continue
        dark = np.inf
        for b in range(max(y - 4, 0), min(y + 5, rows)):
            for a in range(max(x - 4, 0), min(x + 5, nx)):
                dark = min(dark, median[b, a])
        count = 0
        for b in range(max(y - 2, 0), min(y + 3, rows)):
            for a in range(max(x - 2, 0), min(x + 3, nx)):
                light = median[b, a] - dark
                v = _variance(va[i], vb[i], vc[i], vmin[i], median[b, a], inflation[b, a], 0.0)
                r = _on_reference(frames, i, b, top, a, model) - median[b, a]
                if light * light > 9 * v and np.abs(r) < np.inf and not (a == x and b == y):
                    share[count] = r / light
                    count += 1
        if count < 8:
            continue
        change = np.median(share[:count])
        agree = 0
        for j in range(count):
            agree += 0.3 < share[j] / change < 2
        if agree < 0.8 * count:
            continue
        r = _on_reference(frames, i, y, top, x, model) - median[y, x]
        left = np.abs(r - change * (median[y, x] - dark))
        v = _variance(va[i], vb[i], vc[i], vmin[i], median[y, x], inflation[y, x], structure[y, x])
        excused[k] = left < 0.6 * np.abs(r) and left * left < high[0 if r > 0 else 1] ** 2 * v


@_jit
def average(frames, row0, top, model, median, inflation, structure, rejected, row, column, reference):
    """Noise-weighted mean of the frames that are not rejected, at some pixels; `row` counts from row0, where the other
    images begin."""
    spare = np.empty(len(frames), frames.dtype)
    for k in range(len(row)):
        y, x = row[k], column[k]
        reference[y, x] = _significance_again(
            frames, row0 + y, top, x, model, median[y], inflation[y], structure[y], rejected[:, y, x], spare
        )


@_jit
def measure(
    frames, row0, top, model, inflation, structure, rejected, frame, row, column, median, mean, noise, missing, left
):
    """For each rejected pixel: median and noise-weighted mean of the frames that survive at it, as z, and the noise
    of the difference to the mean, NaN where no frame does; what noise the mean lacks against one pixel;
    and how many frames do. In double precision, whatever the frames are."""
    n = len(frames)
    va, vb, vc, vmin = model[4:]
    z = np.empty(n)
    for k in range(len(frame)):
        y, x = row[k], column[k]
        count = 0
        for i in range(n):
            v = _on_reference(frames, i, row0 + y, top, x, model)
            if np.abs(v) < np.inf and not rejected[i, y, x]:
                z[count] = v
                count += 1
        left[k] = count
        if count == 0:
            median[k] = mean[k] = noise[k] = missing[k] = np.nan
            continue
        ordered = np.sort(z[:count])
        m = 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
        weight, total = 0.0, 0.0
        for i in range(n):
            v = _on_reference(frames, i, row0 + y, top, x, model)
            if np.abs(v) < np.inf and not rejected[i, y, x]:
                w = 1 / _variance(va[i], vb[i], vc[i], vmin[i], m, inflation[y, x], structure[y, x])
                weight += w
                total += w * (v - m)
        i = frame[k]
        own = _variance(va[i], vb[i], vc[i], vmin[i], m, 1.0, 0.0)
        missing[k] = np.sqrt(max(own - 1 / weight, 0.0))
        median[k] = m
        mean[k] = m + total / weight
        noise[k] = np.sqrt(_variance(va[i], vb[i], vc[i], vmin[i], m, inflation[y, x], structure[y, x]) + 1 / weight)


@_jit
def against_others(z, reference, scale, variance, terms, keep, residual, differences):
    """Residual of each frame against the mean of the others that survive at the pixel (within `keep` variances of the
    reference), in units of the frame, and the terms (T, N, M) of its variance, given those of one pixel; all (N, M)."""
    n, columns = z.shape
    w = np.empty(n)
    parts = np.empty(len(terms))
    for x in range(columns):
        weight, mean = 0.0, 0.0
        parts[:] = 0
        for i in range(n):
            r = z[i, x] - reference[x]
            v = variance[i, x] / (scale[i] * scale[i])
            w[i] = 1 / v if r * r <= keep * v else 0.0
            if w[i] > 0:
                weight += w[i]
                mean += w[i] * r
                for t in range(len(terms)):
                    parts[t] += (w[i] / scale[i]) ** 2 * terms[t, i, x]
        for i in range(n):
            r = z[i, x] - reference[x]
            others = weight - w[i]
            if others > 1e-9 * weight and np.abs(r) < np.inf:
                residual[i, x] = scale[i] * (r - (mean - (w[i] * r if w[i] > 0 else 0.0)) / others)
                for t in range(len(terms)):
                    own = (w[i] / scale[i]) ** 2 * terms[t, i, x]
                    differences[t, i, x] = terms[t, i, x] + (scale[i] / others) ** 2 * (parts[t] - own)
            else:
                residual[i, x] = np.nan


@_jit
def variance_sums(residual, terms, theta, smallest, clip, normal, right):
    """Sums of the weighted straight line residual^2 = theta * terms over what lies within `clip` variances."""
    _, n, columns = terms.shape
    normal[:] = 0
    right[:] = 0
    for i in range(n):
        for x in range(columns):
            y = residual[i, x] * residual[i, x]
            t0, t1, t2, t3 = terms[0, i, x], terms[1, i, x], terms[2, i, x], terms[3, i, x]
            expected = max(theta[0] * t0 + theta[1] * t1 + theta[2] * t2 + theta[3] * t3, smallest * t0)
            if y <= clip * expected:
                w = 1 / (expected * expected)
                normal[0, 0] += w * t0 * t0
                normal[0, 1] += w * t0 * t1
                normal[0, 2] += w * t0 * t2
                normal[0, 3] += w * t0 * t3
                normal[1, 1] += w * t1 * t1
                normal[1, 2] += w * t1 * t2
                normal[1, 3] += w * t1 * t3
                normal[2, 2] += w * t2 * t2
                normal[2, 3] += w * t2 * t3
                normal[3, 3] += w * t3 * t3
                right[0] += w * t0 * y
                right[1] += w * t1 * y
                right[2] += w * t2 * y
                right[3] += w * t3 * y
    for k in range(4):
        for j in range(k):
            normal[k, j] = normal[j, k]


# what `clip` does
SIGMA, MAD, WINSORIZED, PERCENTILE, MINMAX, ESD = range(6)


@_inline
def _sorted(values, count, ordered):
    """The first `count` values in order (they are few), and their median. `ordered` may be `values`."""
    for k in range(count):
        v = values[k]
        j = k
        while j > 0 and ordered[j - 1] > v:
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = v
    return 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])


@_inline
def _mean_std(values, count):
    mean = 0.0
    for k in range(count):
        mean += values[k]
    mean /= count
    total = 0.0
    for k in range(count):
        total += (values[k] - mean) * (values[k] - mean)
    return mean, np.sqrt(total / count)


@_inline
def _winsorized(values, count, ordered):
    """Median and standard deviation, with what lies beyond 1.5 sigma moved there until nothing changes."""
    centre = _sorted(values, count, ordered)
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


@_jit
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
                z[i] = _on_reference(frames, i, row0 + y, top, x, model)
                if np.abs(z[i]) < np.inf:
                    kept[count] = z[i]
                    count += 1
            if count == 0:
                continue
            lower, upper = -np.inf, np.inf
            if method == ESD:
                lower, upper = _esd(kept, count, critical)
            elif method == PERCENTILE:
                centre = _sorted(kept, count, ordered)
                lower, upper = centre - low * np.abs(centre), centre + high * np.abs(centre)
            elif method == MINMAX:
                _sorted(kept, count, ordered)
                if ordered[0] < ordered[count - 1]:
                    lower, upper = np.nextafter(ordered[0], np.inf), np.nextafter(ordered[count - 1], -np.inf)
            else:
                done = 0
                while True:
                    if method == MAD:
                        centre = _sorted(kept, count, ordered)
                        for k in range(count):
                            ordered[k] = np.abs(kept[k] - centre)
                        std = 1.482602218505602 * _sorted(ordered, count, ordered)
                    elif method == WINSORIZED:
                        centre, std = _winsorized(kept, count, ordered)
                    else:
                        centre, std = _mean_std(kept, count)
                        if not use_mean:
                            centre = _sorted(kept, count, ordered)
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


@_jit
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


@lru_cache(maxsize=64)
def median_network(n):
    """Exchanges (low, high) that bring the middle of n values into place: Batcher's odd-even merge sort
    (1968, doi:10.1145/1468075.1468121) without the exchanges that do not reach the middle. Two (K,) arrays."""
    exchanges = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        exchanges.append((i + j, i + j + k))
            k //= 2
        p *= 2
    needed = {(n - 1) // 2, n // 2}
    used = []
    for low, high in reversed(exchanges):
        if low in needed or high in needed:
            needed |= {low, high}
            used.append((low, high))
    pairs = np.array(used[::-1], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
