"""The compiled loops that look for stars and for what moves. See kernels.py for the arguments."""

import numpy as np

from .imageset import LARGEST
from .kernels import inline, jit, median_of, on_reference


@inline
def _is_highest(image, y, x, reach, most):
    """Whether no pixel within reach exceeds this one, of equals the first; what is above `most` does not count."""
    v = image[y, x]
    for b in range(max(y - reach, 0), min(y + reach + 1, image.shape[0])):
        for a in range(max(x - reach, 0), min(x + reach + 1, image.shape[1])):
            other = image[b, a]
            if other < most and (other > v or (other == v and (b < y or (b == y and a < x)))):
                return False
    return True


@jit
def bright_peaks(image, low, high, reach):
    """Row and column of the pixels between `low` and `high` that no other within `reach` exceeds, (2, K)."""
    ny, nx = image.shape
    found = np.empty((2, 4096), np.int64)
    number = 0
    for y in range(reach, ny - reach):
        for x in range(reach, nx - reach):
            v = image[y, x]
            if not v > low or v >= high or number == found.shape[1]:
                continue
            if v < image[y, x - 1] or v < image[y, x + 1] or v < image[y - 1, x] or v < image[y + 1, x]:
                continue
            if _is_highest(image, y, x, reach, np.inf):
                found[0, number], found[1, number] = y, x
                number += 1
    return found[:, :number]


@inline
def _shape(form, dy, dx):
    """Light of a star of peak 1, and its slopes along y and x of the star's place."""
    a, b, c, s = form
    w = 2**s - 1
    base = 1 + w * (a * dy * dy + 2 * b * dy * dx + c * dx * dx)
    light = base ** (-1 / s)
    slope = 2 * w / s * light / base
    return light, slope * (a * dy + b * dx), slope * (b * dy + c * dx)


@jit
def _trailed(form, trail, dy, dx):
    """The same of a star that moves by `trail` (dy, dx, number of places that stand for the way) while the shutter is
    open; its light in all is that of a star of peak 1."""
    if trail[2] < 1.5:
        return _shape(form, dy, dx)
    light, gy, gx = 0.0, 0.0, 0.0
    parts = int(trail[2])
    for k in range(parts):
        share = (k + 0.5) / parts - 0.5
        one, slope_y, slope_x = _shape(form, dy - share * trail[0], dx - share * trail[1])
        light, gy, gx = light + one / parts, gy + slope_y / parts, gx + slope_x / parts
    return light, gy, gx


@jit
def _solve(matrix, right):
    """Of a small symmetric positive matrix, in place (Cholesky); False where it is none."""
    n = len(right)
    for i in range(n):
        for j in range(i + 1):
            v = matrix[i, j]
            for k in range(j):
                v -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not v > 0:
                    return False
                matrix[i, i] = np.sqrt(v)
            else:
                matrix[i, j] = v / matrix[j, j]
    for i in range(n):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]
    return True


@jit
def _fit_point(cut, variance, form, error, sky, result):
    """Fit a point of light near the middle of a square of residuals, and with `sky` a constant below it; `error` is the
    share by which the form may be wrong. `result`: place relative to the middle, peak, its error, reduced chi^2.
    False where nothing fits."""
    half = len(cut) // 2
    size = 4 if sky else 3
    dy, dx, peak, low = 0.0, 0.0, cut[half, half], 0.0
    normal, right = np.empty((size, size)), np.empty(size)
    slope = np.empty(4)
    noise = np.inf
    for step in range(6):
        normal[:] = 0
        right[:] = 0
        chi, count = 0.0, 0
        for b in range(2 * half + 1):
            for a in range(2 * half + 1):
                r = cut[b, a]
                if not np.abs(r) < LARGEST:
                    continue
                light, gy, gx = _shape(form, b - half - dy, a - half - dx)
                w = 1 / (variance + (error * peak * light) ** 2)
                d = r - peak * light - low
                slope[0], slope[1], slope[2], slope[3] = light, peak * gy, peak * gx, 1.0
                chi += w * d * d
                count += 1
                for i in range(size):
                    right[i] += w * slope[i] * d
                    for j in range(i + 1):
                        normal[i, j] += w * slope[i] * slope[j]
        result[0], result[1], result[2], result[4] = dy, dx, peak, chi / max(count - size, 1)
        if count < 2 * size + 1:
            return False
        noise = normal[0, 0]
        if step == 5:
            break
        # (a pixel off at most in one step)
        normal[1, 1] *= 1.0001
        normal[2, 2] *= 1.0001
        if not _solve(normal, right):
            return False
        peak += right[0]
        dy += min(max(right[1], -0.7), 0.7)
        dx += min(max(right[2], -0.7), 0.7)
        if sky:
            low += right[3]
        if not (peak > 0 and np.abs(dy) < half and np.abs(dx) < half):
            return False
    result[3] = 1 / np.sqrt(noise)
    return True


@jit
def _cut_out(frames, i, row, top, x, model, below, first, cut):
    """Residuals around a pixel, NaN beyond the rows and columns there are; `below` begins at row `first`."""
    half = len(cut) // 2
    _, rows, nx = frames.shape
    for b in range(-half, half + 1):
        for a in range(-half, half + 1):
            inside = 0 <= row + b < rows and 0 <= x + a < nx
            if inside:
                cut[half + b, half + a] = (
                    on_reference(frames, i, row + b, top, x + a, model) - below[row + b - first, x + a]
                )
            else:
                cut[half + b, half + a] = np.nan


@jit
def find_points(frames, row0, row1, top, model, median, index, residual, ny, form, half, sides, limits, found):
    """Which flagged pixels of the rows row0 ... row1 are the peaks of points of light.

    median : (rows, nx), of the rows of `frames`
    index, residual : (K,) flat index of each flagged pixel, ascending; how far it is above what is expected
    sides : (3,) the least that a neighbour along y, one along x, and all eight together have of the peak
    limits : least significance, largest reduced chi^2, share by which the form may be wrong
    found : (6, K) frame, y, x, peak on the mean scale, its error, chi^2
    Returns how many there are.
    """
    n, rows, nx = frames.shape
    cut = np.empty((2 * half + 1, 2 * half + 1))
    result = np.empty(5)
    va, vb, vmin = model[4], model[5], model[7]
    least, worst, error = limits
    number = 0
    for i in range(n):
        begin = i * ny * nx + (top + row0) * nx
        end = begin + (row1 - row0) * nx
        for k in range(np.searchsorted(index, begin), np.searchsorted(index, end)):
            own = residual[k]
            # a neighbour that is brighter is often next in the list; the frames are far away in memory
            if not own > 0 or (k > 0 and index[k - 1] == index[k] - 1 and residual[k - 1] > 1.2 * own):
                continue
            if k + 1 < len(index) and index[k + 1] == index[k] + 1 and residual[k + 1] > 1.2 * own:
                continue
            place = index[k] - i * ny * nx
            row, x = place // nx - top, place % nx
            m = median[row, x]
            r = on_reference(frames, i, row, top, x, model) - m
            v = max(va[i] + vb[i] * m, vmin[i])
            noise = np.sqrt(v)
            if r < 0.3 * least * noise:
                continue
            fine = True
            for step in range(4):
                b, a = (0, 1 - 2 * step) if step < 2 else (2 * step - 5, 0)  # along x, then along y
                if not (0 <= row + b < rows and 0 <= x + a < nx):
                    continue
                side = on_reference(frames, i, row + b, top, x + a, model) - median[row + b, x + a]
                if side > r or side < sides[0 if a == 0 else 1] * r - 2.5 * noise:
                    fine = False
                    break
            if not fine:
                continue
            _cut_out(frames, i, row, top, x, model, median, 0, cut)
            # all eight neighbours: next to nothing, but for the fits that it saves
            around = -r
            for b in range(half - 1, half + 2):
                for a in range(half - 1, half + 2):
                    around += cut[b, a]
            if around < sides[2] * r - 7 * noise or around + r < 1.8 * least * noise:
                continue
            # its own photons add noise
            v += vb[i] * max(r, 0.0) * 0.5
            if not _fit_point(cut, v, form, error, False, result):
                continue
            if result[2] > least * result[3] and result[4] < worst and max(abs(result[0]), abs(result[1])) < 1.2:
                found[0, number], found[1, number], found[2, number] = i, top + row + result[0], x + result[1]
                found[3, number], found[4, number], found[5, number] = result[2], result[3], result[4]
                number += 1
    return number


@jit
def restless_places(inflation, median, y0, y1, sky, model, least, share, reach):
    """Rows and columns of the rows y0 ... y1 where the scatter is highest within `reach`, exceeds the noise by the
    factor `least`, and is more than a share of the light there: something came and went. (2, K)."""
    nx = median.shape[1]
    a, b, floor = np.mean(model[4]), np.mean(model[5]), np.mean(model[7])
    found = np.empty((2, 4096), np.int64)
    number = 0
    for y in range(y0, y1):
        for x in range(nx):
            f = inflation[y, x]
            if not least < f < 1e7 or number == found.shape[1]:
                continue
            m = median[y, x]
            light = share * (m - sky)
            if (f - 1) * max(a + b * m, floor) < light * light and light > 0:
                continue
            if _is_highest(inflation, y, x, reach, 1e7):
                found[0, number], found[1, number] = y, x
                number += 1
    return found[:, :number]


@jit
def find_hidden_points(z, variance, corner, form, half, rank, limits, found):
    """The brightest points of light of each frame in a small box, above what is always there.

    z : (N, h, w) on the mean scale; NaN = not to be used; changed
    variance : (N,) of a pixel of it
    corner : (y, x) of the box
    rank : which of the ordered samples of a pixel is taken as always there
    found : (6, K) for the K / N brightest of each frame, see `find_points`
    Returns how many there are.
    """
    n, h, w = z.shape
    values = np.empty(n)
    for y in range(h):
        for x in range(w):
            count = 0
            for i in range(n):
                if np.abs(z[i, y, x]) < LARGEST:
                    values[count] = z[i, y, x]
                    count += 1
            low = np.nan
            if count > rank:
                values[:count].sort()
                low = values[rank]
            for i in range(n):
                z[i, y, x] -= low
    least, worst, error = limits
    stamp = np.empty((2 * half + 1, 2 * half + 1))
    for b in range(2 * half + 1):
        for a in range(2 * half + 1):
            stamp[b, a] = _shape(form, b - half, a - half)[0]
    cut = np.empty_like(stamp)
    result = np.empty(5)
    strength = np.empty((h, w))
    number = 0
    for i in range(n):
        strength[:] = 0
        for y in range(half, h - half):
            for x in range(half, w - half):
                s, sp, sr, spp, spr = 0.0, 0.0, 0.0, 0.0, 0.0
                for b in range(2 * half + 1):
                    for a in range(2 * half + 1):
                        r, p = z[i, y + b - half, x + a - half], stamp[b, a]
                        if np.abs(r) < LARGEST:
                            s += 1
                            sp += p
                            sr += r
                            spp += p * p
                            spr += p * r
                power = s * spp - sp * sp
                if s > 0.7 * stamp.size and power > 0:
                    strength[y, x] = (s * spr - sp * sr) / np.sqrt(power * s)
        # a hit may outshine it
        for _ in range(len(found[0]) // n):
            by, bx = 0, 0
            for y in range(half, h - half):
                for x in range(half, w - half):
                    if strength[y, x] > strength[by, bx]:
                        by, bx = y, x
            peak = strength[by, bx]
            if not peak * peak > least * least * variance[i]:
                break
            strength[max(by - 2, 0) : by + 3, max(bx - 2, 0) : bx + 3] = 0
            cut[:] = z[i, by - half : by + half + 1, bx - half : bx + half + 1]
            if not _fit_point(cut, variance[i], form, error, True, result):
                continue
            fine = result[4] < worst and max(abs(result[0]), abs(result[1])) < 1.2
            if result[2] > least * result[3] and fine:
                found[0, number] = i
                found[1, number], found[2, number] = corner[0] + by + result[0], corner[1] + bx + result[1]
                found[3, number], found[4, number], found[5, number] = result[2], result[3], result[4]
                number += 1
    return number


@jit
def link(first, y, x, flux, t, area, gap, rates, spread, members, chance):
    """Follow the straight line through every pair of points in frames that are close, outward through the others.

    first : (N + 1,) where the points of each frame begin; frames in the order of their times
    y, x, flux : (K,) points, in each frame ordered by y
    t : (N,) times, in units of the typical step
    area : of a frame [pixels]; gap : how many frames on a pair may lie
    rates : least and greatest [pixels per step]; spread : error of a place [pixels]
    members : (H, N) the points on each line, -1 = none
    chance : (H,) logarithm of the odds that points lie there by chance, and of 1 / the number of lines tried
    Returns how many lines hold three points or more, and how many pairs there were.
    """
    n = len(t)
    number, pairs = 0, 0
    mine = np.empty(n, np.int32)
    for i in range(n - 1):
        for j in range(i + 1, min(i + 1 + gap, n)):
            step = t[j] - t[i]
            if step <= 0:
                continue
            far = rates[1] * step
            for a in range(first[i], first[i + 1]):
                begin = first[j] + np.searchsorted(y[first[j] : first[j + 1]], y[a] - far)
                for b in range(begin, first[j + 1]):
                    dy, dx = y[b] - y[a], x[b] - x[a]
                    if dy > far:
                        break
                    length = dy * dy + dx * dx
                    if length > far * far or length < (rates[0] * step) ** 2:
                        continue
                    if flux[b] > 3 * flux[a] or flux[a] > 3 * flux[b]:
                        continue
                    pairs += 1
                    if number == len(members):
                        continue
                    mine[:] = -1
                    mine[i], mine[j] = a, b
                    count, odds = _follow(first, y, x, flux, t, area, spread, i, j, mine)
                    if count > 2:
                        members[number] = mine
                        chance[number] = odds
                        number += 1
    return number, pairs


@jit
def _follow(first, y, x, flux, t, area, spread, i, j, mine):
    """Find the points on the line through those of frames i and j; how many, and the logarithm of the odds."""
    n = len(t)
    low, high, between = i - 1, j + 1, i + 1
    s0, st, stt, sy, sty, sx, stx, sf = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    # times from that of frame i on
    for k in (i, j):
        d, p = t[k] - t[i], mine[k]
        s0, st, stt, sf = s0 + 1, st + d, stt + d * d, sf + flux[p]
        sy, sty, sx, stx = sy + y[p], sty + d * y[p], sx + x[p], stx + d * x[p]
    odds, missed = 0.0, 0
    while low >= 0 or high < n or between < j:
        if between < j:
            k = between
            between += 1
        elif high >= n or (low >= 0 and t[i] - t[low] <= t[high] - t[j]):
            k = low
            low -= 1
        else:
            k = high
            high += 1
        d = t[k] - t[i]
        power = s0 * stt - st * st
        vy, vx = (s0 * sty - st * sy) / power, (s0 * stx - st * sx) / power
        py, px = (sy - vy * st) / s0 + vy * d, (sx - vx * st) / s0 + vx * d
        off = d - st / s0
        reach = 0.5 + 2.5 * spread * np.sqrt(1 / s0 + off * off * s0 / power)
        reach = min(reach, 4.0)
        best, nearest = -1, reach * reach
        begin = first[k] + np.searchsorted(y[first[k] : first[k + 1]], py - reach)
        for p in range(begin, first[k + 1]):
            if y[p] > py + reach:
                break
            distance = (y[p] - py) ** 2 + (x[p] - px) ** 2
            if distance < nearest and sf < 3 * s0 * flux[p] and s0 * flux[p] < 3 * sf:
                best, nearest = p, distance
        if best < 0:
            missed += 1
            if missed == 3 and s0 == 2:
                return 2, 0.0
            continue
        mine[k] = best
        odds += np.log(min(1.0, (first[k + 1] - first[k]) * np.pi * reach * reach / area))
        s0, st, stt, sf = s0 + 1, st + d, stt + d * d, sf + flux[best]
        sy, sty, sx, stx = sy + y[best], sty + d * y[best], sx + x[best], stx + d * x[best]
    return int(s0), odds


@jit
def fit_motion(z, variance, photons, y, x, middle, t, form, trail, reach, slack, steps, par, error, still):
    """Fit a point that moves at a steady rate and brightness before an unknown background that stands still.

    z, variance : (N, K) samples of the pixels y, x on the mean scale, NaN = not to be used; their variance without it
    photons : (N,) variance that a unit of its light adds
    middle : (K,) background where the object covers a pixel in few frames only
    form, trail, reach, slack : of the light; how far from its centre; the share by which it may be wrong
    par, error : (5,) y, x at t = 0, rates along y and x, peak; changed, and their errors
    still : (K,) the background is put there
    Returns chi^2 and the number of samples less that of what is fitted; chi^2 is infinite where the fit failed.
    """
    n, count = z.shape
    normal, right = np.empty((5, 5)), np.empty(5)
    e, w, light, gy, gx = np.empty((5, n))
    values = np.empty(n)
    chi, samples, settled = np.inf, 0, False
    for step in range(steps + 1):
        settled |= step == steps
        normal[:] = 0
        right[:] = 0
        chi, samples = 0.0, -5
        # the first steps do not know it well
        wrong = max(slack, 0.4 * 0.5**step)
        for k in range(count):
            covered, good = 0, 0
            for i in range(n):
                dy, dx = y[k] - par[0] - par[2] * t[i], x[k] - par[1] - par[3] * t[i]
                light[i], gy[i], gx[i] = 0.0, 0.0, 0.0
                if abs(dy) <= reach and abs(dx) <= reach:
                    light[i], gy[i], gx[i] = _trailed(form, trail, dy, dx)
                    covered += dy * dy + dx * dx < 0.7 * reach * reach
                e[i] = z[i, k] - par[4] * light[i]
                if np.abs(e[i]) < LARGEST:
                    values[good] = e[i]
                    good += 1
            if covered == 0 or good < 2:
                still[k] = np.nan
                continue
            level = median_of(values, good) if covered * 4 > n else middle[k]
            sw, se, sl, sy, sx, sty, stx = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(n):
                own = par[4] * light[i]
                v = variance[i, k] + photons[i] * own + (wrong * own) ** 2
                d = e[i] - level
                w[i] = 1 / v if d * d < 25 * v else 0.0
                e[i] = d if w[i] > 0 else 0.0
                sw += w[i]
                se += w[i] * e[i]
                sl += w[i] * light[i]
                sy += w[i] * gy[i]
                sx += w[i] * gx[i]
                sty += w[i] * gy[i] * t[i]
                stx += w[i] * gx[i] * t[i]
            if sw <= 0:
                still[k] = np.nan
                continue
            se, sl, sy, sx, sty, stx = se / sw, sl / sw, sy / sw, sx / sw, sty / sw, stx / sw
            still[k] = level + se
            samples -= 1
            for i in range(n):
                if w[i] == 0:
                    # what does not fit at all is left out, and paid for
                    chi += 25.0 if np.abs(z[i, k]) < LARGEST else 0.0
                    continue
                d, p = e[i] - se, light[i] - sl
                q, r = par[4] * (gy[i] - sy), par[4] * (gx[i] - sx)
                chi += w[i] * d * d
                samples += 1
                a, b = par[4] * (gy[i] * t[i] - sty), par[4] * (gx[i] * t[i] - stx)
                for m in range(5):
                    u = q if m == 0 else r if m == 1 else a if m == 2 else b if m == 3 else p
                    right[m] += w[i] * u * d
                    for o in range(m + 1):
                        s = q if o == 0 else r if o == 1 else a if o == 2 else b if o == 3 else p
                        normal[m, o] += w[i] * u * s
        inverse = normal.copy()
        if settled:
            for m in range(5):
                unit = np.zeros(5)
                unit[m] = 1
                inverse[:] = normal
                if not _solve(inverse, unit):
                    return np.inf, samples
                error[m] = np.sqrt(unit[m])
            break
        for m in range(5):
            inverse[m, m] *= 1.001
        if not _solve(inverse, right):
            return np.inf, samples
        for m in range(4):
            limit = 1.0 if m < 2 else 2.0 / max(np.max(np.abs(t)), 1e-9)
            par[m] += min(max(right[m], -limit), limit)
        par[4] = min(max(par[4] + right[4], 0.3 * par[4]), 3 * par[4])
        # a small part of the errors
        settled = step > 2
        for m in range(5):
            settled &= right[m] * right[m] * normal[m, m] < 0.003
    return chi, samples


@jit
def fit_fluxes(z, variance, photons, y, x, middle, places, flux, form, trail, reach, slack, result):
    """Peak of a moving point in each frame on its own, before what the other frames show there.

    places : (N, 2); flux : typical peak; the others as for `fit_motion`
    result : (N, 3) peak, its error, and the sum of light^2 over the pixels used
    """
    n, count = z.shape
    own = np.full(n, flux)
    sums = np.zeros((n, 3))
    light, e, w = np.empty((3, n))
    values = np.empty(n)
    for step in range(4):
        sums[:] = 0
        for k in range(count):
            covered, good = 0, 0
            for i in range(n):
                dy, dx = y[k] - places[i, 0], x[k] - places[i, 1]
                light[i] = 0.0
                if abs(dy) <= reach and abs(dx) <= reach:
                    light[i] = _trailed(form, trail, dy, dx)[0]
                    covered += dy * dy + dx * dx < 0.7 * reach * reach
                e[i] = z[i, k] - own[i] * light[i]
                if np.abs(e[i]) < LARGEST:
                    values[good] = e[i]
                    good += 1
            if covered == 0 or good < 2:
                continue
            level = median_of(values, good) if covered * 4 > n else middle[k]
            sw, se = 0.0, 0.0
            for i in range(n):
                v = variance[i, k] + photons[i] * own[i] * light[i] + (slack * own[i] * light[i]) ** 2
                d = e[i] - level
                # at first only what is far too bright is left out
                w[i] = 1 / v if d * d < (25 * v if step > 0 else 25 * v + flux * flux) else 0.0
                e[i] = d if w[i] > 0 else 0.0
                sw += w[i]
                se += w[i] * e[i]
            for i in range(n):
                if light[i] <= 0 or w[i] == 0:
                    continue
                others = sw - w[i]
                if not others > 1e-9 * sw:
                    continue
                d = e[i] - (se - w[i] * e[i]) / others
                weight = w[i] * others / sw
                sums[i, 0] += weight * light[i] * light[i]
                sums[i, 1] += weight * light[i] * d
                sums[i, 2] += light[i] * light[i]
        for i in range(n):
            if sums[i, 0] > 0:
                own[i] = max(own[i] + sums[i, 1] / sums[i, 0], 0.0)
    for i in range(n):
        result[i, 0] = own[i]
        result[i, 1] = 1 / np.sqrt(sums[i, 0]) if sums[i, 0] > 0 else np.inf
        result[i, 2] = sums[i, 2]


@jit
def find_streaks(index, residual, numbers, count, ny, nx, width, lengths, found):
    """Events that are elongated and as wide as a star.

    index, residual, numbers : (K,) flat index of each flagged pixel, light above what is expected, event (1 ... count)
    width : variance of a star across [pixels^2]
    lengths : least and greatest [pixels]
    found : (4, M) frame, y, x, light in all
    Returns how many there are.
    """
    sums = np.zeros((count + 1, 7))
    for k in range(len(index)):
        w = residual[k]
        if w > 0:
            one = sums[numbers[k]]
            # from the first pixel on, so that the squares stay small
            if one[0] == 0:
                one[0] = index[k] + 1
            first = np.int64(one[0]) - 1
            dy, dx = index[k] // nx - first // nx, index[k] % nx - first % nx
            one[1] += w
            one[2] += w * dy
            one[3] += w * dx
            one[4] += w * dy * dy
            one[5] += w * dy * dx
            one[6] += w * dx * dx
    number = 0
    for e in range(1, count + 1):
        if sums[e, 0] == 0 or number == found.shape[1]:
            continue
        w = sums[e, 1]
        y, x = sums[e, 2] / w, sums[e, 3] / w
        yy, yx, xx = sums[e, 4] / w - y * y, sums[e, 5] / w - y * x, sums[e, 6] / w - x * x
        half, apart = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
        across, length = half - apart, np.sqrt(24 * apart)
        if 0.4 * width < across < 2 * width and lengths[0] < length < lengths[1]:
            first = np.int64(sums[e, 0]) - 1
            found[0, number] = first // (ny * nx)
            found[1, number], found[2, number] = first // nx % ny + y, first % nx + x
            found[3, number] = w
            number += 1
    return number
