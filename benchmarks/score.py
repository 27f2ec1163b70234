"""The scorer: a rejection, and the stars of the cleaned frames, against the truth of a simulated set.

Per pixel and frame: positive = the deposit is above 3 sigma of the true noise; negative = nothing was added. Fainter
deposits, the light of a moving object and pixels that are not finite count neither way.
"""

import numpy as np

__all__ = ["near_stars", "score", "score_stars"]

POSITIVE, STRONG = 3.0, 5.0  # a deposit counts, and must be found on a star's core, above this many sigma
CORE, APERTURE = 3.0, 4.0  # radii [pixels]
BRIGHT = 1e4  # a star is bright above this flux [ADU]


def near_stars(shape, stars, radius=CORE):
    """True within `radius` of a star: (ny, nx) bool."""
    near = np.zeros(shape, bool)
    for y, x, _ in stars:
        window, inside = _disc(shape, y, x, radius)
        near[window] |= inside
    return near


def score(simulated, rejected):
    """Compare a rejection with the truth.

    Parameters
    ----------
    simulated : SimulatedSet
    rejected : ndarray, (N, ny, nx), bool

    Returns
    -------
    dict
        ``f1``; ``missed``: share of the positive pixels; ``false``: share of the negative ones; ``false_stars``:
        the same within 3 pixels of stars; ``found_stars``: share of the deposits above 5 sigma there that were
        rejected. NaN where there is nothing to count.
    """
    near = near_stars(simulated.frames.shape[1:], simulated.stars)
    names = ("hit", "missed", "false", "negative", "false_stars", "negative_stars", "found_stars", "strong_stars")
    count = dict.fromkeys(names, 0)
    for i, frame in enumerate(simulated.frames):
        strength = np.abs(simulated.deposits[i]) / simulated.sigma[i]
        good = np.isfinite(frame)
        positive = good & (strength > POSITIVE)
        strong = near & good & (strength > STRONG)
        negative = good & (strength == 0)
        if simulated.mover_light is not None:
            negative &= simulated.mover_light[i] == 0
        for name, pixels in (
            ("hit", rejected[i] & positive),
            ("missed", ~rejected[i] & positive),
            ("false", rejected[i] & negative),
            ("negative", negative),
            ("false_stars", rejected[i] & negative & near),
            ("negative_stars", negative & near),
            ("found_stars", rejected[i] & strong),
            ("strong_stars", strong),
        ):
            count[name] += np.count_nonzero(pixels)
    return {
        "f1": _share(2 * count["hit"], 2 * count["hit"] + count["missed"] + count["false"]),
        "missed": _share(count["missed"], count["hit"] + count["missed"]),
        "false": _share(count["false"], count["negative"]),
        "false_stars": _share(count["false_stars"], count["negative_stars"]),
        "found_stars": _share(count["found_stars"], count["strong_stars"]),
    }


def score_stars(simulated, cleaned):
    """Compare the flux of the stars (aperture of 4 pixels) in cleaned frames with the frames before anything was added.

    Parameters
    ----------
    simulated : SimulatedSet
    cleaned : ndarray, (N, ny, nx)

    Returns
    -------
    dict
        ``bias_bright``, ``bias_faint``: relative change of the summed flux of a star over the frames in which nothing
        fell into its aperture, median over the stars [%]; ``mean_bright``, ``mean_faint``: mean over the
        stars [%], which a few damaged stars move. ``repaired``: median error of the stars with a deposit above 5 sigma
        in the aperture, in units of the photon noise of the aperture (star and sky); ``within_2``: share
        of them within twice that noise. NaN where there are no such stars.
    """
    shape = simulated.frames.shape[1:]
    bias = {"bright": [], "faint": []}
    repaired = []
    for y, x, flux in simulated.stars:
        if not (APERTURE <= y <= shape[0] - 1 - APERTURE and APERTURE <= x <= shape[1] - 1 - APERTURE):
            continue
        window, inside = _disc(shape, y, x, APERTURE)
        cut = (slice(None), *window)
        deposits = simulated.deposits[cut][:, inside].astype(float)
        sigma = simulated.sigma[cut][:, inside].astype(float)
        before = simulated.frames[cut][:, inside] - deposits
        if simulated.mover_light is not None:
            # its light is in the frames before and, where it was not rejected, after
            deposits = deposits + simulated.mover_light[cut][:, inside]
        error = (cleaned[cut][:, inside] - before).sum(axis=1)
        usable = np.isfinite(before).all(axis=1)
        clean = usable & (deposits == 0).all(axis=1)
        if clean.any():
            share = 100 * error[clean].sum() / (flux * simulated.scales[clean].sum())
            bias["bright" if flux > BRIGHT else "faint"].append(share)
        hit = usable & (np.abs(deposits) > STRONG * sigma).any(axis=1)
        photons = (sigma**2 - (simulated.readnoise / simulated.gain) ** 2).clip(0).sum(axis=1)
        repaired.extend(np.abs(error[hit]) / np.sqrt(photons[hit]))
    result = {}
    for kind, values in bias.items():
        result[f"bias_{kind}"] = float(np.median(values)) if values else np.nan
        result[f"mean_{kind}"] = float(np.mean(values)) if values else np.nan
    result["repaired"] = float(np.median(repaired)) if repaired else np.nan
    result["within_2"] = float(np.mean(np.array(repaired) <= 2)) if repaired else np.nan
    return result


def _disc(shape, y, x, radius):
    """Window around a position and the pixels of it whose centres lie within `radius`."""
    y0, y1 = max(int(np.ceil(y - radius)), 0), min(int(y + radius) + 1, shape[0])
    x0, x1 = max(int(np.ceil(x - radius)), 0), min(int(x + radius) + 1, shape[1])
    distance = np.hypot(np.arange(y0, y1)[:, None] - y, np.arange(x0, x1) - x)
    return (slice(y0, max(y1, y0)), slice(x0, max(x1, x0))), distance <= radius


def _share(part, whole):
    return part / whole if whole else np.nan
