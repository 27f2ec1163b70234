"""Real cosmic-ray footprints injected into real frames: how many of them are found."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from glue_cleanset import clean_image_set
from glue_cleanset.io.demo import read_footprints
from glue_cleanset.io.read import read_image_set

from .table import markdown

__all__ = ["inject_footprints", "measure_injection"]

DATA = Path(__file__).parents[2] / "shared" / "data"  # beside the checkout; not part of the project
# name -> files, and the gain [e-/ADU] that the footprints are injected with, so that hits of a few sigma are among them
SETS = {
    "star field, 20 frames": (DATA / "microobs_hatp32" / "aligned", 20.0),
    "weak flats, 10 frames": (DATA / "flats_st402_150s_weak", 2.23),
}
HIT_FRACTION = 0.003


def inject_footprints(frames, gain, seed=0):
    """Add real footprints to 0.3 % of the pixels of every frame.

    Parameters
    ----------
    frames : ndarray, (N, ny, nx)
    gain : float
        [e-/ADU].
    seed : int

    Returns
    -------
    injected : ndarray, (N, ny, nx)
        In the dtype of `frames`: whole numbers stay whole, and stop at the largest value of the set.
    deposits : ndarray, (N, ny, nx), float32
        What was added [ADU].
    """
    rng = np.random.default_rng(seed)
    footprints = read_footprints()
    deposits = np.zeros(frames.shape, np.float32)
    for deposit in deposits:
        while np.count_nonzero(deposit) < HIT_FRACTION * deposit.size:
            stamp = np.rot90(footprints[rng.integers(len(footprints))], rng.integers(4)) / gain
            y, x = (
                rng.integers(0, max(full - part, 0) + 1) for full, part in zip(deposit.shape, stamp.shape, strict=True)
            )
            part = deposit[y : y + stamp.shape[0], x : x + stamp.shape[1]]
            part += stamp[: part.shape[0], : part.shape[1]]
    injected = frames + deposits
    if frames.dtype.kind in "iu":
        injected = np.minimum(np.rint(injected), np.iinfo(frames.dtype).max)
    injected = injected.astype(frames.dtype)
    return injected, injected.astype(np.float32) - frames.astype(np.float32)


def measure_injection(seed=0):
    """Completeness for injected footprints in the real sets that are there.

    Returns
    -------
    list of str
        A table (markdown); empty where no set is there.
    """
    rows = []
    for name, (folder, gain) in SETS.items():
        if not folder.is_dir():
            continue
        frames = np.array(read_image_set(folder).frames)
        before = clean_image_set(frames).rejected
        injected, deposits = inject_footprints(frames, gain, seed)
        after = clean_image_set(injected).rejected
        # what was rejected without the injection may be a hit of its own: it counts neither way
        noise = _frame_noise(frames)
        strength = np.where(before, 0, deposits / noise[:, None, None])
        row = {"set": name}
        for limit in (3, 5, 10):
            strong = strength > limit
            row[f"found > {limit} sigma"] = _share_found(after, strong)
        row["> 5 sigma away from stars"] = _share_found(after, (strength > 5) & _smooth(frames, np.median(noise)))
        row["injected pixels > 5 sigma"] = np.count_nonzero(strength > 5)
        row["newly rejected where nothing was injected"] = f"{(after & ~before & (deposits == 0)).mean():.1e}"
        rows.append(row)
    return [markdown("Real footprints injected into real frames", rows)] if rows else []


def _share_found(rejected, strong):
    return f"{np.count_nonzero(rejected & strong) / max(np.count_nonzero(strong), 1):.4f}"


def _smooth(frames, noise):
    """True where the median of the set varies by less than 4 sigma within 7 x 7 pixels: (ny, nx) bool."""
    reference = ndimage.median_filter(np.median(frames, axis=0), 3)
    return ndimage.maximum_filter(reference, 7) - ndimage.minimum_filter(reference, 7) < 4 * noise


def _frame_noise(frames):
    """Noise of each frame where there are no stars [ADU]: its clipped scatter about the median of the set."""
    residual = frames - np.median(frames, axis=0)
    residual -= np.median(residual, axis=(1, 2), keepdims=True)
    sigma = np.empty(len(frames))
    for i, one in enumerate(residual):
        kept = one
        for _ in range(5):  # the standard deviation: a MAD can be 0 in whole numbers
            kept = kept[np.abs(kept) <= 3 * kept.std()]
        sigma[i] = kept.std()
    return sigma
