"""The compiled loops that look at the shape of events, and at the light of stars. See kernels.py for the arguments."""

import numpy as np

from .imageset import LARGEST
from .kernels import jit, on_reference

RADIUS = 4  # pixels around the peak of a star that tell its light


@jit
def star_changes(frames, row0, row1, top, model, median, peaks, change, error, explained, total, misfit):
    """By which share each star differs from the median in each frame, where its peak is in the rows row0 ... row1.

    `median` is the whole image; `peaks`: (2, S). Fills, each (N, S): `change`, its `error`, which share of what differs
    it explains, by which share the sum of the light differs, whatever its form, and by how much the share differs from
    pixel to pixel, typically; NaN where the star is not seen.
    """
    n, rows, _ = frames.shape
    ny, nx = median.shape
    va, vb, _, vmin = model[4:]
    light, rest, weight, share = np.empty((4, (2 * RADIUS + 1) ** 2))
    place = np.empty((2, (2 * RADIUS + 1) ** 2), np.int64)
    for s in range(peaks.shape[1]):
        y, x = peaks[0, s], peaks[1, s]
        if not row0 + top <= y < row1 + top:
            continue
        dark = np.inf
        for b in range(max(y - 6, 0), min(y + 7, ny)):
            for a in range(max(x - 6, 0), min(x + 7, nx)):
                dark = min(dark, median[b, a])
        inside = 0
        for b in range(max(y - RADIUS, top), min(y + RADIUS + 1, top + rows)):
            for a in range(max(x - RADIUS, 0), min(x + RADIUS + 1, nx)):
                if (b - y) ** 2 + (a - x) ** 2 <= RADIUS**2 and np.abs(median[b, a]) < LARGEST:
                    place[0, inside], place[1, inside] = b, a
                    inside += 1
        for i in range(n):
            count, bright = 0, 0
            for k in range(inside):
                b, a = place[0, k], place[1, k]
                r = on_reference(frames, i, b - top, top, a, model) - median[b, a]
                if np.abs(r) < LARGEST:
                    v = max(va[i] + vb[i] * median[b, a], vmin[i])
                    light[count], rest[count], weight[count] = median[b, a] - dark, r, 1 / v
                    if light[count] ** 2 > 9 * v:
                        share[bright] = r / light[count]
                        bright += 1
                    count += 1
            if bright < 5:
                continue
            # what is far from one share of the light is a hit
            first = np.median(share[:bright])
            sum_ll, sum_lr, sum_l, sum_r, before, after = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for k in range(count):
                off = np.abs(rest[k] - first * light[k])
                if off < 4 / np.sqrt(weight[k]) + 0.5 * np.abs(first) * light[k]:
                    sum_ll += weight[k] * light[k] ** 2
                    sum_lr += weight[k] * light[k] * rest[k]
                    sum_l += light[k]
                    sum_r += rest[k]
                else:
                    weight[k] = 0.0
            if sum_ll == 0:
                continue
            c = sum_lr / sum_ll
            for k in range(count):
                before += weight[k] * rest[k] ** 2
                after += weight[k] * (rest[k] - c * light[k]) ** 2
            change[i, s], error[i, s] = c, 1 / np.sqrt(sum_ll)
            explained[i, s] = 1 - after / before if before > 0 else 0.0
            total[i, s] = sum_r / sum_l
            for k in range(bright):
                share[k] = np.abs(share[k] - first)
            misfit[i, s] = np.median(share[:bright])


@jit
def event_shapes(frames, row0, row1, top, model, median, frame, y, x, first, last, sharp, error):
    """Of the events first ... last, whose peaks lie in the rows row0 ... row1: the mean residual of the eight
    neighbours of the peak as a share of its own, and the error of that."""
    rows = frames.shape[1]
    nx = frames.shape[2]
    va, vb, _, vmin = model[4:]
    for k in range(first, last):
        i, b0, a0 = frame[k], y[k], x[k]
        peak = on_reference(frames, i, b0 - top, top, a0, model) - median[b0, a0]
        total, noise, count = 0.0, 0.0, 0
        for b in range(max(b0 - 1, top), min(b0 + 2, top + rows)):
            for a in range(max(a0 - 1, 0), min(a0 + 2, nx)):
                r = on_reference(frames, i, b - top, top, a, model) - median[b, a]
                if (b != b0 or a != a0) and np.abs(r) < LARGEST:
                    total += r
                    noise += max(va[i] + vb[i] * median[b, a], vmin[i])
                    count += 1
        if count:
            own = max(va[i] + vb[i] * median[b0, a0], vmin[i])
            sharp[k] = total / count / peak
            error[k] = np.sqrt(noise / count**2 + own * sharp[k] ** 2) / np.abs(peak)
