"""Cleaning from files to files gives what cleaning in memory gives, byte for byte, in whatever pieces it is done."""

import gzip
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from glue_cleanset.core.clean import clean_image_set
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import REPAIRS, CleanSettings
from glue_cleanset.core.simulate import Mover, simulate_set
from glue_cleanset.io import frames as frames_module
from glue_cleanset.io import stream
from glue_cleanset.io.frames import FitsFrames
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.stream import clean_to_files
from glue_cleanset.io.write import write_result

TINY = 1e-9  # GB: blocks of as few rows as there may be
SHAPE = (41, 52)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def assert_alike(one, other):
    """Two results, or parts of them, hold the same."""
    if isinstance(one, Table):
        assert one.colnames == other.colnames
        for name in one.colnames:
            np.testing.assert_array_equal(one[name], other[name])
    elif isinstance(one, tuple) and not hasattr(one, "_fields"):
        assert len(one) == len(other)
        for mine, others in zip(one, other, strict=True):
            assert_alike(mine, others)
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_alike(getattr(one, field.name), getattr(other, field.name))
    elif one is None or isinstance(one, (str, CleanSettings)):
        assert one == other
    else:
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def check(source, folder, options=CleanSettings(), memory=TINY, extension=None, **given):
    """Clean a set of files in both ways, and compare all that comes of it."""
    whole = read_image_set(source, extension=extension)
    expected = clean_image_set(whole, options, **given)
    write_result(expected, whole, folder / "expected")
    lazy = read_image_set(source, extension=extension, on_demand=True)
    result = clean_to_files(lazy, folder / "streamed", options, memory=memory, **given)
    assert bytes_of(folder / "streamed") == bytes_of(folder / "expected")
    assert np.asarray(result.cleaned).dtype == expected.cleaned.dtype.newbyteorder("=")
    for field in fields(expected):
        assert_alike(getattr(result, field.name), getattr(expected, field.name))
    return result


def write_set(folder, frames, suffix=".fits", **cards):
    """A file for each frame."""
    folder.mkdir(exist_ok=True)
    paths = []
    for i, frame in enumerate(frames):
        header = fits.Header({"EXPTIME": 60.0, "DATE-OBS": f"2020-01-01T0{i % 10}:02:03", **cards})
        path = folder / f"f{i:02d}{suffix}"
        if suffix == ".fits.fz":
            # (quantized floats would be dithered by the time of day)
            options = {"quantize_level": 0, "compression_type": "GZIP_1"} if frame.dtype.kind == "f" else {}
            fits.CompImageHDU(frame, header, **options).writeto(path)
        else:
            fits.PrimaryHDU(frame, header).writeto(folder / f"f{i:02d}.fits")
            if suffix == ".fits.gz":
                path.write_bytes(gzip.compress((folder / f"f{i:02d}.fits").read_bytes()))
                (folder / f"f{i:02d}.fits").unlink()
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def night():
    """9 frames with all there is to be found: hits, movers and a trail that cross many blocks, variable stars."""
    return simulate_set(
        9,
        (96, 110),
        seed=3,
        star_density=1.5e-3,
        variable=0.3,
        trail=True,
        movers=(Mover(20, 20, 6, 40, 30), Mover(80, 90, 5, 200, 20)),
        cold_fraction=5e-4,
        borders=True,
        kinds=True,
    )


@pytest.fixture(scope="module")
def small(small_set):
    return np.round(np.array(small_set.frames[:5, : SHAPE[0], : SHAPE[1]]))


@pytest.mark.parametrize(
    "variant",
    [
        {"resample": True, "jitter": 0.1, "seeing": 0.05},
        {"flat": True},
        {"bad": {2: "clouded", 4: "trailed"}},
        {"gradient": 0.1, "saturation": 5000.0, "ellipticity": 0.1},
        {"n_frames": 2},
    ],
    ids=str,
)
def test_kinds_of_sets(tmp_path, variant):
    n = variant.pop("n_frames", 6) if "n_frames" in variant else 6
    frames = simulate_set(n, (64, 72), seed=8, star_density=2e-3, **variant).frames
    check(write_set(tmp_path / "set", frames), tmp_path)


def test_a_night(night, tmp_path):
    result = check(write_set(tmp_path / "set", night.frames), tmp_path)
    # the blocks have four rows: what is found lies in several
    assert len(result.tracks)
    kinds = {str(kind) for kind in np.unique(result.events["kind"])}
    assert {"trail", "moving object", "hot pixel"} <= kinds
    trail = np.flatnonzero(np.asarray(result.events["kind"]) == "trail")[0]
    rows = result.event_pixels[result.event_numbers == result.events["event"][trail]] // 110 % 96
    assert rows.max() - rows.min() > 20


@pytest.mark.parametrize(
    "options",
    [
        CleanSettings("ccd", grow=2, repair="mean"),
        CleanSettings("sigma", repair="neighbours", max_rejected=2),
        CleanSettings("sigma", high=50.0, grow=2),  # nothing is found
        CleanSettings("mad", repair="nan", min_frames=3),
        CleanSettings("winsorized", repair="zero"),
        CleanSettings("percentile", repair="none"),
        CleanSettings("minmax", repair="constant", constant=-3.5),
        CleanSettings("esd", add_noise=True, seed=4),
        CleanSettings(keep=(), grow=1, add_noise=True, repair="mean"),
        CleanSettings(kinds=False, normalize="none"),
        CleanSettings(normalize="exptime", max_rejected=1, repair="neighbours"),
    ],
    ids=lambda options: f"{options.detection}-{options.repair}-{options.normalize}",
)
def test_settings(night, tmp_path, options):
    check(write_set(tmp_path / "set", night.frames), tmp_path, options)


def test_all_ways_of_repair_are_tried():
    tried = {mark.args[1][k].repair for mark in test_settings.pytestmark for k in range(len(mark.args[1]))}
    assert tried | {"median"} == set(REPAIRS)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.fz"])
@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4", "f8"])
def test_kinds_of_files(small, tmp_path, dtype, suffix):
    frames = small.astype(dtype) + np.dtype(dtype).type(30000 if dtype == "u2" else 0)
    check(write_set(tmp_path / "set", frames, suffix), tmp_path)


@pytest.mark.parametrize("dtype", ["u1", "i8", "u4"])
def test_rare_types(small, tmp_path, dtype):
    frames = np.clip(small, 0, 255).astype(dtype)
    check(write_set(tmp_path / "set", frames), tmp_path)


def test_scaled_integers(small, tmp_path):
    paths = write_set(tmp_path / "set", small.astype("i2"))
    for path in paths:
        with fits.open(path, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[0].header.update({"BSCALE": 0.25, "BZERO": 7.5})
    check(paths, tmp_path)


def test_blank(small, tmp_path):
    frames = small.astype("i2")
    frames[1, 10:14, 20:30] = frames[3, :, 0] = -32768
    result = check(write_set(tmp_path / "set", frames, BLANK=-32768), tmp_path)
    assert np.isnan(np.asarray(result.cleaned)[1, 10:14, 20:30]).all()


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2"])
def test_data_quality(small, tmp_path, dtype, suffix):
    (tmp_path / "set").mkdir()
    paths = []
    for i, frame in enumerate(small.astype("f4")):
        dq = np.zeros(SHAPE, dtype)
        dq[5:9, 7 + i] = 1
        dq[30, 2 * i] = 64
        path = tmp_path / "set" / f"f{i}{suffix}"
        parts = [fits.PrimaryHDU(), fits.ImageHDU(frame, name="SCI")] + (
            [] if i == 2 else [fits.ImageHDU(dq, name="DQ")]
        )
        fits.HDUList(parts).writeto(path)
        paths.append(path)
    result = check(paths, tmp_path)
    assert np.asarray(result.mask)[3, 5:9, 10].all()
    assert not np.asarray(result.rejected)[np.asarray(result.mask)].any()


@pytest.mark.parametrize("flags", [[2**61, 0, 0], [-1, 0, 0]])
def test_data_quality_without_two_bits_left(small, tmp_path, flags):
    (tmp_path / "set").mkdir()
    for i, flag in enumerate(flags):
        dq = np.zeros(SHAPE, "i8")
        dq[3, 4] = flag
        parts = [fits.PrimaryHDU(), fits.ImageHDU(small[i].astype("f4"), name="SCI"), fits.ImageHDU(dq, name="DQ")]
        fits.HDUList(parts).writeto(tmp_path / "set" / f"f{i}.fits")
    with pytest.raises(ValueError, match=r"data quality .* 32 bits"):
        clean_to_files(read_image_set(tmp_path / "set", on_demand=True), tmp_path / "out")
    image_set = read_image_set(tmp_path / "set")
    with pytest.raises(ValueError, match=r"data quality .* 32 bits"):
        write_result(clean_image_set(image_set), image_set, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_cube(small, tmp_path):
    fits.PrimaryHDU(small.astype("i2")).writeto(tmp_path / "cube.fits")
    check(tmp_path / "cube.fits", tmp_path)


def test_a_cube_with_a_mask_for_all(small, tmp_path):
    mask = np.zeros(SHAPE, "u1")
    mask[20:24, 30] = 1
    parts = [fits.PrimaryHDU(small.astype("u2")), fits.ImageHDU(mask, name="MASK")]
    fits.HDUList(parts).writeto(tmp_path / "cube.fits.gz")
    check(tmp_path / "cube.fits.gz", tmp_path)


def test_many_extensions(small, tmp_path):
    parts = [
        fits.PrimaryHDU(),
        *(fits.ImageHDU(frame.astype("u2"), name="SCI", ver=i + 1) for i, frame in enumerate(small)),
    ]
    fits.HDUList(parts).writeto(tmp_path / "many.fits")
    check(tmp_path / "many.fits", tmp_path)


def test_protected_and_rejected_by_hand(night, tmp_path):
    protect, reject = np.zeros((2, 96, 110), bool)
    protect[10:50, 20:70] = True
    reject[60:63, 3:9] = True
    result = check(write_set(tmp_path / "set", night.frames), tmp_path, protect=protect, reject=reject)
    usable = np.isfinite(night.frames[:, 61, 5])
    np.testing.assert_array_equal(np.asarray(result.rejected)[:, 61, 5], usable)
    assert not np.asarray(result.rejected)[:, 10:50, 20:70].any()


def test_gain_and_read_noise_that_are_given(small, tmp_path):
    check(write_set(tmp_path / "set", small.astype("f4")), tmp_path, gain=1.4, readnoise=[5.0, 6, 7, 6, 5])


@pytest.mark.parametrize("shape", [(3, 40), (1, 60), (40, 3), (2, 2), (5, 33), (9, 17), (4, 4)])
def test_frames_smaller_than_a_block_or_with_one_row_left(small_set, tmp_path, shape):
    frames = np.array(small_set.frames[:4, 30 : 30 + shape[0], : shape[1]])
    check(write_set(tmp_path / "set", frames), tmp_path)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2", "f2"])
def test_a_set_in_memory(small, tmp_path, dtype):
    frames = small.astype(dtype)
    mask = np.zeros(SHAPE, bool)
    mask[4, 5:9] = True
    image_set = ImageSet(frames, mask=mask)
    expected = clean_image_set(image_set)
    write_result(expected, image_set, tmp_path / "expected")
    result = clean_to_files(image_set, tmp_path / "streamed", memory=TINY)
    assert bytes_of(tmp_path / "streamed") == bytes_of(tmp_path / "expected")
    np.testing.assert_array_equal(np.asarray(result.rejected), expected.rejected)
    assert image_set.frames is frames


def test_a_set_in_memory_in_another_order(small, tmp_path):
    image_set = ImageSet(np.asfortranarray(small.astype("f4")))  # columns first, as of other languages
    result = clean_to_files(image_set, tmp_path / "streamed", memory=TINY)
    expected = clean_image_set(image_set)
    assert expected.rejected.any()
    np.testing.assert_array_equal(np.asarray(result.cleaned), expected.cleaned)


@pytest.fixture(scope="module")
def files(night, tmp_path_factory):
    """The night's files, and what cleaning them in memory writes."""
    folder = tmp_path_factory.mktemp("night")
    paths = write_set(folder / "set", night.frames)
    image_set = read_image_set(paths)
    write_result(clean_image_set(image_set), image_set, folder / "expected")
    return paths, bytes_of(folder / "expected")


@settings(max_examples=8)
@given(rows=st.integers(1, 100))
def test_the_size_of_the_blocks_does_not_matter(files, rows):
    paths, expected = files
    real = stream.expected_costs

    def costs(*arguments):
        return replace(real(*arguments), block_rows=rows)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as context:
        context.setattr(stream, "expected_costs", costs)
        clean_to_files(read_image_set(paths, on_demand=True), Path(folder) / "out")
        assert bytes_of(Path(folder) / "out") == expected


def test_memory_gives_the_size_of_the_blocks(files, monkeypatch):
    monkeypatch.setattr("glue_cleanset.io.costs.cores", lambda: 2)
    image_set = read_image_set(files[0], on_demand=True)
    sizes = [stream.expected_costs(image_set, ".", memory).block_rows for memory in (TINY, 2e-4, 10)]
    assert sizes[0] < sizes[1] < sizes[2] == 96 / 2 / 3  # each core has its share


# --- what is read ----------------------------------------------------------------------------------------------------


class Counted(FitsFrames):
    """Frames that tell which of their rows were read."""

    def __init__(self, frames):
        super().__init__(frames.images)
        self.count = np.zeros(self.shape[:2], int)

    def rows(self, i, first, last):
        self.count[i, first:last] += 1
        return super().rows(i, first, last)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
@pytest.mark.parametrize(("suffix", "times"), [(".fits", 1), (".fits.gz", 2), (".fits.fz", 2)])
def test_how_often_the_files_are_read(tmp_path, suffix, times):
    rng = np.random.default_rng(3)
    paths = write_set(tmp_path / "set", rng.normal(1000, 300, (3, 800, 500)).astype("i2"), suffix)
    size = sum(path.stat().st_size for path in paths)

    def read_by(work):
        before = _bytes_read()
        value = work()
        return value, _bytes_read() - before

    read_image_set(paths, on_demand=True)  # what is imported is read too
    image_set, opening = read_by(lambda: read_image_set(paths, on_demand=True))
    _, copying = read_by(lambda: [image_set.frames.frame(i) for i in range(3)])
    assert 0 < copying < 1.1 * size
    # (to look at the beginning of a file is to read a buffer of it)
    assert opening + copying < (times + 0.5) * size
    counted = Counted(image_set.frames)
    clean_to_files(image_set.with_frames(counted), tmp_path / "out", memory=TINY)
    assert (counted.count == 1).all()


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("quality", [False, True])
def test_masks_are_not_read_more_than_twice_either(small, tmp_path, monkeypatch, blank, quality):
    """Data quality and BLANK beside the frames: each row of each image, by all that reads from the files."""
    count = {}
    real = frames_module._read

    def read(image, first, last):
        rows = count.setdefault((image.path, image.hdu), np.zeros(SHAPE[0], int))
        rows[first:last] += 1
        return real(image, first, last)

    (tmp_path / "set").mkdir()
    paths = [tmp_path / "set" / f"f{i}.fits" for i in range(len(small))]
    for i, (path, frame) in enumerate(zip(paths, small.astype("i2"), strict=True)):
        parts = [fits.PrimaryHDU(), fits.ImageHDU(frame, name="SCI")]
        if blank:
            parts[1].data[3, 4 + i] = parts[1].header["BLANK"] = -999
        if quality:
            parts.append(fits.ImageHDU((frame > 400).astype("i2") * 4, name="DQ"))
        fits.HDUList(parts).writeto(path)
    check(paths, tmp_path)
    image_set = read_image_set(paths, on_demand=True)
    monkeypatch.setattr(frames_module, "_read", read)
    clean_to_files(image_set, tmp_path / "out", memory=TINY)
    assert len(count) == len(paths) * (1 + quality)
    assert all((rows == 1).all() for rows in count.values())
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "expected")


def _bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])
