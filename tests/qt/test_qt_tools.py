"""The tools of the toolbars: blink, all frames at once, where they appear, what they leave alone."""

import warnings

import numpy as np
import pytest
from glue.config import viewer_tool
from glue.core import Data
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtGui
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

import glue_cleanset
from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.review import open_review
from glue_cleanset.qt.tools import IMAGE_TOOLS, TABLE_TOOLS, BlinkTool, OverlapTool, icon_path


@pytest.fixture
def clean(application, cube, quick_core, run):
    def clean_cube():
        summary = run(clean_from_menu(application.session, application.data_collection))
        summary.close()
        return summary.attached

    return clean_cube


def visible(viewer, tool):
    return viewer.toolbar.actions[tool.tool_id].isVisible()


def press(qapp, application, viewer, key):
    application.activateWindow()
    application.current_tab.setActiveSubWindow(viewer.parent())
    viewer.figure.canvas.setFocus()
    qapp.processEvents()
    QTest.keyClick(viewer.figure.canvas, key)


def test_a_second_setup_registers_nothing_twice(application):
    before = list(ImageViewer.tools), list(TableViewer.tools), len(viewer_tool.members)
    glue_cleanset.setup()
    assert (list(ImageViewer.tools), list(TableViewer.tools), len(viewer_tool.members)) == before
    for viewer, tools in ((ImageViewer, IMAGE_TOOLS), (TableViewer, TABLE_TOOLS)):
        for tool in tools:
            assert viewer.tools.count(tool.tool_id) == 1
            assert viewer_tool.members[tool.tool_id] is tool


@pytest.mark.parametrize("tool", [*IMAGE_TOOLS, *TABLE_TOOLS])
def test_icons_are_seen_on_light_and_on_dark(qapp, tool):
    icon = QtGui.QIcon(tool.icon).pixmap(25, 25).toImage()
    assert not icon.isNull()
    colors = [icon.pixelColor(x, y) for x in range(icon.width()) for y in range(icon.height())]
    solid = [color.lightnessF() for color in colors if color.alpha() > 200]
    assert any(color.alpha() == 0 for color in colors)
    assert len(solid) > 40
    assert sum(0.25 < lightness < 0.75 for lightness in solid) > 0.6 * len(solid)


def test_icon_path():
    assert icon_path("blink") == BlinkTool.icon


def test_the_keys_are_nobody_elses(application, cube):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # glue warns, and ignores the key
        viewer = application.new_data_viewer(ImageViewer, data=cube)
    keys = [tool.shortcut for tool in viewer.toolbar.tools.values() if tool.shortcut]
    assert len(keys) == len(set(keys))
    assert {"A", "B"} <= set(keys)
    assert "N" not in keys


def test_tools_come_with_the_cleaning_and_go_with_it(application, cube, clean, wait):
    viewer = application.new_data_viewer(ImageViewer, data=cube)
    assert not visible(viewer, BlinkTool)
    attached = clean()
    wait(lambda: visible(viewer, BlinkTool))
    assert not visible(viewer, OverlapTool)
    on_map = application.new_data_viewer(ImageViewer, data=attached.map)
    wait(lambda: visible(on_map, OverlapTool))
    assert not visible(on_map, BlinkTool)
    application._actions["undo"].trigger()
    wait(lambda: not visible(viewer, BlinkTool))
    application._actions["redo"].trigger()
    wait(lambda: visible(viewer, BlinkTool))


def test_images_that_were_not_cleaned_have_no_tools(application, clean, turn):
    clean()
    other = Data(label="other", a=np.zeros((3, 4, 5)))
    application.data_collection.append(other)
    viewer = application.new_data_viewer(ImageViewer, data=other)
    turn()
    assert not any(visible(viewer, tool) for tool in IMAGE_TOOLS)


def test_blink_by_key_and_by_button(qapp, application, clean, frames):
    attached = clean()
    original, cleaned, _ = open_review(application.session, attached)
    layer = original.state.layers[0]
    limits = layer.v_min, layer.v_max
    press(qapp, application, original, Qt.Key_B)
    assert layer.attribute is attached.cleaned
    assert original.window_title == "Cleaned: field"
    assert (layer.v_min, layer.v_max) == limits
    assert layer.get_sliced_data()[5, 10] < 300
    original.toolbar.actions[BlinkTool.tool_id].trigger()
    assert original.window_title == "Original: field"
    assert (layer.v_min, layer.v_max) == limits
    assert np.array_equal(layer.get_sliced_data(), frames[0])
    assert cleaned.window_title == "Cleaned: field"


def test_blink_leaves_the_view_and_the_active_tool_alone(qapp, application, clean):
    original, *_ = open_review(application.session, clean())
    original.state.x_min, original.state.x_max = 5, 15
    original.state.slices = (2, 0, 0)
    view = [getattr(original.state, name) for name in ("x_min", "x_max", "y_min", "y_max", "slices")]
    original.toolbar.active_tool = "select:rectangle"
    press(qapp, application, original, Qt.Key_B)
    original.toolbar.actions[BlinkTool.tool_id].trigger()
    assert original.toolbar.active_tool.tool_id == "select:rectangle"
    assert [getattr(original.state, name) for name in ("x_min", "x_max", "y_min", "y_max", "slices")] == view


def test_blink_goes_back_to_the_result_that_was_shown(application, cube, clean):
    first = clean()
    viewer = application.new_data_viewer(ImageViewer, data=cube)
    tool = viewer.toolbar.tools[BlinkTool.tool_id]
    layer = viewer.state.layers[0]
    layer.attribute = first.cleaned
    second = clean()
    assert second.cleaned is not first.cleaned
    tool.activate()
    assert layer.attribute is first.source
    tool.activate()
    assert layer.attribute is first.cleaned


def test_all_frames_at_once_by_key(qapp, application, clean):
    attached = clean()
    viewers = open_review(application.session, attached)
    rejection_map = viewers[2]
    layer = rejection_map.state.layers[0]
    legend = rejection_map.toolbar.tools[OverlapTool.tool_id].legend
    assert legend.n_frames == 5
    view = [getattr(rejection_map.state, name) for name in ("x_min", "x_max", "y_min", "y_max")]
    press(qapp, application, rejection_map, Qt.Key_A)
    assert layer.attribute is attached.map.id["peak significance"]
    assert rejection_map.window_title == "Peak significance over all 5 frames"
    assert legend.n_frames is None
    assert [getattr(rejection_map.state, name) for name in ("x_min", "x_max", "y_min", "y_max")] == view
    press(qapp, application, rejection_map, Qt.Key_A)
    assert rejection_map.window_title == "Rejection map, frames 1 to 5 in colour"
    assert legend.n_frames == 5


def test_the_style_editor_follows(application, clean):
    """glue's editor raises where it does not know a colour map."""
    rejection_map = open_review(application.session, clean())[2]
    editor = rejection_map._view.layout_style_widgets[rejection_map.layers[0]]
    tool = rejection_map.toolbar.tools[OverlapTool.tool_id]
    tool.activate()
    assert editor.ui.combodata_cmap.currentText() == "Inferno"
    assert editor.ui.combosel_attribute.currentText() == "peak significance"
    tool.activate()
    assert editor.ui.combodata_cmap.currentText() == "cleanset frames 5"


def test_closing_viewers_ends_their_tools(application, cube, clean, turn):
    attached = clean()
    viewers = open_review(application.session, attached)
    tools = [viewer.toolbar.tools[tool.tool_id] for viewer in viewers for tool in IMAGE_TOOLS]
    for viewer in viewers:
        viewer.close(warn=False)
    turn()
    hub = application.session.hub
    assert all(tool.viewer is None for tool in tools)
    assert not any(tool in hub._subscriptions for tool in tools)
    assert not any(tool.legend in hub._subscriptions for tool in tools if isinstance(tool, OverlapTool))
    application._actions["undo"].trigger()
    application._actions["redo"].trigger()
    turn()


def test_a_session_has_its_tools_and_legend_again(application, clean, tmp_path, wait):
    from glue_qt.app import GlueApplication

    open_review(application.session, clean())
    path = str(tmp_path / "tools.glu")
    application.save_session(path, include_data=True)
    again = GlueApplication.restore_session(path)
    try:
        viewers = [viewer for viewer in again.viewers[-1] if isinstance(viewer, ImageViewer)]
        on_map = next(viewer for viewer in viewers if viewer.state.layers[0].attribute.label == "rejected frame")
        wait(lambda: visible(on_map, OverlapTool))
        legend = on_map.toolbar.tools[OverlapTool.tool_id].legend
        assert legend.n_frames == 5
        on_map.toolbar.actions[OverlapTool.tool_id].trigger()
        assert on_map.state.layers[0].attribute.label == "peak significance"
        on_cube = next(viewer for viewer in viewers if viewer is not on_map)
        wait(lambda: visible(on_cube, BlinkTool))
    finally:
        again.close()
