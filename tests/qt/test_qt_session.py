"""A session with windows: what they showed is shown again, on the sky, and linked."""

import numpy as np
import pytest
from astropy.io import fits
from echo import delay_callback
from glue.core.data_factories import load_data
from glue.core.subset import ElementSubsetState
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer

from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.qt.review import LIMITS, open_review
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


def test_a_review_is_back_and_moves_together(application, attached, tmp_path, turn):
    viewers = open_review(application.session, attached)
    turn()
    viewers[0].state.slices = (2, 0, 0)
    with delay_callback(viewers[0].state, *LIMITS):
        viewers[0].state.x_min, viewers[0].state.x_max = 10, 30
        viewers[0].state.y_min, viewers[0].state.y_max = 5, 21
    turn()
    before = [[getattr(viewer.state, name) for name in LIMITS] for viewer in viewers]
    margins = [viewer.axes.resizer.margins for viewer in viewers]
    application.save_session(str(tmp_path / "s.glu"))
    again = type(application).restore_session(str(tmp_path / "s.glu"), show=False)
    again.resize(application.size())
    turn()
    turn()
    back = [viewer for viewer in again.viewers[1] if isinstance(viewer, ImageViewer)]
    assert [viewer.state.title for viewer in back] == [viewer.state.title for viewer in viewers]
    assert [viewer.state.layers[0].attribute.label for viewer in back] == ["image", "image cleaned", "rejected frame"]
    assert [tuple(viewer.axes.resizer.margins) for viewer in back] == [tuple(each) for each in margins]
    for viewer, limits in zip(back, before, strict=True):
        assert [getattr(viewer.state, name) for name in LIMITS] == pytest.approx(limits, abs=1)
        assert viewer.state.slices[0] == 2 or viewer.state.reference_data.ndim == 2
    back[0].state.slices = (4, 0, 0)
    back[2].state.x_min, back[2].state.x_max = 0, 20
    turn()
    assert back[1].state.slices[0] == 4
    assert back[0].state.x_min == pytest.approx(back[2].state.x_min, abs=0.5)
    # and the table is the browser, the strongest event first
    (table,) = [v for v in again.viewers[1] if isinstance(v, TableViewer) and v.data.label == "field events"]
    significance = table.data["peak significance"][table.model.order]
    assert (np.diff(significance) <= 0).all()
    # saved once more, with a viewer closed
    back[1].close(warn=False)
    turn()
    again.save_session(str(tmp_path / "t.glu"))
    third = type(application).restore_session(str(tmp_path / "t.glu"), show=False)
    turn()
    left = [viewer for viewer in third.viewers[1] if isinstance(viewer, ImageViewer)]
    assert len(left) == 2
    assert left[0].together is left[1].together is not None
    for window in (third, again):
        window.close()
        turn()
