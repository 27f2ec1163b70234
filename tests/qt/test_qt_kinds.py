"""The kinds of events in glue's window: in the dialog, the summary, the tables, on the map; one of them alone."""

import numpy as np
import pytest
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtCore, QtGui, QtWidgets
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from glue_cleanset import CleanSettings
from glue_cleanset.core.settings import DETECTIONS, KINDS
from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.browse import find_browser
from glue_cleanset.qt.kinds import KindMenu, count_kinds, kind_icon, show_only_kind
from glue_cleanset.qt.preview import UNTOLD
from glue_cleanset.qt.review import open_review
from glue_cleanset.qt.tools import KindsTool, OverlapTool, ShowKindTool
from glue_cleanset.viewer.colors import kind_color, kind_colormap
from glue_cleanset.viewer.kinds import shown_kind

KEPT = ("moving object", "variable star")


@pytest.fixture
def dialog(application, cube):
    return clean_from_menu(application.session, application.data_collection)


@pytest.fixture
def attached(application, dialog, telling_core, run):
    """Events 1 to 5, one in each frame, are a moving object that is kept; event 6 is a trail in the last frame."""
    summary = run(dialog)
    summary.close()
    return summary.attached


@pytest.fixture
def viewers(application, attached, turn):
    viewers = open_review(application.session, attached)
    turn()
    return viewers


@pytest.fixture
def table(application, attached, viewers):
    return next(v for v in application.viewers[-1] if isinstance(v, TableViewer) and v.data is attached.events)


# ---- the dialog


def test_what_is_kept_is_ticked(dialog):
    boxes = dialog._keep_boxes
    assert list(boxes) == [box.text() for box in boxes.values()] == list(KINDS)
    assert [kind for kind, box in boxes.items() if box.isChecked()] == list(KEPT)
    assert dialog.state.settings().keep == KEPT
    boxes["trail"].click()
    boxes["moving object"].click()
    assert dialog.state.settings().keep == ("trail", "variable star")
    dialog.state.keep = ("hot pixel",)
    assert [kind for kind, box in boxes.items() if box.isChecked()] == ["hot pixel"]
    dialog.button_defaults.click()
    assert dialog.state.settings() == CleanSettings()
    assert boxes["moving object"].isChecked()


def test_without_kinds_nothing_is_kept(dialog):
    dialog.bool_kinds.click()
    assert not any(box.isEnabled() for box in dialog._keep_boxes.values())
    assert dialog.state.settings() == CleanSettings(kinds=False)
    assert dialog.state.problem() == ""
    dialog.button_defaults.click()
    assert dialog.bool_kinds.isChecked()
    assert dialog.state.settings() == CleanSettings()


@pytest.mark.parametrize("detection", DETECTIONS)
def test_each_detection_keeps_what_it_keeps_by_default(dialog, detection):
    dialog.state.keep = ("other",)
    dialog.state.detection = "mad" if detection != "mad" else "noise"
    dialog.state.detection = detection
    assert dialog.state.settings() == CleanSettings(detection)
    assert [kind for kind, box in dialog._keep_boxes.items() if box.isChecked()] == list(CleanSettings(detection).keep)


def test_every_kind_says_what_it_is(dialog):
    for kind, box in dialog._keep_boxes.items():
        assert box.toolTip().startswith(f"{kind}: {KINDS[kind]}")


def test_the_dialog_is_not_too_high(dialog, turn):
    turn()
    assert dialog.height() <= 700
    assert dialog.width() <= 1366


def test_the_preview_says_what_it_does_not_tell(dialog, wait):
    dialog.state.preview = True
    wait(lambda: not dialog.preview.waiting)
    assert dialog.preview.describe().endswith(UNTOLD)
    assert dialog.preview.text.height() >= 4 * dialog.preview.text.fontMetrics().lineSpacing()
    dialog.state.kinds = False
    wait(lambda: not dialog.preview.waiting)
    assert UNTOLD not in dialog.preview.describe()


# ---- the summary


def test_the_summary_counts_the_kinds(application, dialog, telling_core, run):
    summary = run(dialog)
    assert summary.headline.text() == (
        "1 event, 100 pixels rejected in 5 frames (1 % of all pixels). 5 events are kept. 1 moving object is tracked."
    )
    text = QtGui.QTextDocumentFragment.fromHtml(summary.kinds.text()).toPlainText().replace("\xa0", " ")
    assert [part.strip() for part in text.split("■")] == ["", "moving object 5 (kept)", "trail 1"]
    assert kind_color("trail") in summary.kinds.text()
    model = summary.table.model()
    headings = [model.headerData(column, Qt.Horizontal) for column in range(model.columnCount())]
    assert [heading for heading in headings if heading.lower() in KINDS] == ["Moving object", "Trail"]
    assert "Remark" not in headings
    column = headings.index("Trail")
    assert [model.index(row, column).data() for row in range(5)] == ["0", "0", "0", "0", "1"]


def test_a_bad_frame_is_remarked(application, dialog, quick_core, quick_clean, run):
    def clean(*args, **options):
        result = quick_clean(*args, **options)
        result.summary["remark"] = ["", "bad frame: clouded", "", "", ""]
        return result

    quick_core(clean)
    model = run(dialog).table.model()
    column = model.columnCount() - 1
    assert model.headerData(column, Qt.Horizontal) == "Remark"
    assert model.index(1, column).data() == "bad frame: clouded"
    marked = [model.index(row, 0).data(QtCore.Qt.BackgroundRole) is not None for row in range(5)]
    assert marked == [False, True, False, False, True]  # the last one has lost 5 % of its pixels
    assert "clouded" in model.index(1, 0).data(QtCore.Qt.ToolTipRole)


def test_without_kinds_none_are_counted(application, dialog, quick_core, run):
    dialog.state.kinds = False
    summary = run(dialog)
    assert not summary.kinds.isVisible()
    model = summary.table.model()
    headings = [model.headerData(column, Qt.Horizontal).lower() for column in range(model.columnCount())]
    assert not {*headings} & {*KINDS}


# ---- the table


def test_the_kinds_have_their_colours(table):
    column = table.cleanset_events.kind_column
    assert table.model.columns[column].label == "kind"
    delegate = table.ui.table.itemDelegate()
    for row in range(6):
        option = QtWidgets.QStyleOptionViewItem()
        index = table.model.index(row, column)
        delegate.initStyleOption(option, index)
        color = option.icon.pixmap(12, 12).toImage().pixelColor(6, 6)
        assert color.name() == kind_color(index.data())
        option = QtWidgets.QStyleOptionViewItem()
        delegate.initStyleOption(option, table.model.index(row, 0))
        assert option.icon.isNull()
    # room for the name of every kind
    option = QtWidgets.QStyleOptionViewItem()
    option.initFrom(table.ui.table)
    width = max(option.fontMetrics.horizontalAdvance(kind) for kind in KINDS)
    assert table.ui.table.columnWidth(column) > width + 12


def test_icons_have_the_colours_of_the_kinds(qapp):
    for kind in KINDS:
        assert kind_icon(kind).pixmap(12, 12).toImage().pixelColor(6, 6).name() == kind_color(kind)


def entries(menu):
    menu.fill()
    return {action.text(): action for action in menu.actions() if action.text()}


def test_only_a_kind_is_shown(application, attached, table, viewers, turn):
    on_map = viewers[2]
    # all kinds leave a map of the frames as it is
    show_only_kind(application.session, attached, None)
    assert on_map.state.layers[0].attribute is attached.map.id["rejected frame"]
    assert on_map.state.layers[0].cmap.name == "cleanset frames 5"
    menu = table.toolbar.actions[ShowKindTool.tool_id].menu()
    assert list(entries(menu)) == ["all kinds  (6)", "moving object  (5)", "trail  (1)"]
    assert table.toolbar.actions[ShowKindTool.tool_id].text() == "all kinds"
    entries(menu)["moving object  (5)"].trigger()
    turn()
    assert sorted(table.cleanset_events.order) == [1, 2, 3, 4, 5]
    assert table.toolbar.actions[ShowKindTool.tool_id].text() == "moving object"
    layer = on_map.state.layers[0]
    assert layer.attribute is attached.map.id["kind"]
    assert layer.cmap is kind_colormap("moving object")
    assert on_map.window_title == "Kinds of events in all 5 frames"
    # of the frames the pixels of this kind, in its colour
    (group,) = application.data_collection.subset_groups
    subset_layer = viewers[0].state.layers[1]
    assert subset_layer.layer.group is group
    assert subset_layer.color == kind_color("moving object")
    np.testing.assert_array_equal(np.argwhere(subset_layer.get_sliced_data()), [[5, 10]])
    # another one takes its place
    entries(menu)["trail  (1)"].trigger()
    turn()
    assert table.cleanset_events.order.tolist() == [6]
    assert layer.cmap is kind_colormap("trail")
    assert list(application.data_collection.subset_groups) == [group]
    # and all are shown again
    entries(menu)["all kinds  (6)"].trigger()
    turn()
    assert len(table.cleanset_events.order) == 6
    assert layer.cmap is kind_colormap()
    assert not application.data_collection.subset_groups
    assert table.toolbar.actions[ShowKindTool.tool_id].text() == "all kinds"


def test_what_is_drawn_next_is_a_subset_of_its_own(application, attached, viewers, table, turn):
    show_only_kind(application.session, attached, "trail")
    turn()
    assert not application.session.edit_subset_mode.edit_subset
    mine = application.data_collection.new_subset_group("mine", attached.events.id["frame"] > 2)
    application.session.edit_subset_mode.edit_subset = [mine]
    show_only_kind(application.session, attached, "moving object")
    turn()
    assert application.session.edit_subset_mode.edit_subset == [mine]
    # the rows of the table and the points of the plot are not painted over
    for viewer in (table, application.viewers[-1][-1]):
        shown = [layer for layer in viewer.state.layers if layer.visible and layer.layer.label == "moving object"]
        assert not shown


def test_a_filter_follows_a_corrected_kind(application, attached, viewers, table, turn):
    show_only_kind(application.session, attached, "trail")
    assert table.cleanset_events.order.tolist() == [6]
    view = table.ui.table
    view.customContextMenuRequested.emit(view.visualRect(table.model.index(0, 1)).center())
    (popup,) = [menu for menu in view.findChildren(QtWidgets.QMenu) if menu.isVisible()]
    (correction,) = [action.menu() for action in popup.actions() if action.menu() is not None]
    assert [action.text() for action in correction.actions()] == list(KINDS)
    next(action for action in correction.actions() if action.text() == "bad frame").trigger()
    popup.close()
    turn()
    assert count_kinds(attached) == {"moving object": 5, "bad frame": 1}
    assert table.cleanset_events.order.size == 0
    assert attached.frames["bad frame"].tolist() == [0, 0, 0, 0, 1]
    application.undo()
    turn()
    assert table.cleanset_events.order.tolist() == [6]
    assert shown_kind(application.session, attached) == "trail"
    assert find_browser(application).current == (attached.events, 6)


# ---- the map


def test_a_key_changes_between_frames_and_kinds(application, attached, viewers, qapp):
    on_map = viewers[2]
    layer = on_map.state.layers[0]
    application.activateWindow()
    application.current_tab.setActiveSubWindow(on_map.parent())
    on_map.figure.canvas.setFocus()
    qapp.processEvents()
    QTest.keyClick(on_map.figure.canvas, Qt.Key_K)
    assert layer.attribute is attached.map.id["kind"]
    assert layer.cmap is kind_colormap()
    assert (layer.v_min, layer.v_max) == (-0.5, len(KINDS) + 0.5)
    legend = on_map.toolbar.tools[OverlapTool.tool_id].legend
    assert legend.kinds == ("moving object", "trail")
    # from there to all frames at once, and by the one and the other key
    QTest.keyClick(on_map.figure.canvas, Qt.Key_A)
    assert layer.attribute is attached.map.id["peak significance"]
    QTest.keyClick(on_map.figure.canvas, Qt.Key_K)
    QTest.keyClick(on_map.figure.canvas, Qt.Key_K)
    assert layer.attribute is attached.map.id["rejected frame"]
    assert on_map.window_title == "Rejection map, frames 1 to 5 in colour"


def test_the_menu_of_the_map_is_that_of_the_table(application, attached, viewers, table, turn):
    on_map, layer = viewers[2], viewers[2].state.layers[0]
    menu = on_map.toolbar.actions[KindsTool.tool_id].menu()
    assert isinstance(menu, KindMenu)
    entries(menu)["trail  (1)"].trigger()
    turn()
    assert layer.cmap is kind_colormap("trail")
    assert on_map.toolbar.tools[OverlapTool.tool_id].legend.kinds == ("trail",)
    assert table.cleanset_events.order.tolist() == [6]
    bold = [text for text, action in entries(menu).items() if action.font().bold()]
    assert bold == ["trail  (1)"]
    assert not viewers[0].toolbar.actions[KindsTool.tool_id].isVisible()


def test_a_session_shows_the_kind_alone(application, attached, viewers, table, tmp_path, turn):
    show_only_kind(application.session, attached, "trail")
    application.save_session(str(tmp_path / "s.glu"))
    again = type(application).restore_session(str(tmp_path / "s.glu"), show=False)
    turn()
    turn()
    on_map = [viewer for viewer in again.viewers[-1] if isinstance(viewer, ImageViewer)][2]
    assert on_map.state.layers[0].cmap is kind_colormap("trail")
    back = next(v for v in again.viewers[-1] if isinstance(v, TableViewer) and v.data.label == "field events")
    assert back.cleanset_events.order.tolist() == [6]
    assert back.toolbar.actions[ShowKindTool.tool_id].text() == "trail"
    again.close()
    turn()


def test_the_legend_of_the_kinds_moves_no_other_view(viewers, turn):
    def limits(viewer):
        return [getattr(viewer.state, name) for name in ("x_min", "x_max", "y_min", "y_max")]

    original, _, on_map = viewers
    original.state.x_min, original.state.x_max = 10, 30
    turn()
    before = limits(original), limits(on_map)
    on_map.toolbar.actions[KindsTool.tool_id].trigger()
    turn()
    turn()
    assert limits(original) == before[0]
    # the map is narrower, and shows the same columns
    assert limits(on_map)[:2] == limits(original)[:2]
    assert limits(on_map)[3] - limits(on_map)[2] > 1.1 * (before[1][3] - before[1][2])
    # what is moved there is moved in the others, to and fro
    on_map.state.x_min, on_map.state.x_max = 20, 30
    turn()
    assert limits(original)[:2] == limits(on_map)[:2]
    on_map.toolbar.actions[KindsTool.tool_id].trigger()
    turn()
    turn()
    assert limits(on_map) == pytest.approx(limits(original), abs=0.5)
    np.testing.assert_allclose(np.mean(limits(original)[2:]), np.mean(before[0][2:]), atol=0.5)
