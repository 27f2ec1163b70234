import gzip
import os
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fits_files import SHAPE, image, write_frame

from glue_cleanset.io.read import BadFramesError, find_fits_files, read_image_set


def write_mef(path, hdus, primary=None, **cards):
    """`hdus`: (name, version, data) of each extension."""
    first = fits.PrimaryHDU(primary)
    first.header.update(cards)
    extensions = [fits.ImageHDU(data, name=name, ver=ver) for name, ver, data in hdus]
    fits.HDUList([first, *extensions]).writeto(path)
    return path


def stack(n=3, dtype=np.int16):
    return np.array([image(i, dtype) for i in range(n)])


# --- which files, in which order --------------------------------------------------------------------------------------


def test_files_in_the_order_given(frames):
    result = read_image_set([frames[2], str(frames[0]), frames[1]])
    assert result.names == ("f3", "f1", "f2")
    np.testing.assert_array_equal(result.frames, stack()[[2, 0, 1]])
    assert result.frames.dtype == np.int16
    assert result.sources == ((frames[2], 0, None), (frames[0], 0, None), (frames[1], 0, None))


def test_directory_in_natural_order_without_what_is_no_frame(tmp_path):
    for i in (10, 9, 100, 1):
        write_frame(tmp_path / f"night1_{i}.fit", image(i))
    (tmp_path / "notes.txt").write_text("clouds")
    (tmp_path / "._night1_1.fit").write_bytes(b"rubbish")
    write_frame(tmp_path / "night1_1_crclean.fits", image(5))
    write_frame(tmp_path / "night1_1_crmask.fits", image(5))
    write_frame(tmp_path / "rejection_map.fits", image(5))
    assert read_image_set(tmp_path).names == ("night1_1", "night1_9", "night1_10", "night1_100")


def test_directory_of_cleaned_frames_is_a_set(tmp_path):
    for i in range(2):
        write_frame(tmp_path / f"f{i}_crclean.fits", image(i))
        write_frame(tmp_path / f"f{i}_crmask.fits", image(i))
    assert read_image_set(tmp_path).names == ("f0_crclean", "f1_crclean")


def test_glob(frames):
    assert read_image_set(str(frames[0].parent / "f[13].fits")).names == ("f1", "f3")


def test_manifest(frames, tmp_path):
    manifest = tmp_path / "set.txt"
    manifest.write_text("# my set\n\nframes/f3.fits\n  frames/f1.fits   # the better one\n", encoding="utf-8-sig")
    assert read_image_set(manifest).names == ("f3", "f1")


def test_pieces_can_be_mixed(frames, tmp_path):
    write_frame(tmp_path / "cube.fits", stack(2))
    names = read_image_set([tmp_path / "cube.fits", frames[0].parent]).names
    assert names == ("cube_1", "cube_2", "f1", "f2", "f3")


@pytest.mark.parametrize("suffix", ["fits", "fit", "fts", "FITS", "FTS", "fits.gz", "fit.GZ", "fits.fz", "fz"])
def test_suffixes_and_compression(tmp_path, suffix):
    for i in range(2):
        path = write_frame(tmp_path / f"f.{i}.{suffix.lower()}", image(i))
        path.rename(tmp_path / f"f.{i}.{suffix}")
    for source in (tmp_path, [tmp_path / f"f.{i}.{suffix}" for i in range(2)]):
        result = read_image_set(source)
        np.testing.assert_array_equal(result.frames, stack(2))
        assert result.names == ("f.0", "f.1")


def test_equal_names_become_unique(tmp_path):
    paths = []
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
        paths.append(write_frame(tmp_path / folder / ("F1.fits" if folder == "c" else "f1.fits"), image(len(paths))))
    names = read_image_set(paths).names
    assert names[0] == "f1"
    assert len({name.lower() for name in names}) == 3


# --- cubes and extensions ---------------------------------------------------------------------------------------------


def test_cube(tmp_path):
    path = tmp_path / "cube.fits"
    write_frame(path, stack(11, np.float32), CTYPE3="TIME", CRPIX3=1.0, EXPTIME=5.0)
    result = read_image_set(path)
    np.testing.assert_array_equal(result.frames, stack(11))
    assert result.names[0] == "cube_01"
    assert result.names[10] == "cube_11"
    assert result.sources[3] == (path, 0, 3)
    assert "CTYPE3" not in result.headers[0]
    assert "NAXIS3" not in result.headers[0]
    assert result.headers[0]["EXPTIME"] == 5
    assert result.headers[0] is not result.headers[1]


def test_degenerate_axes_are_dropped(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i)[None, None]) for i in range(2)]
    assert read_image_set(paths).shape == (2, *SHAPE)


def test_each_extension_a_frame(tmp_path):
    path = write_mef(tmp_path / "set.fits", [("", 1, image(0)), ("N 2", 1, image(1)), ("", 1, image(2))])
    result = read_image_set(path)
    np.testing.assert_array_equal(result.frames, stack())
    assert result.names == ("set_1", "set_N22", "set_3")
    assert [source[1] for source in result.sources] == [1, 2, 3]


def test_primary_and_extensions(tmp_path):
    path = write_mef(tmp_path / "set.fits", [("B", 1, image(1)), ("C", 1, image(2))], primary=image(0))
    np.testing.assert_array_equal(read_image_set(path).frames, stack())


def test_named_extension_of_each_file(tmp_path):
    paths = [write_mef(tmp_path / f"f{i}.fits", [("RAW", 1, image(i)), ("OTHER", 1, image(9))]) for i in range(2)]
    result = read_image_set(paths, extension="raw")
    np.testing.assert_array_equal(result.frames, stack(2))
    assert result.names == ("f0", "f1")
    np.testing.assert_array_equal(read_image_set(paths, extension=1).frames, stack(2))
    np.testing.assert_array_equal(read_image_set(paths, extension="1").frames, stack(2))


def sci_err_dq(i, ver=1):
    dq = np.zeros(SHAPE, np.int16)
    dq[i, 0] = 4096
    return [("SCI", ver, image(i, np.float32)), ("ERR", ver, image(i, np.float32)), ("DQ", ver, dq)]


def test_errors_and_quality_are_no_frames(tmp_path):
    paths = [write_mef(tmp_path / f"f{i}.fits", sci_err_dq(i), GAIN=2.0) for i in range(2)]
    result = read_image_set(paths)
    np.testing.assert_array_equal(result.frames, stack(2))
    expected = np.zeros((2, *SHAPE), bool)
    expected[0, 0, 0] = expected[1, 1, 0] = True
    np.testing.assert_array_equal(result.mask, expected)
    np.testing.assert_array_equal(result.dq, 4096 * expected)
    assert result.dq.dtype == np.int16
    np.testing.assert_array_equal(result.facts["gain"], 2)  # inherited from the primary header


def test_triples_in_one_file(tmp_path):
    path = write_mef(tmp_path / "set.fits", [hdu for i in range(3) for hdu in sci_err_dq(i, ver=i + 1)])
    result = read_image_set(path)
    np.testing.assert_array_equal(result.frames, stack())
    assert [tuple(np.argwhere(mask)[0]) for mask in result.mask] == [(0, 0), (1, 0), (2, 0)]
    assert len(set(result.names)) == 3
    assert read_image_set(path, extension="SCI").names == result.names


def test_several_chips_per_file_must_be_chosen(tmp_path):
    paths = [write_mef(tmp_path / f"f{i}.fits", sci_err_dq(i, 1) + sci_err_dq(i + 2, 2)) for i in range(2)]
    with pytest.raises(ValueError, match=r"f0.fits has 2 SCI extensions.*'SCI,1'"):
        read_image_set(paths)
    result = read_image_set(paths, extension="SCI,2")
    np.testing.assert_array_equal(result.frames, stack(4)[2:])
    assert result.mask[0, 2, 0]
    assert not result.mask[0, 0, 0]
    assert len(read_image_set(paths, extension="SCI")) == 4


def test_mask_beside_the_primary_image(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 3] = 1
    paths = [
        write_mef(tmp_path / "a.fits", [("MASK", 1, mask), ("UNCERT", 1, image(0))], primary=image(0)),
        write_frame(tmp_path / "b.fits", image(1)),
    ]
    result = read_image_set(paths)
    np.testing.assert_array_equal(result.mask, [mask != 0, np.zeros(SHAPE, bool)])


def test_one_mask_for_the_planes_of_a_cube(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 3] = 1
    path = write_mef(tmp_path / "a.fits", [("MASK", 1, mask)], primary=stack())
    np.testing.assert_array_equal(read_image_set(path).mask, [mask != 0] * 3)
    masks = np.array([mask, np.roll(mask, 1, 0), np.roll(mask, 2, 0)])
    path = write_mef(tmp_path / "b.fits", [("MASK", 1, masks)], primary=stack())
    np.testing.assert_array_equal(read_image_set(path).mask, masks != 0)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("fits", dtype) for dtype in ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4", "<f4")]
    + [("fits.fz", dtype) for dtype in ("u1", "i2", "u2", "i4", "u4")],  # floats are not compressed without loss
)
def test_dtype_and_values_are_kept(tmp_path, dtype, suffix):
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo("f4")
    data = np.array([image(i, dtype) for i in range(2)])
    data[:, 0, :2] = limits.min, limits.max
    paths = [write_frame(tmp_path / f"f{i}.{suffix}", data[i]) for i in range(2)]
    result = read_image_set(paths)
    assert result.frames.dtype == np.dtype(dtype).newbyteorder("=")
    assert result.frames.dtype.isnative
    np.testing.assert_array_equal(result.frames, data)


def test_frames_of_different_type_get_one_that_holds_both(tmp_path):
    paths = [write_frame(tmp_path / f"{dtype}.fits", image(i, dtype)) for i, dtype in enumerate(["u2", "i2"])]
    result = read_image_set(paths)
    assert result.frames.dtype == np.int32
    np.testing.assert_array_equal(result.frames, stack(2))


def test_scaled_integers(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i)) for i in range(2)]
    for path in paths:
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["BSCALE"] = 0.5
            hdus[0].header["BZERO"] = 10.0
    result = read_image_set(paths)
    assert result.frames.dtype == np.float32
    np.testing.assert_array_equal(result.frames, stack(2) * 0.5 + 10)


@pytest.mark.parametrize("suffix", ["fits", "fits.fz"])
@pytest.mark.parametrize("dtype", ["i2", "u2"])
def test_blank_pixels_are_masked(tmp_path, suffix, dtype):
    paths = []
    for i in range(2):
        data = image(i, dtype)
        stored = int(data[3, 4]) - (32768 if dtype == "u2" else 0)
        paths.append(write_frame(tmp_path / f"f{i}.{suffix}", data, **({"BLANK": stored} if i == 0 else {})))
    result = read_image_set(paths)
    expected = stack(2).astype(float)
    expected[0, 3, 4] = np.nan
    np.testing.assert_array_equal(result.frames, expected)
    assert result.frames.dtype == np.float32
    assert np.argwhere(result.mask).tolist() == [[0, 3, 4]]
    assert result.dq is None


def test_blank_that_no_pixel_has_changes_nothing(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i, "u2"), BLANK=-32768) for i in range(2)]
    result = read_image_set(paths)
    assert result.frames.dtype == np.uint16
    assert result.mask is None


def test_files_are_not_changed(frames):
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in frames]
    for path in frames:
        path.chmod(0o400)
    result = read_image_set(frames)
    result.frames[:] = 0
    result.headers[0]["OBJECT"] = "changed"
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in frames] == before


def test_memory_is_that_of_the_set(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    shape = (200, 300)
    paths = [write_frame(tmp_path / f"f{i:02}.fits", image(i, "u2", shape)) for i in range(20)]
    read_image_set(paths[:2])  # what is loaded once
    tracemalloc.start()
    result = read_image_set(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * result.frames.nbytes


# --- what the headers tell --------------------------------------------------------------------------------------------


def test_facts(frames):
    result = read_image_set(frames)
    assert result.facts.colnames == ["name", "gain", "readnoise", "exptime", "date", "filter"]
    assert list(result.facts["filter"]) == ["R"] * 3
    assert result.facts["date"][1] == "2020-01-02T01:02:03.000"
    assert result.unit == "adu"
    assert result.wcs is None
    np.testing.assert_array_equal(result.exptime, [60, 61, 62])
    assert result.gain is None
    assert result.readnoise is None
    gain, readnoise = result.header_noise()
    np.testing.assert_array_equal(gain, 1.5)
    np.testing.assert_array_equal(readnoise, 6)


def test_header_noise_names_the_frames_without(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i), **({"GAIN": 2.0} if i else {})) for i in range(3)]
    result = read_image_set(paths)
    with pytest.raises(ValueError, match=r"no gain for f0 \(none of EGAIN"):
        result.header_noise()
    assert result.exptime is None


def test_wcs_of_the_first_frame(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 10, 20
    wcs.wcs.cdelt = -0.001, 0.001
    path = write_frame(tmp_path / "cube.fits", stack(), **{k: v for k, v in wcs.to_header().items() if k != "DATE-OBS"})
    result = read_image_set(path)
    assert result.wcs.naxis == 2
    np.testing.assert_allclose(result.wcs.wcs.crval, [10, 20])


def test_broken_wcs_is_a_warning(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "RA---TAN", "CRVAL1": 1.0}
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i), **cards) for i in range(2)]
    with pytest.warns(UserWarning, match=r"f0.fits: its coordinates"):
        result = read_image_set(paths)
    assert result.wcs is None


# --- bad input --------------------------------------------------------------------------------------------------------


def test_shapes_that_differ(tmp_path):
    paths = [write_frame(tmp_path / "a.fits", image(0)), write_frame(tmp_path / "b.fits", image(1)[:, 1:])]
    with pytest.raises(ValueError, match=r"a\.fits is \(6, 9\), \S*b\.fits is \(6, 8\); register or crop"):
        read_image_set(paths)


def test_one_frame(frames):
    with pytest.raises(ValueError, match=r"f1.fits is one frame; one frame cannot be compared with itself"):
        read_image_set(frames[0])


def test_a_frame_given_twice(frames):
    with pytest.raises(ValueError, match=r"f1\.fits is given twice"):
        read_image_set([frames[0], frames[1], os.path.relpath(frames[0])])


def test_nothing_given():
    with pytest.raises(ValueError, match="no frames are given"):
        read_image_set([])
    with pytest.raises(TypeError, match="source is 3"):
        read_image_set(3)


def test_missing(tmp_path, frames):
    with pytest.raises(FileNotFoundError, match=r"gone.fits does not exist"):
        read_image_set([frames[0], tmp_path / "gone.fits"])
    with pytest.raises(FileNotFoundError, match=r"no file matches"):
        read_image_set(tmp_path / "*.fits")
    manifest = tmp_path / "set.lst"
    manifest.write_text("frames/f1.fits\nframes/f9.fits\n")
    with pytest.raises(FileNotFoundError, match=r"set.lst, line 2: 'frames/f9.fits' does not exist"):
        read_image_set(manifest)


def test_directory_without_fits(tmp_path):
    (tmp_path / "notes.txt").write_text("clouds")
    with pytest.raises(FileNotFoundError, match="holds no FITS files"):
        read_image_set(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.fits", b"", "is empty"),
        ("f.fits", b"hello", "is not a FITS file"),
        ("f.txt", b"", "is empty"),
        ("f.txt", b"# nothing\n\n", "lists no files"),
        ("f.png", b"\x89PNG\r\n\x1a\n\xff\xfe", "neither a FITS file nor a text"),
        ("f.fits.gz", gzip.compress(b"hello", mtime=0), "is not a FITS file"),
        ("f.fits.gz", gzip.compress(b"SIMPLE  =" + bytes(5000), mtime=0)[:20], "truncated"),
        ("f.fits", b"SIMPLE  =                    T", "truncated or damaged"),
    ],
)
def test_files_that_are_no_frames(frames, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((OSError, ValueError), match=rf"{name}.*{message}"):
        read_image_set([frames[0], path])


@pytest.mark.parametrize("on_demand", [False, True])
def test_gzip_whose_check_sum_is_wrong(tmp_path, on_demand):
    rng = np.random.default_rng(1)
    for i in range(3):
        path = write_frame(tmp_path / f"f{i}.fits", rng.normal(300, 20, (70, 60)).astype("f4"))
        packed = bytearray(gzip.compress(path.read_bytes(), 6))
        path.unlink()
        if i == 1:
            middle = len(packed) // 2  # it unpacks, to other values
            packed[middle : middle + 400] = (byte ^ 0x5A for byte in packed[middle : middle + 400])
        path.with_suffix(".fits.gz").write_bytes(packed)
    with pytest.raises(BadFramesError, match=r"1 of 3 frames .*f1.fits.gz cannot be read as FITS, it is .* damaged"):
        read_image_set(tmp_path, on_demand=on_demand)


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "fits.fz"])
def test_truncated(tmp_path, suffix):
    rng = np.random.default_rng(1)
    paths = [write_frame(tmp_path / f"f{i}.{suffix}", rng.integers(0, 30000, (80, 90), np.int16)) for i in range(2)]
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"f1.fits\S* .*truncated"):
        read_image_set(paths)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("size", [1, 2880 + 5760 + 200, 2880 + 5760 + 2880 + 50])  # in headers, in the data
def test_extensions_that_are_cut_off_are_not_lost_silently(tmp_path, size, pack):
    path = write_mef(tmp_path / "f.fits", [("", 1, image(i)) for i in range(3)])
    path.write_bytes(pack(path.read_bytes()[: 5760 + size]))
    with pytest.raises(OSError, match=r"f.fits.*truncated"):
        read_image_set(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_mask_behind_an_extension_that_is_cut_off_is_not_lost_silently(tmp_path, pack):
    paths = []
    for i in range(2):
        extensions = [("SCI", 1, image(i)), ("ERR", 1, image(i)), ("DQ", 1, image(i))]
        paths.append(write_mef(tmp_path / f"f{i}.fits", extensions))
    paths[1].write_bytes(pack(paths[1].read_bytes()[: 2880 + 5760 + 2880 + 50]))
    with pytest.raises(OSError, match=r"f1.fits is truncated.*extension 2"):
        read_image_set(paths)


def test_padding_after_the_last_block_is_no_fault(tmp_path):
    path = write_mef(tmp_path / "f.fits", [("", 1, image(i)) for i in range(3)])
    path.write_bytes(path.read_bytes() + bytes(3 * 2880))
    np.testing.assert_array_equal(read_image_set(path).frames, stack())


def test_end_of_the_last_block_may_be_missing(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i)) for i in range(2)]
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: 2880 + image(1).nbytes])
    np.testing.assert_array_equal(read_image_set(paths).frames, stack(2))


def test_no_image(tmp_path, frames):
    table = fits.BinTableHDU.from_columns([fits.Column("a", "I", array=[1])], name="EVENTS")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    with pytest.raises(
        ValueError, match=r"table.fits holds no image; it has 0: PRIMARY \(no data\), 1: EVENTS \(table\)"
    ):
        read_image_set([frames[0], tmp_path / "table.fits"])
    with pytest.raises(ValueError, match=r"'EVENTS' of .*table.fits is no image"):
        read_image_set([tmp_path / "table.fits"], extension="EVENTS")


@pytest.mark.parametrize("shape", [(20,), (2, 3, 4, 5)])
def test_frames_that_are_not_2d(tmp_path, shape):
    write_frame(tmp_path / "f.fits", np.zeros(shape))
    with pytest.raises(ValueError, match=r"f.fits has shape .*a frame is 2-D"):
        read_image_set(tmp_path / "f.fits")


@pytest.mark.parametrize("extension", ["FOO", "SCI,7", 9, "-1"])
def test_unknown_extension_lists_those_present(tmp_path, extension):
    path = write_mef(tmp_path / "f.fits", sci_err_dq(0))
    with pytest.raises(ValueError, match=rf"no extension '{extension}'; it has 0: PRIMARY.*1: SCI \(6x9\), 2: ERR"):
        read_image_set(path, extension=extension)


def test_mask_of_another_shape(tmp_path):
    small = np.zeros((3, 3), np.uint8)
    paths = [write_mef(tmp_path / f"f{i}.fits", [("MASK", 1, small)], primary=image(i)) for i in range(2)]
    with pytest.raises(ValueError, match=r"f0.fits: MASK has shape \(3, 3\), its image \(6, 9\)"):
        read_image_set(paths)


def test_frame_without_content_is_named(tmp_path):
    paths = [write_frame(tmp_path / "a.fits", image(0)), write_frame(tmp_path / "b.fits", np.zeros(SHAPE))]
    with pytest.raises(ValueError, match=r"b\.fits is constant"):
        read_image_set(paths)


# --- several bad files ------------------------------------------------------------------------------------------------


@pytest.fixture
def night(tmp_path):
    """Twelve files, seven of them bad, each in its own way; and what is to be said of these."""
    folder = tmp_path / "night"
    folder.mkdir()
    for i in range(12):
        write_frame(folder / f"f{i:02d}.fits", image(i, np.float32), GAIN=1.0 + i)
    spoilt = {
        "f00.fits": ("is constant", lambda path: fits.PrimaryHDU(np.full(SHAPE, 3, np.float32)).writeto(path)),
        "f02.fits": ("is empty", lambda path: path.write_bytes(b"")),
        "f03.fits": ("truncated", lambda path: path.write_bytes(write_frame(path, image(3)).read_bytes()[:2900])),
        "f05.fits": (r"is \(6, 8\), most frames are \(6, 9\)", lambda path: write_frame(path, image(5)[:, 1:])),
        "f07.fits": (
            "has no finite unmasked pixel",
            lambda path: fits.PrimaryHDU(np.full(SHAPE, np.nan)).writeto(path),
        ),
        "f08.fits": ("is not a FITS file", lambda path: path.write_bytes(b"<html>")),
        "f10.fits": (
            "holds no image",
            lambda path: fits.BinTableHDU.from_columns([fits.Column("a", "I", array=[1])]).writeto(path),
        ),
    }
    for name, (_, spoil) in spoilt.items():
        (folder / name).unlink()
        spoil(folder / name)
    return folder, {name: text for name, (text, _) in spoilt.items()}


def test_all_bad_files_are_named_at_once(night):
    folder, texts = night
    with pytest.raises(BadFramesError, match="7 of 12 frames cannot be used") as caught:
        read_image_set(folder)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.left == 5
    assert len(caught.value.bad) == 7
    for name, text in texts.items():
        assert re.search(rf"{name}[^;]*{text}", str(caught.value))
        (own,) = (one for one in caught.value.bad if name in one)
        assert own in str(caught.value)
    assert "f01" not in str(caught.value)
    assert "skip_bad=True" in str(caught.value)


def test_bad_files_can_be_left_out(night):
    folder, texts = night
    good = [path for path in sorted(folder.iterdir()) if path.name not in texts]
    expected = read_image_set(good)
    with pytest.warns(UserWarning, match="7 of 12 frames are left out: .*f02.fits is empty") as caught:
        result = read_image_set(folder, skip_bad=True)
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in texts)
    assert result.names == expected.names == ("f01", "f04", "f06", "f09", "f11")
    assert result.frames.dtype == expected.frames.dtype == np.float32  # one that is left out is float64
    np.testing.assert_array_equal(result.frames, expected.frames)
    assert result.sources == expected.sources
    assert list(result.facts["gain"]) == list(expected.facts["gain"])


def test_a_good_set_is_read_without_a_word(frames):
    np.testing.assert_array_equal(read_image_set(frames, skip_bad=True).frames, stack())


def test_fewer_than_two_good_frames(night):
    folder, _ = night
    some = [folder / name for name in ("f01.fits", "f02.fits", "f03.fits")]
    with pytest.raises(BadFramesError, match=r"2 of 3 frames cannot be used, 1 is left, give at least 2: .*f02.*f03"):
        read_image_set(some, skip_bad=True)
    with pytest.raises(BadFramesError, match=r"2 of 2 frames cannot be used, none are left"):
        read_image_set(some[1:], skip_bad=True)


def test_ten_are_named_and_how_many_more(tmp_path):
    paths = [write_frame(tmp_path / f"f{i:02d}.fits", image(i)) for i in range(15)]
    for path in paths[2:]:
        path.write_bytes(b"")
    with pytest.raises(BadFramesError, match=r"13 of 15 frames .*f11.fits is empty; and 3 more;") as caught:
        read_image_set(paths)
    assert "f12" not in str(caught.value)
    assert len(caught.value.bad) == 13


@pytest.mark.parametrize("suffix", ["fits.gz", "fits.fz"])
def test_a_compressed_file_that_is_damaged_can_be_left_out(tmp_path, suffix):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 30000, (4, 80, 90), np.int16)
    paths = [write_frame(tmp_path / f"f{i}.{suffix}", frame) for i, frame in enumerate(data)]
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    paths[1].write_bytes(content)
    with pytest.warns(UserWarning, match=r"1 of 4 frames are left out: \S*f1"):
        result = read_image_set(paths, skip_bad=True)
    np.testing.assert_array_equal(result.frames, data[[0, 2, 3]])


def test_a_bad_plane_of_a_cube_and_its_mask(tmp_path):
    cube = np.stack([image(i, np.float32) for i in range(4)])
    cube[1] = np.nan
    quality = np.zeros(cube.shape, np.uint8)
    quality[2] = 1
    quality[3, 1, 2] = 5
    fits.HDUList([fits.PrimaryHDU(cube), fits.ImageHDU(quality, name="MASK")]).writeto(tmp_path / "cube.fits")
    with pytest.raises(BadFramesError, match=r"plane 2 has no finite unmasked pixel; .*plane 3 has no finite"):
        read_image_set(tmp_path / "cube.fits")
    with pytest.warns(UserWarning, match="2 of 4"):
        result = read_image_set(tmp_path / "cube.fits", skip_bad=True)
    assert result.names == ("cube_1", "cube_4")
    np.testing.assert_array_equal(result.frames, cube[[0, 3]])
    np.testing.assert_array_equal(result.dq, quality[[0, 3]])
    np.testing.assert_array_equal(result.mask, quality[[0, 3]] != 0)


def test_blank_frames_can_be_left_out(tmp_path):
    paths = []
    for i in range(4):
        header = fits.Header({"BLANK": -32768})
        data = image(i)
        data[:2] = -32768
        if i == 1:
            data[:] = -32768
        fits.PrimaryHDU(data, header).writeto(tmp_path / f"f{i}.fits")
        paths.append(tmp_path / f"f{i}.fits")
    with pytest.warns(UserWarning, match=r"f1.fits has no finite unmasked pixel"):
        result = read_image_set(paths, skip_bad=True)
    expected = read_image_set([paths[0], *paths[2:]])
    np.testing.assert_array_equal(result.frames, expected.frames)
    np.testing.assert_array_equal(result.mask, expected.mask)


def test_without_a_shape_that_most_frames_have(tmp_path):
    for i in range(4):
        write_frame(tmp_path / f"f{i}.fits", image(i)[:, i % 2 :])
    with pytest.raises(ValueError, match="frames differ in shape"):
        read_image_set(tmp_path, skip_bad=True)


def test_the_wcs_is_that_of_the_first_good_frame(tmp_path):
    for i in range(3):
        header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0 * i, "CRVAL2": 20.0})
        data = np.full(SHAPE, np.nan) if i == 0 else image(i, float)
        fits.PrimaryHDU(data, header).writeto(tmp_path / f"f{i}.fits")
    with pytest.warns(UserWarning, match="1 of 3"):
        result = read_image_set(tmp_path, skip_bad=True)
    assert result.wcs.wcs.crval[0] == 10


def test_several_images_are_no_fault_of_the_file(tmp_path):
    for i in range(3):
        write_mef(tmp_path / f"f{i}.fits", [("SCI", 1, image(i)), ("SCI", 2, image(i + 5))])
    with pytest.raises(ValueError, match="name one of them") as caught:
        read_image_set(tmp_path, skip_bad=True)
    assert not isinstance(caught.value, BadFramesError)


# --- real sets --------------------------------------------------------------------------------------------------------


def test_real_sets(shared):
    aligned = read_image_set(shared / "microobs_hatp32" / "aligned")
    assert aligned.shape == (20, 477, 603)
    assert aligned.frames.dtype == np.int16
    np.testing.assert_array_equal(aligned.exptime, 60)  # written as 060.00
    assert aligned.facts["date"][0] == "2017-12-20T03:51:12.097"  # written in local time
    stis = read_image_set(shared / "hst_stis_ngc1068_crsplit")
    assert stis.frames.dtype == np.uint16
    np.testing.assert_array_equal(stis.header_noise(), [[1, 1], [3.735, 3.735]])
    flats = read_image_set(shared / "flats_st402_150s_weak")
    np.testing.assert_array_equal(flats.facts["gain"], 2.23)
    kepler = read_image_set(shared / "kepler_kic8462852_q8" / "with_cr.fits")
    assert kepler.shape == (99, 10, 11)
    assert kepler.unit == "e-/s"


def test_find_fits_files(frames):
    assert find_fits_files(frames[0].parent) == frames
