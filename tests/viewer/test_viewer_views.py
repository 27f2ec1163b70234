"""Blink, the view of all frames at once, and the legend of the map, by state alone."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
from glue.config import colormaps, settings
from glue.core.message import SettingsChangeMessage
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import attach, make_result

from glue_cleanset.viewer.colors import colormap_frames, frame_colormap, show_frames
from glue_cleanset.viewer.legend import FrameLegend, label_frames, label_values
from glue_cleanset.viewer.views import blink, keep_frames, show_rejected_frame, switch_map


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def attached(app, cube):
    return attach(app, cube)


class TestBlink:
    @pytest.fixture
    def viewer(self, app, attached):
        viewer = app.new_data_viewer(SimpleImageViewer, attached.cube)
        layer = viewer.state.layers[0]
        layer.v_min, layer.v_max = 90, 130
        return viewer

    def test_there_and_back(self, app, attached, viewer):
        layer = viewer.state.layers[0]
        shown = []
        for _ in range(3):
            shown.append((blink(viewer.state, app.data_collection), layer.attribute, viewer.state.title))
            assert (layer.v_min, layer.v_max, layer.percentile) == (90, 130, "Custom")
        cleaned = (attached.cleaned, attached.cleaned, "Cleaned: stars")
        assert shown == [cleaned, (attached.source, attached.source, "Original: stars"), cleaned]

    def test_limits_stay_after_the_other_had_its_own(self, app, attached, viewer):
        layer = viewer.state.layers[0]
        blink(viewer.state, app.data_collection)
        layer.v_min, layer.v_max = 50, 60
        blink(viewer.state, app.data_collection)
        assert (layer.attribute, layer.v_min, layer.v_max) == (attached.source, 50, 60)

    def test_from_another_attribute_to_the_cleaned_one(self, app, attached, viewer):
        viewer.state.layers[0].attribute = attached.rejected
        assert blink(viewer.state, app.data_collection) is attached.cleaned

    def test_a_title_that_a_person_gave_is_kept(self, app, attached, viewer):
        viewer.state.title = "mine"
        blink(viewer.state, app.data_collection)
        assert viewer.state.title == "mine"

    def test_two_results(self, app, attached, viewer):
        second = attach(app, attached.cube)
        assert blink(viewer.state, app.data_collection) is second.cleaned
        blink(viewer.state, app.data_collection)
        assert blink(viewer.state, app.data_collection, back_to=attached.cleaned) is attached.cleaned

    def test_nothing_to_blink(self, app, attached, viewer):
        on_map = app.new_data_viewer(SimpleImageViewer, attached.map)
        assert blink(on_map.state, app.data_collection) is None
        viewer.state.layers[0].visible = False
        assert blink(viewer.state, app.data_collection) is None
        viewer.state.layers[0].visible = True
        app.undo()
        assert blink(viewer.state, app.data_collection) is None


class TestMap:
    @pytest.fixture
    def viewer(self, app, attached):
        viewer = app.new_data_viewer(SimpleImageViewer, attached.map)
        show_rejected_frame(viewer.state.layers[0], attached)
        return viewer

    @pytest.fixture
    def legend(self, viewer):
        return FrameLegend(viewer)

    def test_all_frames_at_once_and_back(self, app, attached, viewer):
        layer = viewer.state.layers[0]
        frames = (layer.attribute, layer.cmap, layer.v_min, layer.v_max, layer.stretch)
        assert switch_map(viewer.state, app.data_collection) is attached.map.id["peak significance"]
        assert viewer.state.title == "Peak significance over all 5 frames"
        assert any(layer.cmap is cmap for _, cmap in colormaps)  # the style editor compares by identity
        values = attached.map["peak significance"]
        assert layer.v_min == 0
        assert np.percentile(values[values > 0], 99) < layer.v_max <= values.max()
        assert switch_map(viewer.state, app.data_collection) is attached.map.id["rejected frame"]
        assert viewer.state.title == "Rejection map, frames 1 to 5 in colour"
        assert (layer.attribute, layer.cmap, layer.v_min, layer.v_max, layer.stretch) == frames

    def test_a_map_without_events(self, app, cube):
        a = attach(app, cube, result=make_result(cube["flux"], hits=()))
        viewer = app.new_data_viewer(SimpleImageViewer, a.map)
        viewer.state.layers[0].attribute = a.map.id["rejected frame"]
        switch_map(viewer.state, app.data_collection)
        assert (viewer.state.layers[0].v_min, viewer.state.layers[0].v_max) == (0, 1)

    def test_no_map_is_switched_elsewhere(self, app, cube, attached):
        viewer = app.new_data_viewer(SimpleImageViewer, cube)
        assert switch_map(viewer.state, app.data_collection) is None

    def test_the_legend_tells_the_colour_of_each_frame(self, attached, viewer, legend):
        assert legend.n_frames == 5
        viewer.figure.canvas.draw()
        picture = np.asarray(viewer.figure.canvas.buffer_rgba())[::-1, :, :3]
        cmap = frame_colormap(5)
        for label in legend.axes.yaxis.get_majorticklocs():
            x, y = legend.axes.transData.transform((0.5, label)).astype(int)
            wanted = (np.array(cmap(int(label))[:3]) * 255).round()
            np.testing.assert_allclose(picture[y, x], wanted, atol=1)
        assert [text.get_text() for text in legend.axes.get_yticklabels()] == ["1", "2", "3", "4", "5"]

    def test_the_legend_comes_and_goes_with_what_is_shown(self, attached, viewer, legend):
        layer = viewer.state.layers[0]
        right = viewer.axes.resizer.margins[1]
        assert legend.width > 0
        layer.attribute = attached.map.id["times rejected"]
        assert (legend.axes, legend.n_frames, legend.width) == (None, None, 0)
        assert viewer.axes.resizer.margins[1] < right
        show_rejected_frame(layer, attached)
        assert legend.n_frames == 5
        assert viewer.axes.resizer.margins[1] == pytest.approx(right)
        layer.cmap = colormaps.members[0][1]
        assert legend.axes is None
        show_frames(layer, 5)
        layer.visible = False
        assert legend.axes is None
        layer.visible = True
        layer.v_max = 3
        assert legend.axes is None
        show_frames(layer, 7)
        assert legend.n_frames == 7
        assert len(viewer.figure.axes) == 2
        viewer.state.layers.remove(layer)
        assert legend.axes is None
        assert len(viewer.figure.axes) == 1

    def test_the_legend_tells_significance(self, app, viewer, legend):
        switch_map(viewer.state, app.data_collection)
        layer = viewer.state.layers[0]
        viewer.figure.canvas.draw()
        assert legend.n_frames is None
        texts = [text.get_text() for text in legend.axes.get_yticklabels()]
        labels = dict(zip(texts, legend.axes.get_yticks(), strict=True))
        for text, place in labels.items():
            share = np.array([(float(text) - layer.v_min) / (layer.v_max - layer.v_min)])
            assert place == pytest.approx(layer.stretch_object(share)[0])
        assert {"10", "20"} <= set(labels)
        layer.bias = 0.7  # moves the colours, which the bar does not
        assert legend.axes is None

    def test_the_legend_stays_beside_the_image_at_any_size(self, viewer, legend):
        for size in ((3, 2.5), (12, 5), (4, 9)):
            viewer.figure.set_size_inches(size)
            viewer.axes.resizer.on_resize(None)
            viewer.figure.canvas.draw()
            image, bar = viewer.axes.get_window_extent(), legend.axes.get_window_extent()
            assert image.x1 < bar.x0 < bar.x1 < image.x1 + 0.25 * viewer.figure.dpi
            assert (bar.y0, bar.y1) == pytest.approx((image.y0, image.y1), abs=0.5)
            for text in legend.axes.get_yticklabels():
                assert text.get_window_extent().x1 <= viewer.figure.bbox.x1

    @pytest.mark.parametrize("n", [3, 9, 20, 60, 200])
    @pytest.mark.parametrize("height", [1.6, 3, 8])
    def test_the_numbers_never_overlap(self, viewer, legend, n, height):
        show_frames(viewer.state.layers[0], n)
        viewer.figure.set_size_inches((4, height))
        viewer.axes.resizer.on_resize(None)
        viewer.figure.canvas.draw()
        boxes = sorted((text.get_window_extent() for text in legend.axes.get_yticklabels()), key=lambda box: box.y0)
        assert len(boxes) >= 3
        for lower, upper in pairwise(boxes):
            assert lower.y1 <= upper.y0 + 1
        assert all(box.x1 <= viewer.figure.bbox.x1 for box in boxes)

    def test_the_legend_follows_the_theme(self, app, viewer, legend):
        before = settings.FOREGROUND_COLOR
        try:
            settings.FOREGROUND_COLOR = "#ff8800"
            app.session.hub.broadcast(SettingsChangeMessage(app, ["FOREGROUND_COLOR"]))
            assert {text.get_color() for text in legend.axes.get_yticklabels()} == {"#ff8800"}
        finally:
            settings.FOREGROUND_COLOR = before

    def test_a_closed_legend_is_silent(self, app, viewer, legend):
        legend.close()
        viewer.figure.canvas.draw()
        switch_map(viewer.state, app.data_collection)
        viewer.state.layers.pop()
        assert legend.viewer is None


def test_frames_are_kept_while_values_change(app, attached):
    viewer = app.new_data_viewer(SimpleImageViewer, attached.cube)
    on_map = app.new_data_viewer(SimpleImageViewer, attached.map)
    values = {attached.cleaned: attached.cube[attached.cleaned] + 1}
    viewer.state.slices = (3, 0, 0)
    with keep_frames([[viewer], [on_map]]):
        attached.cube.update_components(values)
    assert viewer.state.slices == (3, 0, 0)
    attached.cube.update_components(values)
    assert viewer.state.slices == (0, 0, 0)  # where glue does not do so any more this is not needed
    viewer.state.slices = (2, 0, 0)

    def fail():
        with keep_frames(app.viewers):
            attached.cube.update_components(values)
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert viewer.state.slices == (2, 0, 0)
    with keep_frames(app.viewers):  # the map goes away
        app.undo()
    assert viewer.state.slices == (2, 0, 0)


def test_label_frames():
    assert label_frames(3, 10) == [1, 2, 3]
    assert label_frames(9, 5) == [1, 3, 5, 7, 9]
    assert label_frames(20, 5) == [1, 5, 10, 15, 20]
    assert label_frames(200, 10) == [1, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200]


def test_label_values():
    assert label_values(0, 10, lambda share: share) == {10: 1.0, 5: 0.5, 2: 0.2, 1: 0.1, 0.1: pytest.approx(0.01)}


def test_colormap_frames():
    assert colormap_frames(frame_colormap(12)) == 12
    assert colormap_frames(colormaps.members[0][1]) is None
