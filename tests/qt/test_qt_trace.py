"""The pixel trace with the real toolbar and the real events of mouse and keyboard."""

import numpy as np
import pytest
from glue.config import settings
from glue.core import Data
from glue.core.message import SettingsChangeMessage
from glue_qt.viewers.image import ImageViewer
from qtpy import QtCore, QtGui, QtWidgets
from qtpy.QtTest import QTest

import glue_cleanset
from glue_cleanset.qt.browse import find_browser
from glue_cleanset.qt.trace import INVITATION, TracePanel, TraceTool, _CrossHair, open_trace
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.trace import describe

TRACE_TOOL = TraceTool.tool_id


def clean(application, data, result):
    command = AttachResult(data=data, attribute="flux", result=result, axis=0, outputs=tuple(OUTPUTS), images=None)
    application.session.command_stack.do(command)
    return command.attached


@pytest.fixture
def field(application, small_set):
    data = Data(label="field")
    data.add_component(small_set.frames.copy(), "flux")
    data.meta["frame date"] = [f"2024-03-01T23:{10 + i}:00.000" for i in range(9)]
    application.data_collection.append(data)
    return data


@pytest.fixture
def attached(application, field, small_result):
    return clean(application, field, small_result)


@pytest.fixture
def opened(application, turn):
    """Open an image viewer of some data."""

    def open_viewer(data):
        viewer = application.new_data_viewer(ImageViewer, data=data)
        viewer.state.aspect = "auto"  # all of the image is in the window
        turn()
        viewer.state.reset_limits()
        turn()
        return viewer

    return open_viewer


@pytest.fixture
def viewer(attached, opened):
    """A viewer of the cube, with the tool switched on by its button."""
    viewer = opened(attached.cube)
    viewer.toolbar.actions[TRACE_TOOL].trigger()
    return viewer


@pytest.fixture
def panel(application, viewer, turn):
    turn()
    (panel,) = application.findChildren(TracePanel)
    return panel


@pytest.fixture
def mouse(turn):
    """Move the mouse to a position of a viewer [pixels of its image], or click there."""

    def send(viewer, x, y, *kinds, wait=True):
        canvas = viewer.figure.canvas
        across, up = viewer.axes.transData.transform((x, y)) / canvas.device_pixel_ratio
        here = QtCore.QPointF(across, canvas.height() - up)
        for kind in kinds or ("MouseMove",):
            button = QtCore.Qt.NoButton if kind == "MouseMove" else QtCore.Qt.LeftButton
            held = QtCore.Qt.LeftButton if kind == "MouseButtonPress" else QtCore.Qt.NoButton
            there = QtCore.QPointF(canvas.mapToGlobal(here.toPoint()))
            event = QtGui.QMouseEvent(getattr(QtCore.QEvent, kind), here, there, button, held, QtCore.Qt.NoModifier)
            QtWidgets.QApplication.sendEvent(canvas, event)
        if wait:
            turn()

    return send


@pytest.fixture
def click(mouse):
    return lambda viewer, x, y: mouse(viewer, x, y, "MouseButtonPress", "MouseButtonRelease")


@pytest.fixture
def hit(small_result):
    """(frame, y, x), from 0, of the strongest pixel of the set."""
    row = small_result.events[np.argmax(small_result.events["peak_significance"])]
    return int(row["frame"]) - 1, int(row["y_peak"]), int(row["x_peak"])


def mark_of(viewer):
    """Where the cross-hair of a viewer is [pixels of its image, nearest]; None where it has none."""
    canvas = viewer.figure.canvas
    found = [mark for mark in canvas.findChildren(_CrossHair) if mark.isVisible()]
    if not found:
        return None
    (mark,) = found
    center = mark.pos() + QtCore.QPoint(mark.width() // 2, mark.height() // 2)
    ratio = canvas.device_pixel_ratio
    place = viewer.axes.transData.inverted().transform((center.x() * ratio, (canvas.height() - center.y()) * ratio))
    return tuple(np.round(place).astype(int))


def focus(application, viewer):
    application.current_tab.setActiveSubWindow(viewer.parent())


def active(viewer):
    return isinstance(viewer.toolbar.active_tool, TraceTool)


def test_the_tool_is_in_the_toolbar_of_image_viewers_once(application, cube, opened):
    glue_cleanset.setup()
    assert ImageViewer.tools.count(TRACE_TOOL) == 1
    viewer = opened(cube)
    action = viewer.toolbar.actions[TRACE_TOOL]
    assert action.isCheckable()
    assert "Trace a pixel through the frames" in action.toolTip()
    pixmap = action.icon().pixmap(64, 64)
    assert not pixmap.isNull()
    assert len({pixmap.toImage().pixel(x, y) for x in range(0, 64, 4) for y in range(0, 64, 4)}) > 5
    # nothing is opened unasked
    assert not application.findChildren(TracePanel)


def test_the_panel_follows_the_mouse(viewer, panel, mouse, hit, small_set, small_result):
    assert panel.isVisible()
    assert panel.words.text() == INVITATION
    frame, y, x = hit
    viewer.state.slices = (frame, 0, 0)
    mouse(viewer, x + 0.3, y - 0.3)
    assert (panel.state.pixel, panel.state.frame) == ((y, x), frame)
    np.testing.assert_allclose(panel.shown.trace.value, small_set.frames[:, y, x], rtol=1e-6)
    np.testing.assert_array_equal(panel.shown.trace.rejected, small_result.rejected[:, y, x])
    first, second = panel.words.text().splitlines()
    assert first.startswith(f"pixel x={x}, y={y}: rejected in ")
    assert second == describe(panel.shown, frame)
    assert list(panel.plot.current.get_xdata()) == [frame + 1] * 2
    mouse(viewer, 3, 4)
    assert panel.state.pixel == (4, 3)
    assert panel.shown.trace.x == 3


def test_the_frame_is_that_of_the_slider(viewer, panel, mouse, turn):
    mouse(viewer, 10, 12)
    viewer.state.slices = (7, 0, 0)
    turn()
    assert panel.words.text().splitlines()[1].startswith("frame 8: ")
    assert list(panel.plot.current.get_xdata()) == [8, 8]


def test_only_the_last_of_many_moves_is_drawn(viewer, panel, mouse, turn):
    mouse(viewer, 5, 5)
    before = panel.canvas._draw_count
    for x in range(20, 40):
        mouse(viewer, x, 30, wait=False)
    turn()
    # (Qt 5 may draw the first of them too)
    assert before < panel.canvas._draw_count <= before + 2
    assert panel.shown.trace.x == 39


def test_outside_the_image_the_last_pixel_stays(viewer, panel, mouse):
    mouse(viewer, 5, 6)
    mouse(viewer, -40, 6)
    assert panel.state.pixel == (6, 5)


def test_a_click_pins_the_pixel(viewer, panel, mouse, click):
    click(viewer, 30, 40)
    mouse(viewer, 5, 6)
    assert (panel.state.pixel, panel.state.pinned) == ((40, 30), True)
    assert "(pinned)" in panel.words.text()
    click(viewer, 50, 60)
    assert (panel.state.pixel, panel.state.pinned) == ((60, 50), True)
    click(viewer, 50, 60)
    assert not panel.state.pinned
    mouse(viewer, 5, 6)
    assert panel.state.pixel == (6, 5)


def test_the_key_switches_the_tool(viewer, panel):
    assert active(viewer)
    for on in (False, True):
        QTest.keyClick(viewer.figure.canvas, QtCore.Qt.Key_T)
        assert active(viewer) == on


def test_escape_frees_a_pinned_pixel(viewer, panel, mouse, click):
    click(viewer, 30, 40)
    QTest.keyClick(viewer.figure.canvas, QtCore.Qt.Key_Escape)
    assert not panel.state.pinned
    mouse(viewer, 5, 6)
    assert panel.state.pixel == (6, 5)


def test_a_pin_outlives_the_tool(viewer, panel, mouse, click, turn):
    click(viewer, 30, 40)
    viewer.toolbar.active_tool = "mpl:zoom"
    mouse(viewer, 5, 6)
    assert panel.isVisible()
    assert (panel.state.pixel, panel.state.pinned) == ((40, 30), True)
    assert mark_of(viewer) == (30, 40)


def test_every_viewer_of_the_set_traces_and_is_marked(attached, viewer, panel, opened, mouse, hit, application):
    on_map = opened(attached.map)
    stranger = Data(flux=np.zeros((20, 30)), label="stranger")
    application.data_collection.append(stranger)
    elsewhere = opened(stranger)
    frame, y, x = hit
    viewer.state.slices = ((frame + 1) % 9, 0, 0)
    focus(application, on_map)
    on_map.toolbar.active_tool = TRACE_TOOL
    mouse(on_map, x, y)
    assert (panel.state.pixel, panel.state.frame) == ((y, x), None)
    # the map shows the frame of the greatest significance
    assert panel.words.text().splitlines()[1].startswith(f"frame {attached.map['rejected frame'][y, x]:.0f}: ")
    assert mark_of(viewer) == mark_of(on_map) == (x, y)
    assert mark_of(elsewhere) is None


def test_the_tool_goes_with_the_focus_to_viewers_of_the_set(application, attached, viewer, panel, opened, mouse):
    on_map = opened(attached.map)
    focus(application, viewer)
    assert (active(viewer), active(on_map)) == (True, False)
    focus(application, on_map)
    assert (active(viewer), active(on_map)) == (False, True)
    mouse(on_map, 7, 8)
    assert panel.state.pixel == (8, 7)
    # what a person has chosen there stays, and a set that was not cleaned has nothing to trace
    viewer.toolbar.active_tool = "mpl:zoom"
    focus(application, viewer)
    assert viewer.toolbar.active_tool is viewer.toolbar.tools["mpl:zoom"]
    viewer.toolbar.actions[TRACE_TOOL].trigger()
    stranger = Data(flux=np.zeros((20, 30)), label="stranger")
    application.data_collection.append(stranger)
    elsewhere = opened(stranger)
    assert not any(map(active, (viewer, on_map, elsewhere)))


def test_the_button_switches_the_tool_off(viewer, panel, mouse):
    mouse(viewer, 5, 6)
    viewer.toolbar.actions[TRACE_TOOL].trigger()
    assert not active(viewer)
    mouse(viewer, 7, 8)
    assert panel.state.pixel == (6, 5)


def test_the_mark_stays_on_its_pixel(viewer, panel, mouse, click, turn):
    click(viewer, 30, 40)
    viewer.state.x_min, viewer.state.x_max = 20, 60
    viewer.figure.canvas.draw()
    assert mark_of(viewer) == (30, 40)
    viewer.state.x_max, viewer.state.x_min = 100, 60
    viewer.figure.canvas.draw()
    assert mark_of(viewer) is None
    viewer.state.x_min, viewer.state.x_max = 20, 60
    viewer.figure.canvas.draw()
    panel.close()
    turn()
    assert mark_of(viewer) is None


def test_the_panel_closes_with_its_tools_and_comes_back(application, viewer, panel, mouse, click, turn):
    click(viewer, 30, 40)
    panel.close()
    turn()
    assert viewer.toolbar.active_tool is None
    assert not viewer.toolbar.actions[TRACE_TOOL].isChecked()
    mouse(viewer, 5, 6)
    assert panel.isHidden()
    viewer.toolbar.active_tool = TRACE_TOOL
    mouse(viewer, 5, 6)
    assert application.findChildren(TracePanel) == [panel]
    assert panel.isVisible()
    assert (panel.state.pixel, panel.state.pinned) == ((6, 5), False)


def test_boxes_and_state_go_together(viewer, panel, mouse, turn):
    mouse(viewer, 5, 6)
    QTest.mouseClick(panel.by_time, QtCore.Qt.LeftButton, pos=QtCore.QPoint(8, panel.by_time.height() // 2))
    turn()
    assert active(viewer)
    assert panel.state.by_time
    assert panel.axes.get_xlabel() == "time since 2024-03-01T23:10:00 UTC [min]"
    panel.state.by_time = False
    panel.state.whole_range = True
    turn()
    assert not panel.by_time.isChecked()
    assert panel.whole_range.isChecked()
    assert panel.axes.get_xlabel() == "frame"


def test_there_is_no_time_axis_without_dates(viewer, panel, mouse, attached, turn):
    del attached.cube.meta["frame date"]
    panel.state.by_time = True
    mouse(viewer, 5, 6)
    assert not panel.by_time.isEnabled()
    assert panel.axes.get_xlabel() == "frame"


def test_an_overrule_is_shown_without_a_move_of_the_mouse(viewer, panel, attached, click, hit, turn):
    frame, y, x = hit
    click(viewer, x, y)
    assert panel.shown.trace.rejected[frame]
    values = attached.cube[attached.rejected].copy()
    values[frame, y, x] = 0
    attached.cube.update_components({attached.rejected: values})
    turn()
    assert not panel.shown.trace.rejected[frame]


def test_undo_and_redo_of_the_cleaning(application, viewer, panel, mouse, click, turn):
    click(viewer, 30, 40)
    application.session.command_stack.undo()
    turn()
    assert panel.words.text() == "The result of cleaning 'field' is not in the session any more."
    assert (panel.shown, panel.state.pixel, panel.state.pinned) == (None, None, False)
    assert mark_of(viewer) is None
    mouse(viewer, 5, 6)
    assert "is no part of a cleaned image set" in panel.words.text()
    application.session.command_stack.redo()
    mouse(viewer, 5, 6)
    assert panel.state.pixel == (6, 5)
    assert panel.shown.trace.x == 5


def test_the_cube_is_removed_while_its_pixel_is_pinned(application, viewer, panel, click, attached, turn):
    click(viewer, 30, 40)
    application.data_collection.remove(attached.cube)
    turn()
    assert (panel.shown, panel.state.attached) == (None, None)
    assert "not in the session any more" in panel.words.text()


def test_the_viewer_is_closed_while_its_pixel_is_pinned(application, viewer, panel, attached, click, opened, turn):
    other = opened(attached.map)
    focus(application, viewer)
    click(viewer, 30, 40)
    state = viewer.state
    viewer.close()
    turn()
    state.slices = (3, 0, 0)
    panel.state.pixel = 20, 10
    turn()
    assert panel.shown.trace.x == 10
    assert mark_of(other) == (10, 20)


def test_glue_is_closed_while_a_pixel_is_to_be_drawn(application, viewer, panel, mouse, turn):
    mouse(viewer, 5, 6, wait=False)
    application.close()
    turn()
    assert not application.session.hub.is_subscribed(panel, SettingsChangeMessage)


def test_a_set_that_was_not_cleaned_says_so(application, field, opened, mouse, turn):
    viewer = opened(field)
    viewer.toolbar.active_tool = TRACE_TOOL
    panel = open_trace(application.session)
    turn()
    assert panel.words.text().startswith("'field' is no part of a cleaned image set; choose 'Clean image set…' first")
    mouse(viewer, 5, 6)
    assert panel.words.text().startswith("'field' is no part of a cleaned image set")
    assert panel.shown is None


def test_a_result_of_an_older_version_says_so(application, field, quick_clean, opened, mouse, turn):
    from glue_cleanset import CleanSettings, ImageSet

    # the core of the tests keeps no noise model, as older versions
    clean(application, field, quick_clean(ImageSet(field["flux"]), CleanSettings()))
    viewer = opened(field)
    viewer.toolbar.active_tool = TRACE_TOOL
    mouse(viewer, 5, 6)
    panel = open_trace(application.session)
    assert "cleaned by a version of glue_cleanset that did not keep the noise model" in panel.words.text()
    assert panel.shown is None
    assert mark_of(viewer) is None


def test_colours_follow_the_settings_of_glue(application, viewer, panel, mouse, turn, monkeypatch):
    mouse(viewer, 5, 6)
    monkeypatch.setitem(settings._members, "FOREGROUND_COLOR", "#eeeeee")
    monkeypatch.setitem(settings._members, "BACKGROUND_COLOR", "#202020")
    application.session.hub.broadcast(SettingsChangeMessage(None, ("FOREGROUND_COLOR", "BACKGROUND_COLOR")))
    turn()
    assert panel.plot.kept.get_color() == "#eeeeee"
    assert QtGui.QColor(panel.canvas.grab().toImage().pixel(2, 2)).name() == "#202020"


def test_a_session_with_the_panel_open_comes_back(application, viewer, panel, click, mouse, tmp_path, turn):
    click(viewer, 30, 40)
    path = tmp_path / "session.glu"
    application.save_session(str(path))
    restored = type(application).restore_session(str(path), show=False)
    try:
        (attached,) = find_attached(restored.data_collection)
        assert not restored.findChildren(TracePanel)
        ((again,),) = restored.viewers
        assert isinstance(again.toolbar.tools[TRACE_TOOL], TraceTool)
        open_trace(restored.session).look(again, 30, 40)
        turn()
        (other,) = restored.findChildren(TracePanel)
        assert other.shown.trace.x == 30
        np.testing.assert_array_equal(other.shown.trace.lowest, panel.shown.trace.lowest)
        assert other.state.attached.cube is attached.cube
    finally:
        restored.close()


def test_the_state_can_do_what_the_mouse_does(application, attached, hit, turn):
    panel = open_trace(application.session)
    frame, y, x = hit
    panel.state.click(attached, frame, y, x)
    turn()
    assert panel.state.pinned
    assert panel.shown.trace.rejected[frame]
    assert panel.words.text().splitlines()[1] == describe(panel.shown, frame)


def test_the_mouse_is_followed_over_the_other_viewers_too(application, attached, viewer, panel, opened, mouse, turn):
    viewer.toolbar.active_tool = None
    on_map = opened(attached.map)
    focus(application, viewer)
    viewer.toolbar.active_tool = TRACE_TOOL
    turn()
    mouse(on_map, 7, 9)
    assert panel.state.pixel == (9, 7)
    # and no more when the tool is off
    viewer.toolbar.active_tool = None
    on_map.toolbar.active_tool = None
    turn()
    mouse(on_map, 12, 13)
    assert panel.state.pixel == (9, 7)


def test_escape_in_the_panel_lets_the_pixel_go(viewer, panel, click):
    click(viewer, 10, 12)
    assert panel.state.pinned
    QTest.keyClick(panel, QtCore.Qt.Key_Escape)
    assert not panel.state.pinned


def test_an_event_that_is_gone_to_is_traced(application, attached, panel, turn):
    events = attached.events
    row = 3
    find_browser(application).choose(events, events["event"][row])
    turn()
    assert panel.state.pixel == (int(events["y peak"][row]), int(events["x peak"][row]))
    assert f"event {events['event'][row]} " in panel.words.text()
    panel.close()
    find_browser(application).choose(events, events["event"][0])
    turn()
    assert panel.state.pixel is None
