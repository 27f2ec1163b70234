"""The table of events as a browser: clicks, keys, sorting, rows that come and go, in a real window."""

import numpy as np
import pytest
from glue.core import Data
from glue.core.subset import ElementSubsetState
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.table import TableViewer
from qtpy import QtCore
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from glue_cleanset.qt.actions import clean_from_menu
from glue_cleanset.qt.browse import find_browser, sort_table, step_event
from glue_cleanset.qt.review import open_review
from glue_cleanset.viewer.browse import EventMark


@pytest.fixture
def attached(application, cube, quick_core, run):
    summary = run(clean_from_menu(application.session, application.data_collection))
    summary.close()
    attached = summary.attached
    # 6 events, one in each frame and two in the last; make the fourth the strongest
    significance = np.array([20.0, 5, 30, 90, 40, 10])
    attached.events.update_components({attached.events.id["peak significance"]: significance})
    return attached


RANKED = [4, 5, 3, 1, 6, 2]  # by significance


@pytest.fixture
def image(application, attached):
    return application.new_data_viewer(ImageViewer, data=attached.cube)


@pytest.fixture
def viewer(application, attached, image):
    """The table of events, opened by hand."""
    viewer = application.new_data_viewer(TableViewer, data=attached.events)
    application.current_tab.setActiveSubWindow(viewer.parent())
    viewer.parent().setGeometry(0, 0, 800, 700)
    application.activateWindow()
    return viewer


@pytest.fixture
def browser(application):
    return find_browser(application)


def marks(viewer):
    return [patch.number for patch in viewer.axes.patches if isinstance(patch, EventMark)]


def shown_numbers(viewer):
    return [int(viewer.model.index(row, 0).data()) for row in range(viewer.model.rowCount())]


def click(viewer, row, modifier=Qt.NoModifier):
    table = viewer.ui.table
    QTest.mouseClick(table.viewport(), Qt.LeftButton, modifier, table.visualRect(viewer.model.index(row, 1)).center())


def keep(events, numbers):
    """Other rows in the place of those there are, as overruling gives them."""
    rows = [int(np.flatnonzero(events["event"] == number)[0]) for number in numbers]
    other = Data(label=events.label)
    for cid in events.main_components:
        other.add_component(events[cid][rows], cid.label)
    events.update_values_from_data(other)


def test_a_click_goes_to_the_event(attached, image, viewer, browser):
    click(viewer, 2)
    assert browser.current == (attached.events, 3)
    assert image.state.slices == (2, 0, 0)
    assert (image.state.x_min + image.state.x_max) / 2 == pytest.approx(24)
    assert (image.state.y_min + image.state.y_max) / 2 == pytest.approx(17)
    assert marks(image) == [3]
    assert viewer.cleanset_events.current_row == 2
    # and back, after a look at another frame
    image.state.slices = (0, 0, 0)
    click(viewer, 2)
    assert image.state.slices == (2, 0, 0)


def test_arrow_keys_go_on(attached, image, viewer, browser):
    click(viewer, 2)
    QTest.keyClick(viewer.ui.table, Qt.Key_Down)
    assert (browser.current[1], image.state.slices[0]) == (4, 3)
    QTest.keyClick(viewer.ui.table, Qt.Key_Up)
    QTest.keyClick(viewer.ui.table, Qt.Key_Up)
    assert (browser.current[1], image.state.slices[0]) == (2, 1)
    QTest.keyClick(viewer.ui.table, Qt.Key_Left)
    QTest.keyClick(viewer.ui.table, Qt.Key_End)
    assert browser.current[1] == 2


def test_getting_the_focus_is_no_choice(qapp, image, viewer, browser):
    image.setFocus()
    for reason in (Qt.TabFocusReason, Qt.OtherFocusReason, Qt.MouseFocusReason):
        viewer.ui.table.setFocus(reason)
        qapp.processEvents()
        assert browser.current is None
        image.setFocus()
        qapp.processEvents()
    viewer.ui.table.setFocus(Qt.TabFocusReason)
    QTest.keyClick(viewer.ui.table, Qt.Key_Down)
    assert browser.current[1] == 1


def test_keys_and_tools_of_the_table(qapp, application, viewer, browser, image):
    sort_table(viewer, "peak significance")
    assert shown_numbers(viewer) == RANKED
    viewer.ui.table.setFocus()
    qapp.processEvents()
    for wanted in RANKED[:3]:
        QTest.keyClick(viewer.ui.table, Qt.Key_N)
        assert browser.current[1] == wanted
    QTest.keyClick(viewer.ui.table, Qt.Key_N, Qt.ShiftModifier)
    assert browser.current[1] == RANKED[1]
    viewer.toolbar.actions["cleanset:next_event"].trigger()
    viewer.toolbar.actions["cleanset:next_event"].trigger()
    assert browser.current[1] == RANKED[3]
    viewer.toolbar.actions["cleanset:previous_event"].trigger()
    assert browser.current[1] == RANKED[2]
    assert image.state.slices[0] == 2
    QTest.keyClick(viewer.ui.table, Qt.Key_Escape)
    assert browser.current is None
    assert marks(image) == []
    assert viewer.cleanset_events.current_row is None


def test_letters_go_into_the_search_field(qapp, viewer, browser):
    field = viewer.ui.text_filter
    field.setFocus()
    qapp.processEvents()
    QTest.keyClicks(field, "Nn")
    assert field.text() == "Nn"
    assert browser.current is None
    field.clear()


def test_keys_of_an_image_viewer(qapp, application, attached, image, viewer, browser):
    sort_table(viewer, "pixels", Qt.AscendingOrder)
    order = shown_numbers(viewer)
    application.current_tab.setActiveSubWindow(image.parent())
    image.figure.canvas.setFocus()
    qapp.processEvents()
    for wanted in order[:3]:
        QTest.keyClick(image.figure.canvas, Qt.Key_N)
        assert browser.current[1] == wanted
    QTest.keyClick(image.figure.canvas, Qt.Key_N, Qt.ShiftModifier)
    assert browser.current[1] == order[1]
    viewer.close(warn=False)
    assert browser.current is None


def test_stepping_without_a_table(application, attached, image, browser):
    assert [step_event(application.session, 1) for _ in range(3)] == RANKED[:3]
    assert step_event(application.session, -1) == RANKED[1]
    application.session.command_stack.undo()
    assert step_event(application.session, 1) is None


def test_stepping_follows_the_table_of_the_visible_tab(application, attached, image, viewer, browser):
    sort_table(viewer, "pixels")  # the largest first
    largest = shown_numbers(viewer)[0]
    open_review(application.session, attached)
    assert step_event(application.session, 1) == RANKED[0]
    browser.leave()
    application.tab_widget.setCurrentIndex(0)
    assert largest != RANKED[0]
    assert step_event(application.session, 1) == largest


def test_sorting_keeps_the_event(attached, image, viewer, browser):
    click(viewer, 4)
    assert browser.current[1] == 5
    moves = []
    image.state.add_callback("slices", moves.append)
    for column, order in (("peak significance", Qt.DescendingOrder), ("x", Qt.AscendingOrder)):
        sort_table(viewer, column, order)
        assert browser.current[1] == 5
        row = viewer.cleanset_events.current_row
        assert viewer.ui.table.currentIndex().row() == row
        assert shown_numbers(viewer)[row] == 5
    assert moves == []


def test_a_filter_hides_and_shows_the_event(attached, viewer, browser):
    labels = np.array(["dark", "bright"] * 3)
    attached.events.remove_component(attached.events.id["polarity"])
    attached.events.add_component(labels, "polarity")
    click(viewer, 2)
    viewer.state.filter_att = attached.events.id["polarity"]
    viewer.state.filter = "bright"
    assert shown_numbers(viewer) == [2, 4, 6]
    assert viewer.cleanset_events.current_row is None
    assert viewer.cleanset_events.step(1) == 2
    assert viewer.cleanset_events.step(1) == 4
    viewer.state.filter = ""
    assert viewer.cleanset_events.current_row == 3


def test_glues_selection_of_rows_goes_on(application, attached, image, viewer, browser):
    viewer.toolbar.active_tool = "table:rowselect"
    click(viewer, 1)
    click(viewer, 3, Qt.ControlModifier)
    assert browser.current[1] == 4
    viewer.toolbar.actions["cleanset:next_event"].trigger()
    assert viewer.toolbar.active_tool.tool_id == "table:rowselect"  # stays what it was
    assert [index.row() for index in viewer.ui.table.selectionModel().selectedRows()] == [1, 3]
    QTest.keyClick(viewer, Qt.Key_Return)
    (group,) = application.data_collection.subset_groups
    (subset,) = attached.events.subsets
    assert subset.to_mask().tolist() == [False, True, False, True, False, False]
    (layer,) = [layer for layer in image.state.layers if getattr(layer.layer, "group", None) is group]
    image.state.slices = (3, 0, 0)
    assert np.argwhere(layer.get_sliced_data()).tolist() == [[23, 31]]
    image.state.slices = (2, 0, 0)
    assert not layer.get_sliced_data().any()


@pytest.mark.parametrize("sorted_first", [False, True])
def test_rows_come_and_go(application, attached, image, viewer, browser, qapp, sorted_first):
    events = attached.events
    whole = {cid.label: events[cid].copy() for cid in events.main_components}
    if sorted_first:
        sort_table(viewer, "peak significance")
    application.data_collection.new_subset_group("rows", ElementSubsetState([0], data=events))
    viewer.cleanset_events.browser.choose(events, 5)
    keep(events, [5, 2, 1])
    qapp.processEvents()
    viewer.grab()
    assert browser.current == (events, 5)
    assert sorted(shown_numbers(viewer)) == [1, 2, 5]
    assert viewer.ui.table.currentIndex().row() == viewer.cleanset_events.current_row
    assert shown_numbers(viewer)[viewer.cleanset_events.current_row] == 5
    assert viewer.cleanset_events.step(1) in (1, 2)
    more = Data(label=events.label)
    for label, values in whole.items():
        more.add_component(values, label)
    events.update_values_from_data(more)
    viewer.grab()
    assert sorted(shown_numbers(viewer)) == [1, 2, 3, 4, 5, 6]
    browser.choose(events, 4)
    assert shown_numbers(viewer)[viewer.ui.table.currentIndex().row()] == 4
    keep(events, [1])
    viewer.grab()
    assert browser.current is None
    assert marks(image) == []


def test_other_tables_do_not_browse(application, attached, image, browser):
    viewer = application.new_data_viewer(TableViewer, data=attached.frames)
    for name in ("next_event", "previous_event"):
        assert not viewer.toolbar.actions[f"cleanset:{name}"].isVisible()
    click(viewer, 1)
    assert browser.current is None


def test_all_tabs_go_there(application, attached, image, viewer, browser):
    viewers = open_review(application.session, attached)
    click(viewer, 3)
    for one in (image, *viewers[:2]):
        assert one.state.slices == (3, 0, 0)
    for one in (image, *viewers):
        assert marks(one) == [4]
        assert (one.state.x_min + one.state.x_max) / 2 == pytest.approx(31)
    # both tables stand on it
    table = next(one for one in application.viewers[-1] if isinstance(one, TableViewer))
    assert shown_numbers(table)[table.ui.table.currentIndex().row()] == 4


def test_the_last_table_takes_the_ring_along(application, attached, image, viewer, browser, turn):
    second = application.new_data_viewer(TableViewer, data=attached.events)
    click(viewer, 3)
    viewer.close(warn=False)
    turn()
    assert marks(image) == [4]
    second.close(warn=False)
    turn()
    assert marks(image) == []
    assert browser.current is None


def test_a_closed_image_viewer_is_not_missed(application, attached, image, viewer, browser, turn):
    click(viewer, 1)
    image.close(warn=False)
    turn()
    click(viewer, 2)
    assert browser.current[1] == 3


def test_undo_and_redo_while_browsing(application, attached, image, viewer, browser, turn):
    click(viewer, 1)
    application._actions["undo"].trigger()
    turn()
    assert browser.current is None
    assert marks(image) == []
    application._actions["redo"].trigger()
    turn()
    again = application.new_data_viewer(TableViewer, data=attached.events)
    click(again, 1)
    assert browser.current == (attached.events, 2)


def test_closing_glue_while_browsing(application, attached, image, viewer, turn):
    open_review(application.session, attached)
    click(viewer, 1)
    application.close()
    turn()


def test_the_row_is_framed(qapp, attached, image, viewer):
    qapp.processEvents()
    table = viewer.ui.table

    def pixels(row):
        box = table.visualRect(viewer.model.index(row, 1))
        picture = table.viewport().grab(box).toImage()
        return [picture.pixelColor(x, y).name() for x in range(0, box.width(), 3) for y in range(box.height())]

    before = pixels(3)
    click(viewer, 3)
    table.clearFocus()
    qapp.processEvents()
    assert pixels(3) != before
    highlight = table.palette().color(table.palette().ColorRole.Highlight).name()
    assert highlight in pixels(3)
    assert highlight not in pixels(2)


def test_a_session_browses_when_it_is_opened_again(application, attached, viewer, image, tmp_path, qapp):
    from glue_qt.app import GlueApplication

    path = str(tmp_path / "browse.glu")
    application.save_session(path, include_data=True)
    again = GlueApplication.restore_session(path)
    try:
        new_image, new_viewer = sorted(again.viewers[0], key=lambda one: isinstance(one, TableViewer))
        assert new_viewer.toolbar.actions["cleanset:next_event"].isEnabled()
        new_viewer.ui.table.selectionModel().setCurrentIndex(
            new_viewer.model.index(2, 0), QtCore.QItemSelectionModel.NoUpdate
        )
        assert new_image.state.slices == (2, 0, 0)
        assert marks(new_image) == [3]
    finally:
        again.close()
