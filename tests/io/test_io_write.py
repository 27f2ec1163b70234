import dataclasses
import errno
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from fits_files import SHAPE, fill_disk, image, make_result, mounted, write_frame

import glue_cleanset
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.write import check_output, write_content, write_result


@pytest.fixture
def image_set(frames):
    return read_image_set(frames)


def test_what_is_written(image_set, tmp_path):
    result = make_result(image_set)
    out = tmp_path / "new" / "out"
    expected = check_output(image_set, out)
    assert not out.parent.exists()
    paths = write_result(result, image_set, out)
    assert paths == expected
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in paths)
    names = [f"f{i}_{kind}.fits" for i in (1, 2, 3) for kind in ("crclean", "crmask")]
    assert [path.name for path in paths] == [*names, "rejection_map.fits", "events.ecsv", "summary.ecsv"]


def test_cleaned_frame(image_set, tmp_path):
    result = make_result(image_set)
    write_result(result, image_set, tmp_path / "out")
    with fits.open(tmp_path / "out" / "f1_crclean.fits") as hdus:
        hdus.verify("exception")
        data, header = hdus[0].data, hdus[0].header
        assert data.dtype == ">f4"
        np.testing.assert_array_equal(data, result.cleaned[0])
        np.testing.assert_array_equal(data[~result.rejected[0]], image(0)[~result.rejected[0]])
        assert header["FILTER"] == "R"
        assert header["BUNIT"] == "adu"
        assert header["CRCORR"] == "COMPLETE"
        assert header["CRNPIX"] == 2
        assert header["REJ_RATE"] == pytest.approx(2 / 60)
        assert header["CRGAIN"] == 1.5
        assert "CRRDNOIS" not in header  # the set could not tell
        history = " ".join(header["HISTORY"])
        assert f"glue_cleanset {glue_cleanset.__version__}: " in history
        for field in dataclasses.fields(CleanSettings):
            assert f"{field.name}=" in history


def test_what_a_person_overruled_is_told(image_set, tmp_path):
    result = make_result(image_set)
    result.overrules = ("8 pixels restored", "1 pixel rejected by hand")
    write_result(result, image_set, tmp_path / "out")
    for name in ("f2_crclean.fits", "rejection_map.fits"):
        history = list(fits.getheader(tmp_path / "out" / name)["HISTORY"])
        assert history[-2].endswith(": 8 pixels restored")
        assert history[-1].endswith(": 1 pixel rejected by hand")
    assert Table.read(tmp_path / "out" / "events.ecsv").meta["overrules"] == list(result.overrules)


def test_floats_keep_their_type(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i, np.float64)) for i in range(3)]
    image_set = read_image_set(paths)
    write_result(make_result(image_set), image_set, tmp_path / "out")
    assert fits.getdata(tmp_path / "out" / "f0_crclean.fits").dtype == ">f8"


def test_integers_with_offset_leave_no_scaling_behind(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i, np.uint16) + 40000, BLANK=-5) for i in range(3)]
    image_set = read_image_set(paths)
    write_result(make_result(image_set), image_set, tmp_path / "out")
    with fits.open(tmp_path / "out" / "f1_crclean.fits") as hdus:
        assert not {"BZERO", "BSCALE", "BLANK"} & set(hdus[0].header)
        np.testing.assert_array_equal(hdus[0].data, image(1) + 40000.0)


def test_mask(image_set, tmp_path):
    result = make_result(image_set)
    write_result(result, image_set, tmp_path / "out")
    with fits.open(tmp_path / "out" / "f1_crmask.fits") as hdus:
        assert hdus[0].data.dtype == np.uint8
        assert (hdus[0].header["CRREJBIT"], hdus[0].header["CRREPBIT"]) == (1, 2)
        np.testing.assert_array_equal(hdus[0].data, 3 * result.rejected[0])
        assert hdus[0].header["FILTER"] == "R"


def test_detection_only(image_set, tmp_path):
    result = make_result(image_set, CleanSettings(repair="none"))
    write_result(result, image_set, tmp_path / "out")
    assert fits.getval(tmp_path / "out" / "f1_crclean.fits", "CRCORR") == "OMIT"
    np.testing.assert_array_equal(fits.getdata(tmp_path / "out" / "f1_crmask.fits"), 1 * result.rejected[0])


@pytest.mark.parametrize(
    ("dtype", "flags", "reject", "out"),
    [
        ("u1", 1, 2, "u1"),
        ("i2", 4096 | 2, 8192, "i2"),
        ("i2", 8192, 16384, "i4"),
        ("i2", -32768, 65536, "i4"),
        ("i4", 1 << 30, 1 << 31, "i8"),
    ],
)
def test_quality_of_the_input_is_kept(tmp_path, dtype, flags, reject, out):
    paths = []
    for i in range(3):
        dq = np.zeros(SHAPE, dtype)
        if i == 0:
            dq[1, 2] = dq[0, 0] = flags
        path = tmp_path / f"f{i}.fits"
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(image(i), name="SCI"), fits.ImageHDU(dq, name="DQ")]
        fits.HDUList(hdus).writeto(path)
        paths.append(path)
    image_set = read_image_set(paths)
    result = make_result(image_set)
    write_result(result, image_set, tmp_path / "out")
    with fits.open(tmp_path / "out" / "f0_crmask.fits") as hdus:
        header, data = hdus[0].header, hdus[0].data
    assert data.dtype.newbyteorder("=") == out
    assert (header["CRREJBIT"], header["CRREPBIT"]) == (reject, 2 * reject)
    flags &= (1 << 8 * np.dtype(dtype).itemsize) - 1
    expected = 3 * reject * result.rejected[0].astype(np.int64)
    expected[1, 2] |= flags
    expected[0, 0] |= flags
    np.testing.assert_array_equal(data, expected)


def test_map_and_tables(image_set, tmp_path):
    result = make_result(image_set)
    *_, path, events, summary = write_result(result, image_set, tmp_path / "out")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, result.rejection_map)
        assert hdus[0].header["FRAME3"] == "f3"
        np.testing.assert_array_equal(hdus["TIMES_REJECTED"].data, result.rejection_count)
        np.testing.assert_array_equal(hdus["REFERENCE"].data, result.reference)
    events = Table.read(events)
    assert events.colnames == result.events.colnames
    assert "repair=median" in events.meta["settings"]
    assert list(Table.read(summary)["name"]) == ["f1", "f2", "f3"]
    assert "settings" not in result.events.meta


def test_again_on_its_own_output(image_set, tmp_path):
    write_result(make_result(image_set), image_set, tmp_path / "one")
    again = read_image_set(tmp_path / "one")
    paths = write_result(make_result(again), again, tmp_path / "two")
    assert paths[0].name == "f1_crclean.fits"
    first = fits.getheader(tmp_path / "one" / "f1_crclean.fits")
    second = fits.getheader(paths[0])
    assert list(second["HISTORY"]) == list(first["HISTORY"])
    assert second.count("CRCORR") == 1
    other = make_result(again, CleanSettings(high=7.0))
    write_result(other, again, tmp_path / "three")
    history = list(fits.getheader(tmp_path / "three" / "f1_crclean.fits")["HISTORY"])
    assert history[: len(first["HISTORY"])] == list(first["HISTORY"])
    assert "high=7.0" in " ".join(history)


def test_frames_of_cubes_extensions_and_equal_names_get_their_own_files(tmp_path):
    (tmp_path / "b").mkdir()
    paths = [
        write_frame(tmp_path / "f.fits", np.array([image(0), image(1)])),
        write_frame(tmp_path / "b" / "f.fits", np.array([image(2), image(3)])),
        write_frame(tmp_path / "f_1_crclean.fits", image(4)),
    ]
    image_set = read_image_set(paths)
    written = write_result(make_result(image_set), image_set, tmp_path / "out")
    assert len({path.name.lower() for path in written}) == 2 * 5 + 3
    assert sum(path.exists() for path in written) == len(written)


def test_names_that_are_no_names_of_files(tmp_path):
    frames = np.array([image(0), image(1), image(2)])
    image_set = ImageSet(frames, names=["a/../b", "frame 1", "..."])
    names = [path.name for path in check_output(image_set, tmp_path)]
    assert names[0:6:2] == ["a_.._b_crclean.fits", "frame_1_crclean.fits", "frame_crclean.fits"]
    write_result(make_result(image_set), image_set, tmp_path / "out")
    assert fits.getval(tmp_path / "out" / "frame_1_crclean.fits", "REJ_RATE") == 0  # of an unknown exposure time


def test_names_with_letters_beyond_ascii(tmp_path):
    paths = [write_frame(tmp_path / f"Größe {i}.fits", image(i)) for i in range(3)]
    image_set = read_image_set(paths)
    written = write_result(make_result(image_set), image_set, tmp_path / "out")
    assert written[0].name == "Größe_0_crclean.fits"
    assert fits.getheader(tmp_path / "out" / "rejection_map.fits")["FRAME2"] == "Gr??e 1"
    assert Table.read(tmp_path / "out" / "summary.ecsv")["name"][1] == "Größe 1"


@pytest.mark.parametrize(("dtype", "stored"), [(np.float16, ">f4"), (np.longdouble, ">f8")])
def test_floats_that_fits_does_not_have(tmp_path, dtype, stored):
    image_set = ImageSet(np.stack([image(i, np.float32) for i in range(3)]).astype(dtype))
    result = make_result(image_set)
    assert result.cleaned.dtype == dtype
    write_result(result, image_set, tmp_path / "out")
    data = fits.getdata(tmp_path / "out" / "frame_1_crclean.fits")
    assert data.dtype == stored
    np.testing.assert_array_equal(data, result.cleaned[0])


def test_coordinates_go_into_the_map(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CDELT1": -0.1, "CDELT2": 0.1}
    image_set = read_image_set([write_frame(tmp_path / f"f{i}.fits", image(i), **cards) for i in range(3)])
    write_result(make_result(image_set), image_set, tmp_path / "out")
    assert fits.getval(tmp_path / "out" / "rejection_map.fits", "CRVAL2") == 20


@pytest.mark.filterwarnings("error::astropy.io.fits.verify.VerifyWarning")
def test_headers_that_break_the_standard(tmp_path):
    paths = []
    for i in range(3):
        path = write_frame(tmp_path / f"f{i}.fits", image(i), LOCATION="somewhere", EXPTIME=1.0)
        content = path.read_bytes().replace(b"EXPTIME =                  1.0", b"EXPTIME = 060.00 / seconds    ")
        path.write_bytes(content.replace(b"LOCATION= 'somewhere'", b"LOCATION= Mount Foo! "))
        paths.append(path)
    image_set = read_image_set(paths)
    np.testing.assert_array_equal(image_set.exptime, 60)
    write_result(make_result(image_set), image_set, tmp_path / "out")
    assert fits.getval(tmp_path / "out" / "f0_crclean.fits", "EXPTIME") == 60


# --- nothing is lost, nothing half done -------------------------------------------------------------------------------


def tree(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_existing_files_are_kept(image_set, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.ecsv").write_text("mine")
    before = tree(tmp_path)
    for call in (lambda: check_output(image_set, out), lambda: write_result(make_result(image_set), image_set, out)):
        with pytest.raises(FileExistsError, match=r"summary.ecsv exists already; choose another output folder"):
            call()
    assert tree(tmp_path) == before
    paths = write_result(make_result(image_set), image_set, out, overwrite=True)
    assert (out / "summary.ecsv").read_text() != "mine"
    with pytest.raises(FileExistsError, match=r"f1_crclean.fits and 8 more exists? already"):
        check_output(image_set, out)
    assert len(paths) == 9


def test_the_frames_are_never_overwritten(image_set, tmp_path):
    out = tmp_path / "out"
    write_result(make_result(image_set), image_set, out)
    again = read_image_set(out)
    with pytest.raises(FileExistsError, match=r"f1_crclean.fits is one of the frames"):
        check_output(again, out, overwrite=True)


def test_folder_that_cannot_be_made(image_set, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        check_output(image_set, tmp_path / "file" / "out")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        check_output(image_set, tmp_path / "file")


def test_folder_that_cannot_be_written(image_set, tmp_path, monkeypatch):
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
    else:  # root may write everywhere

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("glue_cleanset.io.write.tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"locked/out cannot be written: Permission denied"):
        check_output(image_set, tmp_path / "locked" / "out")


def test_a_failure_leaves_nothing(image_set, tmp_path, monkeypatch):
    result = make_result(image_set)
    before = tree(tmp_path)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result.summary.__class__, "write", fail)
    with pytest.raises(OSError, match="No space left"):
        write_result(result, image_set, tmp_path / "a" / "out")
    assert tree(tmp_path) == before
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "content",
    [
        fits.PrimaryHDU(np.arange(1440, dtype="f4").reshape(24, 60)),  # whose last bytes are no blanks
        fits.BinTableHDU.from_columns([fits.Column("PIXEL", "K", array=np.arange(1, 1081))]),
        Table({"x": np.arange(3000)}),
    ],
    ids=lambda content: type(content).__name__,
)
def test_what_does_not_fit_on_the_disk_is_not_cut_off_untold(tmp_path, content):
    write_content(tmp_path / "whole", content)
    whole = (tmp_path / "whole").read_bytes()
    told = []
    with mounted(tmp_path / "disk", "size=200k") as disk:
        for left in range(len(whole) // 4096 + 3):
            fill_disk(disk, left)
            try:
                write_content(disk / "some", content)
                assert (disk / "some").read_bytes() == whole
            except OSError as error:
                told.append(error.errno)
            for path in disk.iterdir():
                path.unlink()
    assert told == [errno.ENOSPC] * -(-len(whole) // 4096)


def test_coordinates_with_tables_of_distortion_can_be_read_again(tmp_path):
    """As those of HST: the tables are extensions of the input; what is written has the rest of the coordinates."""
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 4.0, "CRPIX2": 3.0, "CRVAL1": 150.0, "CRVAL2": 2.0}
    place = fits.Header({f"{word}{axis}": 1.0 for word in ("CRPIX", "CRVAL", "CDELT") for axis in (1, 2)})
    tables = [fits.ImageHDU(np.full((2, 2), 0.5, "f4"), place, "WCSDVARR", ver=axis) for axis in (1, 2)]
    for i in range(2):
        header = fits.Header({**cards, "CDELT1": -1e-4, "CDELT2": 1e-4, "CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP"})
        for axis in (1, 2):
            for text in (f"EXTVER: {axis}.0", "NAXES: 2.0", "AXIS.1: 1.0", "AXIS.2: 2.0"):
                header.append(fits.Card.fromstring(f"DP{axis}     = '{text}'"))
        sci = fits.ImageHDU(image(i), header, name="SCI")
        fits.HDUList([fits.PrimaryHDU(), sci, *tables]).writeto(tmp_path / f"f{i}.fits")
    image_set = read_image_set(tmp_path, extension="SCI")
    assert image_set.wcs.cpdis1 is not None  # what is found is placed with them
    write_result(make_result(image_set, hits=()), image_set, tmp_path / "out")
    for name in ("f1_crclean.fits", "f1_crmask.fits", "rejection_map.fits"):
        with fits.open(tmp_path / "out" / name) as hdus:
            np.testing.assert_allclose(WCS(hdus[0].header, fobj=hdus).wcs_pix2world([[3, 2]], 0), [[150, 2]])
