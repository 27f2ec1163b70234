"""Find the stars of frames, and match them."""

import numpy as np
from scipy import ndimage, special
from scipy.spatial import cKDTree

from .registration import SAMPLE, level_and_scatter, median3, sky_of

__all__ = ["confirm_shift", "find_stars", "match_stars"]

_THRESHOLD = 5.0  # of the smoothed image [sigma of the sky]
_APART = 5  # of two stars closer than this the brighter one counts [pixels]
_REACH = 4  # half width of the window of a centroid [pixels]
_WIDTH = 2.0  # sigma of its weight [pixels]
_MOST = 300  # stars of a frame, the brightest
_BRIGHT, _PARTNERS = 40, 60  # the brightest of the one frame are looked for among these of the other
_TOLERANCE = 2.0  # of the places of matched stars, and of their distances [pixels] ...
_SCALE = 0.003  # ... which may differ by this share
_SHARE = 0.25  # so many of the bright stars must agree, and more than ...
_CHANCE = 1e-3  # ... may agree by chance, with this probability
_FEWEST = 3  # pairs of stars that tell a rotation


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
    image = image_set.read(frames=slice(i, i + 1))[0].astype(np.float32, copy=False)
    good = np.isfinite(image)
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


def match_stars(reference, found, shape, negligible):
    """The similarity that takes the stars of one frame to those of another.

    Two stars of the one frame and two of the other that are as far apart propose a shift and a rotation; that on which
    most of the bright stars agree is refined with all. It need not be known how the frames are turned, and neither hot
    pixels nor stars that only one of the frames shows do harm as long as they are the fewer.

    Parameters
    ----------
    reference, found : ndarray, complex
        As `find_stars` gives them.
    shape : (int, int)
        ny, nx of the frames.
    negligible : float
        A rotation or scale that moves no pixel by more than this is none [pixels].

    Returns
    -------
    (complex, complex) or None
        turn, offset: place in the frame = turn * place in the reference + offset; None where no more stars agree than
        may do so by chance.
    """
    bright, partners = reference[:_BRIGHT], found[:_PARTNERS]
    if min(len(bright), len(partners)) <= _FEWEST:
        return None
    turn, offset = _proposals(bright, partners)
    if not turn.size:
        return None
    near = _nearest(partners, np.multiply.outer(turn, bright) + offset[:, None], _TOLERANCE)[0]
    agree = np.isfinite(near).sum(axis=1)
    best = np.argmax(agree)
    if agree[best] < 3:
        return None
    # two of them agree by construction
    chance = turn.size * special.pdtrc(agree[best] - 3, _usual(bright, partners, _TOLERANCE, shape))
    if chance > _CHANCE or agree[best] < _SHARE * min(len(bright), len(partners)):
        return None
    return _refine(reference, found, turn[best], offset[best], shape, negligible)


def confirm_shift(reference, found, shift, shape, negligible):
    """A shift that something else has told, and what the stars say of it.

    Parameters
    ----------
    reference, found, shape, negligible
        As for `match_stars`.
    shift : complex
        Place in the frame - place in the reference [pixels].

    Returns
    -------
    (complex, complex) or None
        As `match_stars`, with a rotation where three stars or more tell one; None where the stars do not agree on the
        shift: three, more than by chance, or all where a frame shows fewer.
    """
    tolerance = 2 * _TOLERANCE
    agree = np.isfinite(_nearest(found, reference + shift, tolerance)[0]).sum() if len(found) else 0
    if agree < min(_FEWEST, len(reference), len(found)):
        return None
    if agree < _FEWEST:
        return 1 + 0j, shift
    if special.pdtrc(agree - 1, _usual(reference, found, tolerance, shape)) > _CHANCE:
        return None
    return _refine(reference, found, 1 + 0j, shift, shape, negligible) or (1 + 0j, shift)


def _usual(reference, found, tolerance, shape):
    """How many stars agree by chance."""
    return len(reference) * len(found) * np.pi * tolerance**2 / (shape[0] * shape[1])


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


def _refine(reference, found, turn, offset, shape, negligible):
    """Least squares over all stars that agree, ever closer."""
    for tolerance in (2 * _TOLERANCE, _TOLERANCE, _TOLERANCE, _TOLERANCE / 2, _TOLERANCE / 2):
        near, which = _nearest(found, turn * reference + offset, tolerance)
        matched = np.isfinite(near)
        if matched.sum() < _FEWEST:
            return None
        p, q = reference[matched], found[which[matched]]
        centre, moved = p.mean(), q.mean()
        turn = np.vdot(p - centre, q - moved) / np.vdot(p - centre, p - centre).real
        if abs(turn - 1) * np.hypot(*shape) / 2 < negligible:
            turn = 1 + 0j
        offset = moved - turn * centre
    return complex(turn), complex(offset)


def _nearest(stars, places, tolerance):
    """Distance and index of the star nearest to each place; inf where none is within the tolerance."""
    tree = cKDTree(_pairs(stars))
    return tree.query(_pairs(places), distance_upper_bound=tolerance)


def _pairs(stars):
    return np.stack([stars.real, stars.imag], axis=-1)
