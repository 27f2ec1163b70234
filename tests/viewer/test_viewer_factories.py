"""Image sets from files: what the factories read, and what they leave to glue."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from glue.config import data_factory, importer, session_patch
from glue.core.data_factories import find_factory, load_data
from glue.core.subset import ElementSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import ViewerApplication, make_frames, subset_of

import glue_cleanset.viewer
from glue_cleanset.viewer import factories
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.coords import FrameCoordinates
from glue_cleanset.viewer.stack import header_noise, image_set_from_cube

ROOT = Path(__file__).parents[2]
SKY = {
    **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 30.0, "CRVAL2": 46.0},
    **{"CRPIX1": 3.0, "CRPIX2": 4.0, "CDELT1": -1e-4, "CDELT2": 1e-4},
}


@pytest.fixture(autouse=True)
def registered():
    glue_cleanset.viewer.register()


def header(i, **cards):
    return fits.Header({"EXPTIME": 10.0 * (i + 1), "GAIN": 1.5, "RDNOISE": 6.0, "BUNIT": "adu", "FILTER": "V", **cards})


@pytest.fixture
def night(tmp_path):
    """A directory of five frames."""
    folder = tmp_path / "night.1"
    folder.mkdir()
    for i, frame in enumerate(make_frames()):
        fits.writeto(folder / f"f{i}.fits", frame, header(i, **SKY))
    return folder


@pytest.fixture
def mef(tmp_path):
    path = tmp_path / "multi.fits"
    images = [fits.ImageHDU(frame, header(i), name=f"AMP{i}") for i, frame in enumerate(make_frames())]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    return path


@pytest.fixture
def fits_cube(tmp_path):
    path = tmp_path / "cube.fits"
    fits.writeto(path, make_frames())
    return path


def check(data):
    np.testing.assert_array_equal(data["image"], make_frames())
    assert len(data.meta["frame names"]) == 5
    assert len(data.meta["frame sources"]) == 5
    json.dumps(data.meta)


def test_register_twice_is_once():
    glue_cleanset.viewer.register()
    labels = [factory.label for factory in data_factory.members]
    assert labels.count("Image set") == labels.count("Cleaned image set") == 1
    assert [label for label, _ in importer.members].count("Image set from FITS files") == 1
    assert [patch.function.__module__ for patch in session_patch.members].count("glue_cleanset.viewer.colors") == 1


def test_a_directory(night):
    data = load_data(str(night))
    check(data)
    assert data.label == "night.1"
    assert data.get_component("image").units == "adu"
    assert data.meta["frame names"] == ["f0", "f1", "f2", "f3", "f4"]
    assert data.meta["frame filter"] == ["V"] * 5
    image_set = image_set_from_cube(data, "image")
    np.testing.assert_array_equal(image_set.exptime, [10, 20, 30, 40, 50])
    assert image_set.names == ("f0", "f1", "f2", "f3", "f4")
    assert [values.tolist() for values in header_noise(data)] == [[1.5] * 5, [6.0] * 5]


def test_a_manifest(night):
    manifest = night.parent / "set.txt"
    manifest.write_text("# the good ones\nnight.1/f3.fits\nnight.1/f1.fits\n\n")
    data = load_data(str(manifest))
    assert data.label == "set"
    assert data.meta["frame names"] == ["f3", "f1"]
    np.testing.assert_array_equal(data["image"], make_frames()[[3, 1]])


@pytest.mark.parametrize("kind", ["mef", "fits_cube"])
def test_one_file_when_asked_to(kind, request):
    path = request.getfixturevalue(kind)
    check(load_data(str(path), factory=factories.image_set))


def test_an_extension_by_name(tmp_path):
    path = tmp_path / "multi.fits"
    hdus = [fits.PrimaryHDU()]
    for i, frame in enumerate(make_frames()):
        hdus += [fits.ImageHDU(frame, name="SCI", ver=i + 1), fits.ImageHDU(frame * 0 + i, name="OTHER", ver=i + 1)]
    fits.HDUList(hdus).writeto(path)
    check(load_data(str(path), factory=factories.image_set, extension="SCI"))


def test_a_mask_extension_is_the_mask(tmp_path):
    for i, frame in enumerate(make_frames()):
        bad = np.zeros(frame.shape, np.uint8)
        bad[i, 2] = 4
        fits.HDUList([fits.PrimaryHDU(frame), fits.ImageHDU(bad, name="MASK")]).writeto(tmp_path / f"f{i}.fits")
    data = load_data(str(tmp_path))
    assert data["mask"].dtype == np.uint8
    assert data["mask"].sum() == 5
    mask = image_set_from_cube(data, "image").mask
    assert np.argwhere(mask).tolist() == [[i, i, 2] for i in range(5)]


class TestIdentify:
    """What glue takes for an image set unasked."""

    @pytest.mark.parametrize("kind", ["mef", "fits_cube"])
    def test_a_fits_file_is_left_to_glue(self, kind, request):
        path = str(request.getfixturevalue(kind))
        assert not factories.is_image_set(path)
        assert find_factory(path).__name__ == "fits_reader"

    def test_a_table_is_left_to_glue(self, tmp_path):
        path = tmp_path / "stars.txt"
        path.write_text("x y\n1 2\n3 4\n")
        assert not factories.is_image_set(str(path))
        assert find_factory(str(path)) is not factories.image_set

    def test_a_list_of_files_that_are_not_there_is_no_set(self, tmp_path):
        path = tmp_path / "set.txt"
        path.write_text("a.fits\nb.fits\n")
        assert not factories.is_image_set(str(path))

    def test_a_directory_of_other_things(self, tmp_path):
        (tmp_path / "notes.txt").write_text("cloudy")
        assert not factories.is_image_set(str(tmp_path))

    def test_a_long_text_is_not_read(self, tmp_path, monkeypatch):
        path = tmp_path / "long.txt"
        path.write_bytes(b"1 2 3\n" * 200_000)
        monkeypatch.setattr(factories, "find_fits_files", lambda path: pytest.fail("read"))
        assert not factories.is_image_set(str(path))

    def test_a_broken_set_is_told_as_such(self, night):
        (night / "f3.fits").write_bytes(b"")
        with pytest.raises(OSError, match=r"f3\.fits is empty"):
            load_data(str(night))

    def test_a_list_with_a_wrong_line_is_no_table(self, night):
        path = night / "set.txt"
        path.write_text("# of the night\nf0.fits\nf1.fit\n")
        with pytest.raises(FileNotFoundError, match=r"line 3: 'f1\.fit' does not exist"):
            load_data(str(path))

    def test_nothing_is_cleaned_unasked(self, night):
        assert find_factory(str(night)) is factories.image_set


@pytest.mark.parametrize(
    ("shapes", "message"), [([(6, 7)], "one frame|1 frame"), ([(6, 7), (7, 6)], r"\(6, 7\).*\(7, 6\)|shape")]
)
def test_frames_that_make_no_set(tmp_path, shapes, message):
    for i, shape in enumerate(shapes):
        fits.writeto(tmp_path / f"f{i}.fits", np.arange(42.0).reshape(shape))
    with pytest.raises(ValueError, match=message):
        load_data(str(tmp_path))


def test_no_fits_at_all(tmp_path):
    with pytest.raises(OSError, match="no FITS"):
        factories.image_set(str(tmp_path))


class TestSky:
    def test_the_sky_of_the_first_frame_and_the_frame_number(self, night):
        data = load_data(str(night))
        expected = WCS(fits.Header(SKY)).pixel_to_world_values(*np.meshgrid(range(16), range(12)))
        for frame in range(5):
            np.testing.assert_allclose(data["Right Ascension"][frame], expected[0], rtol=1e-12)
            np.testing.assert_allclose(data["Declination"][frame], expected[1], rtol=1e-12)
            assert (data["Frame"][frame] == frame + 1).all()

    def test_there_and_back_with_distortion(self):
        wcs = WCS(fits.Header({**SKY, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}))
        a = np.zeros((3, 3))
        a[2, 0] = 1e-4
        wcs.sip = Sip(a, a.T, None, None, [3, 4])
        coords = FrameCoordinates(wcs)
        pixel = np.array([1.0, 9]), np.array([2.0, 7]), np.array([0.0, 3])
        world = coords.pixel_to_world_values(*pixel)
        np.testing.assert_array_equal(world[:2], wcs.pixel_to_world_values(*pixel[:2]))
        np.testing.assert_allclose(coords.world_to_pixel_values(*world), pixel, atol=1e-4)
        again = FrameCoordinates.__setgluestate__(coords.__gluestate__(None), None)
        np.testing.assert_allclose(again.pixel_to_world_values(*pixel), world, rtol=1e-12)

    def test_it_is_drawn(self, app, night):
        data = load_data(str(night))
        app.data_collection.append(data)
        viewer = app.new_data_viewer(SimpleImageViewer, data)
        viewer.state.slices = (3, 0, 0)
        viewer.figure.canvas.draw()
        assert viewer.state.x_axislabel == "Right Ascension"

    def test_without_a_sky_pixels_and_the_number_of_the_frame(self, app, fits_cube):
        data = factories.image_set(str(fits_cube))
        pixel = np.array([1.0, 9]), np.array([2.0, 7]), np.array([0.0, 3])
        world = data.coords.pixel_to_world_values(*pixel)
        np.testing.assert_array_equal(world, [[1, 9], [2, 7], [1, 4]])
        np.testing.assert_array_equal(data.coords.world_to_pixel_values(*world), pixel)
        assert [cid.label for cid in data.world_component_ids] == ["Frame", "Y", "X"]
        for cid, values in zip(data.world_component_ids, np.indices(data.shape), strict=True):
            np.testing.assert_array_equal(data[cid], values + (cid.label == "Frame"))
        app.data_collection.append(data)
        viewer = app.new_data_viewer(SimpleImageViewer, data)
        viewer.figure.canvas.draw()
        assert (viewer.state.x_axislabel, viewer.state.y_axislabel) == ("X", "Y")


# so few pixels of pure noise hardly tell their noise; that is not the point here
@pytest.mark.filterwarnings("ignore::UserWarning")
class TestCleaned:
    """Cleaned image set: with everything, linked."""

    @pytest.fixture
    def hit(self, night):
        frames = make_frames()
        frames[2, 5, 6] += 3000
        fits.writeto(night / "f2.fits", frames[2], header(2), overwrite=True)
        return night

    @pytest.mark.parametrize("backwards", [False, True])
    def test_everything_is_linked(self, app, hit, backwards):
        made = load_data(str(hit), factory=factories.cleaned_image_set)
        assert [data.label for data in made] == [
            "night.1",
            *(f"night.1 {p}" for p in ("rejection map", "events", "frames")),
        ]
        app.data_collection.extend(made[::-1] if backwards else made)
        cube, on_map, events, frames = made
        assert cube["image rejected"][2, 5, 6] == 1
        assert on_map["rejected frame"][5, 6] == 3
        assert abs(cube["image cleaned"][2, 5, 6] - 100) < 25
        row = int(np.flatnonzero((events["y peak"] == 5) & (events["x peak"] == 6))[0])
        group = app.data_collection.new_subset_group("row", ElementSubsetState([row], data=events))
        np.testing.assert_array_equal(subset_of(cube, group), cube["image event"] == events["event"][row])
        group = app.data_collection.new_subset_group("hit", on_map.id["times rejected"] > 0)
        assert subset_of(cube, group)[:, 5, 6].all()
        assert list(frames["name"]) == ["f0", "f1", "f2", "f3", "f4"]

    def test_the_links_come_once(self, app, hit):
        made = load_data(str(hit), factory=factories.cleaned_image_set)
        app.data_collection.extend(made)
        n_links = len(app.data_collection.external_links)
        assert n_links > 10
        app.data_collection.remove(made[3])
        app.data_collection.append(made[3])
        assert len(app.data_collection.external_links) == n_links - 2

    def test_a_frame_that_is_not_registered_is_named(self, tmp_path):
        rng = np.random.default_rng(2)
        sky = np.full((70, 80), 100.0)
        for y, x in rng.uniform(8, 60, (25, 2)):
            yy, xx = np.indices(sky.shape)
            sky += 5000 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 5)
        for i in range(5):
            moved = np.roll(sky, 4 if i == 3 else 0, axis=1)
            fits.writeto(tmp_path / f"f{i}.fits", rng.poisson(moved).astype(np.float32))
        with pytest.warns(UserWarning, match="f3.*4"):
            factories.cleaned_image_set(str(tmp_path))

    def test_it_comes_back_with_a_session(self, app, hit, tmp_path):
        made = load_data(str(hit), factory=factories.cleaned_image_set)
        app.data_collection.extend(made)
        app.data_collection.new_subset_group("hit", made[1].id["times rejected"] > 0)
        app.save_session(str(tmp_path / "s.glu"))
        again = ViewerApplication.restore_session(str(tmp_path / "s.glu")).data_collection
        assert [data.label for data in again] == [data.label for data in made]
        assert len(again.external_links) == len(app.data_collection.external_links)
        assert again[0].subsets[0].to_mask()[:, 5, 6].all()
        np.testing.assert_array_equal(again[0]["image event"], made[0]["image event"])
        (found,) = find_attached(again)
        assert found.cleaned is again[0].id["image cleaned"]
        assert [data.label for data in found.datasets] == [data.label for data in made[1:]]


class TestImporter:
    def test_a_selection_of_files(self, night):
        (data,) = factories.image_set_from_files([night / "f3.fits", night / "f1.fits"])
        assert data.label == "f3 … f1"
        np.testing.assert_array_equal(data["image"], make_frames()[[3, 1]])

    def test_no_files(self):
        with pytest.raises(ValueError, match="paths is empty"):
            factories.image_set_from_files([])

    def test_a_session_can_move_with_its_files(self, app, night, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        (night / "f1.fits").rename(other / "f1.fits")
        (data,) = factories.image_set_from_files([night / "f3.fits", other / "f1.fits"])
        app.data_collection.append(data)
        home = tmp_path / "old"
        home.mkdir()
        night.rename(home / "night.1")
        other.rename(home / "other")
        data._load_log.path = str(home / "night.1" / "f3.fits")
        app.save_session(str(home / "s.glu"), absolute_paths=False)
        home.rename(tmp_path / "new")
        again = ViewerApplication.restore_session(str(tmp_path / "new" / "s.glu")).data_collection[0]
        np.testing.assert_array_equal(again["image"], make_frames()[[3, 1]])
        assert again.meta["frame names"] == ["f3", "f1"]

    def test_aligned_on_request(self, night):
        pytest.importorskip("reproject")
        fits.setval(night / "f3.fits", "CRPIX1", value=SKY["CRPIX1"] + 2)
        cube = factories.image_set(str(night), align="wcs")
        np.testing.assert_array_equal(cube["image"][3][:, :-2], make_frames()[3][:, 2:])
        np.testing.assert_array_equal(cube["image"][0], make_frames()[0])
        assert cube.meta["frame shifts"] == [[0, 0], [0, 0], [0, 0], [0, -2], [0, 0]]
        assert cube.meta["source of frame shifts"] == "alignment"
        np.testing.assert_array_equal(factories.image_set(str(night))["image"], make_frames())
        with pytest.raises(ValueError, match="align is 'sun'; give 'wcs', 'stars' or None"):
            factories.image_set(str(night), align="sun")

    def test_the_picker_is_asked(self, night, monkeypatch):
        class Picker:
            chosen = (str(night / "f0.fits"), str(night / "f2.fits"))

            @classmethod
            def pick_fits_files(cls):
                return list(cls.chosen)

        monkeypatch.setitem(sys.modules, "glue_cleanset.qt.files", Picker)
        (data,) = factories.import_fits_files()
        assert data.meta["frame names"] == ["f0", "f2"]
        Picker.chosen = ()
        assert factories.import_fits_files() == []

    def test_the_picker_asks_whether_to_leave_out(self, night, monkeypatch):
        (night / "f1.fits").write_bytes(b"")
        asked, answers = [], iter([True, False])

        class Picker:
            @staticmethod
            def pick_fits_files():
                return [str(night / f"f{i}.fits") for i in range(3)]

            @staticmethod
            def ask_to_leave_out(error):
                asked.append(error.bad)
                return next(answers)

        monkeypatch.setitem(sys.modules, "glue_cleanset.qt.files", Picker)
        with pytest.warns(UserWarning, match="1 of 3 frames are left out"):
            (data,) = factories.import_fits_files()
        assert data.meta["frame names"] == ["f0", "f2"]
        assert factories.import_fits_files() == []
        assert [len(bad) for bad in asked] == [1, 1]
        assert "f1.fits is empty" in asked[0][0]
        (night / "f2.fits").write_bytes(b"")
        with pytest.raises(OSError, match="2 of 3 frames cannot be used"):
            factories.import_fits_files()


WITHOUT_QT = """
import sys

class Absent:
    names = {"glue_qt", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "vispy"}

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[2])
import glue_cleanset
glue_cleanset.setup()
from viewer_sets import ViewerApplication, attach, make_result, subset_of
from glue.config import importer
from glue.core.data_factories import load_data
from glue.core.subset import ElementSubsetState

app = ViewerApplication()
data = load_data(sys.argv[1])
app.data_collection.append(data)
a = attach(app, data, "image")
group = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
print(int(subset_of(data, group).sum()))
app.undo()
app.redo()
app.save_session(sys.argv[3])
again = ViewerApplication.restore_session(sys.argv[3])
print(int(again.data_collection[0].subsets[0].to_mask().sum()))
try:
    dict(importer.members)["Image set from FITS files"]()
except RuntimeError as error:
    print(error)
"""


def test_all_of_it_without_qt(night, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_QT, str(night), str(Path(__file__).parent), str(tmp_path / "s.glu")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:-1] == ["3", "3"]
    assert "choosing files needs glue-qt and a Qt binding" in done.stdout.splitlines()[-1]


def test_dates_and_shifts_of_the_frames_are_known_to_the_cleaning(tmp_path):
    for i, frame in enumerate(make_frames()):
        cards = {"DATE-OBS": f"2026-01-01T2{i // 2}:{30 * (i % 2):02d}:00", "LTV1": 2.0 * i, "LTV2": -1.0 * i}
        fits.writeto(tmp_path / f"f{i}.fits", frame, header(i, **cards))
    cube = load_data(str(tmp_path), factory=factories.image_set)
    image_set = image_set_from_cube(cube, "image")
    steps = np.arange(5.0)
    np.testing.assert_allclose(image_set.times, 0.5 * steps + 10 * (steps + 1) / 7200)
    np.testing.assert_array_equal(image_set.shifts, np.column_stack([-steps, 2 * steps]))
    assert image_set.shifts_source == "headers"
    turned = image_set_from_cube(cube, "image", axis=1)
    assert turned.times is None
    assert turned.shifts is None
