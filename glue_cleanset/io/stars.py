"""Find the stars of frames, and match them."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .registration import SAMPLE, level_and_scatter, median3, sky_of

__all__ = ["find_stars", "match_stars"]

_THRESHOLD = 5.0  # of the smoothed image [sigma of the sky]
_APART = 5  # of two stars closer than this the brighter one counts [pixels]
_REACH = 4  # half width of the window of a centroid [pixels]
_WIDTH = 2.0  # sigma of its weight [pixels]
_MOST = 300  # stars of a frame, the brightest
_BRIGHT, _PARTNERS = 40, 60  # the brightest of the one frame are looked for among these of the other
_TOLERANCE = 2.0  # of the places of matched stars, and of their distances [pixels] ...
_SCALE = 0.003  # ... which may differ by this share
_FEWEST, _SHARE = 5, 0.25  # so many of the bright stars must agree


def find_stars(image_set, i):
    """Places of the brightest stars of a frame.

    Hot pixels are no stars: they are gone after a median of 3 x 3 pixels, which stars with a FWHM of 2 pixels and more
    survive.

    Parameters
    ----------
    image_set : ImageSet
    i : int
        Index of the frame.

    Returns
    -------
    ndarray, (K,), complex128
        x + iy [pixels, 0-based], the brightest first, at most 300.
    """
    good = image_set.usable(i)
    image = image_set.frames[i].astype(np.float32)
    image[~good] = np.median(image[good][:: max(1, image.size // SAMPLE)])
    image = median3(image)
    image -= sky_of(image)
    smooth = ndimage.gaussian_filter(image, 1)
    level, sigma = level_and_scatter(smooth)
    edge = np.zeros(image.shape, bool)
    edge[_REACH:-_REACH, _REACH:-_REACH] = True
    peak = edge & good & (smooth == ndimage.maximum_filter(smooth, 7)) & (smooth > level + _THRESHOLD * sigma)
    if not peak.any():
        return np.empty(0, complex)
    y, x = np.nonzero(peak)
    order = np.argsort(-smooth[y, x], kind="stable")[: 2 * _MOST]
    y, x = y[order], x[order]
    close = cKDTree(np.column_stack([y, x])).query_pairs(_APART, output_type="ndarray")
    alone = np.ones(y.size, bool)
    alone[close.max(axis=1)] = False  # of equal light too, as those of a saturated core
    return _centroids(np.maximum(image - level, 0), y[alone][:_MOST], x[alone][:_MOST])


def _centroids(light, y, x):
    """Centres of light under a Gaussian window that follows them, x + iy."""
    reach = np.arange(-_REACH, _REACH + 1)
    windows = light[y[:, None, None] + reach[:, None], x[:, None, None] + reach]
    dy, dx = np.zeros((2, y.size))
    for _ in range(8):
        weight = windows * np.exp(
            -((reach[:, None] - dy[:, None, None]) ** 2 + (reach - dx[:, None, None]) ** 2) / (2 * _WIDTH**2)
        )
        total = np.maximum(weight.sum(axis=(1, 2)), 1e-30)
        # the window takes half of each step; twice the step makes up for that
        dy += 2 * ((weight * reach[:, None]).sum(axis=(1, 2)) / total - dy)
        dx += 2 * ((weight * reach).sum(axis=(1, 2)) / total - dx)
        np.clip(dy, -2, 2, out=dy)
        np.clip(dx, -2, 2, out=dx)
    return x + dx + 1j * (y + dy)


def match_stars(reference, stars, radius, negligible):
    """The similarity that takes the stars of one frame to those of another.

    Two stars of the one frame and two of the other that are as far apart propose a shift and a rotation; that on which
    most of the bright stars agree is refined with all. It need not be tried how they are turned, and neither hot
    pixels nor stars of which one frame shows none do harm as long as they are the fewer.

    Parameters
    ----------
    reference, stars : ndarray, complex
        As `find_stars` gives them.
    radius : float
        Of the frame [pixels].
    negligible : float
        A rotation or scale that moves nothing within the radius by more than this is none [pixels].

    Returns
    -------
    (complex, complex) or None
        turn, offset: place in the frame = turn * place in the reference + offset; None where too few agree.
    """
    bright, partners = reference[:_BRIGHT], stars[:_PARTNERS]
    fewest = max(_FEWEST, int(_SHARE * min(len(bright), len(partners))))
    if min(len(reference), len(stars)) < fewest:
        return None
    turn, offset = _proposals(bright, partners)
    if not turn.size:
        return None
    tree = cKDTree(_pairs(partners))
    # (the stars take turns: many proposals at once are the fast way)
    near = tree.query(_pairs(np.multiply.outer(turn, bright) + offset[:, None]), distance_upper_bound=_TOLERANCE)[0]
    agree = np.isfinite(near).sum(axis=1)
    best = np.argmax(agree)
    if agree[best] < fewest:
        return None
    return _refine(reference, stars, turn[best], offset[best], radius, negligible)


def _proposals(bright, partners):
    """turn and offset, (H,), of all pairs of stars that are equally far apart."""
    i, j = np.triu_indices(len(bright), 1)
    k, m = np.nonzero(~np.eye(len(partners), dtype=bool))
    one, other = bright[j] - bright[i], partners[m] - partners[k]
    # a short distance tells nothing of the angle
    long = np.abs(one) > np.median(np.abs(one)) / 2
    i, j, one = i[long], j[long], one[long]
    order = np.argsort(np.abs(other), kind="stable")
    k, m, other = k[order], m[order], other[order]
    length = np.abs(one)
    allowed = _TOLERANCE / 2 + _SCALE * length
    first, last = (np.searchsorted(np.abs(other), length + sign * allowed) for sign in (-1, 1))
    count = last - first
    row = np.repeat(np.arange(len(one)), count)
    column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    turn = other[column] / one[row]
    turn /= np.abs(turn)
    offset = (partners[k[column]] + partners[m[column]] - turn * (bright[i[row]] + bright[j[row]])) / 2
    return turn, offset


def _refine(reference, stars, turn, offset, radius, negligible):
    """Least squares over all stars that agree, ever closer."""
    tree = cKDTree(_pairs(stars))
    for tolerance in (2 * _TOLERANCE, _TOLERANCE, _TOLERANCE, _TOLERANCE / 2, _TOLERANCE / 2):
        near, which = tree.query(_pairs(turn * reference + offset), distance_upper_bound=tolerance)
        found = np.isfinite(near)
        if found.sum() < _FEWEST - 1:
            return None
        p, q = reference[found], stars[which[found]]
        centre, moved = p.mean(), q.mean()
        turn = np.vdot(p - centre, q - moved) / np.vdot(p - centre, p - centre).real
        if abs(turn - 1) * radius < negligible:
            turn = 1 + 0j
        offset = moved - turn * centre
    return complex(turn), complex(offset)


def _pairs(stars):
    return np.stack([stars.real, stars.imag], axis=-1)
