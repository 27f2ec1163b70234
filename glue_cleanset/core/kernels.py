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
from llvmlite import ir
from numba.extending import intrinsic

from .imageset import LARGEST

_FEW = 100  # values of which the median is found faster by counting
OPTIONS = {"nogil": True, "cache": True, "fastmath": {"contract", "arcp", "nsz"}, "error_model": "numpy"}
jit = numba.njit(**OPTIONS)
inline = numba.njit(**OPTIONS, inline="always")
_LINE = 64  # bytes that the memory gives at once


@intrinsic
def _fetch(_, address):
    """Ask for what lies at an address (any integer) without waiting for it: LLVM's llvm.prefetch."""

    def generate(context, builder, _, arguments):
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        read, soon, data = number(0), number(2), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, soon, data])
        return context.get_dummy_value()

    return numba.void(numba.intp), generate


@jit
def prefetch(values, x, width):
    """Ask for values[x : x + width] of a contiguous line ahead of their use; beyond its end does no harm. Pieces of
    many frames in turn are nothing that a processor guesses by itself."""
    first = values.ctypes.data + x * values.itemsize
    for address in range(first, first + width * values.itemsize, _LINE):
        _fetch(address)


@jit
def put(target, source, count):
    """target[:count] = source[:count], which numba does a value at a time."""
    for k in range(count):
        target[k] = source[k]


@jit
def exchange(values, lows, highs, width):
    """Bring values[:, x] into the order that the network of exchanges gives, for each x < width."""
    for k in range(len(lows)):
        lo, hi = values[lows[k]], values[highs[k]]
        for x in range(width):
            p, q = lo[x], hi[x]
            lo[x] = p if p < q else q
            hi[x] = q if p < q else p


@jit
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
    total, rest = np.empty((2, piece), frames.dtype)
    bad = np.empty(piece, np.bool_)
    spare = np.empty(n, frames.dtype)
    middle, even = n // 2, n % 2 == 0
    rscale = 1 / scale
    # (whole numbers, and numbers of another precision, would be converted each time)
    along, beyond = np.arange(piece).astype(frames.dtype), dtype(LARGEST)
    for row in range(row0, row1):
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            bad[:] = False
            for i in range(n):
                zi, oi, source, r = (z[i], order[i], frames[i, row, x0 : x0 + width], rscale[i])
                o, g = origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(x0), gx[i]
                prefetch(frames[i, row], x0 + 2 * piece, width)
                for x in range(width):
                    v = (source[x] - (o + g * along[x])) * r
                    fine = np.abs(v) < beyond
                    bad[x] |= not fine
                    zi[x] = v
                    oi[x] = v if fine else dtype(np.inf)
            exchange(order, lows, highs, width)
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
                    rest[x] = chi
                for k in range(drop):
                    most = largest[k]
                    for x in range(width):
                        t, chi = most[x], rest[x]
                        most[x] = t if t > chi else chi
                        rest[x] = chi if t > chi else t
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


@jit
def median_of(values, count):
    """Median of the first `count` values; of few by counting for each how many are below it, without branches."""
    before, after = (count - 1) // 2, count // 2
    if count > _FEW:
        order = np.partition(values[:count], after)
        return 0.5 * (order[after] + (order[after] if before == after else np.max(order[:after])))
    low, high = values[0], values[0]
    for i in range(count):
        v = values[i]
        less, same = 0, 0
        for j in range(count):
            less += values[j] < v
            same += values[j] <= v
        if less <= before < same:
            low = v
        if less <= after < same:
            high = v
    return 0.5 * (low + high)


@jit
def _few(z, spare, va, vb, vmin):
    """Median and scatter where some of the samples are not to be used."""
    dtype = z.dtype.type
    good = 0
    for value in z:
        if np.abs(value) < LARGEST:
            spare[good] = value
            good += 1
    if good == 0:
        return dtype(np.nan), dtype(np.nan)
    m = min(spare[0], spare[1]) if good == 2 else dtype(median_of(spare, good))
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


@jit
def _with_rim(image, row, lines):
    """Put the rows around a row into `lines`, (2 * rim + 1, nx + 2 * rim); beyond the edges of the image its edge is
    repeated."""
    ny, nx = image.shape
    rim = len(lines) // 2
    for k in range(len(lines)):
        line, source = lines[k], image[min(max(row + k - rim, 0), ny - 1)]
        line[:rim] = source[0]
        put(line[rim:], source, nx)
        line[rim + nx :] = source[nx - 1]


@jit
def median_around(image, row0, row1, columns, window):
    """Median of the 5 x 5 pixels around each pixel of the rows row0 ... row1, edges repeated; `columns`, `window` are
    the networks that `window_networks` gives."""
    nx = image.shape[1]
    piece = 256
    result = np.empty((row1 - row0, nx), image.dtype)
    lines = np.empty((5, nx + 4), image.dtype)
    values = np.empty((25, piece), image.dtype)
    for row in range(row0, row1):
        _with_rim(image, row, lines)
        # each column is part of five windows
        exchange(lines, *columns, nx + 4)
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            for k in range(25):
                put(values[k], lines[k // 5, x0 + k % 5 :], width)
            exchange(values, *window, width)
            put(result[row - row0, x0:], values[12], width)
    return result


@jit
def range_around(image, row0, row1):
    """Highest minus lowest of the 3 x 3 pixels around each pixel of the rows row0 ... row1, edges repeated."""
    nx = image.shape[1]
    result = np.empty((row1 - row0, nx), image.dtype)
    lines = np.empty((3, nx + 2), image.dtype)
    low, high = np.empty((2, nx + 2), image.dtype)
    for row in range(row0, row1):
        _with_rim(image, row, lines)
        low[:] = np.inf
        high[:] = -np.inf
        for dy in range(3):
            line = lines[dy]
            for x in range(nx + 2):
                # what is not a number is passed over
                low[x] = line[x] if line[x] < low[x] else low[x]
                high[x] = line[x] if line[x] > high[x] else high[x]
        out = result[row - row0]
        for x in range(nx):
            out[x] = max(high[x], high[x + 1], high[x + 2]) - min(low[x], low[x + 1], low[x + 2])
    return result


@jit
def mean_around(image, row0, row1):
    """Mean of the 3 x 3 pixels around each pixel of the rows row0 ... row1, edges repeated."""
    nx = image.shape[1]
    result = np.empty((row1 - row0, nx), image.dtype)
    lines = np.empty((3, nx + 2), image.dtype)
    ninth = image.dtype.type(1 / 9)
    for row in range(row0, row1):
        _with_rim(image, row, lines)
        for x in range(nx + 2):
            lines[0, x] += lines[1, x] + lines[2, x]
        out, line = result[row - row0], lines[0]
        for x in range(nx):
            out[x] = (line[x] + line[x + 1] + line[x + 2]) * ninth
    return result


@inline
def variance_of(a, b, c, floor, level, inflation, structure):
    v = a + b * level
    v = v if v > floor else floor
    p, q = v * inflation, v + c * structure
    return p if p > q else q


@inline
def on_reference(frames, i, row, top, x, model):
    scale, origin, gy, gx = model[:4]
    dtype = scale.dtype.type
    return (dtype(frames[i, row, x]) - (origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(x))) / scale[i]


@jit
def label(pixel, alike, ny, nx, number):
    """Number (1 ...), in the order of their first pixels, the groups of pixels that touch and are the same in `alike`.

    `pixel`: ascending flat index into frames of ny x nx. Returns how many groups there are.
    """
    # each pixel leads towards the first one of its group
    for k in range(len(pixel)):
        number[k] = k
    below = 0
    for k in range(len(pixel)):
        x, y = pixel[k] % nx, pixel[k] // nx % ny
        if k + 1 < len(pixel) and pixel[k + 1] == pixel[k] + 1 and x + 1 < nx:
            _join(number, alike, k, k + 1)
        # in the next row, from the left one on
        while below < len(pixel) and pixel[below] < pixel[k] + nx - 1:
            below += 1
        j = below
        while j < len(pixel) and pixel[j] <= pixel[k] + nx + 1:
            if y + 1 < ny and 0 <= x + pixel[j] - pixel[k] - nx < nx:
                _join(number, alike, k, j)
            j += 1
    groups = 0
    for k in range(len(pixel)):
        if number[k] == k:
            groups += 1
            number[k] = -groups
        else:
            number[k] = number[number[k]]
    for k in range(len(pixel)):
        number[k] = -number[k]
    return groups


@jit
def _join(number, alike, k, j):
    if alike[k] == alike[j]:
        a, b = _first(number, k), _first(number, j)
        number[max(a, b)] = min(a, b)


@jit
def _first(number, k):
    while number[k] != k:
        number[k] = number[number[k]]
        k = number[k]
    return k


@jit
def measure_events(index, residual, significance, number, ny, nx, pixels, peak, centre, total):
    """Of each event: how many pixels it has, the place of the most significant in `index` (of equals the last), the
    centre of its light (2, E), and its light; `number`: the event (1 ...) of each pixel."""
    weight = np.zeros(len(pixels))
    plain = np.zeros((2, len(pixels)))
    first = np.zeros((2, len(pixels)), np.int64)  # from where all else is counted: exact where there is one pixel
    for k in range(len(index)):
        e = number[k] - 1
        y, x = index[k] // nx % ny, index[k] % nx
        if pixels[e] == 0:
            first[0, e], first[1, e] = y, x
        y, x = y - first[0, e], x - first[1, e]
        r = 0.0 if np.isnan(residual[k]) else residual[k]
        w = np.abs(r)
        pixels[e] += 1
        total[e] += r
        weight[e] += w
        centre[0, e] += w * y
        centre[1, e] += w * x
        plain[0, e] += y
        plain[1, e] += x
        s = 0.0 if np.isnan(significance[k]) else np.abs(significance[k])
        most = -1.0
        if peak[e] >= 0:
            most = significance[peak[e]]
            most = 0.0 if np.isnan(most) else np.abs(most)
        if s >= most:
            peak[e] = k
    for e in range(len(pixels)):
        for axis in range(2):
            centre[axis, e] = centre[axis, e] / weight[e] if weight[e] > 0 else plain[axis, e] / pixels[e]
            centre[axis, e] += first[axis, e]


@jit
def put_kinds(index, kept, numbers, codes, most, image):
    """Put the code of the event of each pixel that is rejected into the flat `image` where its frame is the one that
    `most`, the flat rejection map, names."""
    begin, frame = 0, 1
    for k in range(len(index)):
        while index[k] >= begin + len(image):
            begin += len(image)
            frame += 1
        column = index[k] - begin
        if not kept[k] and most[column] == frame:
            image[column] = codes[numbers[k]]


@jit
def patch_means(z, reference, light, first, last, rough, moved, own_scatter, mean, difference, count, width):
    """Of the patches first ... last of each frame, without hits: the mean of the reference, and of the difference to
    it, over the good pixels, their number, and the scatter, each (N, M).

    `z`: (N, M, P), `reference`, `light`: (M, P), of the latter seeing may change the share `moved`, (N,); `rough`: (N,)
    scatter of each frame; with `own_scatter` a patch scatters more where its pixels say so.
    """
    n, _, pixels = z.shape
    known = np.empty(pixels, np.int64)
    sizes = np.empty(pixels // 9 + 1)
    for m in range(first, last):
        # a pixel that only one frame knows would be compared with itself
        for p in range(pixels):
            known[p] = 0
            for i in range(n):
                known[p] += np.abs(z[i, m, p]) < np.inf
        for i in range(n):
            number = 0
            for p in range(0, pixels, 9):
                d = np.abs(z[i, m, p] - reference[m, p])
                sizes[number] = d if d < np.inf and known[p] > 1 else 0.0
                number += 1
            scatter = rough[i]
            if own_scatter:
                scatter = max(scatter, 1.4826 * median_of(sizes, number))
            total, level, good = 0.0, 0.0, 0
            for p in range(pixels):
                d = z[i, m, p] - reference[m, p]
                if np.abs(d) < np.inf and known[p] > 1:
                    good += 1
                    level += reference[m, p]
                    total += d if np.abs(d) <= 5 * scatter + moved[i] * light[m, p] else 0.0
            count[i, m] = good
            mean[i, m] = level / max(good, 1)
            difference[i, m] = total / max(good, 1)
            width[i, m] = scatter


@jit
def against_others(z, reference, scale, terms, theta, smallest, keep, first, last, residual, differences):
    """Residual of each frame against the mean of the others that survive at the pixel (within `keep` variances of the
    reference), in units of the frame, NaN where there are none; and the terms (T, N, M) of its variance, given those of
    one pixel, whose variance is max(theta * terms, smallest * scale^2). Works on the columns first ... last."""
    n = len(z)
    piece = 256
    # of each frame (negative where it does not survive); of all that do, together
    own = np.empty((n, piece))
    weight, mean, spread = np.empty((3, piece))
    parts = np.empty((len(terms), piece))
    for begin in range(first, last, piece):
        width = min(piece, last - begin)
        here = slice(begin, begin + width)
        middle = reference[here]
        weight[:] = 0
        mean[:] = 0
        parts[:] = 0
        for i in range(n):
            zi, wi, s = z[i, here], own[i], scale[i]
            spread[:] = 0
            for t in range(len(terms)):
                term, factor = terms[t, i, here], theta[t] / (s * s)
                for x in range(width):
                    spread[x] += factor * term[x]
            for x in range(width):
                r = zi[x] - middle[x]
                v = max(spread[x], smallest)
                w = 1 / v
                survives = r * r <= keep * v
                wi[x] = w if survives else -w
                weight[x] += w if survives else 0.0
                mean[x] += w * r if survives else 0.0
            for t in range(len(terms)):
                part, term = parts[t], terms[t, i, here]
                for x in range(width):
                    w = max(wi[x], 0.0) / s
                    part[x] += w * w * term[x]
        for i in range(n):
            zi, ri, wi, s = z[i, here], residual[i, here], own[i], scale[i]
            for x in range(width):
                r = zi[x] - middle[x]
                w = max(wi[x], 0.0)
                others = weight[x] - w
                fine = (others > 1e-9 * weight[x]) & (np.abs(r) < np.inf)
                ri[x] = s * (r - (mean[x] - (w * r if w > 0 else 0.0)) / others) if fine else np.nan
            for t in range(len(terms)):
                part, term, out = parts[t], terms[t, i, here], differences[t, i, here]
                for x in range(width):
                    w = max(wi[x], 0.0)
                    others = weight[x] - w
                    factor = (s / others) * (s / others) if others > 1e-9 * weight[x] else 0.0
                    out[x] = term[x] + factor * (part[x] - (w / s) * (w / s) * term[x])


@numba.njit(**{**OPTIONS, "fastmath": {*OPTIONS["fastmath"], "reassoc"}})
def variance_sums(residual, terms, theta, smallest, clip, first, last, sums):
    """Sums of the weighted straight line residual^2 = theta * terms over what lies within `clip` variances in each of
    the frames first ... last: `sums` (N, 4, 5), the normal matrix and the right side."""
    a, b, c, d = theta[0], theta[1], theta[2], theta[3]
    for i in range(first, last):
        n00 = n01 = n02 = n03 = n11 = n12 = n13 = n22 = n23 = n33 = r0 = r1 = r2 = r3 = 0.0
        r, t, u, v, w = residual[i], terms[0, i], terms[1, i], terms[2, i], terms[3, i]
        for x in range(len(r)):
            y = r[x] * r[x]
            t0, t1, t2, t3 = t[x], u[x], v[x], w[x]
            expected = max(a * t0 + b * t1 + c * t2 + d * t3, smallest * t0)
            inside = y <= clip * expected
            weight = 1 / (expected * expected) if inside else 0.0
            y = y if inside else 0.0
            w0, w1, w2, w3 = weight * t0, weight * t1, weight * t2, weight * t3
            n00 += w0 * t0
            n01 += w0 * t1
            n02 += w0 * t2
            n03 += w0 * t3
            n11 += w1 * t1
            n12 += w1 * t2
            n13 += w1 * t3
            n22 += w2 * t2
            n23 += w2 * t3
            n33 += w3 * t3
            r0 += w0 * y
            r1 += w1 * y
            r2 += w2 * y
            r3 += w3 * y
        sums[i, 0] = n00, n01, n02, n03, r0
        sums[i, 1] = n01, n11, n12, n13, r1
        sums[i, 2] = n02, n12, n22, n23, r2
        sums[i, 3] = n03, n13, n23, n33, r3


@lru_cache(maxsize=64)
def median_network(n, fewer=0):
    """Exchanges (low, high) that bring the middle of n values, and of up to `fewer` less that come before the rest,
    into place. Two (K,) arrays."""
    return _towards(_sorting(range(n)), set(range((n - fewer - 1) // 2, n // 2 + 1)))


@lru_cache(maxsize=1)
def window_networks():
    """Exchanges that sort the five values of a column; and those that bring the median of 5 x 5 values to the middle,
    row by row, where the columns are sorted. Each two (K,) arrays."""
    exchanges = [pair for y in range(0, 25, 5) for pair in _sorting(range(y, y + 5))]
    # now the rows are sorted as well: what has 13 values before or behind it is not the median
    y, x = np.divmod(np.arange(25), 5)
    exchanges += _sorting(np.flatnonzero(((y + 1) * (x + 1) <= 13) & ((5 - y) * (5 - x) <= 13)).tolist())
    # what has nothing to do with columns of zeros and ones has nothing to do with any (Knuth 1973, The Art of Computer
    # Programming 3, section 5.3.4)
    ones = np.indices((6,) * 5).reshape(5, -1).T
    columns = y >= 5 - ones[:, x]
    used = []
    for low, high in exchanges:
        wrong = columns[:, low] & ~columns[:, high]
        columns[wrong, low], columns[wrong, high] = False, True
        if wrong.any():
            used.append((low, high))
    return _towards(_sorting(range(5)), set(range(5))), _towards(used, {12})


def _sorting(places):
    """Exchanges (low, high) that sort the values at some places: Batcher's odd-even merge sort (1968,
    doi:10.1145/1468075.1468121)."""
    n, exchanges = len(places), []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(min(k, n - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        exchanges.append((places[i + j], places[i + j + k]))
            k //= 2
        p *= 2
    return exchanges


def _towards(exchanges, wanted):
    """Those of the exchanges, as two arrays, without which what comes to some places could be something else."""
    used = []
    for low, high in reversed(exchanges):
        if low in wanted or high in wanted:
            wanted |= {low, high}
            used.append((low, high))
    pairs = np.array(used[::-1], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
