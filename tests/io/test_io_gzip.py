"""Gzipped files: all that the command line does unpacks them twice at most."""

import builtins
import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from glue_cleanset import cli
from glue_cleanset.io.read import BadFramesError, read_image_set

SHAPE = (500, 700)
# what is read of a file to see how it begins; buffers are of that size in some versions of Python
BUFFERS = 3 * 2**17


@pytest.fixture
def bytes_read(monkeypatch):
    """How many bytes were read of each gzipped file, by name; what opens one is Python's own function."""
    count = {}
    real = builtins.open

    class Counted(io.FileIO):
        def readinto(self, buffer):
            got = super().readinto(buffer)
            count.setdefault(self.name.rpartition("/")[2], []).append(got)
            return got

    def opened(file, mode="r", *arguments, **keywords):
        if mode == "rb" and str(file).endswith(".gz"):
            return io.BufferedReader(Counted(str(file)))
        return real(file, mode, *arguments, **keywords)

    monkeypatch.setattr(builtins, "open", opened)
    return count


def noise(i):
    return np.random.default_rng(i).normal(1000, 300, SHAPE).astype("i2")


def quality(i):
    flags = np.random.default_rng(100 + i).integers(-32768, 32767, SHAPE, "i2")
    flags[flags % 8 != 0] = 0  # some of it is bad, and it does not pack well
    return flags


def write_extensions(path, *hdus):
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(data, name=n, ver=v) for n, v, data in hdus)]).writeto(path)


def plain(folder):
    for i in range(3):
        fits.PrimaryHDU(noise(i), fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})).writeto(
            folder / f"f{i}.fits"
        )


def blank(folder):
    for i in range(3):
        fits.PrimaryHDU(noise(i), fits.Header({"BLANK": 1000})).writeto(folder / f"f{i}.fits")


def with_quality(folder):
    for i in range(3):
        hdus = ("SCI", 1, noise(i)), ("ERR", 1, noise(i + 9)), ("DQ", 1, quality(i))
        write_extensions(folder / f"f{i}.fits", *hdus)


def quality_first(folder):
    for i in range(3):
        write_extensions(folder / f"f{i}.fits", ("DQ", 1, quality(i)), ("SCI", 1, noise(i)))


def cube(folder):
    fits.PrimaryHDU(np.array([noise(i) for i in range(4)])).writeto(folder / "cube.fits")


def cube_with_masks(folder):
    data, masks = (np.array([of(i) for i in range(4)]) for of in (noise, quality))
    fits.HDUList([fits.PrimaryHDU(data), fits.ImageHDU(masks, name="MASK")]).writeto(folder / "cube.fits")


def many_extensions(folder):
    pairs = [[("SCI", i + 1, noise(i)), ("DQ", i + 1, quality(i))] for i in range(3)]
    write_extensions(folder / "set.fits", *(hdu for pair in pairs for hdu in pair))


def unregistered(folder):
    """Stars that are not where they should be, of which the registration is looked at again and again."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = np.random.default_rng(1).uniform((30, 30), np.array(SHAPE) - 30, (40, 2))
    field = sum(5000 * np.exp(-((y - py) ** 2 + (x - px) ** 2) / 4) for py, px in places)
    for i in range(5):
        fits.PrimaryHDU((noise(i) + np.roll(field, (0, 7 * i), (0, 1))).astype("i2")).writeto(folder / f"f{i}.fits")


def tiles(folder):
    for i in range(3):
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(noise(i), compression_type="RICE_1", name="SCI")]
        fits.HDUList(hdus).writeto(folder / f"f{i}.fits")


def doubtful(folder):
    """Frames of which just the rows that are looked at show nothing."""
    for i in range(3):
        data = noise(i)
        data[SHAPE[0] // 8 :: SHAPE[0] // 4] = 0
        fits.PrimaryHDU(data).writeto(folder / f"f{i}.fits")


KINDS = [plain, blank, with_quality, quality_first, cube, cube_with_masks, many_extensions, unregistered]


@pytest.mark.parametrize(
    ("make", "times"),
    [*((make, 2) for make in KINDS), (tiles, 3), (doubtful, 3)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_no_byte_is_read_more_than_twice(tmp_path, bytes_read, capsys, make, times):
    (tmp_path / "plain").mkdir()
    (tmp_path / "packed").mkdir()
    make(tmp_path / "plain")
    sizes = {}
    for path in (tmp_path / "plain").iterdir():
        packed = gzip.compress(path.read_bytes(), 1)
        (tmp_path / "packed" / f"{path.name}.gz").write_bytes(packed)
        sizes[f"{path.name}.gz"] = len(packed)
        assert len(packed) > 1.1 * BUFFERS  # or the third time would not be seen
    bytes_read.clear()
    assert cli.main(["clean", str(tmp_path / "packed"), "-o", str(tmp_path / "out")]) == 0
    assert ("not registered" in capsys.readouterr().err) == (make is unregistered)
    for name, size in sizes.items():
        assert (times - 0.5) * size < sum(bytes_read[name]) < times * size + BUFFERS
    assert cli.main(["clean", str(tmp_path / "plain"), "-o", str(tmp_path / "expected")]) == 0
    for path in (tmp_path / "expected").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("make", [with_quality, cube_with_masks], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("how", "where"),
    [
        *(("cut", 0.25), ("cut", 0.75), ("damaged", 0.75), ("check sum", 1)),
        *(("cut before it was packed", 0.25), ("cut before it was packed", 0.75), ("cut before it was packed", 0.995)),
    ],
)
def test_damage_is_found_before_any_work(tmp_path, make, where, how):
    make(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        path.unlink()
        if how == "cut before it was packed" and (path.name in ("f1.fits", "cube.fits")):
            content = content[: int(len(content) * where)]
        packed = bytearray(gzip.compress(content, 1))
        if path.name in ("f1.fits", "cube.fits"):
            place = int(len(packed) * where)
            if how == "cut":
                del packed[place:]
            elif how == "damaged":
                packed[place : place + 50] = bytes(50)
            elif how == "check sum":
                packed[-8] ^= 1
        path.with_name(path.name + ".gz").write_bytes(packed)
    texts = []
    for on_demand in (False, True):
        with pytest.raises(BadFramesError, match=r"(f1|cube)\.fits\.gz.*(truncated|damaged)") as caught:
            read_image_set(tmp_path, on_demand=on_demand)
        texts.append(caught.value.bad)
    assert texts[0] == texts[1]


def pack(folder):
    for path in sorted(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()


def test_frames_that_show_nothing_or_little(tmp_path):
    """Some rows do not tell, or only together with the mask."""
    nothing, little, hidden = np.full((3, 40, 50), 7, "i2")
    little[39, 49] = 8
    hidden[5:] = np.arange(50)
    for i, data in enumerate((nothing, little, hidden, hidden, hidden)):
        mask = np.zeros((40, 50), "u1")
        mask[5:] = i == 2  # all that differs
        mask[4:] |= i == 3  # and one row that does not
        write_extensions(tmp_path / f"f{i}.fits", ("SCI", 1, data), ("DQ", 1, mask))
    fits.PrimaryHDU(np.full((40, 50), -5, "i2"), fits.Header({"BLANK": -5})).writeto(tmp_path / "f5.fits")
    pack(tmp_path)
    with pytest.raises(BadFramesError, match=r"4 of 6 frames") as caught:
        read_image_set(tmp_path, on_demand=True)
    faults = "is constant (7)", "is constant (7)", "is constant (7)", "has no finite unmasked pixel"
    for i, fault, text in zip((0, 2, 3, 5), faults, caught.value.bad, strict=True):
        assert f"f{i}.fits.gz" in text
        assert fault in text


@pytest.mark.parametrize("shape", [(7, 1, 1), (30, 3, 5), (40, 10, 11), (3, 1, 4000), (4, 9, 1)])
def test_planes_smaller_than_a_block(tmp_path, shape):
    cube = np.random.default_rng(1).normal(100, 9, shape).astype("f4")
    fits.HDUList([fits.PrimaryHDU(cube), fits.ImageHDU(cube[::-1], name="OTHER")]).writeto(tmp_path / "cube.fits")
    pack(tmp_path)
    for extension, expected in ((0, cube), (1, cube[::-1])):
        image_set = read_image_set(tmp_path, extension=extension, on_demand=True)
        np.testing.assert_array_equal(np.asarray(image_set.frames), expected)
