"""Restore and reject by the context menu of a subset, with the real core."""

import numpy as np
import pytest
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, RoiSubsetState
from glue.viewers.image.state import AggregateSlice
from glue_qt.viewers.histogram import HistogramViewer
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.scatter import ScatterViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtCore, QtWidgets

from glue_cleanset import CleanSettings, clean_image_set
from glue_cleanset.qt import REJECT_LABEL, RESTORE_LABEL
from glue_cleanset.qt.actions import clean_from_menu, frame_in_viewer, restore_layer
from glue_cleanset.qt.review import open_review
from glue_cleanset.qt.tools import RejectTool, RestoreEventTool, RestoreTool
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached


@pytest.fixture
def attached(application, cube, frames):
    command = AttachResult(
        data=cube, attribute="flux", result=clean_image_set(frames), axis=0, outputs=tuple(OUTPUTS), images=None
    )
    application.session.command_stack.do(command)
    return command.attached


def choose(application, label, group):
    """The entry of the context menu of a subset group."""
    tree = application._layer_widget.ui.layerTree
    tree.set_selected_layers([group])
    (action,) = [action for action in tree.actions() if action.text() == label]
    assert action.isEnabled()
    action.trigger()


def values(attached, name):
    return attached.cube.get_data(getattr(attached, name))


def consistent(application, frames):
    attached = find_attached(application.data_collection)[-1]
    rejected = values(attached, "rejected") > 0
    np.testing.assert_array_equal(values(attached, "cleaned")[~rejected], frames[~rejected])
    np.testing.assert_array_equal(attached.frames["pixels"], rejected.sum(axis=(1, 2)))
    np.testing.assert_array_equal(attached.map["times rejected"], rejected.sum(axis=0))
    return attached


def test_rows_of_the_open_table_are_restored_undone_and_redone(application, attached, frames, turn):
    open_review(application.session, attached)
    turn()
    table = next(
        v for tab in application.viewers for v in tab if isinstance(v, TableViewer) and v.data is attached.events
    )
    size = attached.events.size
    # the hit of frame 2 is at y, x = 11, 17
    (row,) = np.flatnonzero((attached.events["frame"] == 2) & (attached.events["y peak"] == 11))
    group = application.data_collection.new_subset_group("one", ElementSubsetState([int(row)], data=attached.events))
    turn()
    choose(application, RESTORE_LABEL, group)
    turn()
    consistent(application, frames)
    assert values(attached, "rejected")[1, 11, 17] == 0
    assert values(attached, "cleaned")[1, 11, 17] == frames[1, 11, 17]
    assert table.ui.table.model().rowCount() == attached.events.size == size - 1
    shown = {table.ui.table.model().index(k, 0).data() for k in range(size - 1)}
    assert shown == {str(number) for number in attached.events["event"]}
    application.undo()
    turn()
    assert table.ui.table.model().rowCount() == size
    assert values(attached, "rejected")[1, 11, 17] == 1
    application.redo()
    turn()
    assert table.ui.table.model().rowCount() == size - 1
    consistent(application, frames)


def test_a_region_is_rejected_in_the_frame_on_display(application, attached, frames, turn):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.slices = (2, 0, 0)
    y, x = attached.cube.pixel_component_ids[1:]
    region = RoiSubsetState(x, y, RectangularROI(29.5, 31.5, 19.5, 20.5))
    group = application.data_collection.new_subset_group("by hand", region)
    assert not values(attached, "rejected")[:, 20, 30:32].any()
    choose(application, REJECT_LABEL, group)
    turn()
    after = consistent(application, frames)
    assert values(after, "rejected")[:, 20, 30:32].tolist() == [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]]
    assert values(after, "cleaned")[2, 20, 30] != frames[2, 20, 30]
    application.undo()
    assert not values(attached, "rejected")[:, 20, 30:32].any()


def test_the_tools_act_on_the_region_just_drawn_in_the_frame_shown(application, attached, frames, turn):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    turn()
    viewer.state.slices = (3, 0, 0)
    # the hit of frame 4 is at y, x = 23, 31; a wide region holds hits of other frames too
    viewer.apply_roi(RectangularROI(-0.5, 49.5, -0.5, 39.5))
    before = values(attached, "rejected").copy()
    depth = len(application.session.command_stack._command_stack)
    assert before[3, 23, 31]
    for tool in (RestoreTool, RejectTool):
        assert viewer.toolbar.actions[tool.tool_id].isVisible()
    viewer.toolbar.actions[RestoreTool.tool_id].trigger()
    turn()
    after = values(consistent(application, frames), "rejected")
    assert not after[3].any()
    np.testing.assert_array_equal(np.delete(after, 3, axis=0), np.delete(before, 3, axis=0))
    assert viewer.state.slices[0] == 3
    viewer.apply_roi(RectangularROI(9.5, 11.5, 29.5, 30.5))
    viewer.toolbar.actions[RejectTool.tool_id].trigger()
    turn()
    after = values(consistent(application, frames), "rejected")
    assert np.argwhere(after[3]).tolist() == [[30, 10], [30, 11]]
    # from the map it is the frame of the viewer used before, or all frames
    frame_map = application.new_data_viewer(ImageViewer, data=attached.map)
    turn()
    frame_map.apply_roi(RectangularROI(-0.5, 49.5, -0.5, 39.5))
    frame_map.toolbar.actions[RestoreTool.tool_id].trigger()
    turn()
    assert not values(consistent(application, frames), "rejected").any()
    frame_map.apply_roi(RectangularROI(20.5, 21.5, 20.5, 21.5))
    frame_map.toolbar.actions[RejectTool.tool_id].trigger()
    turn()
    assert np.argwhere(values(attached, "rejected")).tolist() == [[3, 21, 21]]
    # (a region and a new viewer are steps too)
    while len(application.session.command_stack._command_stack) > depth:
        application.undo()
        turn()
    np.testing.assert_array_equal(values(attached, "rejected"), before)
    consistent(application, frames)


def test_what_cannot_be_done_is_shown_in_a_message(application, attached, monkeypatch):
    told = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that the message box is shown as for a person
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec_", lambda box: told.append(box.text()), raising=False)
    y, x = attached.cube.pixel_component_ids[1:]
    region = RoiSubsetState(x, y, RectangularROI(29.5, 31.5, 19.5, 20.5))
    group = application.data_collection.new_subset_group("by hand", region)
    before = values(attached, "rejected").copy()
    choose(application, REJECT_LABEL, group)
    choose(application, RESTORE_LABEL, group)
    monkeypatch.setenv("GLUE_TESTING", "True")
    assert "No image viewer of a cleaned cube" in told[0]
    assert "selects no rejected pixel" in told[1]
    np.testing.assert_array_equal(values(attached, "rejected"), before)


def clean_again(application, attached, frames, high):
    settings = CleanSettings(high=high)
    parts = {"axis": 0, "outputs": tuple(OUTPUTS), "images": None}
    command = AttachResult(
        data=attached.cube, attribute=attached.source, result=clean_image_set(frames, settings), **parts
    )
    application.session.command_stack.do(command)
    return command.attached


def test_the_cleaning_that_the_viewer_shows_is_overruled(application, attached, frames, turn):
    second = clean_again(application, attached, frames, 30.0)
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.slices = (3, 0, 0)
    for shown, other in ((attached, second), (second, attached)):
        viewer.state.layers[0].attribute = shown.cleaned
        viewer.apply_roi(RectangularROI(30.5, 31.5, 22.5, 23.5))
        turn()
        before = values(other, "rejected").copy()
        assert values(shown, "rejected")[3, 23, 31] == 1
        viewer.toolbar.actions[RestoreTool.tool_id].trigger()
        assert values(shown, "rejected")[3, 23, 31] == 0
        np.testing.assert_array_equal(values(other, "rejected"), before)
    # and the one whose map it is
    on_map = application.new_data_viewer(ImageViewer, data=attached.map)
    on_map.apply_roi(RectangularROI(-0.5, 49.5, -0.5, 39.5))
    turn()
    on_map.toolbar.actions[RestoreTool.tool_id].trigger()
    assert not values(attached, "rejected").any()
    assert values(second, "rejected").any()


def test_frames_that_a_viewer_has_collapsed_to_one(application, attached, turn):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.slices = (AggregateSlice(slice(1, 4), 2, np.mean), 0, 0)
    turn()
    assert frame_in_viewer(viewer)[0] == 2
    viewer.state.slices = (0, 0, 0)


def test_without_an_active_subset_the_only_one_is_meant(application, attached, frames, turn):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    viewer.state.slices = (3, 0, 0)
    viewer.apply_roi(RectangularROI(30.5, 31.5, 22.5, 23.5))
    application.session.edit_subset_mode.edit_subset = []  # as after a click on an image
    turn()
    viewer.toolbar.actions[RestoreTool.tool_id].trigger()
    assert values(consistent(application, frames), "rejected")[3, 23, 31] == 0
    assert "1 pixel restored" in viewer.statusBar().currentMessage()


def test_the_event_of_a_row_is_restored_from_the_table(application, attached, frames, turn):
    open_review(application.session, attached)
    turn()
    tables = [viewer for viewer in application.viewers[-1] if isinstance(viewer, TableViewer)]
    table = next(viewer for viewer in tables if viewer.data is attached.events)
    first, second = table.cleanset_events.order[:2]
    where = values(attached, "event") == first
    table.ui.table.setCurrentIndex(table.ui.table.model().index(0, 0))
    table.toolbar.actions[RestoreEventTool.tool_id].trigger()
    turn()
    consistent(application, frames)
    assert first not in attached.events["event"]
    np.testing.assert_array_equal(values(attached, "cleaned")[where], frames[where])
    assert table.cleanset_events.browser.number_in(attached.events) == second
    application.undo()
    assert first in attached.events["event"]


def test_the_plot_of_the_frames_shows_the_subset_as_it_is_now(application, attached, turn):
    viewer = application.new_data_viewer(ScatterViewer, data=attached.frames)
    group = application.data_collection.new_subset_group("strong", attached.events.id["peak significance"] > 100)
    turn()
    drawn = []
    (layer,) = [artist for artist in viewer.layers if artist.layer in group.subsets]
    update = layer.update
    layer.update = lambda: (drawn.append(int(layer.layer.to_mask().sum())), update())
    restore_layer(group, application.data_collection)
    turn()
    assert drawn[-1] == 0
    application.undo()
    turn()
    assert drawn[-1] == 5


def test_a_histogram_of_the_polarity(application, attached, turn):
    viewer = application.new_data_viewer(HistogramViewer, data=attached.events)
    viewer.state.x_att = attached.events.id["polarity"]
    turn()
    assert list(attached.events.get_component("polarity").categories) == ["bright", "dark"]


def test_the_box_for_overrules_appears_when_the_dialog_is_looked_at_again(application, attached, turn):
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.attribute = attached.source
    turn()
    assert not dialog.bool_keep_overrules.isVisible()
    group = application.data_collection.new_subset_group("all", attached.events.id["pixels"] > 0)
    restore_layer(group, application.data_collection)
    QtWidgets.QApplication.sendEvent(dialog, QtCore.QEvent(QtCore.QEvent.ActivationChange))
    assert dialog.bool_keep_overrules.isVisible()
    dialog.close()
