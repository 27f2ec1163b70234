"""A session with windows: what they showed is shown again, on the sky, and linked."""

import numpy as np
import pytest
from astropy.io import fits
from glue.core.data_factories import load_data
from glue.core.subset import ElementSubsetState
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer

from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.colors import show_frames
from glue_cleanset.viewer.factories import image_set

SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 83.6,
    "CRVAL2": 22.0,
    "CRPIX1": 11.0,
    "CRPIX2": 6.0,
    "CDELT1": -0.0003,
    "CDELT2": 0.0003,
}


@pytest.fixture
def attached(application, frames, tmp_path, quick_clean):
    """The frames as files with a sky, cleaned."""
    folder = tmp_path / "field"
    folder.mkdir()
    for i, frame in enumerate(frames):
        fits.writeto(folder / f"f{i}.fits", frame, fits.Header(SKY))
    cube = load_data(str(folder), factory=image_set)
    application.data_collection.append(cube)
    result = quick_clean(ImageSet(frames), CleanSettings())
    command = AttachResult(data=cube, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None)
    application.session.command_stack.do(command)
    return command.attached


@pytest.fixture
def reopened(application, attached, tmp_path, turn):
    """The application of a session with a viewer of the cleaned frames, one of the map, and the table of events."""
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.layers[0].attribute = attached.cleaned
    viewer.state.layers[0].v_min, viewer.state.layers[0].v_max = 190, 230
    viewer.state.slices = (3, 0, 0)
    viewer.state.title = "Cleaned: field"
    on_map = application.new_data_viewer(ImageViewer, data=attached.map)
    show_frames(on_map.state.layers[0], 5)
    application.new_data_viewer(TableViewer, data=attached.events)
    application.data_collection.new_subset_group("row", ElementSubsetState([1], data=attached.events))
    application.save_session(str(tmp_path / "s.glu"))
    again = type(application).restore_session(str(tmp_path / "s.glu"), show=False)
    yield again
    again.close()
    turn()


def test_windows_show_what_they_showed(reopened, attached):
    viewer, on_map, table = reopened.viewers[0]
    layer = viewer.state.layers[0]
    assert (layer.attribute.label, layer.v_min, layer.v_max) == ("image cleaned", 190, 230)
    assert (*viewer.state.slices, viewer.state.title) == (3, 0, 0, "Cleaned: field")
    np.testing.assert_array_equal(layer.get_sliced_data(), attached.cube[attached.cleaned][3])
    layer = on_map.state.layers[0]
    assert (layer.attribute.label, layer.cmap.name) == ("rejected frame", "cleanset frames 5")
    assert (layer.v_min, layer.v_max) == (-0.5, 5.5)
    assert table.layers[0].layer.label == "field events"


def test_subsets_are_drawn_and_new_ones_travel(reopened, attached):
    collection = reopened.data_collection
    (found,) = find_attached(collection)
    viewer = reopened.viewers[0][0]
    drawn = viewer.state.layers[1].get_sliced_data()
    assert not drawn.any()  # event 2 is one of frame 2
    viewer.state.slices = (1, 0, 0)
    drawn = viewer.state.layers[1].get_sliced_data()
    np.testing.assert_array_equal(drawn, attached.cube[attached.event][1] == 2)
    assert drawn.sum() == 1
    collection.new_subset_group("map", found.map.id["times rejected"] > 0)
    drawn = viewer.state.layers[2].get_sliced_data()
    np.testing.assert_array_equal(drawn, attached.map["times rejected"] > 0)


def test_images_are_on_the_sky(reopened, attached):
    assert attached.events["ra"][0] == 83.6  # the hit in frame 1 is at the reference pixel
    for viewer in reopened.viewers[0][:2]:
        assert (viewer.state.x_axislabel, viewer.state.y_axislabel) == ("Right Ascension", "Declination")
        viewer.figure.canvas.draw()
        assert [coord.coord_type for coord in viewer.axes.coords][:2] == ["longitude", "latitude"]
    (found,) = find_attached(reopened.data_collection)
    np.testing.assert_array_equal(found.events["ra"], attached.events["ra"])
