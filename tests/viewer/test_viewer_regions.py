"""What a viewer shows of a set, and what a subset selects in it."""

import numpy as np
import pytest
from glue.core import Data, DataCollection
from glue.core.link_helpers import LinkSame
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, MaskSubsetState, RoiSubsetState, SliceSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import SHAPE, ViewerApplication, attach, make_frames

from glue_cleanset.viewer.regions import Part, central_part, selected_pixels, viewed_part


@pytest.fixture
def app():
    return ViewerApplication()


def show(app, data):
    viewer = app.new_data_viewer(SimpleImageViewer, data=data)
    viewer.state.aspect = "auto"  # limits stay as they are set
    return viewer


def cube_of(app, shape, label="field"):
    data = Data(label=label, flux=np.zeros(shape, np.float32))
    app.data_collection.append(data)
    return data


def rectangle(x, y, x0, x1, y0, y1):
    return RoiSubsetState(x, y, RectangularROI(x0, x1, y0, y1))


def test_the_central_part():
    assert central_part(100, 40) == Part((0, 100), (0, 40))
    assert central_part(2000, 601, most=512) == Part((744, 1256), (44, 556))


def test_the_view_is_where_the_limits_are(app):
    data = cube_of(app, (4, 60, 80))
    viewer = show(app, data)
    viewer.state.x_min, viewer.state.x_max, viewer.state.y_min, viewer.state.y_max = 9.6, 29.4, -30, 11.2
    viewer.state.slices = (2, 0, 0)
    # the whole of every pixel that is seen: pixel 10 begins at 9.5
    assert viewed_part([viewer], data) == Part((0, 12), (10, 30), 2)
    viewer.state.x_min, viewer.state.x_max = 29.4, 9.6  # turned about
    assert viewed_part([viewer], data).columns == (10, 30)
    assert viewed_part([viewer], data, most=8) == Part((2, 10), (16, 24), 2)


@pytest.mark.parametrize(("axis", "frame", "rows", "columns"), [(1, 5, (0, 4), (10, 20)), (2, 9, (1, 3), (10, 20))])
def test_frames_along_another_axis(app, axis, frame, rows, columns):
    data = cube_of(app, (4, 30, 40))
    first, second = (data.pixel_component_ids[i] for i in range(3) if i != axis)
    viewer = show(app, data)
    viewer.state.x_att, viewer.state.y_att = second, first
    viewer.state.slices = tuple(frame if i == axis else 0 for i in range(3))
    viewer.state.x_min, viewer.state.x_max = columns[0] - 0.5, columns[1] - 0.5
    viewer.state.y_min, viewer.state.y_max = rows[0] - 0.5, rows[1] - 0.5
    assert viewed_part([viewer], data, axis) == Part(rows, columns, frame)
    assert viewed_part([viewer], data, 0) is None  # the frames follow each other on the screen
    viewer.state.x_att, viewer.state.y_att = first, second  # turned
    viewer.state.x_min, viewer.state.x_max = rows[0] - 0.5, rows[1] - 0.5
    viewer.state.y_min, viewer.state.y_max = columns[0] - 0.5, columns[1] - 0.5
    assert viewed_part([viewer], data, axis) == Part(rows, columns, frame)


def test_only_viewers_that_show_the_set_are_looked_at(app):
    data, other = cube_of(app, (4, 60, 80)), cube_of(app, (4, 60, 80), "other")
    viewer, stranger = show(app, data), show(app, other)
    viewer.state.slices, stranger.state.slices = (1, 0, 0), (3, 0, 0)
    assert viewed_part([object(), stranger, viewer], data).frame == 1
    assert viewed_part([stranger], data) is None
    assert viewed_part([], data) is None
    viewer.state.x_min, viewer.state.x_max = 200, 300
    assert viewed_part([viewer], data) is None


def test_a_viewer_of_one_of_several_images(app):
    images = [Data(label=f"i{k}", flux=np.eye(20)) for k in range(3)]
    app.data_collection.extend(images)
    viewer = show(app, images[1])
    viewer.state.x_min, viewer.state.x_max, viewer.state.y_min, viewer.state.y_max = -0.5, 4.5, 9.5, 14.5
    assert viewed_part([viewer], None, images=images) == Part((10, 15), (0, 5), 1)
    assert viewed_part([viewer], None, images=images[:1]) is None


def test_a_roi_on_the_map_selects_in_every_frame(app):
    cube = Data(label="field", flux=make_frames())
    app.data_collection.append(cube)
    attached = attach(app, cube)
    y, x = attached.map.pixel_component_ids
    group = app.data_collection.new_subset_group("star", rectangle(x, y, 2.5, 5.5, 6.5, 8.5))
    expected = np.zeros(SHAPE, bool)
    expected[:, 7:9, 3:6] = True
    assert np.array_equal(selected_pixels(group, cube), expected)
    row = app.data_collection.new_subset_group("event 2", ElementSubsetState([1], attached.events))
    expected = np.zeros(SHAPE, bool)
    expected[1, [6, 6, 7], [6, 7, 8]] = True
    assert np.array_equal(selected_pixels(row, cube), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_frames_come_first(app, axis):
    data = cube_of(app, (4, 5, 6))
    group = app.data_collection.new_subset_group("part", data.pixel_component_ids[axis] > 1)
    selected = selected_pixels(group, data, axis)
    assert selected.shape == tuple(np.moveaxis(np.empty((4, 5, 6)), axis, 0).shape)
    assert selected[2:].all()
    assert not selected[:2].any()


@pytest.mark.parametrize("kind", ["unlinked", "mask of an image", "inverted mask", "slices of an image"])
def test_what_means_nothing_in_the_cube_is_refused_by_name(app, kind):
    data = cube_of(app, (4, 12, 12))
    image = Data(label="image", flux=np.eye(12))
    app.data_collection.append(image)
    if kind != "unlinked":
        for mine, theirs in zip(data.pixel_component_ids[1:], image.pixel_component_ids, strict=True):
            app.data_collection.add_link(LinkSame(mine, theirs))
    mask = MaskSubsetState(np.eye(12) > 0, image.pixel_component_ids)
    state = {
        "unlinked": image.id["flux"] > 0,
        "mask of an image": mask,
        "inverted mask": (data.id["flux"] > 1) | ~mask,
        "slices of an image": SliceSubsetState(image, [slice(0, 2), slice(0, 2)]),
    }[kind]
    group = app.data_collection.new_subset_group("blob", state)
    with pytest.raises(ValueError, match="'blob' selects by something that 'field' is not linked to"):
        selected_pixels(group, data)


def test_a_mask_of_the_cube_itself_serves():
    data = Data(label="field", flux=np.zeros((3, 4, 5)))
    collection = DataCollection([data])
    mask = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    group = collection.new_subset_group("own", MaskSubsetState(mask, data.pixel_component_ids))
    assert np.array_equal(selected_pixels(group, data), mask)


def test_what_is_drawn_on_one_image_is_meant_for_all():
    images = [Data(label=f"i{k}", flux=np.full((6, 7), float(k))) for k in range(3)]
    collection = DataCollection(images)
    y, x = images[1].pixel_component_ids
    group = collection.new_subset_group("star", rectangle(x, y, 0.5, 2.5, 1.5, 4.5))
    expected = np.zeros((3, 6, 7), bool)
    expected[:, 2:5, 1:3] = True
    assert np.array_equal(selected_pixels(group, None, images=images), expected)
    table = Data(label="table", a=[1, 2])
    collection.append(table)
    strange = collection.new_subset_group("rows", table.id["a"] > 1)
    with pytest.raises(ValueError, match="'rows' selects by something that 'i0'"):
        selected_pixels(strange, None, images=images)
