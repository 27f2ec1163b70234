"""The summary and the review layout, with real viewers, through undo and redo."""

import numpy as np
import pytest
from glue.core import Data
from glue.core.roi import XRangeROI
from glue_qt.viewers.image import ImageViewer
from glue_qt.viewers.scatter import ScatterViewer
from qtpy import QtCore, QtWidgets

from glue_cleanset.qt import REVIEW_LABEL
from glue_cleanset.qt.actions import clean_from_menu, review_layer
from glue_cleanset.qt.browse import find_browser
from glue_cleanset.qt.review import open_review, show_limits
from glue_cleanset.viewer.attach import find_attached


@pytest.fixture
def summary(application, cube, quick_core, run):
    return run(clean_from_menu(application.session, application.data_collection))


@pytest.fixture
def viewers(application, summary):
    return open_review(application.session, summary.attached)


def shown(viewer):
    """What the viewer draws of its first layer, in its present frame."""
    return viewer.state.layers[0].get_sliced_data()


def column(table, number):
    model = table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


def test_the_summary_tells_every_frame(summary):
    table = summary.table
    assert column(table, 0) == ["1", "2", "3", "4", "5"]
    assert column(table, 2) == ["1", "1", "1", "1", "2"]
    assert column(table, 3) == ["1", "1", "1", "1", "101"]
    assert column(table, 4)[-1] == "5.050"
    assert summary.headline.text() == "6 events, 105 pixels rejected in 5 frames (1.05 % of all pixels)."
    assert summary.noise.text() == "Gain 1.5 e-/ADU (fitted to the set), read noise 6 e- (fitted to the set)."
    assert summary.warnings == ["frame 5 lost 5.0 % of its pixels"]


def test_frames_to_doubt_are_marked_with_the_reason(application, cube, frames, quick_core, run):
    frames = frames.copy()
    frames[1, 0, 0] += 500  # the second hit makes the quick core say that its stars do not match
    cube.update_components({cube.id["flux"]: frames})
    model = run(clean_from_menu(application.session, application.data_collection)).table.model()
    reasons = [model.index(row, 0).data(QtCore.Qt.ToolTipRole) or "" for row in range(5)]
    marked = [model.index(row, 0).data(QtCore.Qt.BackgroundRole) is not None for row in range(5)]
    assert marked == [False, True, False, False, True]
    assert "stars differ" in reasons[1]
    assert "2 % of its pixels were rejected" in reasons[4]


def test_the_summary_sorts_numbers_as_numbers(summary):
    summary.table.sortByColumn(3, QtCore.Qt.DescendingOrder)
    assert column(summary.table, 3)[0] == "101"
    summary.table.sortByColumn(3, QtCore.Qt.AscendingOrder)
    assert column(summary.table, 3)[-1] == "101"


def test_the_button_opens_the_review(application, summary):
    tabs = application.tab_count
    summary.button_review.click()
    assert application.tab_count == tabs + 1
    assert application.tab_names[-1] == "Review of field"
    assert sum(isinstance(viewer, ImageViewer) for viewer in application.viewers[-1]) == 3
    assert not summary.isVisible()


def test_the_review_shows_original_cleaned_and_map(viewers, cube, frames):
    original, cleaned, rejection_map = viewers
    assert [viewer.window_title.split(":")[0].split(",")[0] for viewer in viewers] == [
        "Original",
        "Cleaned",
        "Rejection map",
    ]
    assert np.array_equal(shown(original), frames[0])
    assert shown(original)[5, 10] > 1000
    assert shown(cleaned)[5, 10] < 300
    assert shown(rejection_map)[5, 10] == 1
    assert shown(rejection_map)[29, 38] == 5
    layer = rejection_map.state.layers[0]
    assert (layer.v_min, layer.v_max) == (-0.5, 5.5)
    assert layer.cmap.N == 6


def test_the_tables_show_whole_names(application, viewers):
    (table,) = (
        viewer.ui.table
        for viewer in application.viewers[-1]
        if viewer.LABEL == "Table Viewer" and viewer.windowTitle() == "Frames: field"
    )
    column = [cid.label for cid in table.model().columns].index("name")
    assert table.columnWidth(column) >= table.sizeHintForColumn(column)


def lower(application):
    """The viewers below the images: events, frames, plot."""
    return [viewer for viewer in application.viewers[-1] if not isinstance(viewer, ImageViewer)]


def test_the_events_are_sorted_by_significance(application, viewers, summary):
    events = summary.attached.events
    events.update_components({events.id["peak significance"]: np.array([20.0, 5, 30, 90, 40, 10])})
    table = lower(application)[0]
    assert table.cleanset_events.order.tolist() == [4, 5, 3, 1, 6, 2]
    header = table.ui.table.horizontalHeader()
    shown = [table.model.columns[header.logicalIndex(place)].label for place in range(3)]
    assert shown == ["event", "peak significance", "frame"]
    assert find_browser(application).current is None  # nothing was chosen yet


def test_the_plot_shows_the_percentage_of_every_frame(application, viewers, summary):
    plot = lower(application)[2]
    assert isinstance(plot, ScatterViewer)
    state, layer = plot.state, plot.state.layers[0]
    assert (state.x_att.label, state.y_att.label) == ("frame", "percent")
    assert (plot.axes.get_xlabel(), plot.axes.get_ylabel()) == ("frame", "percent")
    assert plot.window_title == "Rejected from each frame [percent]"
    percent = summary.attached.frames["percent"]
    assert (state.x_min, state.x_max) == (0.5, 5.5)
    assert state.y_min == 0
    assert percent.max() < state.y_max < 1.3 * percent.max()
    assert layer.markers_visible
    assert layer.size >= 5
    plot.figure.canvas.draw()
    texts = [text for text in plot.axes.get_xticklabels() if 0.5 < text.get_position()[0] < 5.5]
    assert all(float(text.get_text()).is_integer() for text in texts)
    # the frames selected there are selected in the images
    plot.apply_roi(XRangeROI(1.5, 2.5))
    (group,) = application.data_collection.subset_groups
    (subset,) = [subset for subset in summary.attached.cube.subsets if subset.subset_state is group.subset_state]
    assert np.flatnonzero(subset.to_mask().any(axis=(1, 2))).tolist() == [1]


@pytest.mark.parametrize("size", [(1366, 768), (1600, 1000)])
def test_nothing_covers_anything(application, summary, size, turn):
    application.resize(*size)
    turn()
    viewers = [*open_review(application.session, summary.attached), *lower(application)]
    turn()
    boxes = [viewer.parent().geometry() for viewer in viewers]
    assert not any(a.intersects(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert min(box.width() for box in boxes) >= 200
    assert min(box.height() for box in boxes) >= 180
    # the images have one scale, also the one with a legend
    widths = [viewer.axes.get_window_extent().width for viewer in viewers[:3]]
    assert max(widths) - min(widths) <= 3
    for viewer in (*viewers[:3], viewers[-1]):
        viewer.figure.canvas.draw()
        box = viewer.figure.bbox
        for axes in viewer.figure.axes:
            tight = axes.get_tightbbox(viewer.figure.canvas.get_renderer())
            assert tight.x0 >= -1
            assert tight.x1 <= box.x1 + 1
            assert tight.y0 >= -1


def test_the_title_follows_what_the_map_shows(viewers, summary):
    layer = viewers[2].state.layers[0]
    layer.attribute = summary.attached.map.id["times rejected"]
    assert viewers[2].window_title == "Times rejected: field"
    layer.attribute = summary.attached.map.id["peak significance"]
    assert viewers[2].window_title == "Peak significance over all 5 frames"


def test_the_limits_are_sensible_and_equal(viewers):
    original, cleaned = (viewer.state.layers[0] for viewer in viewers[:2])
    assert (original.v_min, original.v_max) == (cleaned.v_min, cleaned.v_max)
    assert 180 < original.v_min < 190  # 0.5 % of noise about 200 +- 5
    assert 210 < original.v_max < 220


def test_the_frames_go_together(viewers, frames):
    original, cleaned, _ = viewers
    original.state.slices = (3, 0, 0)
    assert cleaned.state.slices == (3, 0, 0)
    assert shown(cleaned)[23, 31] < 300 < shown(original)[23, 31]
    cleaned.state.slices = (1, 0, 0)
    assert original.state.slices == (1, 0, 0)
    assert np.array_equal(shown(original), frames[1])
    slider = original.options.slice_helper._sliders[0]
    slider.state.slice_center = 4
    assert cleaned.state.slices == (4, 0, 0)


def test_the_visible_region_goes_together(viewers):
    original, cleaned, rejection_map = viewers
    rejection_map.state.x_min = 10
    rejection_map.state.x_max = 20
    for viewer in (original, cleaned):
        for name in ("x_min", "x_max", "y_min", "y_max"):
            assert getattr(viewer.state, name) == pytest.approx(getattr(rejection_map.state, name), abs=0.5)


def test_no_image_is_cropped(viewers, qapp):
    for _ in range(5):
        qapp.processEvents()
    for viewer in viewers:
        state = viewer.state
        assert state.x_min <= -0.49
        assert state.x_max >= 49.49
        assert state.y_min <= -0.49
        assert state.y_max >= 39.49
        # and the image fills most of its viewer
        assert (state.x_max - state.x_min) * (state.y_max - state.y_min) < 1.6 * 50 * 40


def test_a_closed_viewer_does_not_disturb_the_others(application, viewers, turn):
    original, cleaned, rejection_map = viewers
    cleaned.close(warn=False)
    turn()
    original.state.slices = (2, 0, 0)
    original.state.x_min = 5
    assert rejection_map.state.x_min == pytest.approx(original.state.x_min, abs=0.5)
    original.close(warn=False)
    turn()
    rejection_map.state.x_min = 8
    application.session.command_stack.undo()
    application.session.command_stack.redo()


def test_undo_and_redo_with_the_review_open(application, viewers, cube, frames, turn):
    original, cleaned, rejection_map = viewers
    application._actions["undo"].trigger()
    turn()
    assert [cid.label for cid in cube.main_components] == ["flux"]
    assert len(application.data_collection) == 1
    left = application.viewers[-1]
    assert original in left
    assert cleaned in left
    assert rejection_map not in left
    assert np.array_equal(shown(cleaned), frames[0])
    original.state.slices = (2, 0, 0)
    assert np.array_equal(shown(cleaned), frames[2])
    assert cleaned.window_title == "Original: field"  # no longer what it was called
    layers = [viewer.state.layers[0] for viewer in (original, cleaned)]
    assert (layers[0].v_min, layers[0].v_max) == (layers[1].v_min, layers[1].v_max)
    application._actions["redo"].trigger()
    turn()
    assert cleaned.window_title == "Cleaned: field"
    assert shown(cleaned)[17, 24] < 300 < shown(original)[17, 24]
    assert (layers[0].v_min, layers[0].v_max) == (layers[1].v_min, layers[1].v_max)
    assert [cid.label for cid in cube.main_components] == ["flux", "flux cleaned", "flux rejected", "flux event"]
    assert len(application.data_collection) == 4


def test_the_review_of_an_undone_result_is_refused(application, summary):
    application._actions["undo"].trigger()
    tabs = application.tab_count
    with pytest.raises(ValueError, match="not in the session any more"):
        open_review(application.session, summary.attached)
    assert application.tab_count == tabs
    application._actions["redo"].trigger()
    assert len(open_review(application.session, summary.attached)) == 3


def test_a_subset_on_the_map_is_seen_in_the_cleaned_viewer(application, viewers):
    from glue.core.roi import RectangularROI

    _, cleaned, rejection_map = viewers
    rejection_map.apply_roi(RectangularROI(8.5, 12.5, 3.5, 6.5))
    layer = next(state for state in cleaned.state.layers if hasattr(state.layer, "subset_state"))
    mask = layer.get_sliced_data()
    assert mask[4:7, 9:13].all()
    assert mask.sum() == 12


def test_detection_alone_has_no_cleaned_viewer(application, cube, quick_core, run):
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.repair = "none"
    attached = run(dialog).attached
    assert attached.cleaned is None
    viewers = open_review(application.session, attached)
    assert [viewer.window_title.split(":")[0].split(",")[0] for viewer in viewers] == ["Original", "Rejection map"]


def test_frames_along_another_axis(application, frames, quick_core, run):
    data = Data(label="turned")
    data.add_component(np.moveaxis(frames, 0, 1).copy(), "flux")
    application.data_collection.append(data)
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.axis = 1
    summary = run(dialog)
    summary.button_review.click()
    original, cleaned, rejection_map = (v for v in application.viewers[-1] if isinstance(v, ImageViewer))
    assert np.array_equal(shown(original), frames[0])
    original.state.slices = (0, 3, 0)
    assert np.array_equal(shown(original), frames[3])
    assert shown(cleaned)[23, 31] < 300
    assert shown(rejection_map)[23, 31] == 4


def test_limits_ignore_what_is_not_finite():
    values = np.full((3, 4, 5), np.nan)
    data = Data(label="x")
    data.add_component(values, "a")
    assert show_limits(data, data.id["a"]) == (0.0, 1.0)
    data.update_components({data.id["a"]: np.where(np.isnan(values), 7.0, values)})
    assert show_limits(data, data.id["a"]) == (7.0, 8.0)


def choose_review(application, data):
    """What a person does in the data list: the context menu of `data`."""
    tree = application._layer_widget.ui.layerTree
    tree.set_selected_layers([data])
    (action,) = (action for action in tree.actions() if action.text() == REVIEW_LABEL)
    assert action.isVisible()
    action.trigger()


def reviews(application):
    """Of every review tab what its viewers show: the labels of the attributes."""
    return [
        [viewer.state.layers[0].attribute.label for viewer in viewers if isinstance(viewer, ImageViewer)]
        for name, viewers in zip(application.tab_names, application.viewers, strict=True)
        if name.startswith("Review")
    ]


FIRST = ["flux", "flux cleaned", "rejected frame"]
SECOND = ["flux", "flux cleaned 2", "rejected frame"]


def test_the_context_menu_opens_the_review_of_what_was_clicked(application, summary, cube, run):
    summary.close()
    dialog = clean_from_menu(application.session, application.data_collection)
    dialog.state.attribute = cube.id["flux"]
    run(dialog).close()
    first, second = find_attached(application.data_collection)
    choose_review(application, first.map)
    choose_review(application, second.map)
    choose_review(application, cube)  # the newest
    choose_review(application, first.events)
    assert reviews(application) == [FIRST, SECOND, SECOND, FIRST]
    maps = [viewers[2].state.layers[0].layer for viewers in application.viewers[1:]]
    assert maps == [first.map, second.map, second.map, first.map]


def test_the_plugins_menu_opens_the_newest_review_through_undo_and_redo(application, summary, monkeypatch):
    summary.close()
    action = next(action for action in application._actions["plugins"] if action.text() == REVIEW_LABEL)
    action.trigger()
    assert reviews(application) == [FIRST]
    application._actions["undo"].trigger()
    shown = []
    monkeypatch.setenv("GLUE_TESTING", "False")  # so that the message box is shown as for a person
    monkeypatch.setattr(QtWidgets.QMessageBox, "exec_", lambda box: shown.append(box.text()), raising=False)
    action.trigger()
    monkeypatch.setenv("GLUE_TESTING", "True")
    assert len(shown) == 1
    assert "Nothing in the session was cleaned" in shown[0]
    application._actions["redo"].trigger()
    action.trigger()
    assert reviews(application)[-1] == FIRST


def test_data_that_belong_to_no_cleaning_have_no_review(application, summary):
    other = Data(label="other", a=np.ones((4, 5)))
    application.data_collection.append(other)
    with pytest.raises(ValueError, match="other is no part of a cleaned image set"):
        review_layer(other, application.data_collection)


def test_a_removed_map_is_left_out(application, summary, cube):
    attached = summary.attached
    application.data_collection.remove(attached.map)
    choose_review(application, cube)
    assert reviews(application) == [FIRST[:2]]
