"""The compiled loops that flag outliers with the noise model, and measure them. See kernels.py for the arguments."""

import numpy as np

from .imageset import LARGEST
from .kernels import exchange, inline, jit, median_of, on_reference, prefetch, put, variance_of

# what the second and the third strongest neighbour count for in the joint test: a track has two at least
_SECOND, _THIRD = 0.35, 0.15
# a faint star has varied where that explains as much around the pixel [sigma^2], and leaves no more [sigma^2 per pixel]
_FAINT, _MISFIT = 12.0, 3.0


@jit
def _significance(
    frames,
    row,
    top,
    x0,
    x1,
    model,
    keep,
    median,
    inflation,
    structure,
    work,
    code,
    bright,
    dark,
    significance,
    left,
    reference,
    columns,
):
    """Significance of the pixels x0 ... x1 of one row of every frame against the mean of the other frames that survive
    there; `left` is the sum of the codes of the frames that do not. `columns` lists, from element 1 on, where there
    are any, or where a significance is above `bright` or below `dark`; element 0 is their number. Results begin at
    element 0, those of `significance` at 1: it has a rim.
    """
    n = len(frames)
    scale, origin, gy, gx, va, vb, vc, vmin = model
    dtype = frames.dtype.type
    # (whole numbers, and numbers of another precision, would be converted each time)
    tiny, largest, along = dtype(1e-30), dtype(LARGEST), work[2, 4]
    piece = work.shape[2]
    some = np.zeros(piece, np.uint8)
    eights = some.view(np.uint64)
    number = 0
    for begin in range(x0, x1, piece):
        width = min(piece, x1 - begin)
        at = begin - x0
        weight, mean = work[2, 0, :width], work[2, 1, :width]
        lowest, highest = work[2, 2, :width], work[2, 3, :width]
        m, factor = median[begin : begin + width], inflation[begin : begin + width]
        light, out = structure[begin : begin + width], left[at : at + width]
        weight[:] = 0
        mean[:] = 0
        out[:] = 0
        lowest[:] = 0
        highest[:] = 0
        for i in range(n):
            ri, vi, source = work[0, i, :width], work[1, i, :width], frames[i, row, begin : begin + width]
            s, a, b, c, floor, this = dtype(1) / scale[i], va[i], vb[i], vc[i], vmin[i], code[i]
            o, g = origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(begin), gx[i]
            prefetch(frames[i, min(row + 1, frames.shape[1] - 1)], begin, width)
            for x in range(width):
                d = (source[x] - (o + g * along[x])) * s - m[x]
                v = variance_of(a, b, c, floor, m[x], factor[x], light[x])
                survives = d * d <= keep * v
                w = dtype(1) / v
                ri[x] = d
                # the sign tells whether the frame is part of the mean
                vi[x] = v if survives else -v
                weight[x] += w if survives else dtype(0)
                mean[x] += w * d if survives else dtype(0)
                out[x] += this if (d * d > keep * v) & (np.abs(d) < largest) else dtype(0)
        for x in range(width):
            weight[x] = dtype(1) / (weight[x] if weight[x] > tiny else tiny)
            mean[x] *= weight[x]
            reference[at + x] = m[x] + mean[x]
        for i in range(n):
            ri, vi, sig = work[0, i, :width], work[1, i, :width], significance[i, at + 1 : at + 1 + width]
            for x in range(width):
                # against the mean of the others, multiplied out: a frame that is part of the mean lessens the noise
                own = np.abs(vi[x])
                v = own - weight[x] if vi[x] > 0 else own + weight[x]
                value = (ri[x] - mean[x]) / np.sqrt(v)
                # nothing but rounding is left where a frame stands alone, and nothing at all where none survives
                fine = (v > dtype(1e-4) * own) & (np.abs(ri[x]) < largest)
                value = value if fine else dtype(0)
                sig[x] = value
                lowest[x] = value if value < lowest[x] else lowest[x]
                highest[x] = value if value > highest[x] else highest[x]
        for x in range(width):
            some[x] = (highest[x] > bright) | (lowest[x] < dark) | (out[x] > 0)
        for k in range((width + 7) // 8):
            if eights[k]:
                for x in range(8 * k, min(8 * k + 8, width)):
                    if some[x]:
                        number += 1
                        columns[number] = at + x
    columns[0] = number


@jit
def _significance_again(frames, row, top, x, model, median, inflation, structure, flagged, significance):
    """The same for one pixel of every frame, now with just the flagged frames left out; returns the reference."""
    n = len(frames)
    va, vb, vc, vmin = model[4:]
    dtype = frames.dtype.type
    m = median[x]
    weight, mean = dtype(0), dtype(0)
    for i in range(n):
        d = on_reference(frames, i, row, top, x, model) - m
        if not flagged[i] and np.abs(d) < LARGEST:
            w = dtype(1) / variance_of(va[i], vb[i], vc[i], vmin[i], m, inflation[x], structure[x])
            weight += w
            mean += w * d
    if weight == 0:
        significance[:] = 0
        return m
    mean /= weight
    for i in range(n):
        d = on_reference(frames, i, row, top, x, model) - m
        w = dtype(1) / variance_of(va[i], vb[i], vc[i], vmin[i], m, inflation[x], structure[x])
        others = weight + w if flagged[i] else weight - w
        fine = (others > dtype(1e-4) * weight) & (np.abs(d) < LARGEST)
        significance[i] = (d - mean) * np.sqrt(w * weight / others) if fine else dtype(0)
    return m + mean


@jit
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
    weight = ring.dtype.type
    first, second, third = s * 0, s * 0, s * 0
    for dy in range(-1, 2):
        line = ring[(y + dy) % 5, i]
        for dx in range(-1, 2):
            # the pixel itself is no neighbour; written without branches
            v = min(sign * line[x + dx], cap[side]) if dx != 0 or dy != 0 else s * 0
            third = max(third, min(second, v))
            second = max(second, min(first, v))
            first = max(first, v)
    return s + first + weight(_SECOND) * second + weight(_THIRD) * third > joint[side]


@jit
def _stand_out(significance, columns, bright, dark, seeds):
    """List frame and column of what stands out in a row."""
    number = 0
    for k in range(1, columns[0] + 1):
        x = columns[k] + 1
        for i in range(len(significance)):
            if significance[i, x] > bright or significance[i, x] < dark:
                number += 1
                seeds[0, number], seeds[1, number] = i, x
    seeds[0, 0] = number


@jit
def _judge_row(ring, y, seeds, width, high, low, joint, cap, found, outliers):
    """Mark in `found` (N, width) and list the outliers of row y, all of which are seeds or next to one."""
    number = 0
    for r in range(y - 1, y + 2):
        seed = seeds[r % 5]
        for k in range(1, seed[0, 0] + 1):
            i, x = seed[0, k], seed[1, k]
            for j in range(max(x - 1, 1), min(x + 2, width + 1)):
                s = ring[y % 5, i, j]
                if -low[1] <= s <= low[0] or found[i, j - 1]:
                    continue
                if _outlier(ring, y, i, j, high, low, joint, cap):
                    found[i, j - 1] = True
                    number += 1
                    outliers[0, number], outliers[1, number] = i, j - 1
    outliers[0, 0] = number


@jit
def _judge_again(ring, y, changes, begin, end, high, low, joint, cap, again, flags):
    """Flag the pixels of row y, columns begin ... end of `flags` (N, width), anew where a neighbour has changed;
    `again`: (width,) false, room for which these are."""
    for r in range(y - 1, y + 2):
        change = changes[r % 5]
        for k in range(1, change[0] + 1):
            again[max(change[k] - 1, begin) : min(change[k] + 2, end)] = True
    for r in range(y - 1, y + 2):
        change = changes[r % 5]
        for k in range(1, change[0] + 1):
            for x in range(max(change[k] - 1, begin), min(change[k] + 2, end)):
                if again[x]:
                    again[x] = False
                    for i in range(len(flags)):
                        s = ring[y % 5, i, x + 1]
                        out = (s > low[0]) | (s < -low[1])
                        flags[i, x] = out and _outlier(ring, y, i, x + 1, high, low, joint, cap)


@jit
def judge(frames, row0, row1, top, model, keep, median, inflation, structure, high, low, joint, cap, reference, flags):
    """Flag the pixels of the rows row0 ... row1 that deviate, in two passes.

    The first leaves out of the reference what lies beyond `keep` (variances) of the median, the second what
    the first flagged. All rows of `frames` may be read, as neighbours have a say; `median`, `inflation`, `structure`,
    `reference` and `flags` begin at row0, the images have the rows of `frames`.

    `high`, `low`, `joint`, `cap`: (bright, dark) [sigma]. A pixel is flagged above `high`; or above `low`, where it and
    its strongest neighbours, each counted to `cap`, exceed `joint` together. Infinite thresholds mean one
    pass, for the reference.
    """
    n, rows, nx = frames.shape
    dtype = frames.dtype.type
    # tiles whose rows stay in the cache
    tile = min(max(16384 // n, 64), nx)
    wide = tile + 4
    # an outlier stands out of this itself, or has a neighbour that does
    share = dtype(2 + _SECOND + _THIRD)
    bright, dark = min(high[0], joint[0] / share), -min(high[1], joint[1] / share)
    # the sum of their codes tells which frames are meant
    code = np.empty(n, frames.dtype)
    for i in range(n):
        code[i] = 1 + (7919 * i + 31 * i * i) % 65521
    # five rows of significance with a rim of zeros: the newest two are of the first pass, the others of the second
    ring = np.zeros((5, n, wide + 2), frames.dtype)
    means = np.empty((5, wide), frames.dtype)
    left = np.zeros((5, wide), frames.dtype)
    # lists, with their lengths in element 0: the columns to look at in each row of the ring, and those that the second
    # pass changes; frame and column of what stands out in it; of the outliers of the row that is judged
    columns = np.zeros((5, wide + 1), np.int32)
    changes = np.zeros((5, wide + 1), np.int32)
    seeds = np.zeros((5, 2, n * wide + 1), np.int32)
    outliers = np.zeros((2, n * wide + 1), np.int32)
    work = np.empty((3, max(n, 5), 128), frames.dtype)
    work[2, 4] = np.arange(work.shape[2])
    found = np.zeros((n, wide), np.bool_)
    told = np.zeros(wide, frames.dtype)
    renew = np.zeros(wide, np.bool_)
    again = np.empty((n, wide), frames.dtype)
    for x0 in range(0, nx, tile):
        x1 = min(x0 + tile, nx)
        # two more columns on either side, where there are any; column 0 of the ring is the rim
        a, b = max(x0 - 2, 0), min(x1 + 2, nx)
        width = b - a
        ring[:] = 0
        columns[:, 0] = 0
        changes[:, 0] = 0
        seeds[:, 0, 0] = 0
        for row in range(row0 - 2, row1 + 3):
            here, column = ring[row % 5], columns[row % 5]
            column[0] = 0
            if 0 <= row < min(rows, row1 + 2):
                parts = median[row], inflation[row], structure[row]
                out = here, left[row % 5], means[row % 5], column
                _significance(frames, row, top, a, b, model, keep, *parts, work, code, bright, dark, *out)
            else:
                here[:] = 0
            _stand_out(here, column, bright, dark, seeds[row % 5])
            # the first pass judges the row before
            y = row - 1
            judged = (bright < np.inf or dark > -np.inf) and max(row0 - 1, 0) <= y < min(row1 + 1, rows)
            if judged:
                _judge_row(ring, y, seeds, width, high, low, joint, cap, found, outliers)
                for k in range(1, outliers[0, 0] + 1):
                    i, x = outliers[0, k], outliers[1, k]
                    told[x] += code[i]
                    if row0 <= y < row1 and x0 <= a + x < x1:
                        flags[i, y - row0, a + x] = True
            # only now may the second change the row before that
            change = changes[(row - 2) % 5]
            for k in range(1, change[0] + 1):
                put(ring[(row - 2) % 5, :, change[k] + 1], again[:, change[k]], n)
            change = changes[y % 5]
            change[0] = 0
            if judged:
                number = outliers[0, 0]
                for k in range(1, number + columns[y % 5, 0] + 1):
                    x = outliers[1, k] if k <= number else columns[y % 5, k - number]
                    # where the first pass left out what it flagged, nothing changes
                    if told[x] != left[y % 5, x]:
                        parts = median[y], inflation[y], structure[y]
                        means[y % 5, x] = _significance_again(
                            frames, y, top, a + x, model, *parts, found[:, x], again[:, x]
                        )
                        told[x] = left[y % 5, x]
                        change[0] += 1
                        change[change[0]] = x
                for k in range(1, number + 1):
                    found[outliers[0, k], outliers[1, k]] = False
                    told[outliers[1, k]] = 0
                for k in range(1, change[0] + 1):
                    told[change[k]] = 0
            if row0 <= y < row1:
                put(reference[y - row0, x0:], means[y % 5, x0 - a :], x1 - x0)
            # next to what has changed the first judgement does not stand
            y = row - 3
            if y >= row0:
                _judge_again(ring, y, changes, x0 - a, x1 - a, high, low, joint, cap, renew, flags[:, y - row0, a:b])


@jit
def _any_frame(flags, y, some):
    """Where is any frame flagged in this row?"""
    some[:] = False
    # (bytes, as a loop over bool is not vectorised)
    any_frame = some.view(np.uint8)
    for i in range(len(flags)):
        line = flags[i, y].view(np.uint8)
        for x in range(len(any_frame)):
            any_frame[x] |= line[x]


@jit
def excuse(frames, row0, row1, top, model, median, inflation, structure, high, flags):
    """Take back flags of the rows row0 ... row1 on stars that have changed their light.

    Where the frame differs from the reference all around a pixel by one share of the light above the darkest of the
    9 x 9 pixels around it, a star has varied; a hit differs in its own pixels only. Of a faint star the share is fitted
    to all pixels around, as no one of them tells it. `flags` begins at row0, `median`, `inflation` and `structure` have
    the rows of `frames`.
    """
    n, rows, nx = frames.shape
    va, vb, vc, vmin = model[4:]
    share = np.empty(24)
    some = np.empty(nx, np.bool_)
    for y in range(row0, row1):
        _any_frame(flags, y - row0, some)
        for x in range(nx):
            if not some[x] or structure[y, x] == 0:
                continue
            dark = np.inf
            for b in range(max(y - 4, 0), min(y + 5, rows)):
                for a in range(max(x - 4, 0), min(x + 5, nx)):
                    dark = min(dark, median[b, a])
            for i in range(n):
                if not flags[i, y - row0, x]:
                    continue
                count = seen = 0
                weight = own = differs = cross = power = 0.0
                for b in range(max(y - 2, 0), min(y + 3, rows)):
                    for a in range(max(x - 2, 0), min(x + 3, nx)):
                        light = median[b, a] - dark
                        v = variance_of(va[i], vb[i], vc[i], vmin[i], median[b, a], inflation[b, a], 0.0)
                        r = on_reference(frames, i, b, top, a, model) - median[b, a]
                        if not np.abs(r) < LARGEST or (a == x and b == y):
                            continue
                        weight += 1 / v
                        own += light * light / v
                        differs += r / v
                        cross += r * light / v
                        power += r * r / v
                        seen += 1
                        if light * light > 4 * v:
                            share[count] = r / light
                            count += 1
                change, agree = 0.0, 0
                if count >= 8:
                    change = median_of(share, count)
                    for j in range(count):
                        agree += 0.3 < share[j] / change < 2
                if count < 8 or agree < 0.7 * count:
                    # a faint star: all pixels together; where they differ alike it is no star
                    explained = cross * cross / own
                    alike = differs * differs / weight
                    if explained < max(_FAINT, alike) or power - explained > _MISFIT * seen:
                        continue
                    change = cross / own
                r = on_reference(frames, i, y, top, x, model) - median[y, x]
                left = np.abs(r - change * (median[y, x] - dark))
                v = variance_of(va[i], vb[i], vc[i], vmin[i], median[y, x], inflation[y, x], structure[y, x])
                like_star = left < 0.6 * np.abs(r) and left * left < high[0 if r > 0 else 1] ** 2 * v
                flags[i, y - row0, x] = not like_star


@inline
def _size(significance):
    return np.abs(significance) if not np.isnan(significance) else 0.0


@jit
def _survivors(live, width, model, factor, light, lows, highs, fewer, order, good, m, mean, weight):
    """Of columns of samples, (n, width), infinite where one does not survive: how many do, their median, their mean,
    and the weight of that; NaN where none does. `lows`, `highs`: a network that brings the middle of n values, and of
    up to `fewer` less, into place."""
    n = len(live)
    va, vb, vc, vmin = model
    good[:] = 0
    for i in range(n):
        values, ordered = live[i], order[i]
        for k in range(width):
            use = np.abs(values[k]) < LARGEST
            ordered[k] = values[k] if use else np.inf
            good[k] += use
    exchange(order, lows, highs, width)
    for k in range(width):
        if good[k] >= n - fewer:
            m[k] = 0.5 * (order[(good[k] - 1) // 2, k] + order[good[k] // 2, k])
        elif good[k] > 0:
            number = 0
            for i in range(n):
                if np.abs(live[i, k]) < LARGEST:
                    order[number, k] = live[i, k]
                    number += 1
            m[k] = median_of(order[:, k].copy(), number)
        else:
            m[k] = np.nan
    mean[:] = 0
    weight[:] = 0
    for i in range(n):
        values = live[i]
        for k in range(width):
            w = 1 / variance_of(va[i], vb[i], vc[i], vmin[i], m[k], factor[k], light[k])
            use = np.abs(values[k]) < LARGEST
            weight[k] += w if use else 0.0
            mean[k] += w * (values[k] - m[k]) if use else 0.0
    for k in range(width):
        weight[k] = weight[k] if good[k] else np.nan
        mean[k] = m[k] + mean[k] / weight[k]


@jit
def settle(
    frames,
    row0,
    row1,
    top,
    model,
    inflation,
    structure,
    fewest,
    most,
    network,
    flags,
    reference,
    image,
    where,
    measured,
):
    """Measure the flagged pixels of the rows row0 ... row1, in double precision whatever the frames are.

    At each pixel at most `most` frames stay flagged, and `fewest` remain, the most significant first. `inflation`,
    `structure`, `flags`, `reference` and the images of `image` begin at row0.

    network : what `median_network` gives, and its `fewer`
    reference : the noise-weighted mean of the frames that survive is put there, where there is one
    image : (number of the most significant frame, number of frames, greatest significance)
    where : (3, K), frame, row and column of each pixel that stays flagged, ordered by row, column, frame
    measured : (5, K), median and mean of the survivors as z, difference to the mean in units of the frame and in sigma,
        noise in units of the frame that the mean lacks against one pixel; NaN where no frame survives
    Returns how many there are.
    """
    n, _, nx = frames.shape
    scale, origin, gy, gx, va, vb, vc, vmin = model
    best, count, peak = image
    piece = 64
    some = np.empty(nx, np.bool_)
    columns = np.empty(nx, np.int64)
    # of each column the samples, those that survive, which are flagged and how many
    samples, live, order = np.empty((3, n, piece))
    flagged, hits = np.empty((piece, n), np.int64), np.empty(piece, np.int64)
    good, settled = np.empty(piece, np.int64), np.empty(piece, np.bool_)
    factor, light, m, mean, weight = np.empty((5, piece))
    strength = np.empty(n)
    number = 0
    for y in range(row1 - row0):
        _any_frame(flags, y, some)
        flagged_columns = 0
        for x in range(nx):
            columns[flagged_columns] = x
            flagged_columns += some[x]
        for begin in range(0, flagged_columns, piece):
            here = columns[begin : min(begin + piece, flagged_columns)]
            width = len(here)
            for k in range(width):
                factor[k], light[k] = inflation[y, here[k]], structure[y, here[k]]
            hits[:] = 0
            settled[:] = False
            # frame by frame, as they lie in memory
            for i in range(n):
                source, marks, z, left = frames[i, row0 + y], flags[i, y], samples[i], live[i]
                s, o, g = 1 / scale[i], origin[i] + gy[i] * (top + row0 + y), gx[i]
                for k in range(width):
                    z[k] = (source[here[k]] - (o + g * here[k])) * s
                for k in range(width):
                    out = marks[here[k]]
                    left[k] = np.inf if out else z[k]
                    flagged[k, hits[k]] = i
                    hits[k] += out
            over = True
            while over:
                over = False
                _survivors(live, width, model[4:], factor, light, *network, order, good, m, mean, weight)
                for k in range(width):
                    limit = max(min(most, good[k] + hits[k] - fewest), 0)
                    if settled[k] or hits[k] <= limit:
                        continue
                    over = settled[k] = True
                    for j in range(hits[k]):
                        i = flagged[k, j]
                        v = variance_of(va[i], vb[i], vc[i], vmin[i], m[k], factor[k], light[k])
                        strength[j] = _strength(samples[i, k], mean[k], v, weight[k])
                    # the least significant are put back
                    while hits[k] > limit:
                        least = 0
                        for j in range(hits[k]):
                            if _size(strength[j]) <= _size(strength[least]):
                                least = j
                        i = flagged[k, least]
                        flags[i, y, here[k]] = False
                        live[i, k] = samples[i, k]
                        hits[k] -= 1
                        for j in range(least, hits[k]):
                            flagged[k, j], strength[j] = flagged[k, j + 1], strength[j + 1]
            for k in range(width):
                x = here[k]
                if good[k]:
                    reference[y, x] = mean[k]
                highest = -1.0
                for j in range(hits[k]):
                    i = flagged[k, j]
                    v = variance_of(va[i], vb[i], vc[i], vmin[i], m[k], factor[k], light[k])
                    own = variance_of(va[i], vb[i], vc[i], vmin[i], m[k], 1.0, 0.0)
                    size = _strength(samples[i, k], mean[k], v, weight[k])
                    where[0, number], where[1, number], where[2, number] = i, row0 + top + y, x
                    measured[0, number] = m[k]
                    measured[1, number] = mean[k]
                    measured[2, number] = (samples[i, k] - mean[k]) * scale[i]
                    measured[3, number] = size
                    lacks = np.sqrt(max(own - 1 / weight[k], 0.0)) * scale[i]
                    measured[4, number] = lacks if good[k] else np.nan
                    number += 1
                    count[y, x] += 1
                    if _size(size) > highest:
                        highest = _size(size)
                        best[y, x], peak[y, x] = i + 1, highest
    return number


@inline
def _strength(z, mean, variance, weight):
    return 0.0 if z == mean else (z - mean) / np.sqrt(variance + 1 / weight)
