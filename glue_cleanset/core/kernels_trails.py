"""The compiled loops that look for lines of light in single frames. See kernels.py for the arguments."""

import numpy as np

from .kernels import jit, prefetch, variance_of

_PIXEL_CLIP = 1.5  # sigma of a pixel: hits have no say
_BLOCK_CLIP = 3.0  # sigma of a block: neither have stars
_AROUND = 8  # blocks on either side that tell the background


@jit
def block_sums(frames, row0, row1, top, model, median, inflation, structure, size, step, blocks):
    """Sum the clipped significance of every frame against the median over blocks of `size` x `size` pixels, of which
    every `step`-th row is read.

    `row0` is the first row of a block, and of `median`, `inflation` and `structure`. `blocks`: (N, rows of blocks,
    columns of blocks); what does not fill a block at the right or the lower edge counts as it is.
    """
    n, _, nx = frames.shape
    scale, origin, gy, gx, va, vb, vc, vmin = model
    dtype = frames.dtype.type
    most = dtype(_PIXEL_CLIP)
    piece = max(256 // size, 1) * size
    total = np.empty((n, piece), frames.dtype)
    along = np.arange(piece).astype(frames.dtype)  # (whole numbers would be converted each time)
    for begin in range(row0, row1, size):
        place = (begin - row0) // size
        for x0 in range(0, nx, piece):
            width = min(piece, nx - x0)
            total[:] = 0
            for row in range(begin, min(begin + size, row1), step):
                m = median[row - row0, x0 : x0 + width]
                factor = inflation[row - row0, x0 : x0 + width]
                light = structure[row - row0, x0 : x0 + width]
                for i in range(n):
                    source, sums = frames[i, row, x0 : x0 + width], total[i]
                    s, a, b, c, floor = dtype(1) / scale[i], va[i], vb[i], vc[i], vmin[i]
                    o, g = origin[i] + gy[i] * dtype(top + row) + gx[i] * dtype(x0), gx[i]
                    prefetch(frames[i, min(row + step, row1 - 1)], x0, width)
                    for x in range(width):
                        d = (source[x] - (o + g * along[x])) * s - m[x]
                        d = d / np.sqrt(variance_of(a, b, c, floor, m[x], factor[x], light[x]))
                        d = d if d < most else most if d >= most else dtype(0)  # what is not a number counts nothing
                        sums[x] += d if d > -most else -most
            for i in range(n):
                for k in range((width + size - 1) // size):
                    value = dtype(0)
                    for x in range(k * size, min((k + 1) * size, width)):
                        value += total[i, x]
                    blocks[i, place, x0 // size + k] = value


@jit
def level_blocks(blocks, spare):
    """Bring the blocks of one frame to sigma above their surroundings, in place; 0 stays 0. `spare` has their shape
    with one more row and column."""
    ny, nx = blocks.shape
    centre, sigma = _centre_sigma(blocks)
    spare[0] = 0
    for y in range(ny):
        line = 0.0
        spare[y + 1, 0] = 0
        for x in range(nx):
            value = blocks[y, x]
            line += min(max(value - centre, -5 * sigma), 5 * sigma) if value != 0 else 0.0
            spare[y + 1, x + 1] = spare[y, x + 1] + line
    for y in range(ny):
        y0, y1 = max(y - _AROUND, 0), min(y + _AROUND + 1, ny)
        for x in range(nx):
            x0, x1 = max(x - _AROUND, 0), min(x + _AROUND + 1, nx)
            mean = (spare[y1, x1] - spare[y0, x1] - spare[y1, x0] + spare[y0, x0]) / ((y1 - y0) * (x1 - x0))
            if blocks[y, x] != 0:
                blocks[y, x] -= centre + mean
    centre, sigma = _centre_sigma(blocks)
    for y in range(ny):
        for x in range(nx):
            if blocks[y, x] != 0:
                blocks[y, x] = min(max((blocks[y, x] - centre) / sigma, -_BLOCK_CLIP), _BLOCK_CLIP)


@jit
def _centre_sigma(blocks):
    """Median of the blocks that are not 0, and their scatter by the median absolute deviation."""
    values = blocks.ravel()
    values = values[values != 0]
    if len(values) < 2:
        return 0.0, np.inf
    values = values[:: 1 + len(values) // 4096]
    centre = np.median(values)
    return centre, max(1.4826 * np.median(np.abs(values - centre)), 1e-6)


@jit
def sum_lines(image, first, last, number, buffers):
    """Sums along lines by the fast discrete Radon transform, from strips of 2^first rows on to strips of 2^last.

    A strip of h rows holds the lines that begin in its first row at column x0 and end in its last one at x0 + shift,
    0 <= shift < h: in each row the column nearest to it, more or less. Two strips make one of twice the height, so
    that parts of lines come for free (Goetz & Druckmueller 1996, doi:10.1016/0031-3203(95)00015-T; Brady 1998,
    doi:10.1137/S0097539793256673; for streaks Nir, Zackay & Ofek 2018, doi:10.3847/1538-3881/aaddff).

    `image`: (2^last, nx). `buffers`: (last - first + 2, 2^last, 2^last + nx), C-contiguous; buffer 1 + k takes the
    sums of level first + k: row strip * h + shift, column 2^last + x0. `number` is how many rows of the image are
    filled.
    """
    rows, nx = image.shape
    width = rows + nx
    # (so that level `first` ends up in buffer 1)
    now, other = (buffers[1], buffers[0]) if first % 2 == 0 else (buffers[0], buffers[1])
    now[:, :rows] = 0
    now[:, rows:] = image
    for level in range(1, last + 1):
        h = 1 << (level - 1)
        if level > first:
            other = buffers[1 + level - first]
        for strip in range((number + 2 * h - 1) // (2 * h)):
            begin = strip * 2 * h
            for shift in range(2 * h):
                upper, lower, out = now[begin + shift // 2], now[begin + h + shift // 2], other[begin + shift]
                # (there may be nothing in the lower strip)
                step = (shift + 1) // 2 if begin + h < number else width
                for x in range(width - step):
                    out[x] = upper[x] + lower[x + step]
                for x in range(width - step, width):
                    out[x] = upper[x]
        now, other = other, now


@jit
def strongest_line(sums, norms, first, number):
    """(significance, level, row, column) of the strongest line in what `sum_lines` gives; `norms`: 1 / noise of each
    sum, 0 where a line is not to be looked at."""
    best = sums.dtype.type(0)
    highest = np.empty(sums.shape[2], sums.dtype)
    found = (best, 0, 0, 0)
    for k in range(len(norms)):
        h = 1 << (first + k)
        filled = min((number + h - 1) // h * h, sums.shape[1])
        highest[:] = 0
        for row in range(filled):
            line, norm = sums[1 + k, row], norms[k, row]
            for x in range(len(line)):
                value = line[x] * norm[x]
                highest[x] = value if value > highest[x] else highest[x]
        if highest.max() > best:
            best = highest.max()
            for row in range(filled):
                line, norm = sums[1 + k, row], norms[k, row]
                for x in range(len(line)):
                    if line[x] * norm[x] == best:
                        found = (best, first + k, row, x)
    return found
