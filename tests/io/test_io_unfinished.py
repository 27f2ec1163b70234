"""Whether a cleaning that was stopped can go on, and sizes in words."""

import numpy as np
import pytest
from astropy.io import fits

from glue_cleanset import CleanSettings
from glue_cleanset.core.clean import CleanCancelled
from glue_cleanset.io.costs import describe_size
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.stream import clean_to_files, unfinished_run


@pytest.fixture
def masked(tmp_path):
    """Frames on demand, of which each masks a pixel itself."""
    random = np.random.default_rng(3)
    for i in range(4):
        mask = np.zeros((20, 30), np.uint8)
        mask[i, i] = 1
        hdus = [fits.PrimaryHDU(random.normal(100, 5, (20, 30)).astype("f4")), fits.ImageHDU(mask, name="MASK")]
        fits.HDUList(hdus).writeto(tmp_path / f"m{i}.fits")
    return read_image_set(tmp_path, on_demand=True)


def stop(*args, **options):
    with pytest.raises(CleanCancelled):
        clean_to_files(*args, progress=lambda done, total: done < total / 2, **options)


def test_what_differs_is_named(masked, tmp_path):
    out = tmp_path / "out"
    corner = np.zeros(masked.shape[1:], bool)
    corner[:3, :3] = True
    assert unfinished_run(masked, out) is None
    ignoring = masked.without(corner)
    stop(ignoring, out, gain=2.0, protect=corner)
    assert unfinished_run(ignoring, out, gain=2.0, protect=corner) == []
    # what the files mask and what a person ignores are read on demand together
    assert unfinished_run(masked, out, gain=2.0, protect=corner) == ["mask"]
    assert unfinished_run(masked, out, gain=2.0, regions=False) == []
    assert unfinished_run(masked.without(~corner), out, gain=2.0, protect=corner) == ["mask"]
    assert unfinished_run(ignoring, out, CleanSettings(grow=1), readnoise=3.0, protect=~corner) == [
        "gain",
        "readnoise",
        "setting grow=0",
        "protected or rejected region",
    ]
    with pytest.raises(ValueError, match="another mask"):
        clean_to_files(masked, out, gain=2.0, protect=corner, resume=True)


@pytest.mark.parametrize(
    ("size", "of", "words"),
    [
        (3.36e9, None, "3.4 GB"),
        (47.8e9, None, "48 GB"),
        (9.97e8, None, "997 MB"),
        (0.25e9, None, "250 MB"),
        (9.96e9, None, "10 GB"),
        (4200, None, "4.2 kB"),
        (0, None, "0.0 kB"),
        (0.61e9, 1.68e9, "0.6 of 1.7 GB"),
        (0, 13.4e9, "0.0 of 13.4 GB"),
    ],
)
def test_sizes_in_words(size, of, words):
    assert describe_size(size, of) == words
