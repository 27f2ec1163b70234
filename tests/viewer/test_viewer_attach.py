"""What is attached, what travels over the links, undo and redo."""

from dataclasses import replace

import numpy as np
import pytest
from glue.core import Data
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, RangeSubsetState, RoiSubsetState
from glue.viewers.histogram.viewer import SimpleHistogramViewer
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import HITS, SHAPE, attach, event_mask, make_frames, make_result, make_tracks, subset_of

from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.stack import stack_images


def box(x, y, x_range, y_range):
    return RoiSubsetState(x, y, RectangularROI(*x_range, *y_range))


def labels(data):
    return [cid.label for cid in data.main_components]


def test_everything_is_attached_under_its_name(app, cube):
    result = make_result(cube["flux"])
    a = attach(app, cube, result=result)

    assert [data.label for data in app.data_collection] == [
        "stars",
        "stars rejection map",
        "stars events",
        "stars frames",
    ]
    assert labels(cube) == ["flux", "flux cleaned", "flux rejected", "flux event"]
    np.testing.assert_array_equal(cube[a.cleaned], result.cleaned)
    assert cube.get_component(a.cleaned).units == "adu"
    np.testing.assert_array_equal(cube[a.rejected], result.rejected)
    assert cube[a.rejected].dtype == np.uint8
    np.testing.assert_array_equal(cube[a.event], result.event_labels())
    assert cube[a.event].dtype == np.int32

    assert labels(a.map) == ["rejected frame", "times rejected", "peak significance", "reference"]
    np.testing.assert_array_equal(a.map["rejected frame"], result.rejection_map)
    np.testing.assert_array_equal(a.map["times rejected"], result.rejection_count)
    np.testing.assert_array_equal(a.map["peak significance"], result.peak_significance)
    np.testing.assert_array_equal(a.map["reference"], result.reference)
    assert a.map.coords is None

    np.testing.assert_array_equal(a.events["event"], [1, 2, 3, 4])
    np.testing.assert_array_equal(a.events["frame"], [1, 2, 3, 5])
    np.testing.assert_array_equal(a.events["frame index"], [0, 1, 2, 4])
    np.testing.assert_array_equal(a.events["y peak"], [3, 6, 3, 10])
    assert list(a.events["polarity"]) == ["bright"] * 4
    assert list(a.frames["name"]) == [f"f{i}.fits" for i in range(1, 6)]
    np.testing.assert_array_equal(a.frames["pixels"], [1, 3, 2, 0, 1])


def test_how_it_was_cleaned_is_noted_with_the_data(app, cube):
    a = attach(app, cube)
    for data in (a.map, a.events, a.frames):
        assert data.meta["cleaned attribute"] == "flux"
        assert "repair=median" in data.meta["settings"]
        assert data.meta["gain"] == [1.5] * 5


@pytest.mark.parametrize("output", OUTPUTS)
def test_each_output_alone(app, cube, output):
    tracks, positions = make_tracks(len(cube["flux"]), (3, 9))
    result = replace(make_result(cube["flux"]), tracks=tracks, track_positions=positions)
    a = attach(app, cube, result=result, outputs=[output])
    assert [name for name in OUTPUTS if getattr(a, name) is not None] == [output]
    assert len(labels(cube)) + len(app.data_collection) == 3
    app.undo()
    assert labels(cube) == ["flux"]
    assert len(app.data_collection) == 1
    assert not app.data_collection.external_links


@pytest.mark.parametrize("outputs", [["cleaned", "masks"], ["everything"]])
def test_an_unknown_output_is_named(app, cube, outputs):
    with pytest.raises(ValueError, match=f"outputs has '{outputs[-1]}'; choose from 'cleaned'"):
        attach(app, cube, outputs=outputs)
    assert labels(cube) == ["flux"]


def test_a_result_of_another_cube_is_refused(app, cube):
    with pytest.raises(ValueError, match=r"result has the shape \(4, 12, 16\), stars has \(5, 12, 16\)"):
        attach(app, cube, result=make_result(make_frames((4, 12, 16)), HITS[:3]))
    with pytest.raises(ValueError, match="axis 2"):
        attach(app, cube, result=make_result(cube["flux"]), axis=2)
    assert len(app.data_collection) == 1


class TestTravel:
    """A selection made on one of the data selects the right things in the others."""

    def test_pixels_of_the_map_in_the_cube_and_back(self, app, cube):
        a = attach(app, cube)
        expected = np.zeros(SHAPE[1:], bool)
        expected[2:5, 3:6] = True
        y, x = a.map.pixel_component_ids
        on_map = app.data_collection.new_subset_group("map", box(x, y, (2.5, 5.5), (1.5, 4.5)))
        _, y, x = cube.pixel_component_ids
        on_cube = app.data_collection.new_subset_group("cube", box(x, y, (2.5, 5.5), (1.5, 4.5)))
        for group in (on_map, on_cube):
            np.testing.assert_array_equal(subset_of(a.map, group), expected)
            np.testing.assert_array_equal(subset_of(cube, group), np.broadcast_to(expected, SHAPE))
            np.testing.assert_array_equal(subset_of(a.events, group), [True, False, True, False])

    @pytest.mark.parametrize("attribute", ["rejected frame", "times rejected", "peak significance", "reference"])
    def test_values_of_the_map_in_the_cube(self, app, cube, attribute):
        a = attach(app, cube)
        value = np.sort(a.map[attribute], axis=None)[-2]
        group = app.data_collection.new_subset_group("high", a.map.id[attribute] >= value)
        expected = a.map[attribute] >= value
        assert 0 < expected.sum() < 10
        np.testing.assert_array_equal(subset_of(a.map, group), expected)
        np.testing.assert_array_equal(subset_of(cube, group), np.broadcast_to(expected, SHAPE))

    def test_values_of_the_map_select_the_events_there(self, app, cube):
        # the centre of event 2 is a pixel that was not rejected
        a = attach(app, cube)
        assert a.map["times rejected"][round(19 / 3), round(7.0)] == 1
        hits = (((1, 2, 2), (1, 2, 6)), ((2, 8, 3),))
        b = attach(app, cube, result=make_result(cube["flux"], hits))
        assert b.map["times rejected"][2, 4] == 0
        group = app.data_collection.new_subset_group("hit", b.map.id["times rejected"] > 0)
        np.testing.assert_array_equal(subset_of(b.events, group), [True, True])
        group = app.data_collection.new_subset_group("frame 3", b.map.id["rejected frame"] == 3)
        np.testing.assert_array_equal(subset_of(b.events, group), [False, True])

    @pytest.mark.parametrize("rows", [[0], [1], [2], [3], [0, 2], []])
    def test_rows_of_the_events_are_their_exact_voxels(self, app, cube, rows):
        a = attach(app, cube)
        group = app.data_collection.new_subset_group("rows", ElementSubsetState(rows, data=a.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(*(row + 1 for row in rows)))
        assert subset_of(a.frames, group).sum() == len({HITS[row][0][0] for row in rows})

    def test_a_range_of_an_event_attribute_is_exact_voxels(self, app, cube):
        a = attach(app, cube)
        state = RangeSubsetState(1.5, 3.5, a.events.id["pixels"])
        np.testing.assert_array_equal(
            subset_of(cube, app.data_collection.new_subset_group("long", state)), event_mask(2, 3)
        )
        state = RangeSubsetState(2.5, 3.5, a.events.id["frame"])
        np.testing.assert_array_equal(
            subset_of(cube, app.data_collection.new_subset_group("frame 3", state)), event_mask(3)
        )

    def test_voxels_select_the_rows_of_their_events(self, app, cube):
        a = attach(app, cube)
        brightest = HITS[1][2]
        flux = np.array(cube["flux"])
        flux[brightest] = 1e4
        cube.update_components({cube.id["flux"]: flux})
        group = app.data_collection.new_subset_group("bright", cube.id["flux"] > 9000)
        np.testing.assert_array_equal(subset_of(a.events, group), [False, True, False, False])

    def test_rows_of_the_frames_are_their_events(self, app, cube):
        a = attach(app, cube)
        group = app.data_collection.new_subset_group("frames", ElementSubsetState([0, 4], data=a.frames))
        np.testing.assert_array_equal(subset_of(a.events, group), [True, False, False, True])
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(1, 4))

    def test_the_frame_index_is_the_frame_axis(self, app, cube):
        a = attach(app, cube)
        for data in (a.frames, a.events):
            state = RangeSubsetState(1.5, 2.5, data.id["frame index"])
            mask = subset_of(cube, app.data_collection.new_subset_group("third", state))
            assert mask[2].all()
            assert mask.sum() == mask[2].size

    def test_two_runs_on_one_cube(self, app, cube):
        a = attach(app, cube)
        other = (((3, 1, 1), (3, 1, 2)), ((1, 6, 6),))
        b = attach(app, cube, result=make_result(cube["flux"], other))
        group = app.data_collection.new_subset_group("second run", ElementSubsetState([0], data=b.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(1, hits=other))
        assert not subset_of(a.events, group).any()
        group = app.data_collection.new_subset_group("first run", ElementSubsetState([1], data=a.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(2))
        # both runs rejected (1, 6, 6)
        np.testing.assert_array_equal(subset_of(b.events, group), [False, True])


def test_running_again_gives_new_names(app, cube):
    first, second = attach(app, cube), attach(app, cube)
    assert labels(cube)[1:] == [
        *("flux cleaned", "flux rejected", "flux event"),
        *("flux cleaned 2", "flux rejected 2", "flux event 2"),
    ]
    assert [data.label for data in second.datasets] == ["stars rejection map 2", "stars events 2", "stars frames 2"]
    # one number for a run, though only some of its names are taken
    app.data_collection.remove(first.map)
    third = attach(app, cube, outputs=["map", "cleaned"])
    assert (third.map.label, third.cleaned.label) == ("stars rejection map 3", "flux cleaned 3")
    # a run on what a run has made
    again = attach(app, cube, second.cleaned)
    assert again.cleaned.label == "flux cleaned 2 cleaned 4"
    assert len(set(labels(cube))) == len(labels(cube))


@pytest.mark.parametrize("axis", [1, 2])
def test_frames_on_another_axis(app, axis):
    frames = make_frames()
    data = Data(flux=np.moveaxis(frames, 0, axis), label="turned")
    app.data_collection.append(data)
    a = attach(app, data, axis=axis)
    result = make_result(frames)
    np.testing.assert_array_equal(data[a.cleaned], np.moveaxis(result.cleaned, 0, axis))
    np.testing.assert_array_equal(data[a.event], np.moveaxis(result.event_labels(), 0, axis))

    group = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
    np.testing.assert_array_equal(subset_of(data, group), np.moveaxis(event_mask(2), 0, axis))
    group = app.data_collection.new_subset_group("hit", a.map.id["times rejected"] > 0)
    expected = np.moveaxis(np.broadcast_to(result.rejected.any(0), SHAPE), 0, axis)
    np.testing.assert_array_equal(subset_of(data, group), expected)
    y, x = a.map.pixel_component_ids
    group = app.data_collection.new_subset_group("box", box(x, y, (2.5, 5.5), (1.5, 4.5)))
    expected = np.zeros(SHAPE, bool)
    expected[:, 2:5, 3:6] = True
    np.testing.assert_array_equal(subset_of(data, group), np.moveaxis(expected, 0, axis))
    group = app.data_collection.new_subset_group("third", RangeSubsetState(1.5, 2.5, a.frames.id["frame index"]))
    assert np.moveaxis(subset_of(data, group), axis, 0).all((1, 2)).tolist() == [False, False, True, False, False]


def test_no_event_at_all(app, cube):
    a = attach(app, cube, result=make_result(cube["flux"], ()))
    assert a.events is None  # glue's viewers fail on a table without rows
    assert not cube[a.event].any()
    group = app.data_collection.new_subset_group("hit", a.map.id["times rejected"] > 0)
    assert not subset_of(cube, group).any()
    app.undo()
    assert app.data_collection.data == [cube]


class TestImages:
    """Several separate images are cleaned as a set."""

    @pytest.fixture
    def images(self, app):
        images = [Data(flux=frame, label=f"night{i}") for i, frame in enumerate(make_frames(), start=1)]
        app.data_collection.extend(images)
        return images

    def test_they_become_a_cube_linked_by_pixel(self, app, images):
        stack = stack_images(images)
        a = attach(app, stack, images=images)
        assert app.data_collection[5] is stack
        y, x = images[2].pixel_component_ids
        group = app.data_collection.new_subset_group("box", box(x, y, (2.5, 5.5), (1.5, 4.5)))
        expected = np.zeros(SHAPE[1:], bool)
        expected[2:5, 3:6] = True
        for data in (*images, a.map):
            np.testing.assert_array_equal(subset_of(data, group), expected)
        np.testing.assert_array_equal(subset_of(stack, group), np.broadcast_to(expected, SHAPE))

    def test_undo_takes_the_cube_away_and_redo_brings_it_again(self, app, images):
        stack = stack_images(images)
        a = attach(app, stack, images=images)
        group = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
        app.undo()
        assert app.data_collection.data == images
        assert not app.data_collection.external_links
        app.redo()
        assert app.data_collection.data == [*images, stack, *a.datasets]
        np.testing.assert_array_equal(subset_of(stack, group), event_mask(2))

    def test_an_image_that_is_gone(self, app, images):
        stack = stack_images(images)
        app.data_collection.remove(images[1])
        with pytest.raises(ValueError, match="night2 is not loaded any more"):
            attach(app, stack, images=images)


class TestUndo:
    def test_it_leaves_nothing_behind(self, app, cube):
        a = attach(app, cube)
        app.undo()
        assert app.data_collection.data == [cube]
        assert labels(cube) == ["flux"]
        assert not app.data_collection.external_links
        assert not cube._key_joins
        assert not cube.externally_derivable_components
        app.redo()
        assert app.data_collection.data == [cube, *a.datasets]
        assert cube.main_components[1:] == [a.cleaned, a.rejected, a.event]
        assert app.session.command_stack._command_stack[-1].attached is a

    def test_open_viewers_survive(self, app, cube):
        a = attach(app, cube)
        image = app.new_data_viewer(SimpleImageViewer, cube)
        image.state.layers[0].attribute = a.cleaned
        histogram = app.new_data_viewer(SimpleHistogramViewer, cube)
        histogram.state.x_att = a.event
        on_map = app.new_data_viewer(SimpleImageViewer, a.map)
        app.undo()
        image.figure.canvas.draw()
        assert image.state.layers[0].attribute is cube.id["flux"]
        assert histogram.state.x_att is cube.id["flux"]
        assert not on_map.state.layers
        app.redo()
        image.state.layers[0].attribute = a.cleaned
        on_map.add_data(a.map)
        image.figure.canvas.draw()

    def test_subsets_live_again(self, app, cube):
        a = attach(app, cube)
        viewer = app.new_data_viewer(SimpleImageViewer, cube)
        row = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
        hit = app.data_collection.new_subset_group("hit", a.map.id["times rejected"] > 0)
        own = app.data_collection.new_subset_group("own", cube.id["flux rejected"] > 0)
        for _ in range(2):
            app.undo()
            app.redo()
        viewer.figure.canvas.draw()
        np.testing.assert_array_equal(subset_of(cube, row), event_mask(2))
        np.testing.assert_array_equal(subset_of(cube, own), event_mask(1, 2, 3, 4))
        np.testing.assert_array_equal(subset_of(cube, hit), np.broadcast_to(event_mask(1, 2, 3, 4).any(0), SHAPE))
        assert all(len(data.subsets) == 3 for data in app.data_collection)
        assert all(len(group.subsets) == 4 for group in (row, hit, own))

    def test_a_second_run_stays(self, app, cube):
        first = attach(app, cube)
        second = attach(app, cube)
        app.undo()
        assert app.data_collection.data == [cube, *first.datasets]
        group = app.data_collection.new_subset_group("row", ElementSubsetState([2], data=first.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(3))
        app.redo()
        group = app.data_collection.new_subset_group("row", ElementSubsetState([2], data=second.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(3))

    @pytest.mark.parametrize("part", ["map", "events", "frames"])
    def test_after_the_user_removed_data(self, app, cube, part):
        a = attach(app, cube)
        app.data_collection.remove(getattr(a, part))
        assert not any(getattr(a, part) in (link.data1, link.data2) for link in app.data_collection.external_links)
        app.undo()
        assert app.data_collection.data == [cube]
        assert labels(cube) == ["flux"]
        app.redo()
        assert app.data_collection.data == [cube, *a.datasets]

    @pytest.mark.parametrize("part", ["cleaned", "rejected", "event"])
    def test_after_the_user_removed_an_attribute(self, app, cube, part):
        a = attach(app, cube)
        cube.remove_component(getattr(a, part))
        app.undo()
        assert labels(cube) == ["flux"]
        assert not app.data_collection.external_links
        app.redo()
        assert set(labels(cube)) == {"flux", "flux cleaned", "flux rejected", "flux event"}

    def test_after_the_user_removed_the_cube(self, app, cube):
        attach(app, cube)
        app.data_collection.remove(cube)
        app.undo()
        assert not app.data_collection.data
        with pytest.raises(ValueError, match="stars is not loaded any more"):
            app.redo()

    def test_after_the_user_removed_what_was_cleaned(self, app, cube):
        a = attach(app, cube)
        spare = cube.add_component(np.zeros(SHAPE), "spare")
        viewer = app.new_data_viewer(SimpleImageViewer, cube)
        viewer.state.layers[0].attribute = a.cleaned
        cube.remove_component(cube.id["flux"])
        app.undo()
        assert labels(cube) == ["spare"]
        assert viewer.state.layers[0].attribute is spare

    def test_after_the_user_removed_the_links(self, app, cube):
        attach(app, cube)
        app.data_collection.remove_link(list(app.data_collection.external_links)[:3])
        app.undo()
        assert not app.data_collection.external_links

    def test_what_was_derived_goes_and_comes_too(self, app, cube):
        a = attach(app, cube)
        cube.add_component(a.cleaned * 2, "twice")
        derived = cube.id["twice"]
        viewer = app.new_data_viewer(SimpleImageViewer, cube)
        viewer.state.layers[0].attribute = derived
        app.undo()
        assert viewer.state.layers[0].attribute is cube.id["flux"]
        assert [cid.label for cid in cube.derived_components] == []
        app.redo()
        np.testing.assert_array_equal(cube[derived], 2 * cube[a.cleaned])

    def test_of_a_failure_half_way(self, app, cube, monkeypatch):
        command = AttachResult(
            data=cube, attribute="flux", result=make_result(cube["flux"]), axis=0, outputs=list(OUTPUTS), images=None
        )

        def fail(links):
            raise RuntimeError("no link today")

        with monkeypatch.context() as patch:
            patch.setattr(app.data_collection, "add_link", fail)
            with pytest.raises(RuntimeError, match="no link today"):
                app.session.command_stack.do(command)
        assert labels(cube) == ["flux"]
        assert app.data_collection.data == [cube]
        app.undo()  # glue keeps a command that failed
        a = attach(app, cube)
        group = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
        np.testing.assert_array_equal(subset_of(cube, group), event_mask(2))


def test_the_parts_of_a_cleaning_are_found(app, cube):
    collection = app.data_collection
    assert find_attached(collection) == []
    other = Data(label="other", flux=make_frames())
    collection.append(other)
    first = attach(app, cube)
    second = attach(app, cube)
    third = attach(app, other)
    assert [one.map for one in find_attached(collection)] == [first.map, second.map, third.map]
    assert find_attached(collection, cube)[-1] == second
    for part in first.datasets:
        assert find_attached(collection, part) == [first]
    assert find_attached(collection, other) == [third]
    stranger = Data(label="stranger", a=[1, 2])
    collection.append(stranger)
    assert find_attached(collection, stranger) == []
    # without what a person removed
    collection.remove(first.map)
    assert find_attached(collection, first.events)[0].map is None
    collection.remove(cube)
    assert find_attached(collection) == [third]
    assert find_attached(collection, first.events) == []


def test_undo_forgets_a_cleaning_and_redo_knows_it_again(app, cube):
    first = attach(app, cube)
    second = attach(app, cube)
    app.undo()
    assert find_attached(app.data_collection) == [first]
    app.undo()
    assert find_attached(app.data_collection) == []
    assert "cleanings" not in cube.meta
    app.redo()
    app.redo()
    assert find_attached(app.data_collection) == [first, second]


def test_tables_show_short_numbers(app, cube):
    result = make_result(cube["flux"])
    values = [417.0000012, 0.78691812345, -1.23456789e-12, 123456789.25]
    result.events["y"] = values
    result.summary["percent"] = [1 / 3, np.nan, np.inf, 0.0, 5.0]
    a = attach(app, cube, result=result)
    assert [str(v) for v in a.events["y"]] == ["417.0", "0.786918", "-1.23457e-12", "123456789.0"]
    assert [str(v) for v in a.frames["percent"]] == ["0.333333", "nan", "inf", "0.0", "5.0"]
    assert result.events["y"].tolist() == values  # the result itself is exact
