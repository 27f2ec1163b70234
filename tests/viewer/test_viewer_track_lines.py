"""The tracks drawn over the images: where, in which frame, in which viewers, and until when."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from astropy.wcs import WCS
from glue.core import Data
from glue.core.link_helpers import LinkSame
from glue.viewers.image.viewer import SimpleImageViewer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from viewer_sets import SHAPE, attach, make_frames, make_result, make_tracks

from glue_cleanset.viewer.colors import kind_color
from glue_cleanset.viewer.coords import FrameCoordinates
from glue_cleanset.viewer.stack import FACTS
from glue_cleanset.viewer.track_lines import TrackPart, clear_tracks, draw_tracks, find_tracks, outside_circle

# y, x in the first of five frames; by (1.5, -2) from frame to frame. The second leaves the image after the third
STARTS = (3.0, 12.0), (8.0, 4.0)


def result_with_tracks(frames):
    result, (tracks, positions) = make_result(frames), make_tracks(len(frames), *STARTS)
    result.events["track"] = 0
    return replace(result, tracks=tracks, track_positions=positions)


@pytest.fixture
def attached(app, cube):
    return attach(app, cube, result=result_with_tracks(cube["flux"]))


def show(app, data):
    viewer = app.new_data_viewer(SimpleImageViewer)
    viewer.add_data(data)
    return viewer


def parts(viewer, kind=None):
    """What is drawn: {track: artist} of a kind, or all artists."""
    found = [artist for artist in viewer.axes.get_children() if isinstance(artist, TrackPart)]
    return found if kind is None else {part.number: part for part in found if type(part).__name__ == kind}


def drawn(viewer):
    """After a drawing {track: x, y of its circle}; that which is not drawn is not there."""
    for place in parts(viewer, "_Place").values():
        place.set_data([], [])
    viewer.figure.canvas.draw()
    circles = {number: np.transpose(place.get_data()) for number, place in parts(viewer, "_Place").items()}
    return {number: tuple(np.round(xy[1:].mean(axis=0), 6)) for number, xy in circles.items() if xy.size}


def test_the_way_through_all_frames(app, attached):
    viewer = show(app, attached.cube)
    assert draw_tracks(viewer, app.data_collection).cube is attached.cube
    ways = parts(viewer, "_Path")
    assert ways.keys() == {1, 2}
    expected = np.array(STARTS[0])[::-1] + np.arange(5)[:, None] * [-2.0, 1.5]
    np.testing.assert_allclose(ways[1].track.path, expected)
    # what is outside of the image is left out
    assert np.isfinite(ways[2].track.path).all(axis=1).tolist() == [True, True, True, False, False]
    assert {to_hex(part.get_color()) for part in parts(viewer)} == {kind_color("moving object")}


def test_the_circle_follows_the_frame(app, attached):
    viewer = show(app, attached.cube)
    draw_tracks(viewer, app.data_collection)
    assert drawn(viewer) == {1: (12.0, 3.0), 2: (4.0, 8.0)}
    viewer.state.slices = (2, 0, 0)
    assert drawn(viewer) == {1: (8.0, 6.0), 2: (0.0, 11.0)}
    viewer.state.slices = (3, 0, 0)
    assert drawn(viewer) == {1: (6.0, 7.5)}
    # the number is beside the circle, that of what is not in this frame at the beginning of its way
    numbers = parts(viewer, "_Number")
    assert [number.get_text() for number in numbers.values()] == ["1", "2"]
    assert tuple(numbers[1].xy) == (6.0, 7.5)
    assert tuple(numbers[2].xy) == (4.0, 8.0)


def test_the_object_itself_is_not_covered(app, attached):
    viewer = show(app, attached.cube)
    draw_tracks(viewer, app.data_collection)
    for width in (400, 16, 4):
        viewer.state.x_min, viewer.state.x_max = 12 - width / 2, 12 + width / 2
        viewer.figure.canvas.draw()
        x, y = parts(viewer, "_Path")[1].get_data()
        to_screen = viewer.axes.transData.transform
        away = np.linalg.norm(to_screen(np.transpose([x, y])) - to_screen((12.0, 3.0)), axis=1)
        # five pixels of the image, and not less than can be seen
        least = max(to_screen((5, 0))[0] - to_screen((0, 0))[0], 5.5 * viewer.figure.dpi / 72)
        circle = to_screen(np.transpose(parts(viewer, "_Place")[1].get_data()))
        np.testing.assert_allclose(np.linalg.norm(circle - to_screen((12.0, 3.0)), axis=1), least)
        assert np.nanmin(away) == pytest.approx(least, rel=1e-3)
        # nor is anything in the circle painted over
        column, row = np.round(to_screen((12.0, 3.0))).astype(int)
        inside = slice(-row - 2, -row + 2), slice(column - 2, column + 2)
        with_tracks = np.array(viewer.figure.canvas.buffer_rgba(), float)[inside]
        clear_tracks(viewer)
        viewer.figure.canvas.draw()
        np.testing.assert_allclose(with_tracks, np.array(viewer.figure.canvas.buffer_rgba())[inside], atol=5)
        draw_tracks(viewer, app.data_collection)


def test_drawing_anew_replaces_and_clearing_leaves_nothing(app, attached):
    viewer = show(app, attached.cube)
    others = len(viewer.axes.get_children())
    for _ in range(3):
        draw_tracks(viewer, app.data_collection)
        assert len(parts(viewer)) == 6
    clear_tracks(viewer)
    assert len(viewer.axes.get_children()) == others


def test_the_map_shows_the_ways_of_all_frames(app, attached):
    viewer = show(app, attached.map)
    assert draw_tracks(viewer, app.data_collection) is not None
    assert drawn(viewer) == {}
    np.testing.assert_allclose(parts(viewer, "_Path")[1].get_data(), parts(viewer, "_Path")[1].track.path.T)
    assert tuple(parts(viewer, "_Number")[1].xy) == (12.0, 3.0)


def test_axes_in_another_order(app):
    frames = make_frames()
    cube = Data(label="turned", flux=np.moveaxis(frames, 0, 2))
    app.data_collection.append(cube)
    attach(app, cube, result=result_with_tracks(frames), axis=2)
    viewer = show(app, cube)
    y, x, z = cube.pixel_component_ids
    viewer.state.x_att, viewer.state.y_att = y, x
    viewer.state.slices = (0, 0, 1)
    assert draw_tracks(viewer, app.data_collection) is not None
    assert drawn(viewer) == {1: (4.5, 10.0), 2: (9.5, 2.0)}
    # an image along the frames has no place for them
    viewer.state.x_att = z
    assert draw_tracks(viewer, app.data_collection) is None
    assert not parts(viewer)


def test_tracks_belong_to_their_set(app, attached):
    other = Data(label="other", flux=make_frames(seed=2))
    app.data_collection.append(other)
    viewer = show(app, other)
    assert find_tracks(viewer, app.data_collection) is None
    # frames that are linked pixel by pixel are of the same field
    app.data_collection.add_link(
        [LinkSame(a, b) for a, b in zip(other.pixel_component_ids, attached.cube.pixel_component_ids, strict=True)]
    )
    assert find_tracks(viewer, app.data_collection).tracks is attached.tracks


def test_the_cleaning_that_is_shown_is_meant(app, cube, attached):
    second = attach(app, cube, result=result_with_tracks(cube["flux"]))
    viewer = show(app, cube)
    layer = viewer.state.layers[0]
    for attribute, tracks in (
        (second.source, second.tracks),
        (attached.cleaned, attached.tracks),
        (second.cleaned, second.tracks),
    ):
        layer.attribute = attribute
        assert find_tracks(viewer, app.data_collection).tracks is tracks
    assert find_tracks(show(app, attached.map), app.data_collection).tracks is attached.tracks


def test_without_tracks_there_is_nothing_to_draw(app, cube):
    attach(app, cube)
    viewer = show(app, cube)
    assert draw_tracks(viewer, app.data_collection) is None
    assert draw_tracks(app.new_data_viewer(SimpleImageViewer), app.data_collection) is None


def test_undo_and_removal_take_them_away(app, attached):
    viewer = show(app, attached.cube)
    assert draw_tracks(viewer, app.data_collection) is not None
    app.undo()
    assert draw_tracks(viewer, app.data_collection) is None
    assert not parts(viewer)
    app.redo()
    assert draw_tracks(viewer, app.data_collection) is not None
    app.data_collection.remove(attached.tracks)
    assert draw_tracks(viewer, app.data_collection) is None
    assert attached.shape == SHAPE


def test_the_table_tells_the_motion_on_the_sky(app):
    scale = 0.0003  # [deg / pixel]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (83.6, 22.0), (5, 4)
    wcs.wcs.cdelt = -scale, scale
    cube = Data(label="dated", flux=make_frames(), coords=FrameCoordinates(wcs))
    # an hour from frame to frame
    cube.meta[FACTS["date"]] = [f"2026-01-01T0{k}:00:00" for k in range(5)]
    app.data_collection.append(cube)
    tracks = attach(app, cube, result=result_with_tracks(cube["flux"])).tracks
    np.testing.assert_allclose(tracks["sky rate"], 3600 * scale * 2.5, rtol=1e-4)
    assert tracks.get_component("sky rate").units == "arcsec / h"
    # by (1.5, -2): north and east
    np.testing.assert_allclose(tracks["sky position angle"], np.degrees(np.arctan2(2, 1.5)), atol=0.1)


coordinates = st.floats(-50, 50).map(lambda value: round(value, 3))


@given(
    arrays(float, st.tuples(st.integers(2, 6), st.just(2)), elements=coordinates),
    st.tuples(coordinates, coordinates).map(np.array),
    st.floats(0.5, 60),
)
def test_what_is_left_of_a_line_is_outside_the_circle(points, center, radius):
    left = outside_circle(points, center, radius)
    finite = left[np.isfinite(left).all(axis=1)]
    assert (np.linalg.norm(finite - center, axis=1) >= radius - 1e-6).all()
    # samples of the line are either inside or on one of the pieces
    along = np.linspace(0, 1, 23)[:, None]
    for start, end in pairwise(points):
        for sample in start + along * (end - start):
            if np.linalg.norm(sample - center) > radius + 1e-6:
                assert _distance(sample, left) < 1e-6


def _distance(point, line):
    """To the nearest piece."""
    found = [np.inf]
    for start, end in pairwise(line):
        if np.isfinite([start, end]).all():
            along = end - start
            share = np.clip((point - start) @ along / max(along @ along, 1e-30), 0, 1)
            found.append(np.linalg.norm(start + share * along - point))
    return min(found)
