"""Tracks in glue's window: the lines over the images, the table, and what a person says of an object."""

import numpy as np
import pytest
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtWidgets
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from glue_cleanset.qt import tools
from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.browse import find_browser
from glue_cleanset.qt.review import open_review
from glue_cleanset.qt.tools import KeepObjectTool, RepairObjectTool, TracksTool
from glue_cleanset.viewer.browse import EventMark
from glue_cleanset.viewer.track_lines import TrackPart


@pytest.fixture
def summary(application, cube, telling_core, run):
    """Events 1 to 5, one in each frame, are a moving object that is kept; event 6 is a trail in the last frame."""
    return run(clean_from_menu(application.session, application.data_collection))


@pytest.fixture
def attached(summary):
    summary.close()
    return summary.attached


@pytest.fixture
def viewers(application, attached, turn):
    viewers = open_review(application.session, attached)
    turn()
    return viewers


def table_of(application, data):
    return next(v for v in application.viewers[-1] if isinstance(v, TableViewer) and v.data is data)


def drawn(viewer):
    return sorted({part.number for part in viewer.axes.get_children() if isinstance(part, TrackPart)})


def circle(viewer):
    viewer.figure.canvas.draw()
    (place,) = [part for part in viewer.axes.get_children() if type(part).__name__ == "_Place"]
    return tuple(np.round(np.transpose(place.get_data())[1:].mean(axis=0), 6))


def click(viewer, row, button=Qt.LeftButton):
    table = viewer.ui.table
    QTest.mouseClick(table.viewport(), button, Qt.NoModifier, table.visualRect(viewer.model.index(row, 1)).center())


def menu_of(viewer, row):
    """The entries of the context menu of a row, {text: action}."""
    table = viewer.ui.table
    table.customContextMenuRequested.emit(table.visualRect(viewer.model.index(row, 1)).center())
    (menu,) = [menu for menu in table.findChildren(QtWidgets.QMenu) if menu.isVisible()]
    found = {action.text(): action for action in menu.actions()}
    menu.close()
    return found


# ---- over the images


def test_the_review_shows_the_tracks_where_they_are_wanted(application, viewers, qapp):
    assert [drawn(viewer) for viewer in viewers] == [[1], [1], [1]]
    assert circle(viewers[0]) == (10, 5)
    viewers[1].state.slices = (3, 0, 0)
    assert circle(viewers[0]) == circle(viewers[1]) == (31, 23)
    # and still after a zoom
    viewers[0].state.x_min, viewers[0].state.x_max = 25, 40
    assert circle(viewers[0]) == (31, 23)
    original, cleaned, _ = viewers
    action = original.toolbar.actions[TracksTool.tool_id]
    assert action.isChecked()
    action.trigger()
    assert not action.isChecked()
    assert (drawn(original), drawn(cleaned)) == ([], [1])
    application.activateWindow()
    application.current_tab.setActiveSubWindow(original.parent())
    original.figure.canvas.setFocus()
    qapp.processEvents()
    QTest.keyClick(original.figure.canvas, Qt.Key_S)
    assert action.isChecked()
    assert drawn(original) == [1]


def test_other_viewers_show_them_on_demand(application, attached, wait):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    action = viewer.toolbar.actions[TracksTool.tool_id]
    wait(action.isVisible)
    assert not action.isChecked()
    assert drawn(viewer) == []
    action.trigger()
    assert drawn(viewer) == [1]
    # the active tool stays active
    viewer.toolbar.active_tool = "select:rectangle"
    action.trigger()
    assert viewer.toolbar.active_tool.tool_id == "select:rectangle"
    assert drawn(viewer) == []


def test_they_go_and_come_with_the_cleaning(application, attached, wait):
    viewer = application.new_data_viewer(ImageViewer, data=attached.cube)
    action = viewer.toolbar.actions[TracksTool.tool_id]
    wait(action.isVisible)
    action.trigger()
    assert drawn(viewer) == [1]
    application.undo()
    wait(lambda: drawn(viewer) == [])
    assert not action.isVisible()
    application.redo()
    wait(lambda: drawn(viewer) == [1])
    application.data_collection.remove(attached.tracks)
    wait(lambda: drawn(viewer) == [])


def test_a_cleaning_without_tracks_has_no_tool_and_no_table(application, cube, quick_core, run, turn):
    summary = run(clean_from_menu(application.session, application.data_collection))
    summary.button_review.click()
    turn()
    viewer = next(v for v in application.viewers[-1] if isinstance(v, ImageViewer))
    assert not viewer.toolbar.actions[TracksTool.tool_id].isVisible()
    tables = [v for v in application.viewers[-1] if isinstance(v, TableViewer)]
    assert len(tables) == 2
    assert not any(v.toolbar.actions[KeepObjectTool.tool_id].isVisible() for v in tables)


def test_closed_viewers_are_left_alone(application, viewers, turn):
    viewers[0].close(warn=False)
    turn()
    application.undo()
    turn()
    application.redo()
    turn()


def test_a_session_keeps_them(application, viewers, tmp_path, turn):
    viewers[1].toolbar.actions[TracksTool.tool_id].trigger()
    application.save_session(str(tmp_path / "s.glu"))
    again = type(application).restore_session(str(tmp_path / "s.glu"), show=False)
    turn()
    turn()
    back = [viewer for viewer in again.viewers[-1] if isinstance(viewer, ImageViewer)]
    assert [drawn(viewer) for viewer in back] == [[1], [], [1]]
    assert [viewer.toolbar.actions[TracksTool.tool_id].isChecked() for viewer in back] == [True, False, True]
    again.close()
    turn()


# ---- the table


@pytest.mark.parametrize("size", [(1366, 768), (1400, 900)])
def test_the_table_has_its_place(application, attached, size, turn):
    application.resize(*size)
    turn()
    images = open_review(application.session, attached)
    turn()
    boxes = [viewer.parent().geometry() for viewer in application.viewers[-1]]
    assert len(boxes) == len(images) + 4
    assert not any(a.intersects(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert min(box.width() for box in boxes) >= 200
    table = table_of(application, attached.tracks)
    header = table.ui.table.horizontalHeader()
    shown = [table.model.columns[header.logicalIndex(place)].label for place in range(3)]
    assert shown == ["track", "rate", "position angle"]
    # what a review is for is not behind the arrow of the toolbar
    for tool in (TracksTool, tools.RejectTool):
        assert images[0].toolbar.widgetForAction(images[0].toolbar.actions[tool.tool_id]).isVisible()


def test_a_click_on_a_track_goes_to_the_middle_of_it(application, attached, viewers):
    table = table_of(application, attached.tracks)
    click(table, 0)
    assert find_browser(application).current == (attached.events, 3)
    assert viewers[0].state.slices == (2, 0, 0)
    assert (viewers[0].state.x_min + viewers[0].state.x_max) / 2 == pytest.approx(24)
    assert [part.number for part in viewers[0].axes.patches if isinstance(part, EventMark)] == [3]
    # both tables stand on what is shown
    assert table.cleanset_tracks.current_row == 0
    events = table_of(application, attached.events)
    assert events.ui.table.currentIndex().row() == events.cleanset_events.current_row
    # an event of no object is in no row
    find_browser(application).choose(attached.events, 6)
    assert table.cleanset_tracks.current_row is None


# ---- keep and repair


def rejected(attached):
    return [bool(attached.cube[attached.rejected][k, 5 + 6 * k, 10 + 7 * k]) for k in range(5)]


def test_an_object_is_repaired_and_kept_again(application, attached, viewers, frames, turn):
    table = table_of(application, attached.tracks)
    assert rejected(attached) == [False] * 5
    click(table, 0)
    table.toolbar.actions[RepairObjectTool.tool_id].trigger()
    turn()
    assert rejected(attached) == [True] * 5
    assert (attached.cube[attached.cleaned][:4].max(axis=(1, 2)) < 300).all()
    assert attached.events["kept"].tolist() == [0] * 6
    assert drawn(viewers[0]) == [1]  # it is an object still
    table.toolbar.actions[KeepObjectTool.tool_id].trigger()
    turn()
    assert rejected(attached) == [False] * 5
    np.testing.assert_array_equal(attached.cube[attached.cleaned][:4], frames[:4])
    application.undo()
    application.undo()
    turn()
    assert rejected(attached) == [False] * 5


def test_from_the_row_of_an_event(application, attached, viewers, turn):
    table = table_of(application, attached.events)
    row = table.cleanset_events.order.tolist().index(2)
    entries = menu_of(table, row)
    assert find_browser(application).current == (attached.events, 2)
    assert entries[KeepObjectTool.action_text].isEnabled()
    entries[RepairObjectTool.action_text].trigger()
    turn()
    assert rejected(attached) == [True] * 5


def test_an_event_of_no_object_is_told_so(application, attached, viewers, monkeypatch):
    said = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that the message box is shown as for a person
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec_", lambda box: said.append(box.text()), raising=False)
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec", lambda box: said.append(box.text()))
    table = table_of(application, attached.events)
    table.toolbar.actions[KeepObjectTool.tool_id].trigger()
    assert "No event is chosen" in said[-1]
    row = table.cleanset_events.order.tolist().index(6)
    entries = menu_of(table, row)
    assert not entries[KeepObjectTool.action_text].isEnabled()
    assert not entries[RepairObjectTool.action_text].isEnabled()
    table.toolbar.actions[RepairObjectTool.tool_id].trigger()
    assert "Event 6 belongs to no moving object" in said[-1]
    find_browser(application).choose(attached.events, 2)
    table.toolbar.actions[KeepObjectTool.tool_id].trigger()
    assert "kept already" in said[-1]
    monkeypatch.setenv("GLUE_TESTING", "True")


def test_the_context_menu_of_a_track_and_none_of_a_frame(application, attached, viewers):
    entries = menu_of(table_of(application, attached.tracks), 0)
    assert list(entries) == [KeepObjectTool.action_text, RepairObjectTool.action_text]
    assert all(action.isEnabled() for action in entries.values())
    table = table_of(application, attached.frames).ui.table
    table.customContextMenuRequested.emit(table.rect().center())
    assert not table.findChildren(QtWidgets.QMenu)
