import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from fits_files import image, make_result, write_frame

from glue_cleanset.cli import main
from glue_cleanset.core.pattern import HotPixels
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.shifts import header_shifts, read_shifts
from glue_cleanset.io.write import check_output, write_result

FRAMES = [("f1", "f1.fits"), ("f2", "f2.fits"), ("f3", "f3.fits")]
SHIFTS = np.array([[0.0, 0.0], [-2.0, 3.5], [4.0, -1.0]])


def headers(*cards):
    return [fits.Header(pairs) for pairs in cards]


# --- from headers ----------------------------------------------------------------------------------------------------


def test_ltv_is_where_pixel_zero_of_the_detector_is():
    # a section [11:...,6:...] begins at detector pixel (11, 6), counted from 1
    found = header_shifts(headers({"LTV1": -10.0, "LTV2": -5.0, "LTM1_1": 1.0, "LTM2_2": 1.0}, {"LTV1": 0, "LTV2": 0}))
    np.testing.assert_array_equal(found, [[-5, -10], [0, 0]])


@pytest.mark.parametrize(
    "cards",
    [
        ({"LTV1": 1.0, "LTV2": 2.0}, {}),
        ({"LTV1": 1.0, "LTV2": 2.0}, {"LTV1": 1.0, "LTV2": 2.0}),
        ({"LTV1": 1.0, "LTV2": 2.0}, {"LTV1": 3.0, "LTV2": 2.0, "LTM1_1": 0.5}),
        ({"LTV1": 1.0, "LTV2": 2.0}, {"LTV1": 3.0, "LTV2": 2.0, "LTM1_2": 0.1}),
        ({"LTV1": 1.0, "LTV2": 2.0}, {"LTV1": "three", "LTV2": 2.0}),
    ],
    ids=["missing", "alike", "binned", "turned", "text"],
)
def test_headers_that_tell_no_shifts(cards):
    assert header_shifts(headers(*cards)) is None


def test_set_with_shifts_in_its_headers(tmp_path):
    paths = [write_frame(tmp_path / f"f{i}.fits", image(i), LTV1=-3.0 * i, LTV2=2.0 * i) for i in (0, 1, 2)]
    image_set = read_image_set(paths)
    np.testing.assert_array_equal(image_set.shifts, [[0, 0], [2, -3], [4, -6]])
    assert image_set.shifts_source == "headers"


def test_set_without(frames):
    assert read_image_set(frames).shifts is None


# --- from a file -----------------------------------------------------------------------------------------------------

TEXTS = {
    "iraf": "0 0\n# x y\n3.5 -2\n-1 4  # the last\n\n",
    "iraf with commas": "0, 0\n3.5, -2\n-1, 4\n",
    "csv": "# of the night\nfile,dx,dy\nf2.fits,3.5,-2\nf3.fits,-1,4\nf1.fits,0,0\n",
    "csv of whole pixels": "file,dx_px,dy_px,int_dx,int_dy\nf3.fits,9,9,-1,4\nf2.fits,9,9,3.5,-2\nf1.fits,9,9,0,0\n",
    "white space": "frame   x_shift y_shift\n3 -1 4\n1 0 0\n2 3.5 -2\n",
    "stems": "Name,DY,DX\nf1,0,0\nf2,-2,3.5\nf3,4,-1\n",
    "no names": "dy,dx\n0,0\n-2,3.5\n4,-1\n",
    "paths, and more rows": "filename,dy,dx\nraw/f1.fits,0,0\nraw/f2.fits,-2,3.5\nraw/f3.fits,4,-1\nraw/f4.fits,7,7\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_file(text, tmp_path):
    path = tmp_path / "shifts.txt"
    path.write_text(text)
    np.testing.assert_array_equal(read_shifts(path, FRAMES), SHIFTS)


def test_ecsv_file(tmp_path):
    path = tmp_path / "shifts.ecsv"
    Table({"file": ["f3", "f1", "f2"], "dy": SHIFTS[[2, 0, 1], 0], "dx": SHIFTS[[2, 0, 1], 1]}).write(path)
    np.testing.assert_array_equal(read_shifts(path, FRAMES), SHIFTS)


def test_shift_that_is_not_known(tmp_path):
    path = tmp_path / "shifts.csv"
    path.write_text("file,dy,dx\nf1,0,0\nf2,,\nf3,4,nan\n")
    np.testing.assert_array_equal(read_shifts(path, FRAMES), [[0, 0], [np.nan, np.nan], [4, np.nan]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0\n1 1\n", "lists 2 shifts for 3 frames"),
        ("dy,dx\n0,0\n", "has 1 rows for 3 frames and no column file"),
        ("file,dy,dx\nf1,0,0\nf2,1,1\n", "gives no shift for f3"),
        ("file,dy,dx\nf1,0,0\nf2,1,1\nf2,1,1\nf3,2,2\n", "gives the shift of f2 twice"),
        ("file,a,b\nf1,0,0\n", "has the columns file, a, b; give dy and dx"),
        ("file,dy,dx\nf1,up,0\nf2,1,1\nf3,1,1\n", "the column dy holds"),
        ("# nothing\n", "is empty"),
        ("file,dy,dx\nf1,0,0,7\nf2,1,1\n", "cannot be read as a table"),
    ],
)
def test_file_that_will_not_do(text, message, tmp_path):
    path = tmp_path / "shifts.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_shifts(path, FRAMES)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        read_shifts(tmp_path / "none.csv", FRAMES)
    path = tmp_path / "image.fits"
    path.write_bytes(b"\xff\xfe\x00\x80" * 100)
    with pytest.raises(OSError, match="is no text"):
        read_shifts(path, FRAMES)


def test_set_with_a_file_of_shifts(frames, tmp_path):
    path = tmp_path / "shifts.csv"
    path.write_text(TEXTS["csv"])
    image_set = read_image_set(frames, shifts=path)
    np.testing.assert_array_equal(image_set.shifts, SHIFTS)
    assert image_set.shifts_source == "file"


def test_planes_of_a_cube_by_their_names(tmp_path):
    cube = tmp_path / "cube.fits"
    write_frame(cube, np.stack([image(i) for i in range(3)]))
    path = tmp_path / "shifts.csv"
    path.write_text("file,dy,dx\ncube_1,0,0\ncube_2,-2,3.5\ncube_3,4,-1\n")
    np.testing.assert_array_equal(read_image_set(cube, shifts=path).shifts, SHIFTS)
    path.write_text("file,dy,dx\ncube.fits,0,0\n")
    with pytest.raises(ValueError, match="gives no shift for cube_1"):
        read_image_set(cube, shifts=path)


def test_real_file_of_shifts(shared):
    folder = shared / "microobs_hatp32"
    if not folder.is_dir():
        pytest.skip("microobs_hatp32 is not here")
    image_set = read_image_set(folder / "aligned", shifts=folder / "frames.csv")
    np.testing.assert_array_equal(image_set.shifts[[0, 10, 19]], [[-6, 23], [0, 0], [5, -24]])


def test_command_line_takes_a_file_of_shifts(frames, tmp_path, capsys):
    (tmp_path / "shifts.csv").write_text("file,dy,dx\nf1,0,0\n")
    arguments = ["clean", *map(str, frames), "-o", str(tmp_path / "out"), "--shifts", str(tmp_path / "shifts.csv")]
    assert main(arguments) == 1
    assert "gives no shift for f2" in capsys.readouterr().err


# --- the map of hot pixels is written --------------------------------------------------------------------------------


@pytest.fixture
def image_set(frames):
    return read_image_set(frames)


@pytest.fixture
def result(image_set):
    made = make_result(image_set)
    picture = np.zeros((10, 12), np.float32)
    picture[3, 4], picture[5, 6], picture[:, 11] = 250.0, -60.0, np.nan
    seen = (np.nan_to_num(picture) != 0).astype(np.uint16) * 2
    made.hot_pixels = HotPixels(picture, seen, seen + np.uint16(1), (-4, 2), SHIFTS, "measured", 1, 1)
    return made


def test_hot_pixels_file(image_set, result, tmp_path):
    paths = write_result(result, image_set, tmp_path)
    assert [path.name for path in paths[-4:]] == [
        "rejection_map.fits",
        "events.ecsv",
        "summary.ecsv",
        "hot_pixels.fits",
    ]
    assert all(path.exists() for path in paths)
    with fits.open(tmp_path / "hot_pixels.fits") as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus[0].data, result.hot_pixels.image)
        np.testing.assert_array_equal(hdus["TIMES_SEEN"].data, result.hot_pixels.seen)
        np.testing.assert_array_equal(hdus["TIMES_VISIBLE"].data, result.hot_pixels.visible)
        header = hdus[0].header
        assert (header["NHOT"], header["NCOLD"], header["SHIFTSRC"], header["BUNIT"]) == (1, 1, "measured", "adu")
        # detector pixel (y, x) = (-1, 6), counted from 0, is at [3, 4]; FITS counts from 1
        assert 6 + 1 + header["LTV1"] == 4 + 1
        assert -1 + 1 + header["LTV2"] == 3 + 1
        shifts = Table(hdus["SHIFTS"].data)
        assert list(shifts["NAME"]) == ["f1", "f2", "f3"]
        np.testing.assert_array_equal(np.column_stack([shifts["DY"], shifts["DX"]]), SHIFTS)
    np.testing.assert_array_equal(
        header_shifts([hdus[0].header, fits.Header({"LTV1": 0.0, "LTV2": 0.0})]), [[4, -2], [0, 0]]
    )


def test_hot_pixels_are_not_overwritten_unasked(image_set, result, tmp_path):
    (tmp_path / "hot_pixels.fits").write_text("mine")
    for call in (lambda: check_output(image_set, tmp_path), lambda: write_result(result, image_set, tmp_path)):
        with pytest.raises(FileExistsError, match=r"hot_pixels.fits exists already"):
            call()
    assert (tmp_path / "hot_pixels.fits").read_text() == "mine"
    write_result(result, image_set, tmp_path, overwrite=True)
    assert fits.getdata(tmp_path / "hot_pixels.fits").shape == (10, 12)


def test_hot_pixels_of_an_earlier_result_do_not_stay(image_set, result, tmp_path):
    write_result(result, image_set, tmp_path)
    result.hot_pixels = None
    paths = write_result(result, image_set, tmp_path, overwrite=True)
    assert not (tmp_path / "hot_pixels.fits").exists()
    assert sorted(paths) == sorted(tmp_path / path.name for path in paths if path.exists())


def test_hot_pixels_are_no_frame(image_set, result, tmp_path):
    write_result(result, image_set, tmp_path / "out")
    assert len(read_image_set(tmp_path / "out")) == 3
