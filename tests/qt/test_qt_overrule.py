"""Restore and reject by the context menu of a subset, with the real core."""

import numpy as np
import pytest
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, RoiSubsetState
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtWidgets

from glue_cleanset import clean_image_set
from glue_cleanset.qt import REJECT_LABEL, RESTORE_LABEL
from glue_cleanset.qt.review import open_review
from glue_cleanset.qt.tools import RejectTool, RestoreTool
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
