"""Sets that are read on demand: what a set that is loaded holds, and no more is read than is asked for."""

import gzip
import io
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from fits_files import SHAPE, image, make_result, write_frame
from hypothesis import given
from hypothesis import strategies as st

from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.ondemand import FramesOnDemand
from glue_cleanset.io import frames as frames_module
from glue_cleanset.io import read as read_module
from glue_cleanset.io.align import align_by_stars
from glue_cleanset.io.frames import FitsFrames, FitsMasks, SavedFrames
from glue_cleanset.io.read import BadFramesError, read_image_set
from glue_cleanset.io.registration import measure_shifts
from glue_cleanset.io.stars import find_stars
from glue_cleanset.io.write import write_result


def quality(i):
    flags = np.zeros(SHAPE, np.int16)
    flags[i, 0], flags[2, i] = 4096, -1
    return flags


def triple(i, ver=1):
    """SCI, ERR and DQ, one of them compressed."""
    hdus = [
        fits.ImageHDU(image(i, np.float32), name="SCI", ver=ver),
        fits.ImageHDU(image(i, np.float32), name="ERR", ver=ver),
        fits.CompImageHDU(quality(i), name="DQ"),
    ]
    hdus[2].ver = ver
    return hdus


def plain_files(folder, suffix, dtype):
    for i in range(3):
        write_frame(folder / f"f{i}.{suffix}", image(i, dtype))


def scaled(folder):
    for i in range(3):
        path = write_frame(folder / f"f{i}.fits", image(i, np.float32 if i == 2 else np.int32 if i else np.int16))
        with fits.open(path, mode="update") as hdus:
            hdus[0].header["BSCALE"] = 0.3
            hdus[0].header["BZERO"] = 10.1


def blank(folder, suffix, dtype, value):
    for i in range(3):
        data = image(i, dtype)
        stored = int(data[3, 4]) - (32768 if dtype == "u2" else 0)
        write_frame(folder / f"f{i}.{suffix}", data, **({"BLANK": stored + value} if i != 1 else {}))


def mixed(folder):
    for i, dtype in enumerate(["u2", "i2", "u1"]):
        write_frame(folder / f"f{i}.fits", image(i, dtype))


def cube(folder, suffix):
    data = np.array([image(i) for i in range(4)])[:, None]
    write_frame(folder / f"cube.{suffix}", data)


def cube_with_masks(folder, pack):
    data = np.array([image(i, np.float32) for i in range(4)])
    masks = np.array([quality(i) for i in range(4)])
    path = folder / "cube.fits"
    fits.HDUList([fits.PrimaryHDU(data), fits.ImageHDU(masks, name="MASK")]).writeto(path)
    path.write_bytes(pack(path.read_bytes()))


def one_mask_for_a_cube(folder):
    data = np.array([image(i, "u2") for i in range(4)])
    fits.HDUList([fits.PrimaryHDU(data), fits.ImageHDU(quality(1), name="BPM")]).writeto(folder / "cube.fits")


def triples(folder):
    hdus = [hdu for i in range(3) for hdu in triple(i, i + 1)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "set.fits")


def some_masks(folder):
    for i in range(3):
        hdus = [fits.PrimaryHDU(), *triple(i)][: 4 if i else 2]
        fits.HDUList(hdus).writeto(folder / f"f{i}.fits")
    hdus[3].data = hdus[3].data.astype(np.int32)
    fits.HDUList(hdus).writeto(folder / "f2.fits", overwrite=True)


def big_tiles(folder):
    for i in range(3):
        fits.CompImageHDU(image(i), tile_shape=SHAPE, compression_type="GZIP_2").writeto(folder / f"f{i}.fits.fz")
        fits.CompImageHDU(image(i), tile_shape=(4, 5), compression_type="RICE_1").writeto(folder / f"h{i}.fits.fz")


KINDS = {
    **{
        f"{suffix} {dtype}": (plain_files, suffix, dtype)
        for suffix, types in {
            "fits": ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"],
            "fits.gz": ["u2", "f4"],
            "fits.fz": ["u1", "i2", "u2", "i4", "u4"],
        }.items()
        for dtype in types
    },
    **{
        f"blank {suffix} {dtype} {value}": (blank, suffix, dtype, value)
        for suffix in ("fits", "fits.gz", "fits.fz")
        for dtype in ("i2", "u2")
        for value in (0, 5000)
    },
    "scaled": (scaled,),
    "mixed": (mixed,),
    "cube": (cube, "fits"),
    "cube gz": (cube, "fits.gz"),
    "cube fz": (cube, "fits.fz"),
    "cube with masks": (cube_with_masks, bytes),
    "cube with masks gz": (cube_with_masks, gzip.compress),
    "one mask for a cube": (one_mask_for_a_cube,),
    "triples": (triples,),
    "some masks": (some_masks,),
    "big tiles": (big_tiles,),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_on_demand_is_what_is_loaded(tmp_path, kind):
    make, *arguments = KINDS[kind]
    make(tmp_path, *arguments)
    loaded, lazy = read_image_set(tmp_path), read_image_set(tmp_path, on_demand=True)
    assert isinstance(lazy.frames, FitsFrames)
    assert lazy.on_demand
    # one declares a BLANK that no pixel has: what there is of it is only known when all is read
    assert lazy.frames.dtype == (np.float32 if "blank" in kind else loaded.frames.dtype)
    pairs = [(loaded.frames, lazy.frames)]
    if "blank" in kind and loaded.mask is None:
        assert not np.any(lazy.mask)
    else:
        pairs += [(loaded.mask, lazy.mask), (loaded.dq, lazy.dq)]
        assert kind.startswith(("fits", "scaled", "mixed", "big")) or "cube" in kind or loaded.mask is not None
    for expected, frames in pairs:
        if expected is None:
            assert frames is None
            continue
        assert frames.shape == expected.shape
        expected = expected.astype(frames.dtype, copy=False)
        np.testing.assert_array_equal(np.asarray(frames), expected)
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(frame, expected[i])
            for first in range(0, SHAPE[0], 2):
                part = frames.rows(i, first, first + 3)
                assert part.dtype == frames.dtype
                assert part.dtype.isnative
                np.testing.assert_array_equal(part, expected[i, first : first + 3])
    for name in ("names", "shape", "sources", "unit", "work_dtype"):
        assert getattr(lazy, name) == getattr(loaded, name), name
    assert [str(header) for header in lazy.headers] == [str(header) for header in loaded.headers]
    np.testing.assert_array_equal(lazy.read(slice(1, 4), slice(2, 7)), loaded.read(slice(1, 4), slice(2, 7)))
    where = tuple(np.random.default_rng(1).integers(0, n, 40) for n in loaded.shape)
    np.testing.assert_array_equal(lazy.usable(where), loaded.usable(where))
    part = lazy.part(slice(1, 4), slice(2, 7))
    np.testing.assert_array_equal(part.read(), loaded.part(slice(1, 4), slice(2, 7)).read())


@pytest.fixture(scope="module", params=["u2", "fits.fz", "fits.gz", "cube gz", "some masks", "blank"])
def pair(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("set")
    name = {"u2": "fits u2", "blank": "blank fits u2 0"}.get(request.param, request.param)
    make, *arguments = KINDS[name if name in KINDS else f"{name} u2"]
    make(folder, *arguments)
    return read_image_set(folder), read_image_set(folder, on_demand=True)


@given(
    frames=st.one_of(st.slices(4), st.integers(-3, 2)),
    rows=st.one_of(st.slices(SHAPE[0] + 2), st.integers(-SHAPE[0], SHAPE[0] - 1)),
    columns=st.slices(SHAPE[1] + 2),
)
def test_any_part_is_that_of_the_loaded_set(pair, frames, rows, columns):
    loaded, lazy = pair
    for name in ("frames", "mask", "dq"):
        if getattr(loaded, name) is not None:
            expected = getattr(loaded, name)[frames, rows, columns]
            np.testing.assert_array_equal(getattr(lazy, name)[frames, rows, columns], expected)


class Counting(io.FileIO):
    """A file whose bytes are counted, and which remembers whether it is closed."""

    bytes, opened = 0, []

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Counting.opened.append(self)

    def readinto(self, buffer):
        count = super().readinto(buffer)
        Counting.bytes += count
        return count


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(frames_module, "FileIO", Counting)
    monkeypatch.setattr(Counting, "bytes", 0)
    monkeypatch.setattr(Counting, "opened", [])
    return Counting


def test_no_byte_is_read_beside_the_rows(tmp_path, counting):
    shape = (400, 300)
    data = np.random.default_rng(1).integers(0, 60000, (5, *shape), np.uint16)
    for i in range(5):
        write_frame(tmp_path / f"f{i}.fits", data[i])
    lazy = read_image_set(tmp_path, on_demand=True)
    row = 2 * shape[1]
    assert counting.bytes <= 5 * 4 * row  # a few rows tell that the frames are good
    counting.bytes = 0
    np.testing.assert_array_equal(lazy.frames.rows(3, 17, 30), data[3, 17:30])
    assert counting.bytes == 13 * row
    np.testing.assert_array_equal(lazy.frames[:, 100:110, 7], data[:, 100:110, 7])
    assert counting.bytes == (13 + 50) * row
    np.testing.assert_array_equal(lazy.frames[2, 399], data[2, 399])
    assert counting.bytes == (13 + 50 + 1) * row
    assert all(file.closed for file in counting.opened)


def test_memory_is_that_of_the_part(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    shape = (500, 600)
    for i in range(10):
        write_frame(tmp_path / f"f{i}.fits", image(i, "u2", shape))
    read_image_set(tmp_path, on_demand=True)  # what is loaded once
    tracemalloc.start()
    lazy = read_image_set(tmp_path, on_demand=True)
    opened = tracemalloc.get_traced_memory()[1]
    part = lazy.frames[:, 100:120]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert opened < lazy.frames.nbytes / 10
    assert peak < opened + 1.5 * part.nbytes


def test_headers_are_not_read_again(tmp_path, monkeypatch):
    plain_files(tmp_path, "fits", "u2")
    lazy = read_image_set(tmp_path, on_demand=True)
    monkeypatch.setattr(fits, "open", None)
    np.testing.assert_array_equal(lazy.frames[1], image(1))


@pytest.mark.parametrize("suffix", ["fits.gz", "fits.fz"])
def test_the_frames_used_last_are_kept_and_no_more(tmp_path, suffix, monkeypatch):
    for i in range(5):
        write_frame(tmp_path / f"f{i}.{suffix}", image(i))
    lazy = read_image_set(tmp_path, on_demand=True)
    read = []
    original = frames_module.FitsFile.read
    monkeypatch.setattr(frames_module.FitsFile, "read", lambda *a: read.append(a[1].label) or original(*a))
    for i in (0, 1, 0, 1, 2, 1):
        lazy.frames.frame(i)
        np.testing.assert_array_equal(lazy.frames.rows(i, 2, 4), image(i)[2:4])
    assert [os.path.basename(label)[:2] for label in read] == ["f0", "f1", "f2"]
    for i in range(5):
        lazy.frames.frame(i)
    assert len(frames_module._whole) == 2


def test_rows_of_tiles_are_read_without_the_rest(tmp_path, monkeypatch):
    for i in range(2):
        fits.CompImageHDU(image(i, np.int16, (64, 50)), tile_shape=(8, 50)).writeto(tmp_path / f"f{i}.fits.fz")
    lazy = read_image_set(tmp_path, on_demand=True)
    asked = []
    original = frames_module.FitsFile.read
    monkeypatch.setattr(frames_module.FitsFile, "read", lambda *a: asked.append(a[2:]) or original(*a))
    np.testing.assert_array_equal(lazy.frames.rows(1, 10, 20), image(1, np.int16, (64, 50))[10:20])
    assert asked == [(10, 20)]


def test_many_threads_read(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 30000, (6, 90, 70), np.int16)
    for i, frame in enumerate(data):
        write_frame(tmp_path / f"f{i}.{'fits' if i < 2 else 'fits.gz' if i < 4 else 'fits.fz'}", frame)
    frames = read_image_set(tmp_path, on_demand=True).frames
    parts = [(i, y) for y in range(0, 90, 10) for i in range(6)] * 3
    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4, initializer=barrier.wait) as pool:
        for (i, y), part in zip(parts, pool.map(lambda p: frames.rows(p[0], p[1], p[1] + 10), parts), strict=True):
            np.testing.assert_array_equal(part, data[i, y : y + 10])


@pytest.mark.parametrize("kind", ["fits u2", "fits.gz u2", "fits.fz u2", "some masks"])
def test_a_set_can_be_pickled_and_read_elsewhere(tmp_path, kind, monkeypatch):
    make, *arguments = KINDS[kind]
    make(tmp_path, *arguments)
    monkeypatch.chdir(tmp_path)
    lazy = read_image_set(sorted(os.listdir()), on_demand=True)
    expected = lazy.frames[:]
    packed = pickle.dumps((lazy.frames, lazy.mask, lazy.dq))
    assert len(packed) < 5000
    monkeypatch.chdir("/")
    frames, mask, dq = pickle.loads(packed)
    np.testing.assert_array_equal(frames[:], expected)
    if lazy.mask is not None:
        np.testing.assert_array_equal(mask[:], lazy.mask[:])
        np.testing.assert_array_equal(dq[:], lazy.dq[:])


@pytest.mark.parametrize("suffix", ["fits", "fits.gz", "fits.fz"])
@pytest.mark.parametrize("how", ["size", "time"])
def test_a_file_that_changed_is_told(tmp_path, suffix, how):
    paths = [write_frame(tmp_path / f"f{i}.{suffix}", image(i)) for i in range(3)]
    lazy = read_image_set(paths, on_demand=True)
    lazy.frames.frame(1)  # what is kept of it does not count
    if how == "size":
        facts = os.stat(paths[1])
        paths[1].write_bytes(paths[1].read_bytes()[:-1])
        os.utime(paths[1], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    else:
        os.utime(paths[1], ns=(1, 1))
    with pytest.raises(OSError, match=rf"f1.{suffix} has changed since it was opened; "):
        lazy.frames.rows(1, 0, 1)
    np.testing.assert_array_equal(lazy.frames[0], image(0))
    paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=rf"f2.{suffix} is not there any more; put it back"):
        lazy.frames.frame(2)


@pytest.mark.parametrize("name", ["hst_stis_ngc1068_crsplit", "flats_st402_150s_weak", "microobs_hatp32/aligned"])
def test_real_sets(shared, name):
    loaded, lazy = read_image_set(shared / name), read_image_set(shared / name, on_demand=True)
    for expected, frames in ((loaded.frames, lazy.frames), (loaded.mask, lazy.mask), (loaded.dq, lazy.dq)):
        assert (frames is None) == (expected is None)
        if frames is not None:
            assert frames.dtype == expected.dtype
            np.testing.assert_array_equal(frames[:, 100:160, 50:], expected[:, 100:160, 50:])


# --- bad files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def night(tmp_path):
    """Files of all kinds, some of which are bad."""
    rng = np.random.default_rng(1)
    for i, suffix in enumerate(["fits", "fits.gz", "fits.fz"] * 4):
        path = write_frame(tmp_path / f"f{i:02d}.{suffix}", rng.integers(0, 30000, (80, 90), np.int16))
        content = bytearray(path.read_bytes())
        if i in (3, 4, 5):
            path.write_bytes(content[: len(content) // 2])
        if i in (7, 8):
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
            path.write_bytes(content)
    fits.PrimaryHDU(np.full((80, 90), np.nan, np.float32)).writeto(tmp_path / "g0.fits")
    fits.PrimaryHDU(np.full((80, 90), 7, np.int32)).writeto(tmp_path / "g1.fits")
    wrong = fits.ImageHDU(np.zeros((3, 3), np.uint8), name="MASK")
    real = fits.ImageHDU(np.zeros((80, 90), np.float32), name="MASK")
    everything = fits.ImageHDU(np.ones((80, 90), np.uint8), name="MASK")
    for k, mask in enumerate((wrong, real, everything, everything)):
        path = tmp_path / f"h{k}.fits"
        fits.HDUList([fits.PrimaryHDU(rng.integers(0, 30000, (80, 90), np.int16)), mask]).writeto(path)
    path.write_bytes(path.read_bytes()[:-4000])  # h3
    return tmp_path


def test_bad_files_are_those_of_a_set_that_is_loaded(night):
    with pytest.raises(BadFramesError) as loaded:
        read_image_set(night)
    with pytest.raises(BadFramesError) as lazy:
        read_image_set(night, on_demand=True)
    assert lazy.value.bad == loaded.value.bad
    assert str(lazy.value) == str(loaded.value)
    assert lazy.value.left == loaded.value.left == 7
    for name in ("f03", "f04", "f05", "f07", "f08", "g0", "g1", "h0", "h1", "h2", "h3"):
        assert sum(name in text for text in lazy.value.bad) == 1


def test_bad_files_can_be_left_out(night):
    with pytest.warns(UserWarning, match="11 of 18 frames are left out"):
        loaded = read_image_set(night, skip_bad=True)
    with pytest.warns(UserWarning, match="11 of 18 frames are left out"):
        lazy = read_image_set(night, skip_bad=True, on_demand=True)
    assert lazy.names == loaded.names
    assert lazy.frames.dtype == loaded.frames.dtype == np.int16
    np.testing.assert_array_equal(lazy.frames[:], loaded.frames)
    assert lazy.mask is None


def test_a_frame_that_a_few_rows_leave_in_doubt_is_good(tmp_path, counting):
    data = np.full((400, 300), 5, np.int16)
    data[399, 299] = 6
    for i in range(2):
        write_frame(tmp_path / f"f{i}.fits", data)
    lazy = read_image_set(tmp_path, on_demand=True)
    np.testing.assert_array_equal(lazy.frames[1], data)
    assert counting.bytes > 2 * data.nbytes


def test_damage_after_opening_is_told(tmp_path):
    rng = np.random.default_rng(1)
    paths = [write_frame(tmp_path / f"f{i}.fits.gz", rng.integers(0, 30000, (80, 90), np.int16)) for i in range(2)]
    lazy = read_image_set(paths, on_demand=True)
    facts = os.stat(paths[1])
    content = bytearray(paths[1].read_bytes())
    content[:10] = bytes(10)
    paths[1].write_bytes(content)
    os.utime(paths[1], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(OSError, match=r"f1\.fits\.gz cannot be read, the file is truncated or damaged"):
        lazy.frames.frame(1)


# --- sets of such frames ----------------------------------------------------------------------------------------------


def test_masks_on_demand_are_those_of_the_set(tmp_path):
    some_masks(tmp_path)
    loaded, lazy = read_image_set(tmp_path), read_image_set(tmp_path, on_demand=True)
    assert isinstance(lazy.mask, FitsMasks)
    assert ImageSet(lazy.frames, mask=lazy.mask).mask is lazy.mask
    ignored = np.zeros(lazy.shape, bool)
    ignored[1, 3:, 4] = True
    for rest, expected in (
        (lazy.hide(ignored), loaded.hide(ignored)),
        (lazy.without(ignored[1]), loaded.without(ignored[1])),
        (ImageSet(lazy.frames, mask=ignored).hide(lazy.mask), loaded.hide(ignored)),
    ):
        assert isinstance(rest.mask, FramesOnDemand)
        np.testing.assert_array_equal(rest.mask[:], expected.mask)
        np.testing.assert_array_equal(rest.read(slice(2, 5), frames=[2, 0]), expected.read(slice(2, 5), frames=[2, 0]))
        where = np.nonzero(expected.mask)
        assert not rest.usable(where).any()
    with pytest.raises(ValueError, match="f1 has no finite unmasked pixel"):
        lazy.without(np.arange(3)[:, None, None] * np.ones(SHAPE) == 1)


def test_the_content_is_looked_at_once(tmp_path, monkeypatch):
    plain_files(tmp_path, "fits", "u2")
    looked = []
    original = read_module.content_fault
    monkeypatch.setattr(read_module, "content_fault", lambda *a: looked.append(1) or original(*a))
    monkeypatch.setattr("glue_cleanset.core.imageset.content_fault", None)
    lazy = read_image_set(tmp_path, on_demand=True)
    assert len(looked) == 3
    with pytest.raises(TypeError):
        lazy.without(np.zeros(SHAPE, bool))  # here it is another question


def stars(folder):
    """Three frames of stars, shifted by whole pixels, with a mask each."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :220]
    places = rng.uniform(25, 175, (25, 2))
    field = sum(2000 * np.exp(-((y - py) ** 2 + (x - px) ** 2) / 4) for py, px in places)
    for i, shift in enumerate([(0, 0), (3, -2), (-1, 4)]):
        data = np.roll(field, shift, (0, 1)) + rng.normal(100, 5, field.shape)
        mask = (rng.random(field.shape) < 0.001).astype(np.uint8)
        hdus = [fits.PrimaryHDU(data.astype(np.uint16)), fits.ImageHDU(mask, name="MASK")]
        fits.HDUList(hdus).writeto(folder / f"f{i}.fits")


def test_registration_stars_and_alignment_are_those_of_a_loaded_set(tmp_path):
    stars(tmp_path)
    loaded, lazy = read_image_set(tmp_path), read_image_set(tmp_path, on_demand=True)
    expected, table = measure_shifts(loaded), measure_shifts(lazy)
    for name in expected.colnames:
        np.testing.assert_array_equal(table[name], expected[name])
    np.testing.assert_allclose(expected["dy"] - expected["dy"][0], [0, 3, -1], atol=0.1)
    np.testing.assert_array_equal(find_stars(lazy, 1), find_stars(loaded, 1))
    for whole in (True, False):
        aligned, again = (align_by_stars(one, whole_pixels=whole) for one in (loaded, lazy))
        for name in ("frames", "mask", "dq"):
            np.testing.assert_array_equal(getattr(again, name), getattr(aligned, name))


def test_products_are_those_of_a_loaded_set(tmp_path):
    (tmp_path / "in").mkdir()
    some_masks(tmp_path / "in")
    for name, on_demand in (("a", False), ("b", True)):
        image_set = read_image_set(tmp_path / "in", on_demand=on_demand)
        written = write_result(make_result(image_set), image_set, tmp_path / name)
    assert len(written) == 9
    for path in written:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


# --- saved frames ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Frames as arrays of whole numbers in files, which are read as float32; and their values."""
    values = np.stack([image(i, np.uint16) for i in range(3)])
    paths = [tmp_path_factory.mktemp("saved") / f"{i}.npy" for i in range(3)]
    for path, frame in zip(paths, values, strict=True):
        np.save(path, frame)
    return SavedFrames(paths, np.float32), values


_PARTS = [st.one_of(st.integers(0, length - 1), st.slices(length)) for length in (3, *SHAPE)]
_POINTS = st.lists(st.tuples(*(st.integers(0, length - 1) for length in (3, *SHAPE))))


@given(key=st.tuples(*_PARTS), points=_POINTS)
def test_any_part_of_saved_frames(saved, key, points):
    frames, values = saved
    assert frames[key].dtype == np.float32
    np.testing.assert_array_equal(frames[key], values[key])
    points = tuple(np.array(points, int).reshape(-1, 3).T)
    np.testing.assert_array_equal(frames[points], values[points])


def test_a_saved_frame_that_is_cut_off_is_told(tmp_path):
    values = image(1, np.uint16)
    np.save(tmp_path / "1.npy", values)
    frames = SavedFrames([tmp_path / "1.npy"])
    with open(frames.paths[0], "r+b") as file:
        file.truncate(os.path.getsize(frames.paths[0]) - 3)
    np.testing.assert_array_equal(frames[0, :-1], values[:-1])
    with pytest.raises(OSError, match=r"3 bytes are missing in .*1\.npy"):
        frames[0]
