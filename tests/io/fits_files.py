"""FITS files whose content is known, a result made by hand, and small disks."""

import gzip
import os
import subprocess
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from glue_cleanset.core.settings import CleanSettings

SHAPE = (6, 9)


def image(i, dtype=np.int16, shape=SHAPE):
    """Frame `i`: no two pixels of it, and no two frames, are equal."""
    return (np.arange(np.prod(shape)).reshape(shape) + 100 * (i + 1)).astype(dtype)


def write_frame(path, data, **cards):
    header = fits.Header()
    for keyword, value in cards.items():
        header[keyword.replace("_", "-")] = value
    if path.name.endswith(".fz"):
        fits.CompImageHDU(data, header, compression_type="RICE_1").writeto(path)
    elif path.name.endswith(".gz"):
        fits.PrimaryHDU(data, header).writeto(path.with_suffix(""))
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
        path.with_suffix("").unlink()
    else:
        fits.PrimaryHDU(data, header).writeto(path)
    return path


def make_result(image_set, settings=CleanSettings(), hits=((0, 1, 2), (0, 1, 3), (2, 4, 5))):
    """What is written of a CleanResult: rejected `hits`, with -1 in their place."""
    n = len(image_set)
    dtype = image_set.frames.dtype if image_set.frames.dtype.kind == "f" else np.float32
    cleaned = np.array(image_set.frames, dtype)
    rejected = np.zeros(image_set.shape, bool)
    for hit in hits:
        rejected[hit] = True
        if settings.repair != "none":
            cleaned[hit] = -1
    frame = 1 + np.arange(n, dtype=np.uint16)[:, None, None]
    return SimpleNamespace(
        cleaned=cleaned,
        rejected=rejected,
        rejection_map=(rejected * frame).max(axis=0),
        rejection_count=rejected.sum(axis=0, dtype=np.uint16),
        peak_significance=rejected.any(axis=0).astype(np.float32),
        reference=np.median(image_set.frames, axis=0).astype(np.float32),
        events=Table({"event": [1, 2], "frame": [1, 3], "y": [1.0, 4.0], "x": [2.5, 5.0], "pixels": [2, 1]}),
        summary=Table({"frame": np.arange(n) + 1, "name": list(image_set.names), "pixels": rejected.sum(axis=(1, 2))}),
        noise=SimpleNamespace(
            gain=np.full(n, 1.5), readnoise=np.full(n, np.nan), gain_source="fitted", readnoise_source="unknown"
        ),
        settings=settings,
        overrules=(),
        kind_map=None,
        tracks=None,
        hot_pixels=None,
    )


@contextmanager
def mounted(place, *options):
    """A disk of its own for a while; where none can be made the test is skipped."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True)
    except OSError:
        done = None
    if done is None or done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill_disk(disk, left):
    """Take all but some pages of it."""
    with open(disk / "other", "wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail - left
        file.write(b"x" * (free * os.statvfs(disk).f_frsize))
