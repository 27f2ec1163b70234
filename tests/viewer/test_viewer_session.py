"""A saved session brings all of it back."""

import numpy as np
import pytest
from glue.core import Data
from glue.core.component_link import ComponentLink
from glue.core.subset import ElementSubsetState
from glue.dialogs.link_editor.state import LinkEditorState
from viewer_sets import HITS, ViewerApplication, attach, event_mask, make_frames, make_result, subset_of

from glue_cleanset.viewer.attach import find_attached
from glue_cleanset.viewer.links import EventJoin, MapValueLink
from glue_cleanset.viewer.stack import stack_images


@pytest.fixture
def reopen(tmp_path):
    def reopen(app):
        path = str(tmp_path / "session.glu")
        app.save_session(path)
        return ViewerApplication.restore_session(path)

    return reopen


def same(data, other):
    assert data.label == other.label
    assert [cid.label for cid in data.components] == [cid.label for cid in other.components]
    for cid, again in zip(data.main_components, other.main_components, strict=True):
        np.testing.assert_array_equal(data[cid], other[again])
        assert data[cid].dtype == other[again].dtype
        assert data.get_component(cid).units == other.get_component(again).units


def test_data_links_subsets_and_meta(app, cube, reopen):
    cube.meta["frame names"] = list("abcde")
    cube.meta["frame gain"] = [1.5, float("nan"), 1.5, 1.5, 1.5]
    attach(app, cube)
    b = attach(app, cube, result=make_result(cube["flux"], HITS[::-1]))
    app.data_collection.new_subset_group("row", ElementSubsetState([1], data=b.events))
    app.data_collection.new_subset_group("hit", b.map.id["times rejected"] > 1)
    app.data_collection.new_subset_group("own", cube.id["flux rejected"] == 1)
    collection = reopen(app).data_collection

    assert len(collection) == 7
    for data, again in zip(app.data_collection, collection, strict=True):
        same(data, again)
        np.testing.assert_equal(dict(again.meta), dict(data.meta))
    assert len(collection.external_links) == len(app.data_collection.external_links)

    row, hit, own = collection.subset_groups
    again = collection[0]
    np.testing.assert_array_equal(subset_of(again, row), event_mask(3))
    np.testing.assert_array_equal(subset_of(again, own), event_mask(1, 2, 3, 4))
    expected = np.zeros(again.shape, bool)
    expected[:, 3, 4] = True
    np.testing.assert_array_equal(subset_of(again, hit), expected)
    # new selections travel too
    events = collection["stars events"]
    group = collection.new_subset_group("new", ElementSubsetState([1], data=events))
    np.testing.assert_array_equal(subset_of(again, group), event_mask(2))
    group = collection.new_subset_group("map", collection["stars rejection map"].id["rejected frame"] == 5)
    assert subset_of(events, group).tolist() == [False, False, False, True]


def test_twice_in_a_row(app, cube, reopen):
    a = attach(app, cube)
    app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
    collection = reopen(reopen(app)).data_collection
    np.testing.assert_array_equal(subset_of(collection[0], collection.subset_groups[0]), event_mask(2))


def test_after_the_user_removed_the_events(app, cube, reopen):
    # glue's own JoinLink would bring the removed table into the session
    a = attach(app, cube)
    app.data_collection.remove(a.events)
    collection = reopen(app).data_collection
    assert [data.label for data in collection] == ["stars", "stars rejection map", "stars frames"]
    assert not collection[0]._key_joins


def test_after_undo(app, cube, reopen):
    attach(app, cube)
    app.undo()
    collection = reopen(app).data_collection
    assert [data.label for data in collection] == ["stars"]
    assert [cid.label for cid in collection[0].main_components] == ["flux"]


def test_the_parts_of_each_run_are_found_again(app, cube, reopen):
    attach(app, cube)
    attach(app, cube, result=make_result(cube["flux"], HITS[::-1]), outputs=("cleaned", "map"))
    turned = Data(label="turned", flux=np.moveaxis(make_frames(), 0, 2))
    app.data_collection.append(turned)
    attach(app, turned, axis=2, outputs=("rejected", "event", "events"))
    cube.label = "renamed"
    cube.id["flux cleaned 2"].label = "mine"
    app.data_collection["stars rejection map 2"].label = "my map"
    before = find_attached(app.data_collection)
    collection = reopen(app).data_collection
    found = find_attached(collection)
    assert [one.cube.label for one in found] == ["renamed", "renamed", "turned"]
    assert [one.axis for one in found] == [0, 0, 2]
    for one, again in zip(before, found, strict=True):
        for name in ("source", "cleaned", "rejected", "event", "map", "events", "frames"):
            part, part_again = getattr(one, name), getattr(again, name)
            assert (part is None) == (part_again is None), name
            if part is not None:
                assert part_again.label == part.label
    assert found[1].cleaned is collection[0].id["mine"]
    assert found[1].map is collection["my map"]
    assert found[1].rejected is None


def test_a_stack_of_images(app, reopen):
    images = [Data(flux=frame, label=f"night{i}") for i, frame in enumerate(make_frames())]
    app.data_collection.extend(images)
    stack = stack_images(images)
    a = attach(app, stack, images=images)
    app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
    app.data_collection.new_subset_group("right", images[0].pixel_component_ids[1] > 9)
    collection = reopen(app).data_collection
    row, right = collection.subset_groups
    again = collection[stack.label]
    np.testing.assert_array_equal(subset_of(again, row), event_mask(2))
    assert subset_of(again, right)[..., 10:].all()
    assert not subset_of(again, right)[..., :10].any()
    assert again.meta["frame names"] == [f"night{i}" for i in range(5)]
    assert [cid.label for cid in again.world_component_ids] == ["Frame", "Y", "X"]
    assert again["Frame"][:, 3, 4].tolist() == [1, 2, 3, 4, 5]
    assert find_attached(collection)[0].cube is again


def test_the_link_editor_shows_them_and_leaves_them_whole(app, cube):
    a = attach(app, cube)
    row = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=a.events))
    hit = app.data_collection.new_subset_group("hit", a.map.id["times rejected"] > 1)
    before = list(app.data_collection.external_links)
    editor = LinkEditorState(app.data_collection)
    editor.data1, editor.data2 = cube, a.map
    shown = [str(link) for link in editor.visible_links]
    assert "Value of the map at the pixel(Pixel Axis 1 [y],Pixel Axis 2 [x] <-> times rejected)" in shown
    editor.data2 = a.events
    assert "Join on number(flux event <-> event)" in [str(link) for link in editor.visible_links]

    editor.update_links_in_collection()  # its OK makes a new object for every link
    assert len(app.data_collection.external_links) == len(before)
    assert not any(link is old for link in app.data_collection.external_links for old in before)
    np.testing.assert_array_equal(subset_of(cube, row), event_mask(2))
    assert np.argwhere(subset_of(cube, hit)).tolist() == [[i, 3, 4] for i in range(5)]
    app.undo()
    assert not app.data_collection.external_links
    assert not cube._key_joins


def test_a_map_is_looked_up_at_the_nearest_pixel():
    values = np.arange(12).reshape(3, 4)
    on_map = Data(value=values, label="map")
    table = Data(y=np.zeros(3), x=np.zeros(3))
    link = MapValueLink(table, on_map, [table.id["y"], table.id["x"]], [on_map.id["value"]])
    assert isinstance(link[0], ComponentLink)
    y, x = np.array([0.4, 1.6, -0.4]), np.array([3.4, 0.6, 0])
    assert link.look_up(y, x).tolist() == [3, 9, 0]
    assert link.look_up(y, x).dtype == values.dtype
    y, x = np.array([1.0, -0.6, 0, 2.6, 1, np.nan, 2]), np.array([2.0, 1, -0.6, 1, 3.6, 1, np.inf])
    np.testing.assert_array_equal(link.look_up(y, x), [6, *[np.nan] * 6])


def test_a_join_knows_what_it_joins():
    a, b = Data(n=[1, 2, 3]), Data(n=[3, 4])
    join = EventJoin(cids1=[a.id["n"]], cids2=[b.id["n"]], data1=a, data2=b)
    assert a.id["n"] in join
    assert b.id["n"] in join
    assert a.pixel_component_ids[0] not in join
