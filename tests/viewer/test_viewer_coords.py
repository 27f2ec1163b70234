"""What was attached is on the same sky as its set."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip
from glue.core import Data
from glue.core.autolinking import find_possible_links
from glue.core.roi import RectangularROI
from glue.core.state import GlueSerializer, GlueUnSerializer
from glue.plugins.wcs_autolinking.wcs_autolinking import wcs_autolink
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import SHAPE, ViewerApplication, attach, make_frames, subset_of

from glue_cleanset.viewer.coords import FrameCoordinates, SkyCoordinates, find_celestial
from glue_cleanset.viewer.stack import stack_images

SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 283.601234,
    "CRVAL2": 22.0,
    "CRPIX1": 5.0,
    "CRPIX2": 4.0,
    "CDELT1": -0.0003,
    "CDELT2": 0.0003,
}


@pytest.fixture
def wcs():
    return WCS(fits.Header(SKY))


@pytest.fixture
def sky_cube(app, wcs):
    data = Data(flux=make_frames(), label="stars", coords=FrameCoordinates(wcs))
    app.data_collection.append(data)
    return data


def labels(data):
    return [cid.label for cid in data.main_components]


def test_events_have_right_ascension_and_declination(app, sky_cube, wcs):
    events = attach(app, sky_cube).events
    assert labels(events)[:6] == ["event", "frame", "y", "x", "ra", "dec"]
    assert [events.get_component(name).units for name in ("ra", "dec")] == ["deg", "deg"]
    # event 1 is at the reference pixel
    assert (events["ra"][0], events["dec"][0]) == (283.601234, 22.0)
    expected = wcs.wcs_pix2world(np.transpose([events["x"] + 1, events["y"] + 1]), 1)
    # y and x of the table have six digits
    np.testing.assert_allclose(np.transpose([events["ra"], events["dec"]]), expected, rtol=0, atol=1e-6)
    # and no more digits than glue's table has room for
    assert max(len(repr(float(v))) for v in [*events["ra"], *events["dec"]]) <= 10


def test_the_pixels_of_an_event_are_where_the_table_says(app, sky_cube):
    a = attach(app, sky_cube)
    world = dict(zip(("frame", "dec", "ra"), sky_cube.world_component_ids, strict=True))
    pixels = sky_cube[a.event] == 4  # of one pixel
    for name in ("ra", "dec"):
        assert sky_cube[world[name]][pixels] == pytest.approx(a.events[name][3], abs=1e-6)


def test_no_sky_no_columns(app, cube):
    a = attach(app, cube)
    assert not {"ra", "dec"} & set(labels(a.events))
    assert a.map.coords is None


def test_the_map_is_on_the_same_sky(app, sky_cube, wcs):
    on_map = attach(app, sky_cube).map
    assert [cid.label for cid in on_map.world_component_ids] == ["Declination", "Right Ascension"]
    for mine, theirs in zip(on_map.world_component_ids, sky_cube.world_component_ids[1:], strict=True):
        np.testing.assert_array_equal(on_map[mine], sky_cube[theirs][0])
    viewer = app.new_data_viewer(SimpleImageViewer, on_map)
    viewer.figure.canvas.draw()
    assert (viewer.state.x_axislabel, viewer.state.y_axislabel) == ("Right Ascension", "Declination")
    assert {coord.coord_type for coord in viewer.axes.coords} == {"longitude", "latitude"}


def test_glue_does_not_ask_to_link_them(app, sky_cube, wcs):
    attach(app, sky_cube)
    assert wcs_autolink(app.data_collection) == []
    # nor does it fail on another image with a sky
    app.data_collection.append(Data(other=make_frames()[0], coords=wcs, label="other"))
    assert find_possible_links(app.data_collection) == {}


def test_a_session_keeps_the_sky(app, sky_cube, tmp_path):
    a = attach(app, sky_cube)
    app.save_session(str(tmp_path / "s.glu"))
    collection = ViewerApplication.restore_session(str(tmp_path / "s.glu")).data_collection
    for data, again in zip((sky_cube, a.map), collection, strict=False):
        for mine, theirs in zip(data.world_component_ids, again.world_component_ids, strict=True):
            np.testing.assert_allclose(again[theirs], data[mine], rtol=1e-14)
    np.testing.assert_array_equal(collection["stars events"]["ra"], a.events["ra"])


def test_a_session_keeps_distortion():
    wcs = WCS(fits.Header({**SKY, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}))
    a = np.zeros((3, 3))
    a[2, 0] = 1e-3
    wcs.sip = Sip(a, a.T, None, None, wcs.wcs.crpix)
    coords = SkyCoordinates(wcs)
    pixel = np.array([1.0, 9]), np.array([2.0, 7])
    world = coords.pixel_to_world_values(*pixel)
    np.testing.assert_array_equal(world, wcs.all_pix2world(*pixel, 0))
    np.testing.assert_allclose(coords.world_to_pixel_values(*world), pixel, atol=1e-4)
    again = GlueUnSerializer.loads(GlueSerializer(coords).dumps()).object("__main__")
    np.testing.assert_allclose(again.pixel_to_world_values(*pixel), world, rtol=1e-12)


def test_images_of_a_stack_on_a_sky(app, wcs):
    images = [Data(flux=frame, label=f"i{i}", coords=wcs) for i, frame in enumerate(make_frames())]
    app.data_collection.extend(images)
    stack = stack_images(images)
    a = attach(app, stack, images=images)
    assert (a.events["ra"][0], a.events["dec"][0]) == (283.601234, 22.0)
    assert [cid.label for cid in stack.world_component_ids] == ["Frame", "Declination", "Right Ascension"]


class TestCubesOfOthers:
    """Cubes that glue's own reader made, with a WCS of three axes."""

    def cube(self, axes, linear=()):
        wcs = WCS(naxis=3)
        wcs.wcs.ctype = axes
        wcs.wcs.crval = [22.0 if "DEC" in axis else 83.0 if "RA" in axis else 0 for axis in axes]
        wcs.wcs.crpix = 5, 4, 1
        wcs.wcs.cdelt = 0.001, 0.001, 1
        pc = np.eye(3)
        for place in linear:
            pc[place] = 0.5
        wcs.wcs.pc = pc
        return Data(flux=make_frames(), coords=wcs)

    def test_frames_along_the_third_axis(self, app):
        cube = self.cube(["RA---TAN", "DEC--TAN", "TIME"])
        app.data_collection.append(cube)
        a = attach(app, cube)
        assert (a.events["ra"][0], a.events["dec"][0]) == (83.0, 22.0)
        assert isinstance(a.map.coords, SkyCoordinates)

    def test_frames_along_another_axis(self):
        cube = self.cube(["TIME", "RA---TAN", "DEC--TAN"])
        assert find_celestial(cube, 2).pixel_to_world_values(3, 0)[0] == pytest.approx(83.0)
        assert find_celestial(cube, 0) is None
        assert find_celestial(cube, 1) is None

    def test_every_frame_elsewhere(self):
        assert find_celestial(self.cube(["RA---TAN", "DEC--TAN", "TIME"], linear=[(0, 2)]), 0) is None

    def test_frames_across_a_cube_of_ours(self, wcs):
        cube = Data(flux=np.zeros(SHAPE), coords=FrameCoordinates(wcs))
        assert find_celestial(cube, 0) is wcs
        assert find_celestial(cube, 1) is None
        assert find_celestial(Data(flux=np.zeros(SHAPE), coords=FrameCoordinates()), 0) is None

    def test_an_image(self, wcs):
        assert find_celestial(Data(flux=np.zeros((4, 5)), coords=wcs)) is wcs
        assert find_celestial(Data(flux=np.zeros((4, 5)))) is None


def test_layers_and_regions_go_from_viewer_to_viewer(app, sky_cube):
    """Coordinates of the map change nothing in what its links by pixel do."""
    a = attach(app, sky_cube)
    frames = app.new_data_viewer(SimpleImageViewer, sky_cube)
    on_map = app.new_data_viewer(SimpleImageViewer, a.map)
    assert frames.add_data(a.map)
    assert on_map.add_data(a.events)
    on_map.apply_roi(RectangularROI(xmin=3.5, xmax=5.5, ymin=2.5, ymax=3.5))
    for viewer in (frames, on_map):
        viewer.figure.canvas.draw()
        assert all(layer.enabled for layer in viewer.layers), [layer.disabled_message for layer in viewer.layers]
    (group,) = app.data_collection.subset_groups
    expected = np.zeros(SHAPE, bool)
    expected[:, 3, 4:6] = True
    np.testing.assert_array_equal(subset_of(sky_cube, group), expected)
    assert subset_of(a.events, group).tolist() == [True, False, True, False]
