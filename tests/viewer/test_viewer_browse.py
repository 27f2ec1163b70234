"""Going from event to event without a window: frame, place, zoom and ring; selections of events both ways."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from glue.core import Data
from glue.core.link_helpers import LinkSame
from glue.core.roi import RectangularROI, XRangeROI
from glue.viewers.histogram.viewer import SimpleHistogramViewer
from glue.viewers.image.viewer import SimpleImageViewer
from glue.viewers.scatter.viewer import SimpleScatterViewer
from viewer_sets import HITS, SHAPE, attach, event_mask, make_frames, make_result, subset_of

from glue_cleanset.viewer.attach import OUTPUTS
from glue_cleanset.viewer.browse import (
    EventBrowser,
    EventMark,
    attached_of,
    clear_marks,
    event_order,
    find_event,
    go_to_event,
)

BIG = (4, 300, 400)
# a single pixel, a trail of 3 x 101 pixels, one at the border
BIG_HITS = (((0, 250, 30),), tuple((2, y, x) for y in (100, 101, 102) for x in range(200, 301)), ((3, 0, 399),))


def marks(viewer):
    return [patch for patch in viewer.axes.patches if isinstance(patch, EventMark)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def center(state):
    return (state.x_min + state.x_max) / 2, (state.y_min + state.y_max) / 2


@pytest.fixture
def big(app):
    data = Data(flux=make_frames(BIG), label="big")
    app.data_collection.append(data)
    return attach(app, data, result=make_result(data["flux"], hits=BIG_HITS))


@pytest.mark.parametrize("outputs", [tuple(OUTPUTS), ("events",)])
def test_an_event_is_found_by_its_number(app, cube, outputs):
    a = attach(app, cube, outputs=outputs)
    for number, pixels in enumerate(HITS, start=1):
        event = find_event(a, number)
        assert event.number == number
        assert event.center[0] == pixels[0][0]
        truth = [(min(side) + max(side)) / 2 for side in zip(*pixels, strict=True)]
        assert np.allclose(event.center, truth, atol=0.01 if a.event is not None else 0.5)
    assert find_event(a, 2).size == pytest.approx(3 if a.event is not None else 3**0.5)
    with pytest.raises(ValueError, match="stars has no event 9"):
        find_event(a, 9)


def test_the_box_of_an_event_is_its_own(app, cube):
    # two events touch corners in the same frame
    hits = (((1, 4, 4), (1, 4, 5)), ((1, 5, 6), (1, 5, 7), (1, 5, 8), (1, 5, 9)))
    a = attach(app, cube, result=make_result(cube["flux"], hits=hits))
    assert find_event(a, 1) == type(find_event(a, 1))(1, (1.0, 4.0, 4.5), 2.0)
    assert find_event(a, 2).center == (1.0, 5.0, 7.5)
    assert find_event(a, 2).size == 4


def test_the_order_is_that_of_a_column(app, cube):
    events = attach(app, cube).events  # significance 10, 20, 30, 40; 1, 3, 2, 1 pixels
    assert event_order(events).tolist() == [4, 3, 2, 1]
    assert event_order(events, "pixels").tolist() == [2, 3, 1, 4]
    assert event_order(events, "frame", descending=False).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_all_viewers_of_the_set_go_there(app, axis):
    frames = make_frames()
    cube = Data(flux=np.moveaxis(frames, 0, axis).copy(), label="stars")
    app.data_collection.append(cube)
    a = attach(app, cube, axis=axis)
    other = Data(flux=np.zeros(cube.shape), label="another cube of these frames")
    stranger = Data(flux=np.zeros(cube.shape), label="not linked")
    app.data_collection.extend([other, stranger])
    app.data_collection.add_link(
        [LinkSame(p, q) for p, q in zip(cube.pixel_component_ids, other.pixel_component_ids, strict=True)]
    )
    on_cube, on_map, on_other, on_stranger = (
        app.new_data_viewer(SimpleImageViewer, data) for data in (cube, a.map, other, stranger)
    )
    y, x = (i for i in range(3) if i != axis)
    for viewer, data in ((on_cube, cube), (on_other, other), (on_stranger, stranger)):
        viewer.state.x_att, viewer.state.y_att = data.pixel_component_ids[x], data.pixel_component_ids[y]
    before = on_stranger.state.slices, center(on_stranger.state)

    moved = go_to_event(app.viewers, a, 4)

    assert moved == [on_cube, on_map, on_other]
    for viewer in (on_cube, on_other):
        assert viewer.state.slices[axis] == 4
        assert center(viewer.state) == pytest.approx((14, 10))
    assert center(on_map.state) == pytest.approx((14, 10))
    assert (on_stranger.state.slices, center(on_stranger.state)) == before
    assert [len(marks(viewer)) for viewer in app.shown] == [1, 1, 1, 0]
    for viewer in moved:
        assert marks(viewer)[0].center == pytest.approx((14, 10))


def test_a_view_of_frames_against_x_shows_the_row_of_the_event(app, cube):
    a = attach(app, cube)
    viewer = app.new_data_viewer(SimpleImageViewer, cube)
    viewer.state.x_att, viewer.state.y_att = cube.pixel_component_ids[2], cube.pixel_component_ids[0]
    go_to_event([viewer], a, 4)
    assert viewer.state.slices[1] == 10
    assert center(viewer.state) == pytest.approx((14, 4))


def test_the_zoom_is_kept_where_the_event_is_seen_in_it(app, big):
    viewer = app.new_data_viewer(SimpleImageViewer, big.cube)
    state = viewer.state

    def view():
        return min(state.x_max - state.x_min, state.y_max - state.y_min)

    go_to_event([viewer], big, 1)
    assert view() == pytest.approx(60)  # one pixel is not seen in 300
    state.x_min, state.x_max = 0, 100
    width = view()
    go_to_event([viewer], big, 3)
    assert view() == pytest.approx(width)
    assert center(state) == pytest.approx((399, 0))
    state.x_min, state.x_max = 10, 60
    go_to_event([viewer], big, 2)  # 101 pixels long
    assert view() == pytest.approx(404)
    assert center(state) == pytest.approx((250, 101))


def test_a_flipped_view_stays_flipped(app, big):
    viewer = app.new_data_viewer(SimpleImageViewer, big.cube)
    viewer.state.flip_x()
    go_to_event([viewer], big, 1)
    assert viewer.state.x_min > viewer.state.x_max
    assert center(viewer.state) == pytest.approx((30, 250))


def drawn(viewer):
    viewer.figure.canvas.draw()
    return np.asarray(viewer.figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_the_ring_is_seen_on_light_and_on_dark(app, big):
    viewer = app.new_data_viewer(SimpleImageViewer, big.cube)
    layer = viewer.state.layers[0]
    go_to_event([viewer], big, 1)
    for limits in ((1e5, 2e5), (-2e5, -1e5)):  # all black, all white
        layer.v_min, layer.v_max = limits
        with_ring = drawn(viewer)
        (ring,) = marks(viewer)
        ring.set_visible(False)
        without = drawn(viewer)
        ring.set_visible(True)
        assert (np.abs(with_ring - without).sum(-1) > 300).sum() > 60


def test_the_ring_is_never_too_small_to_see(app, big):
    viewer = app.new_data_viewer(SimpleImageViewer, big.cube)
    go_to_event([viewer], big, 1)
    (ring,) = marks(viewer)
    for width in (40, 400, 4000):
        viewer.state.x_min, viewer.state.x_max = 30 - width, 30 + width
        drawn(viewer)
        box = ring.get_window_extent()
        assert box.width >= 17
        assert ring.get_radius() >= 2.5


def test_the_ring_is_dotted_in_other_frames(app, big):
    viewer = app.new_data_viewer(SimpleImageViewer, big.cube)
    on_map = app.new_data_viewer(SimpleImageViewer, big.map)
    go_to_event(app.viewers, big, 2)
    styles = []
    for frame in (2, 3, 2):
        viewer.state.slices = (frame, 0, 0)
        drawn(viewer), drawn(on_map)
        styles.append((marks(viewer)[0].get_linestyle(), marks(on_map)[0].get_linestyle()))
    assert styles == [("-", "-"), (":", "-"), ("-", "-")]


def test_marks_are_taken_away(app, cube):
    a = attach(app, cube)
    viewer = app.new_data_viewer(SimpleImageViewer, cube)
    histogram = app.new_data_viewer(SimpleHistogramViewer, a.events)
    go_to_event([[viewer], [histogram]], a, 1)
    clear_marks(app.viewers)
    assert not marks(viewer)


class TestBrowser:
    @pytest.fixture
    def attached(self, app, cube):
        return attach(app, cube)

    @pytest.fixture
    def viewer(self, app, attached):
        return app.new_data_viewer(SimpleImageViewer, attached.cube)

    @pytest.fixture
    def browser(self, app, viewer):
        return EventBrowser(app)

    def test_choosing(self, browser, attached, viewer):
        seen = []
        browser.add_callback("current", lambda current: seen.append(current))
        assert browser.current is None
        assert browser.choose(attached.events, 2) == [viewer]
        assert browser.current == (attached.events, 2)
        assert browser.number_in(attached.events) == 2
        assert browser.number_in(attached.frames) is None
        assert viewer.state.slices == (1, 0, 0)
        assert len(marks(viewer)) == 1
        browser.leave()
        assert not marks(viewer)
        assert seen == [(attached.events, 2), None]

    def test_what_is_no_event_is_refused(self, browser, attached, viewer):
        browser.choose(attached.events, 1)
        with pytest.raises(ValueError, match="no event 7"):
            browser.choose(attached.events, 7)
        with pytest.raises(ValueError, match="stars frames are not the events"):
            browser.choose(attached.frames, 1)
        assert browser.current == (attached.events, 1)
        assert [mark.number for mark in marks(viewer)] == [1]

    def test_stepping_stays_at_the_ends(self, browser, attached):
        assert [browser.step(attached.events, 1) for _ in range(5)] == [4, 3, 2, 1, 1]
        assert [browser.step(attached.events, -1) for _ in range(4)] == [2, 3, 4, 4]
        browser.leave()
        assert browser.step(attached.events, -1) == 1

    def test_stepping_in_an_order_of_its_own(self, browser, attached):
        assert [browser.step(attached.events, 1, [2, 4, 1]) for _ in range(3)] == [2, 4, 1]
        assert browser.step(attached.events, 1, [3, 2]) == 3  # the current one is not among them
        assert browser.step(attached.events, 1, []) is None
        assert browser.number_in(attached.events) == 3

    def test_the_number_is_kept_when_rows_come_and_go(self, browser, attached, viewer):
        browser.choose(attached.events, 3)
        viewer.state.slices = (0, 0, 0)
        keep(attached.events, [4, 3])
        assert browser.number_in(attached.events) == 3
        assert [mark.number for mark in marks(viewer)] == [3]
        assert viewer.state.slices == (0, 0, 0)  # what a person looks at is left alone
        browser.choose(attached.events, 4)
        assert viewer.state.slices == (4, 0, 0)
        keep(attached.events, [3])
        assert browser.current is None
        assert not marks(viewer)

    def test_an_undo_takes_the_choice_away(self, app, browser, attached, viewer):
        browser.choose(attached.events, 3)
        app.undo()
        assert browser.current is None
        assert not marks(viewer)
        app.redo()
        browser.choose(attached.events, 3)
        assert viewer.state.slices == (2, 0, 0)

    def test_two_results_of_a_cube(self, app, browser, attached, viewer):
        second = attach(app, attached.cube, result=make_result(attached.cube["flux"], hits=HITS[::-1]))
        browser.choose(second.events, 1)
        assert viewer.state.slices == (4, 0, 0)
        browser.choose(attached.events, 1)
        assert viewer.state.slices == (0, 0, 0)
        assert attached_of(app.data_collection, second.events) == second
        assert attached_of(app.data_collection, attached.cube) is None


def keep(events, numbers):
    """Leave only some rows, as overruling events does."""
    rows = [int(np.flatnonzero(events["event"] == number)[0]) for number in numbers]
    other = Data(label=events.label)
    for cid in events.main_components:
        component = events.get_component(cid)
        other.add_component(
            type(component)(component.data[rows]) if component.numeric else events[cid][rows], cid.label
        )
    events.update_values_from_data(other)


def image_masks(viewer, group):
    """The mask of a subset that an image viewer draws, frame by frame."""
    (layer,) = [layer for layer in viewer.state.layers if getattr(layer.layer, "group", None) is group]
    frames = []
    for k in range(SHAPE[0]):
        viewer.state.slices = (k, 0, 0)
        frames.append(layer.get_sliced_data() > 0)
    return np.array(frames)


def test_a_range_of_a_histogram_selects_just_those_events_in_the_images(app, cube):
    a = attach(app, cube)
    image = app.new_data_viewer(SimpleImageViewer, cube)
    histogram = app.new_data_viewer(SimpleHistogramViewer, a.events)
    histogram.state.x_att = a.events.id["peak significance"]
    histogram.apply_roi(XRangeROI(15, 35))  # events 2 and 3
    (group,) = app.data_collection.subset_groups
    np.testing.assert_array_equal(image_masks(image, group), event_mask(2, 3))
    np.testing.assert_array_equal(subset_of(a.events, group), [False, True, True, False])


def test_a_region_of_a_scatter_plot_selects_just_those_events_in_the_images(app, cube):
    a = attach(app, cube)
    image = app.new_data_viewer(SimpleImageViewer, cube)
    scatter = app.new_data_viewer(SimpleScatterViewer, a.events)
    scatter.state.x_att, scatter.state.y_att = a.events.id["pixels"], a.events.id["peak significance"]
    scatter.apply_roi(RectangularROI(0.5, 1.5, 0, 50))  # the events of one pixel
    (group,) = app.data_collection.subset_groups
    np.testing.assert_array_equal(image_masks(image, group), event_mask(1, 4))


def test_a_region_of_an_image_selects_the_rows(app, cube):
    a = attach(app, cube)
    image = app.new_data_viewer(SimpleImageViewer, cube)
    image.apply_roi(RectangularROI(3.5, 8.5, 2.5, 7.5))
    (group,) = app.data_collection.subset_groups
    np.testing.assert_array_equal(subset_of(a.events, group), [True, True, True, False])
    on_map = app.new_data_viewer(SimpleImageViewer, a.map)
    on_map.apply_roi(RectangularROI(13.5, 14.5, 9.5, 10.5))
    (group,) = app.data_collection.subset_groups
    np.testing.assert_array_equal(subset_of(a.events, group), [False, False, False, True])
