"""A traced pixel beside the result it comes from, in words, and found from any viewer; without Qt."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from glue.core import Data
from glue.core.link_helpers import LinkSame
from glue.viewers.image.viewer import SimpleImageViewer
from matplotlib import pyplot
from matplotlib.figure import Figure
from viewer_sets import attach

from glue_cleanset.core.inspect import PixelTrace
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.viewer.attach import OUTPUTS, RUNS, find_attached
from glue_cleanset.viewer.colors import frame_colormap
from glue_cleanset.viewer.overrule import Overrule, plan_overrule
from glue_cleanset.viewer.stack import FACTS, NAMES, stack_images
from glue_cleanset.viewer.trace import (
    TracedPixel,
    Tracer,
    TraceState,
    describe,
    find_traced,
    frame_times,
    pixel_of,
    place_of,
    summarize,
)
from glue_cleanset.viewer.trace_plot import TracePlot, value_limits


@pytest.fixture(autouse=True)
def no_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def field(app, small_set):
    """The small set as data, not cleaned."""
    data = Data(label="field")
    data.add_component(small_set.frames.copy(), "flux")
    data.get_component("flux").units = "count"
    app.data_collection.append(data)
    return data


@pytest.fixture
def attached(app, field, small_result):
    return attach(app, field, result=small_result)


def show(app, data, x=None, y=None, slices=None):
    """The state of an image viewer of `data`, with its axes x and y."""
    state = app.new_data_viewer(SimpleImageViewer, data).state
    if x is not None:
        state.x_att, state.y_att = data.pixel_component_ids[x], data.pixel_component_ids[y]
    if slices is not None:
        state.slices = slices
    return state


def pixels_of_events(result, count=12):
    """(frame, y, x), from 0, of the peaks of events, the strongest first."""
    order = np.argsort(-np.asarray(result.events["peak_significance"]))[:count]
    return [
        tuple(int(result.events[name][i]) - (name == "frame") for name in ("frame", "y_peak", "x_peak")) for i in order
    ]


def test_what_is_told_of_a_pixel_is_what_the_cleaning_found(attached, small_set, small_result):
    tracer = Tracer(attached)
    labels = small_result.event_labels()
    sizes = dict(zip(small_result.events["event"], small_result.events["pixels"], strict=True))
    for frame, y, x in pixels_of_events(small_result):
        pixel = tracer.trace(y, x)
        np.testing.assert_allclose(pixel.trace.value, small_set.frames[:, y, x], rtol=1e-6)
        np.testing.assert_array_equal(pixel.trace.rejected, small_result.rejected[:, y, x])
        rejected = small_result.rejected[:, y, x]
        np.testing.assert_array_equal(pixel.repaired, np.where(rejected, small_result.cleaned[:, y, x], np.nan))
        np.testing.assert_array_equal(pixel.event, labels[:, y, x])
        assert pixel.pixels[frame] == sizes[labels[frame, y, x]]
        assert pixel.unit == "count"
        assert rejected[pixel.strongest]


@pytest.mark.parametrize("outputs", [("cleaned",), ("event",), ("map",), ("frames",)])
def test_what_was_rejected_is_known_from_whatever_was_attached(app, field, small_result, outputs):
    tracer = Tracer(attach(app, field, result=small_result, outputs=outputs))
    for _, y, x in [*pixels_of_events(small_result), (0, 1, 1), (0, 90, 120)]:
        pixel = tracer.trace(y, x)
        np.testing.assert_array_equal(pixel.trace.rejected, small_result.rejected[:, y, x])
        assert (pixel.repaired is not None) == (outputs == ("cleaned",))
        assert (pixel.event is not None) == (outputs == ("event",))


def test_frames_may_lie_on_any_axis(app, small_set, small_result):
    data = Data(flux=np.ascontiguousarray(np.moveaxis(small_set.frames, 0, 2)), label="turned")
    app.data_collection.append(data)
    tracer = Tracer(attach(app, data, result=small_result, axis=2))
    frame, y, x = pixels_of_events(small_result, 1)[0]
    pixel = tracer.trace(y, x)
    np.testing.assert_allclose(pixel.trace.value, small_set.frames[:, y, x], rtol=1e-6)
    np.testing.assert_array_equal(pixel.trace.rejected, small_result.rejected[:, y, x])
    assert pixel.strongest == frame


def test_an_overrule_is_seen_at_once(attached, small_result):
    tracer = Tracer(attached)
    frame, y, x = pixels_of_events(small_result, 1)[0]
    before = tracer.trace(y, x)
    rejected, cleaned = attached.cube[attached.rejected].copy(), attached.cube[attached.cleaned].copy()
    rejected[frame, y, x], cleaned[frame, y, x] = 0, attached.cube["flux"][frame, y, x]
    attached.cube.update_components({attached.rejected: rejected, attached.cleaned: cleaned})
    after = tracer.trace(y, x)
    assert before.trace.rejected[frame]
    assert not after.trace.rejected[frame]
    assert np.isnan(after.repaired[frame])
    # what is expected of the others has it among its witnesses
    others = np.arange(len(rejected)) != frame
    assert not np.allclose(after.trace.expected[others], before.trace.expected[others])


def test_what_was_done_by_hand_is_told(app, attached, small_result):
    frame, y, x = pixels_of_events(small_result, 1)[0]
    (kept_y, kept_x) = np.argwhere(~small_result.rejected.any(0))[500]
    restore, reject = np.zeros((2, *small_result.rejected.shape), bool)
    restore[frame, y, x], reject[2, kept_y, kept_x] = True, True
    change = plan_overrule(attached, restore=restore, reject=reject)
    app.session.command_stack.do(Overrule(attached=attached, change=change))
    tracer = Tracer(attached)
    assert describe(tracer.trace(y, x), frame).endswith("sigma, kept by hand")
    assert ", rejected by hand, replaced by " in describe(tracer.trace(kept_y, kept_x), 2)
    assert "by hand" not in describe(tracer.trace(kept_y, kept_x), 3)
    app.session.command_stack.undo()
    tracer.forget()
    assert "by hand" not in describe(tracer.trace(y, x), frame)


def test_new_values_of_the_frames_are_seen_when_the_old_are_forgotten(attached):
    tracer = Tracer(attached)
    assert tracer.trace(5, 6).trace.value[2] < 5000
    values = attached.cube["flux"].copy()
    values[2, 5, 6] = 5000
    attached.cube.update_components({attached.source: values})
    tracer.forget()
    assert tracer.trace(5, 6).trace.value[2] == pytest.approx(5000)


def test_a_pixel_outside_is_refused(attached):
    with pytest.raises(ValueError, match=r"y=96, x=3 lies outside the image of 96 x 128"):
        Tracer(attached).trace(96, 3)


def test_a_result_without_its_noise_model_says_what_to_do(app, attached):
    attached.cube.meta[RUNS][0]["learned"] = None
    (attached,) = find_attached(app.data_collection)
    with pytest.raises(ValueError, match=r"'flux' of 'field' was cleaned by a version .* clean it again"):
        Tracer(attached)


# ---- words


def made(settings=None, repaired=True, **changes):
    """7 frames about 100 ADU, sigma 10, allowed 60 to 140; frame 4 has 412 and is rejected."""
    value = np.array([103.1, 98, 101, 412, 99, 95, 102.0])
    rejected = np.arange(7) == 3
    full = np.ones(7)
    fields = {"value": value, "expected": 100 * full, "sigma": 10 * full, "lowest": 60 * full, "highest": 140 * full}
    trace = PixelTrace(y=5, x=6, reference=100.0, rejected=rejected, **fields)
    trace = replace(trace, **{name: np.array(v) for name, v in changes.items()})
    rejected = trace.rejected
    return TracedPixel(
        trace,
        np.where(rejected, 203.14, np.nan) if repaired else None,
        np.where(rejected, 118, 0),
        np.where(rejected, 7, 0),
        settings=settings or CleanSettings(),
    )


def with_value(frame, value, **kwargs):
    values = made().trace.value
    values[frame] = value
    return made(value=values, **kwargs)


def test_a_rejected_sample_is_told_in_words():
    assert describe(made(), 3) == "frame 4: +312 ADU, 31.2 sigma, event 118 (7 px), replaced by 203.1"


def test_a_kept_sample_is_told_in_words():
    assert describe(made(), 0) == "frame 1: +3.10 ADU, 0.3 sigma, kept"
    assert describe(made(), 5) == "frame 6: -5.00 ADU, -0.5 sigma, kept"


def test_a_sample_that_was_not_used_is_told_in_words():
    assert describe(with_value(2, np.nan), 2) == "frame 3: not used"


def test_only_what_is_known_is_told():
    pixel = replace(made(repaired=False), event=None, pixels=None, unit="electron")
    assert describe(pixel, 3) == "frame 4: +312 electron, 31.2 sigma"
    assert describe(replace(made(), pixels=None), 3) == "frame 4: +312 ADU, 31.2 sigma, event 118, replaced by 203.1"
    assert describe(replace(made(), repaired=np.full(7, np.nan)), 3).endswith("replaced by NaN")
    alone = made(expected=np.full(7, np.nan), lowest=np.full(7, np.nan), highest=np.full(7, np.nan))
    assert describe(alone, 0) == "frame 1: 103.1 ADU, no other frame to compare it with, kept"


@pytest.mark.parametrize(
    ("settings", "value", "told"),
    [
        (CleanSettings(), 130, "rejected on the word of its neighbours,"),
        (CleanSettings(), 70, "rejected on the word of its neighbours,"),
        (CleanSettings(low=(2, 3.5)), 70, "rejected although within the limits,"),
        (CleanSettings(grow=2), 130, "rejected on the word of its neighbours or by grow 2,"),
        (CleanSettings(grow=2), 110, "rejected by grow 2,"),
        (CleanSettings(detection="mad", grow=1), 130, "rejected by grow 1,"),
        (CleanSettings(), 110, "rejected although within the limits,"),
        (CleanSettings(), 412, "event 118 (7 px), replaced"),
    ],
)
def test_a_sample_rejected_within_its_limits_is_explained(settings, value, told):
    assert told in describe(with_value(3, value, settings=settings), 3)


@pytest.mark.parametrize(
    ("settings", "rejected", "told"),
    [
        (CleanSettings(), [3], "kept although beyond the limits"),
        (CleanSettings(), [1, 2, 3], "kept although beyond the limits: at most 3 frames are rejected"),
        (CleanSettings(max_rejected=1), [3], "kept although beyond the limits: at most 1 frame is rejected"),
        (CleanSettings(min_frames=6), [3], "kept although beyond the limits: at least 6 must remain"),
        (CleanSettings(detection="sigma"), [1, 2, 3], "kept although beyond the limits"),
    ],
)
def test_a_sample_kept_beyond_its_limits_is_explained(settings, rejected, told):
    pixel = with_value(0, 300, settings=settings, rejected=np.isin(np.arange(7), rejected))
    assert describe(pixel, 0) == f"frame 1: +200 ADU, 20.0 sigma, {told}"


def test_the_whole_pixel_is_summed_up():
    assert summarize(made()) == "pixel x=6, y=5: rejected in 1 of 7 frames: 4"
    assert summarize(made(rejected=np.zeros(7, bool))) == "pixel x=6, y=5: kept in all 7 frames"


def test_the_strongest_is_among_the_rejected_if_there_are_any():
    assert made().strongest == 3
    assert with_value(1, 5000).strongest == 3
    assert with_value(1, -5000, rejected=np.zeros(7, bool)).strongest == 1
    assert with_value(1, np.nan, rejected=np.zeros(7, bool)).strongest == 3


# ---- from a viewer to the pixel and back


@pytest.mark.parametrize(
    ("x", "y", "slices", "expected", "place"),
    [
        (2, 1, (4, 0, 0), (4, 20, 30), (30, 20)),
        (1, 2, (4, 0, 0), (4, 30, 20), (30, 20)),
        (2, 0, (0, 15, 0), (8, 15, 30), (30, 8)),
        (0, 1, (0, 0, 77), (8, 20, 77), (8, 20)),
    ],
)
def test_a_position_on_the_cube_is_a_pixel_of_a_frame(app, attached, x, y, slices, expected, place):
    state = show(app, attached.cube, x, y, slices)
    position = place[0] + 0.4, place[1] - 0.5
    assert pixel_of(state, *position, attached) == expected
    assert place_of(state, attached, *expected) == place


@pytest.mark.parametrize("position", [(None, None), (-0.6, 3), (3, -0.6), (127.5, 3), (3, 95.5)])
def test_outside_the_image_is_no_pixel(app, attached, position):
    assert pixel_of(show(app, attached.cube), *position, attached) is None
    assert pixel_of(show(app, attached.map), *position, attached) is None


def test_a_position_on_the_map_is_a_pixel_of_all_frames(app, attached):
    state = show(app, attached.map)
    assert find_traced(state, app.data_collection).source is attached.source
    assert pixel_of(state, 30, 20, attached) == (None, 20, 30)
    assert place_of(state, attached, 3, 20, 30) == (30, 20)


def test_an_image_of_the_stack_knows_its_frame(app, small_set, small_result):
    images = [Data(flux=frame, label=f"image {i}") for i, frame in enumerate(small_set.frames)]
    app.data_collection.extend(images)
    attached = attach(app, stack_images(images), result=small_result, images=images)
    state = show(app, images[5])
    assert find_traced(state, app.data_collection).cube is attached.cube
    assert pixel_of(state, 30, 20, attached) == (5, 20, 30)
    assert place_of(state, attached, 5, 20, 30) == (30, 20)


def test_a_linked_image_shows_the_pixels_that_its_links_say(app, attached):
    """An image of half the size, its axes swapped: pixel (i, j) of it is pixel (x = i + 10, y = j) of the cube."""
    image = Data(other=np.zeros((50, 40)), label="other")
    app.data_collection.append(image)
    image.add_component(image.pixel_component_ids[0] + 10, "shifted")
    _, y, x = attached.cube.pixel_component_ids
    state = show(app, image)
    with pytest.raises(ValueError, match="'other' is no part of a cleaned image set"):
        find_traced(state, app.data_collection)
    assert pixel_of(state, 3, 7, attached) is None
    app.data_collection.add_link([LinkSame(y, image.pixel_component_ids[1]), LinkSame(x, image.id["shifted"])])
    assert find_traced(state, app.data_collection).cube is attached.cube
    assert pixel_of(state, 3, 7, attached) == (None, 3, 17)


def test_a_cube_of_the_same_shape_shows_the_same_pixels(app, attached):
    twin = Data(weight=np.ones(attached.cube.shape), label="weights")
    app.data_collection.append(twin)
    state = show(app, twin, slices=(6, 0, 0))
    assert find_traced(state, app.data_collection).cube is attached.cube
    assert pixel_of(state, 30, 20, attached) == (6, 20, 30)
    assert place_of(state, attached, 6, 20, 30) == (30, 20)


def test_the_attribute_on_display_tells_which_cleaning(app, field, small_result):
    first = attach(app, field, result=small_result)
    second = attach(app, field, result=small_result)
    state = show(app, field)
    assert find_traced(state, app.data_collection).cleaned is second.cleaned
    state.layers[0].attribute = first.cleaned
    assert find_traced(state, app.data_collection).cleaned is first.cleaned
    assert find_traced(show(app, first.map), app.data_collection).cleaned is first.cleaned


def test_what_cannot_be_traced_says_why(app, field, small_result):
    state = show(app, field)
    with pytest.raises(ValueError, match="'field' is no part of a cleaned image set; choose 'Clean image set…'"):
        find_traced(state, app.data_collection)
    attached = attach(app, field, result=small_result)
    state.layers[0].attribute = attached.cleaned
    field.remove_component(attached.source)
    with pytest.raises(ValueError, match="The attribute of 'field' that was cleaned is not there any more"):
        find_traced(state, app.data_collection)
    with pytest.raises(ValueError, match="no image"):
        find_traced(SimpleNamespace(reference_data=None), app.data_collection)


# ---- time


def dated(*dates):
    data = Data(flux=np.zeros((3, 4, 5)))
    data.meta[FACTS["date"]] = list(dates)
    return data


def test_times_count_from_the_first_exposure():
    times, label = frame_times(dated("2024-03-01T23:30:00.000", "2024-03-01T23:00:00.000", "2024-03-02T00:15:00.000"))
    np.testing.assert_allclose(times, [30, 0, 75])
    assert label == "time since 2024-03-01T23:00:00 UTC [min]"
    times, label = frame_times(dated("2024-03-01T00:00:00", "2024-03-02T12:00:00", "2024-03-05T00:00:00"))
    np.testing.assert_allclose(times, [0, 1.5, 4])
    assert label.endswith("[d]")


@pytest.mark.parametrize(
    "dates",
    [
        ("2024-03-01T23:30:00", "", "2024-03-01T23:40:00"),
        ("2024-03-01T23:30:00", float("nan"), "2024-03-01T23:40:00"),
        ("2024-03-01T23:30:00", "soon", "2024-03-01T23:40:00"),
        ("2024-03-01T23:30:00",) * 3,
        ("2024-03-01T23:30:00", "2024-03-01T23:31:00"),
    ],
)
def test_there_is_no_time_axis_without_a_time_for_each_frame(dates):
    assert frame_times(dated(*dates)) is None


def test_frames_have_the_names_that_the_cube_knows(app, attached):
    assert Tracer(attached).trace(3, 4).names == ()
    attached.cube.meta[NAMES] = [f"night{i}" for i in range(9)]
    assert Tracer(attached).trace(3, 4).names[8] == "night8"


# ---- state


def test_a_click_pins_a_pixel_and_a_second_one_frees_it():
    state, run = TraceState(), object()
    state.hover(run, 2, 5, 6)
    assert (state.attached, state.pixel, state.frame, state.pinned) == (run, (5, 6), 2, False)
    state.click(run, 2, 5, 6)
    state.hover(run, 3, 7, 8)
    assert (state.pixel, state.frame, state.pinned) == ((5, 6), 2, True)
    state.click(run, 3, 7, 8)
    assert (state.pixel, state.frame, state.pinned) == ((7, 8), 3, True)
    state.click(run, 3, 7, 8)
    assert (state.pixel, state.pinned) == ((7, 8), False)
    state.clear("gone")
    assert (state.attached, state.pixel, state.frame, state.message) == (None, None, None, "gone")


# ---- plot


def test_what_is_allowed_is_seen_however_strong_the_hit():
    pixel = with_value(3, 60000)
    low, high = value_limits(pixel)
    assert 40 < low < 60
    assert 203.14 < high < 230
    low, high = value_limits(pixel, whole_range=True)
    assert low < 60
    assert 60000 < high < 70000


def test_a_rejected_value_near_the_band_has_its_place():
    assert value_limits(with_value(3, 170))[1] > 170
    assert value_limits(with_value(3, -20))[0] < -20


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_limits_are_never_equal(value):
    nothing = np.full(7, np.nan)
    pixel = made(value=np.full(7, value), expected=nothing, lowest=nothing, highest=nothing, repaired=False)
    low, high = value_limits(pixel)
    assert np.isfinite([low, high]).all()
    assert low < high


def test_points_are_drawn_where_and_in_the_colours_that_they_should():
    axes = Figure().add_subplot()
    plot = TracePlot(axes)
    assert not plot.kept.get_visible()
    rejected = np.isin(np.arange(7), [1, 3, 4])
    values = np.array([103, 160, 101, 60000, -9000, 95, 102.0])
    plot.show(made(value=values, rejected=rejected), 4)
    low, high = axes.get_ylim()
    np.testing.assert_array_equal(plot.kept.get_xydata(), [[1, 103], [3, 101], [6, 95], [7, 102]])
    np.testing.assert_array_equal(plot.points.get_offsets(), [[2, 160]])
    for artist, frame in ((plot.points, 2), (plot.above, 4), (plot.below, 5)):
        np.testing.assert_allclose(artist.get_facecolor(), [frame_colormap(7)(frame)])
        ((x, y),) = artist.get_offsets()
        assert x == frame
        assert low < y < high
    assert {label.get_text() for label in plot.labels if label.get_visible()} == {"60000", "-9000"}
    np.testing.assert_array_equal(plot.repaired.get_xydata()[rejected], [[2, 203.14], [4, 203.14], [5, 203.14]])
    assert list(plot.current.get_xdata()) == [5, 5]
    assert [path.get_extents().bounds for path in plot.band.get_paths()] == [
        pytest.approx((k - 0.4, 60, 0.8, 80)) for k in range(1, 8)
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frame", "value [ADU]")

    plot.show(made(), 0, (np.array([0, 1, 2, 4, 8, 16, 32.0]), "time [h]"), whole_range=True)
    assert axes.get_xlabel() == "time [h]"
    np.testing.assert_array_equal(plot.points.get_offsets(), [[4, 412]])
    assert not any(label.get_visible() for label in plot.labels)
    plot.clear()
    assert not any(artist.get_visible() for artist in plot.artists)


def test_every_output_can_be_missing(app, field, small_result):
    """The plot takes whatever a tracer gives."""
    axes = Figure().add_subplot()
    plot = TracePlot(axes)
    for output in OUTPUTS:
        attached = attach(app, field, result=small_result, outputs=(output,))
        frame, y, x = pixels_of_events(small_result, 1)[0]
        pixel = Tracer(attached).trace(y, x)
        plot.show(pixel, frame)
        axes.figure.canvas.draw()
        assert len(plot.points.get_offsets()) + len(plot.above.get_offsets()) > 0
