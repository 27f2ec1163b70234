"""What the events are: in the tables, on the map, in colours and in words; corrected, and one kind shown alone."""

import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from glue.config import colormaps
from glue.core import Data
from glue.core.roi import RectangularROI
from glue.core.state import GlueSerializer
from glue.core.subset import ElementSubsetState, RoiSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from skimage.color import deltaE_ciede2000, rgb2lab
from viewer_sets import ViewerApplication, attach, clean_with_kinds, subset_of

from glue_cleanset import CleanSettings, clean_image_set
from glue_cleanset.core.settings import KINDS
from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.colors import kind_color, kind_colormap, show_kinds
from glue_cleanset.viewer.kinds import set_kind, show_kind, shown_kind
from glue_cleanset.viewer.legend import FrameLegend
from glue_cleanset.viewer.overrule import repair_object, restore_event
from glue_cleanset.viewer.trace import Tracer, describe, summarize
from glue_cleanset.viewer.trace_plot import TracePlot, value_limits
from glue_cleanset.viewer.views import map_title, show_kind_map, show_rejected_frame


@pytest.fixture(scope="module")
def cleaned():
    return clean_with_kinds()


@pytest.fixture
def result(cleaned):
    return cleaned[1]


@pytest.fixture
def stars(app, cleaned):
    data = Data(flux=cleaned[0], label="stars")
    app.data_collection.append(data)
    return data


@pytest.fixture
def attached(app, stars, result):
    return attach(app, stars, result=result)


def numbers_of(result, kind):
    return result.events["event"][result.events["kind"] == kind].tolist()


def reopened(app, tmp_path):
    path = str(tmp_path / "session.glu")
    app.save_session(path)
    return ViewerApplication.restore_session(path)


# ---- in the tables and on the map


def test_kinds_are_categories_in_their_order(attached, result):
    component = attached.events.get_component(attached.events.id["kind"])
    assert component.categories.tolist() == list(KINDS)
    np.testing.assert_array_equal(component.labels, result.events["kind"])
    np.testing.assert_array_equal(component.codes, [list(KINDS).index(kind) for kind in result.events["kind"]])
    np.testing.assert_allclose(attached.events["confidence"], result.events["confidence"], rtol=1e-5)


def test_the_map_and_the_frames_tell_them(attached, result):
    np.testing.assert_array_equal(attached.map["kind"], result.kind_map)
    assert attached.map["kind"].dtype == np.uint8
    for kind in KINDS:
        np.testing.assert_array_equal(attached.frames[kind], result.summary[kind.replace(" ", "_")])
        assert attached.frames[kind].sum() == len(numbers_of(result, kind))


def test_remarks_of_the_frames_are_told(app, stars, result):
    summary = result.summary.copy()
    summary["remark"] = ["", "", "bad frame: clouded", "", "", ""]
    attached = attach(app, stars, result=replace(result, summary=summary))
    assert attached.frames["remark"].tolist() == summary["remark"].tolist()
    set_kind(app.session, attached, numbers_of(result, "trail"), "other")
    assert attached.frames["remark"].tolist() == summary["remark"].tolist()


def test_a_cleaning_without_kinds_is_attached_and_a_person_can_tell_them(app, stars, cleaned):
    attached = attach(app, stars, result=clean_image_set(cleaned[0], CleanSettings(kinds=False)))
    assert attached.settings.kinds is False
    assert set(attached.events["kind"]) == {"other"}
    set_kind(app.session, attached, attached.events["event"][:2].tolist(), "trail")
    assert attached.events["kind"][:3].tolist() == ["trail", "trail", "other"]


# ---- corrected by a person


def test_a_corrected_kind_is_seen_everywhere_and_undone(app, attached, result):
    numbers = numbers_of(result, "hot pixel")[:2]
    rows = np.isin(result.events["event"], numbers)
    before = {cid.label: np.array(attached.events[cid]) for cid in attached.events.main_components}
    frames_before = {cid.label: np.array(attached.frames[cid]) for cid in attached.frames.main_components}
    command = set_kind(app.session, attached, numbers, "cosmic ray")
    assert command.label == "2 events called 'cosmic ray' by hand"
    assert attached.record["overrules"] == attached.map.meta["overrules"] == [command.label]
    assert set(attached.events["kind"][rows]) == {"cosmic ray"}
    assert set(attached.events["confidence"][rows]) == {1}
    for label, values in before.items():
        if label not in ("kind", "confidence"):
            np.testing.assert_array_equal(attached.events[label], values)
    np.testing.assert_array_equal(attached.events["kind"][~rows], result.events["kind"][~rows])
    pixels = np.isin(result.event_labels(), numbers)
    single = pixels.any(0) & ((result.event_labels() > 0).sum(0) == 1)
    assert single.any()
    assert set(attached.map["kind"][single]) == {1 + list(KINDS).index("cosmic ray")}
    np.testing.assert_array_equal(attached.map["kind"][~pixels.any(0)], result.kind_map[~pixels.any(0)])
    moved = np.bincount(result.events["frame"][rows] - 1, minlength=6)
    np.testing.assert_array_equal(attached.frames["cosmic ray"], result.summary["cosmic_ray"] + moved)
    np.testing.assert_array_equal(attached.frames["hot pixel"], result.summary["hot_pixel"] - moved)
    # nothing else
    for cid in attached.frames.main_components:
        if cid.label not in ("cosmic ray", "hot pixel"):
            np.testing.assert_array_equal(attached.frames[cid], frames_before[cid.label])
    np.testing.assert_array_equal(attached.values(attached.rejected), result.rejected)
    np.testing.assert_array_equal(attached.values(attached.cleaned), result.cleaned)
    np.testing.assert_array_equal(attached.values(attached.event), result.event_labels())

    app.undo()
    for label, values in before.items():
        np.testing.assert_array_equal(attached.events[label], values)
    np.testing.assert_array_equal(attached.map["kind"], result.kind_map)
    np.testing.assert_array_equal(attached.frames["hot pixel"], result.summary["hot_pixel"])
    assert attached.record["overrules"] == []
    app.redo()
    assert set(attached.events["kind"][rows]) == {"cosmic ray"}


def test_a_corrected_kind_stays_in_a_session_and_with_what_is_overruled_later(app, attached, result, tmp_path):
    number = numbers_of(result, "bad frame")[0]
    set_kind(app.session, attached, [number], "variable star")
    again = reopened(app, tmp_path)
    (b,) = find_attached(again.data_collection)
    assert b.record["overrules"] == [f"event {number} called 'variable star' by hand"]
    other = next(n for n in numbers_of(result, "cosmic ray") if n != number)
    restore_event(again.session, b, other)
    row = b.events["event"] == number
    assert b.events["kind"][row].tolist() == ["variable star"]
    assert b.events["confidence"][row] == 1
    assert b.events["kept"][row] == 0  # what it is called does not tell whether it is repaired


def test_what_is_no_moving_object_has_no_track(app, attached, result):
    first = int(result.events["event"][result.events["track"] == 1][0])
    set_kind(app.session, attached, [first], "cosmic ray")
    row = attached.events["event"] == first
    assert attached.events["track"][row] == 0
    assert attached.events["kept"][row] == 1
    pixels = result.event_labels() == first
    repair_object(app.session, attached, 1)
    assert not attached.values(attached.rejected)[pixels].any()
    app.undo()
    app.undo()
    np.testing.assert_array_equal(attached.events["track"], result.events["track"])


def test_events_are_chosen_by_a_subset(app, attached, result):
    rows = app.data_collection.new_subset_group("rows", ElementSubsetState([0, 3], data=attached.events))
    set_kind(app.session, attached, rows, "trail")
    assert attached.events["kind"][[0, 3]].tolist() == ["trail", "trail"]
    number = numbers_of(result, "other")[-1]
    at = result.events[result.events["event"] == number]
    _, y, x = attached.cube.pixel_component_ids
    box = RectangularROI(at["x"][0] - 0.2, at["x"][0] + 0.2, at["y"][0] - 0.2, at["y"][0] + 0.2)
    region = app.data_collection.new_subset_group("region", RoiSubsetState(x, y, box))
    command = set_kind(app.session, attached, region, "hot pixel")
    assert command.label == f"event {number} called 'hot pixel' by hand"


def test_what_cannot_be_said_is_told(app, attached, stars, result):
    number = numbers_of(result, "trail")[0]
    for chosen, kind, problem in (
        ([number], "comet", "kind is 'comet'; choose from 'cosmic ray', 'hot pixel'"),
        ([number, 900, 901], "other", "'stars' has no event 900, 901"),
        ([], "other", "'stars' has no event"),
        (app.data_collection.new_subset_group("none", attached.events.id["pixels"] < 0), "other", "'none' selects no"),
    ):
        with pytest.raises(ValueError, match=problem):
            set_kind(app.session, attached, chosen, kind)
    strange = Data(z=np.arange(3), label="strange")
    app.data_collection.append(strange)
    group = app.data_collection.new_subset_group("strange", strange.id["z"] > 0)
    with pytest.raises(ValueError, match="'strange' selects by something that 'stars events' is not linked to"):
        set_kind(app.session, attached, group, "other")
    set_kind(app.session, attached, [number], "other")
    with pytest.raises(ValueError, match="called 'other' already"):
        set_kind(app.session, attached, [number], "other")
    bare = attach(app, stars, result=result, outputs=("cleaned", "event"))
    for act in (lambda: set_kind(app.session, bare, [1], "other"), lambda: show_kind(app.session, bare, "other")):
        with pytest.raises(ValueError, match="The kinds of the events of 'stars' are not in the session"):
            act()
    assert len(app.session.command_stack._command_stack) == 3


# ---- one kind shown alone


def check_selection(group, attached, result, kind):
    numbers = numbers_of(result, kind)
    assert numbers
    np.testing.assert_array_equal(subset_of(attached.events, group), np.isin(result.events["event"], numbers))
    np.testing.assert_array_equal(subset_of(attached.cube, group), np.isin(result.event_labels(), numbers))
    np.testing.assert_array_equal(subset_of(attached.map, group), result.kind_map == 1 + list(KINDS).index(kind))


def test_one_subset_goes_from_kind_to_kind(app, attached, result):
    assert shown_kind(app.session, attached) is None
    group = show_kind(app.session, attached, "moving object")
    assert group.label == shown_kind(app.session, attached) == "moving object"
    assert group.style.color == kind_color("moving object")
    check_selection(group, attached, result, "moving object")
    assert subset_of(attached.tracks, group).all()
    for kind in ("variable star", "cosmic ray"):
        assert show_kind(app.session, attached, kind) is group
        assert (group.label, group.style.color) == (kind, kind_color(kind))
        check_selection(group, attached, result, kind)
    assert app.data_collection.subset_groups == (group,)
    assert show_kind(app.session, attached, None) is None
    assert show_kind(app.session, attached, None) is None
    assert not app.data_collection.subset_groups


def test_it_follows_what_a_person_corrects(app, attached, result):
    group = show_kind(app.session, attached, "trail")
    check_selection(group, attached, result, "trail")
    number = numbers_of(result, "other")[0]
    set_kind(app.session, attached, [number], "trail")
    assert subset_of(attached.events, group)[result.events["event"] == number].all()
    assert subset_of(attached.cube, group)[result.event_labels() == number].all()


def test_each_cleaning_has_its_own(app, attached, stars, result):
    second = attach(app, stars, result=result)
    groups = [show_kind(app.session, one, "trail") for one in (attached, second)]
    assert [group.label for group in groups] == ["trail", "trail 2"]
    check_selection(groups[1], second, result, "trail")
    show_kind(app.session, attached, "other")
    assert shown_kind(app.session, second) == "trail"


def test_a_session_brings_it_back(app, attached, result, tmp_path):
    show_kind(app.session, attached, "hot pixel")
    again = reopened(app, tmp_path)
    (b,) = find_attached(again.data_collection)
    (group,) = again.data_collection.subset_groups
    assert (group.label, group.style.color) == ("hot pixel", kind_color("hot pixel"))
    check_selection(group, b, result, "hot pixel")
    assert show_kind(again.session, b, "trail") is group
    check_selection(group, b, result, "trail")


# ---- colours


# what people see who lack one kind of cones, linear RGB to linear RGB: Machado, Oliveira & Fernandes 2009, severity 1
CONES = {
    "all": np.eye(3),
    "no long": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no middle": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no short": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize(("cones", "least"), [("all", 25), ("no long", 17), ("no middle", 17), ("no short", 12)])
def test_everybody_can_tell_the_kinds_apart(cones, least):
    rgb = np.array([to_rgb(color) for color in kind_colormap().colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(CONES[cones]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    differences = deltaE_ciede2000(lab[:, None], lab[None])
    assert differences[np.triu_indices(len(lab), 1)].min() > least


def test_every_kind_has_one_colour(app, attached, result):
    colormap = kind_colormap()
    assert kind_colormap() is colormap
    assert [colormap.colors[1 + k] for k in range(len(KINDS))] == [kind_color(kind) for kind in KINDS]
    assert matplotlib.colormaps[colormap.name] == colormap
    assert [known for _, known in colormaps if known.name == colormap.name] == [colormap]
    viewer = app.new_data_viewer(SimpleImageViewer, attached.map)
    show_kind_map(viewer.state.layers[0], attached)
    ny, nx = attached.map.shape
    drawn = viewer.axes._composite(bounds=[(0, ny - 1, ny), (0, nx - 1, nx)])
    expected = np.array([to_rgb(color) for color in colormap.colors])[result.kind_map]
    np.testing.assert_allclose(drawn[..., :3], expected, atol=1e-6)


def test_a_new_process_finds_the_colour_map_of_a_session():
    session = GlueSerializer(kind_colormap()).dumps()
    program = (
        "import sys, glue_cleanset\n"
        "from glue.core.state import GlueUnSerializer\n"
        "glue_cleanset.setup()\n"
        "colormap = GlueUnSerializer.loads(sys.argv[1]).object('__main__')\n"
        "print(colormap.name, colormap.N)"
    )
    done = subprocess.run([sys.executable, "-c", program, session], capture_output=True, text=True)
    assert done.stdout.split("\n")[-2] == f"cleanset kinds {1 + len(KINDS)}", done.stderr


# ---- the legend


@pytest.fixture
def viewer(app, attached):
    viewer = app.new_data_viewer(SimpleImageViewer, attached.map)
    show_kind_map(viewer.state.layers[0], attached)
    return viewer


def names(legend):
    legend.viewer.figure.canvas.draw()
    return [label.get_text() for label in legend.axes.get_yticklabels()][::-1]


def test_the_legend_names_the_kinds_that_there_are(app, attached, viewer, result):
    legend = FrameLegend(viewer)
    there = [kind for code, kind in enumerate(KINDS, start=1) if (result.kind_map == code).any()]
    assert names(legend) == list(legend.kinds) == there
    # each beside its colour
    (bar,) = legend.axes.images
    shown = [to_rgba(kind_color(kind)) for kind in there[::-1]]
    np.testing.assert_allclose(bar.to_rgba(bar.get_array())[:, 0], shown)
    set_kind(app.session, attached, numbers_of(result, "trail"), "other")
    assert names(legend) == [kind for kind in there if kind != "trail"]
    app.undo()
    assert names(legend) == there


def test_it_comes_and_goes_with_what_is_shown(app, attached, viewer):
    legend = FrameLegend(viewer)
    layer = viewer.state.layers[0]
    wide = legend.width
    show_rejected_frame(layer, attached)
    assert legend.kinds == ()
    assert legend.n_frames == 6
    assert 0 < legend.width < wide
    show_kind_map(layer, attached)
    assert legend.width == wide
    layer.v_max = 4  # the colours are not those of the kinds any more
    assert legend.axes is None
    show_kinds(layer)
    assert legend.kinds
    attached.map.update_components({attached.map.id["kind"]: np.zeros(attached.map.shape, np.uint8)})
    assert legend.axes is None
    assert legend.width == 0


def test_the_title_says_what_is_shown(attached):
    assert map_title(attached, attached.map.id["kind"]) == "Kinds of events in all 6 frames"


# ---- one pixel


def peak(result, row):
    return tuple(int(result.events[name][row]) for name in ("y_peak", "x_peak", "frame"))


def test_a_kept_pixel_is_told_in_words(attached, result, cleaned):
    row = int(np.flatnonzero((result.events["track"] == 1) & (result.events["pixels"] > 1))[0])
    y, x, frame = peak(result, row)
    pixel = Tracer(attached).trace(y, x)
    event = result.events[row]
    told = (
        f", event {event['event']} ({event['pixels']} px), kept: moving object ({event['confidence']:.0%}), track 1"
    ).replace("%", " %")
    assert describe(pixel, frame - 1).endswith(told)
    assert summarize(pixel) == f"pixel x={x}, y={y}: event kept in 1 of 6 frames: {frame}"
    assert pixel.strongest == frame - 1
    # it has no say in what is expected of the others
    others = np.arange(6) != frame - 1
    assert pixel.trace.reference == pytest.approx(np.mean(cleaned[0][others, y, x]), abs=20)
    assert not pixel.trace.rejected.any()
    assert np.isnan(pixel.repaired).all()


def test_a_rejected_pixel_is_told_with_its_kind(app, attached, result):
    row = int(np.flatnonzero(result.events["kind"] == "cosmic ray")[0])
    y, x, frame = peak(result, row)
    confidence = f"{result.events['confidence'][row]:.0%}".replace("%", " %")
    told = describe(Tracer(attached).trace(y, x), frame - 1)
    assert f" px), cosmic ray ({confidence}), replaced by " in told
    repair_object(app.session, attached, 1)
    y, x, frame = peak(result, int(np.flatnonzero(result.events["track"] == 1)[0]))
    told = describe(Tracer(attached).trace(y, x), frame - 1)
    assert ", moving object (" in told
    assert "), track 1, rejected by hand, replaced by " in told


@pytest.mark.parametrize("outputs", [("event",), ("event", "map"), ("rejected",), ("cleaned",), ("frames",)])
def test_a_kept_pixel_is_known_from_whatever_was_attached(app, stars, result, outputs):
    attached = attach(app, stars, result=result, outputs=outputs)
    y, x, frame = peak(result, int(np.flatnonzero(result.events["track"] == 1)[0]))
    pixel = Tracer(attached).trace(y, x)
    np.testing.assert_array_equal(pixel.trace.rejected, result.rejected[:, y, x])
    assert describe(pixel, frame - 1).endswith("kept: part of an event")


def test_the_plot_marks_what_is_kept_in_another_way(attached, result):
    plot = TracePlot(Figure().add_subplot())
    y, x, frame = peak(result, int(np.flatnonzero(result.events["track"] == 1)[0]))
    tracer = Tracer(attached)
    pixel = tracer.trace(y, x)
    plot.show(pixel, frame - 1, whole_range=True)
    assert plot.held.get_offsets().tolist() == [[frame, pixel.trace.value[frame - 1]]]
    np.testing.assert_allclose(plot.held.get_facecolor(), [to_rgba(kind_color("moving object"))])
    assert not len(plot.points.get_offsets())
    assert frame not in plot.kept.get_xdata()
    assert "kept event" in [text.get_text() for text in plot.legend.get_texts()]
    # a bright one does not hide what is allowed
    _, high = value_limits(pixel)
    assert high < pixel.trace.value[frame - 1]
    plot.show(pixel, frame - 1)
    assert not len(plot.held.get_offsets())
    np.testing.assert_allclose(plot.above.get_facecolor(), [to_rgba(kind_color("moving object"))])
    y, x, frame = peak(result, int(np.flatnonzero(result.events["kind"] == "cosmic ray")[0]))
    plot.show(tracer.trace(y, x), frame - 1, whole_range=True)
    assert not len(plot.held.get_offsets())
    assert len(plot.points.get_offsets()) == 1
    assert "kept event" not in [text.get_text() for text in plot.legend.get_texts()]
