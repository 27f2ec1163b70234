"""Moving objects in a session: their table, its links, kept and repaired as a whole."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from glue.core import Data
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, RoiSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import ViewerApplication, attach, clean_with_kinds, make_result, subset_of

from glue_cleanset import clean_image_set
from glue_cleanset.viewer.attach import OUTPUTS, find_attached
from glue_cleanset.viewer.browse import event_of_track, find_event, go_to_event, go_to_track
from glue_cleanset.viewer.coords import FrameCoordinates
from glue_cleanset.viewer.overrule import (
    find_overrules,
    keep_object,
    reject_selected,
    rejected_frames,
    repair_object,
    restore_event,
    restore_selected,
)
from glue_cleanset.viewer.stack import FACTS


@pytest.fixture(scope="module")
def cleaned():
    return clean_with_kinds()


@pytest.fixture
def frames(cleaned):
    return cleaned[0]


@pytest.fixture
def result(cleaned):
    return cleaned[1]


@pytest.fixture
def stars(app, frames):
    data = Data(flux=frames, label="stars")
    app.data_collection.append(data)
    return data


@pytest.fixture
def attached(app, stars, result):
    return attach(app, stars, result=result)


def object_pixels(result, track):
    numbers = result.events["event"][result.events["track"] == track]
    assert len(numbers) == 3
    return np.isin(result.event_labels(), numbers)


def reopened(app, tmp_path):
    path = str(tmp_path / "session.glu")
    app.save_session(path)
    return ViewerApplication.restore_session(path)


# ---- the table and its links


def test_the_tracks_are_a_table_beside_the_others(app, attached, result):
    assert [data.label for data in app.data_collection] == [
        "stars",
        "stars rejection map",
        "stars events",
        "stars tracks",
        "stars frames",
    ]
    assert [cid.label for cid in attached.tracks.main_components] == [
        name.replace("_", " ") for name in result.tracks.colnames
    ]
    for name in result.tracks.colnames:
        np.testing.assert_allclose(attached.tracks[name.replace("_", " ")], result.tracks[name], rtol=1e-5)
    np.testing.assert_array_equal(attached.track_positions, result.track_positions)
    assert attached.record["track positions"] == result.track_positions.tolist()


def test_a_row_of_the_tracks_selects_its_events_and_pixels_and_the_reverse(app, attached, result):
    row = app.data_collection.new_subset_group("row", ElementSubsetState([1], data=attached.tracks))
    np.testing.assert_array_equal(subset_of(attached.cube, row), object_pixels(result, 2))
    np.testing.assert_array_equal(subset_of(attached.events, row), result.events["track"] == 2)
    assert subset_of(attached.frames, row).tolist() == [False, False, True, True, False, True]

    events = np.flatnonzero(result.events["track"] == 1)
    row = app.data_collection.new_subset_group("event", ElementSubsetState([int(events[1])], data=attached.events))
    assert subset_of(attached.tracks, row).tolist() == [True, False]
    _, y, x = attached.cube.pixel_component_ids
    at_y, at_x = (result.events[name][events[2]] for name in ("y", "x"))
    box = RectangularROI(at_x - 0.3, at_x + 0.3, at_y - 0.3, at_y + 0.3)
    region = app.data_collection.new_subset_group("region", RoiSubsetState(x, y, box))
    assert subset_of(attached.tracks, region).tolist() == [True, False]
    nothing = app.data_collection.new_subset_group("nothing", attached.events.id["track"] == 0)
    assert not subset_of(attached.tracks, nothing).any()


def test_kept_events_are_rows_and_have_pixels_but_are_not_rejected(attached, frames, result):
    kept = object_pixels(result, 1) | object_pixels(result, 2)
    labels, rejected = attached.values(attached.event), attached.values(attached.rejected)
    assert (labels[kept] > 0).all()
    assert not rejected[kept].any()
    np.testing.assert_array_equal(attached.values(attached.cleaned)[kept], frames[kept])
    moving = attached.events["track"] > 0
    assert attached.events["kept"][moving].tolist() == [1] * 6
    assert attached.events["kept"].dtype == np.uint8
    assert (attached.kept[:] & kept).sum() == kept.sum()
    np.testing.assert_array_equal(attached.kept, (labels > 0) & (rejected == 0))
    assert not attached.map["times rejected"][kept.any(0) & ~result.rejected.any(0)].any()


def test_undo_takes_them_away_and_redo_brings_the_same(app, attached):
    tracks, links = attached.tracks, len(app.data_collection.external_links)
    app.undo()
    assert [data.label for data in app.data_collection] == ["stars"]
    assert not app.data_collection.external_links
    app.redo()
    assert tracks in app.data_collection.data
    assert find_attached(app.data_collection)[0].tracks is tracks
    assert len(app.data_collection.external_links) == links


def test_with_dates_and_a_wcs_the_motion_on_the_sky_is_told(app, frames, result):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [-2 / 3600, 2 / 3600]
    cube = Data(flux=frames, label="stars", coords=FrameCoordinates(wcs))
    cube.meta[FACTS["date"]] = [f"2026-03-01T0{hour}:00:00" for hour in (1, 2, 3, 5, 7, 9)]
    app.data_collection.append(cube)
    tracks = attach(app, cube, result=result).tracks
    # five steps of (1.5, -2) pixels of 2 arcsec in eight hours; x - 2 is to the east
    np.testing.assert_allclose(tracks["sky rate"], 5 * 2.5 * 2 / 8, rtol=1e-3)
    np.testing.assert_allclose(tracks["sky position angle"], np.degrees(np.arctan2(2, 1.5)), atol=0.01)
    assert tracks.get_component(tracks.id["sky rate"]).units == "arcsec / h"


@pytest.mark.parametrize("tracks", ["none", "not known"])
def test_where_nothing_moves_there_is_no_table(app, stars, result, tracks):
    empty = (result.tracks[:0], result.track_positions[:0]) if tracks == "none" else (None, None)
    attached = attach(app, stars, result=replace(result, tracks=empty[0], track_positions=empty[1]))
    assert attached.tracks is None
    assert attached.track_positions.shape == (0, 6, 2)
    assert len(app.data_collection) == 4


def test_a_session_keeps_them(app, attached, result, tmp_path):
    app.data_collection.new_subset_group("row", ElementSubsetState([1], data=attached.tracks))
    repair_object(app.session, attached, 1)
    again = reopened(app, tmp_path)
    (b,) = find_attached(again.data_collection)
    assert b.tracks.label == "stars tracks"
    np.testing.assert_array_equal(b.track_positions, result.track_positions)
    np.testing.assert_array_equal(b.kept, attached.kept)
    np.testing.assert_array_equal(subset_of(b.cube, again.data_collection.subset_groups[0]), object_pixels(result, 2))
    keep_object(again.session, b, 1)
    np.testing.assert_array_equal(b.values(b.event) > 0, result.event_labels() > 0)
    np.testing.assert_array_equal(b.values(b.rejected), result.rejected)


# ---- keep this object, repair this object


def test_an_object_is_repaired_and_kept_in_all_of_its_frames(app, attached, frames, result):
    mine, other = object_pixels(result, 1), object_pixels(result, 2)
    command = repair_object(app.session, attached, 1)
    assert command.label == f"object 1: {mine.sum()} pixels rejected by hand"
    np.testing.assert_array_equal(attached.values(attached.rejected), result.rejected | mine)
    assert (attached.values(attached.cleaned)[mine] != frames[mine]).all()
    np.testing.assert_array_equal(attached.values(attached.cleaned)[other], frames[other])
    np.testing.assert_array_equal(attached.kept, (result.event_labels() > 0) & ~result.rejected & ~mine)
    events = attached.events
    assert events["kept"][events["track"] == 1].tolist() == [0, 0, 0]
    assert events["kept"][events["track"] == 2].tolist() == [1, 1, 1]
    # it is a moving object as before
    np.testing.assert_array_equal(events["kind"] == "moving object", events["track"] > 0)
    np.testing.assert_array_equal(attached.frames["pixels"], (result.rejected | mine).sum((1, 2)))
    np.testing.assert_array_equal(attached.frames["moving object"], result.summary["moving_object"])
    with pytest.raises(ValueError, match="Object 1 of 'stars' is repaired already"):
        repair_object(app.session, attached, 1)

    command = keep_object(app.session, attached, 1)
    assert command.label == f"object 1: {mine.sum()} pixels kept"
    np.testing.assert_array_equal(attached.values(attached.rejected), result.rejected)
    np.testing.assert_array_equal(attached.values(attached.cleaned), result.cleaned)
    np.testing.assert_array_equal(events["kept"], result.events["kept"])
    np.testing.assert_array_equal(attached.kept, (result.event_labels() > 0) & ~result.rejected)
    with pytest.raises(ValueError, match="Object 1 of 'stars' is kept already"):
        keep_object(app.session, attached, 1)


def test_a_track_counts_the_events_that_are_left(app, attached, result):
    before = attached.tracks["events"].copy()
    np.testing.assert_array_equal(before, result.tracks["events"])
    event = int(result.events["event"][result.events["track"] == 1][0])
    repair_object(app.session, attached, 1)  # (what is kept is as it was already)
    np.testing.assert_array_equal(attached.tracks["events"], before)
    restore_event(app.session, attached, event)
    np.testing.assert_array_equal(attached.tracks["events"], before - (result.tracks["track"] == 1))
    app.undo()
    np.testing.assert_array_equal(attached.tracks["events"], before)


def test_undo_and_redo_lead_back_exactly(app, attached, result):
    def state():
        tables = [np.array(data[cid]) for data in attached.datasets for cid in data.main_components]
        return [attached.cube[cid].copy() for cid in (attached.cleaned, attached.rejected, attached.event)] + tables

    def same(one, other):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)

    before, record = state(), dict(attached.record)
    repair_object(app.session, attached, 2)
    after = state()
    app.undo()
    same(state(), before)
    assert attached.record == record
    app.redo()
    same(state(), after)


def test_what_is_said_of_an_object_is_said_to_the_next_cleaning(app, attached, frames, result):
    mine = object_pixels(result, 1)
    repair_object(app.session, attached, 1)
    restored, rejected = find_overrules(attached)
    assert restored is None
    np.testing.assert_array_equal(rejected, mine)
    keep_object(app.session, attached, 1)
    restored, rejected = find_overrules(attached)
    np.testing.assert_array_equal(restored, mine)
    assert rejected is None
    assert not clean_image_set(frames, protect=restored).rejected[mine].any()


def test_a_single_event_of_an_object_can_be_rejected(app, attached, result):
    numbers = result.events["event"][result.events["track"] == 2]
    group = app.data_collection.new_subset_group("one", attached.events.id["event"] == int(numbers[0]))
    reject_selected(app.session, group, int(result.events["frame"][result.events["event"] == numbers[0]][0]) - 1)
    kept = attached.events["kept"][np.isin(attached.events["event"], numbers)]
    assert kept.tolist() == [0, 1, 1]
    # the rest of it follows
    repair_object(app.session, attached, 2)
    assert attached.values(attached.rejected)[object_pixels(result, 2)].all()


def test_an_event_that_is_kept_has_nothing_to_be_restored(app, attached, result):
    number = int(result.events["event"][result.events["track"] == 1][0])
    with pytest.raises(ValueError, match=f"Event {number} of 'stars' is kept: its pixels have their original values"):
        restore_event(app.session, attached, number)
    # what is restored is an event no more
    repair_object(app.session, attached, 1)
    restore_event(app.session, attached, number)
    assert number not in attached.events["event"]
    row = app.data_collection.new_subset_group("rows", attached.events.id["track"] == 2)
    with pytest.raises(ValueError, match="'rows' selects no rejected pixel in it"):
        restore_selected(app.session, row)


def test_objects_that_are_not_there_are_refused(app, attached, stars, result):
    depth = len(app.session.command_stack._command_stack)
    with pytest.raises(ValueError, match="no event of object 3 of 'stars'"):
        keep_object(app.session, attached, 3)
    with pytest.raises(ValueError, match="An event of no track is no object"):
        repair_object(app.session, attached, 0)
    assert len(app.session.command_stack._command_stack) == depth
    second = attach(app, stars, result=result, outputs=("cleaned", "events", "tracks"))
    with pytest.raises(ValueError, match="pixels of object 1 of 'stars' are not known: clean the set again"):
        repair_object(app.session, second, 1)


# ---- what is known where only a part was attached


@pytest.mark.parametrize("outputs", [("event",), ("event", "events"), ("rejected",), ("cleaned", "event", "map")])
def test_kept_pixels_never_count_as_rejected(app, stars, result, outputs):
    attached = attach(app, stars, result=result, outputs=outputs)
    np.testing.assert_array_equal(rejected_frames(attached), result.rejected)
    # and an overrule leaves them as they are
    everything = app.data_collection.new_subset_group("all", stars.pixel_component_ids[1] >= 0)
    restore_selected(app.session, everything)
    assert not rejected_frames(attached)[:].any()
    np.testing.assert_array_equal(attached.kept, (result.event_labels() > 0) & ~result.rejected)


def test_kept_events_stay_whole_where_only_the_table_was_attached(app, stars, result):
    attached = attach(app, stars, result=result, outputs=("cleaned", "rejected", "events"))
    kept = (result.event_labels() > 0) & ~result.rejected
    sizes = np.sort(attached.events["pixels"][attached.events["kept"] == 1])
    first = app.data_collection.new_subset_group("first", stars.pixel_component_ids[0] < 1)
    restore_selected(app.session, first)
    np.testing.assert_array_equal(attached.kept, kept)
    np.testing.assert_array_equal(np.sort(attached.events["pixels"][attached.events["kept"] == 1]), sizes)


@pytest.mark.parametrize("axis", [1, 2])
def test_frames_may_lie_on_any_axis(app, frames, result, axis):
    turned = Data(flux=np.moveaxis(frames, 0, axis), label="turned")
    app.data_collection.append(turned)
    attached = attach(app, turned, result=result, axis=axis)
    repair_object(app.session, attached, 1)
    np.testing.assert_array_equal(attached.values(attached.rejected), result.rejected | object_pixels(result, 1))


# ---- sessions of before


def forget_kinds(data):
    for label in ("kind", "confidence", "track", "kept", "remark", "moving object", "trail"):
        if data.find_component_id(label) is not None:
            data.remove_component(data.id[label])


def test_a_session_without_kinds_opens_and_can_be_overruled(app, stars, frames, tmp_path):
    result = clean_image_set(frames)
    attached = attach(app, stars, result=replace(result, kind_map=None), outputs=[o for o in OUTPUTS if o != "tracks"])
    for data in attached.datasets:
        forget_kinds(data)
    record = attached.record
    for name in ("tracks", "track positions", "kept"):
        del record[name]
    del record["columns"]["tracks"]
    for name in ("kinds", "keep"):
        del record["settings"][name]
    again = reopened(app, tmp_path)
    (b,) = find_attached(again.data_collection)
    assert b.tracks is b.kept is None
    assert b.track_positions.shape == (0, 6, 2)
    np.testing.assert_array_equal(rejected_frames(b), result.rejected)
    number = int(b.events["event"][3])
    restore_event(again.session, b, number)
    assert number not in b.events["event"]
    again.undo()
    np.testing.assert_array_equal(b.values(b.rejected), result.rejected)
    with pytest.raises(ValueError, match="pixels of object 1 of 'stars' are not known"):
        keep_object(again.session, b, 1)


def test_a_result_made_without_kinds_is_attached(app, cube):
    result = make_result(cube["flux"])
    assert result.kind_map is result.tracks is None
    attached = attach(app, cube, result=result)
    assert attached.tracks is attached.kept is None
    assert attached.map.find_component_id("kind") is None


# ---- going there


def test_going_to_an_object_is_going_to_the_middle_of_its_track(app, attached, result):
    viewer = app.new_data_viewer(SimpleImageViewer, data=attached.cube)
    rows = np.flatnonzero(result.events["track"] == 2)
    assert event_of_track(attached, 2) == result.events["event"][rows[1]]
    assert go_to_track(app.viewers, attached, 2) == [viewer]
    assert viewer.state.slices[0] == 3
    x = (viewer.state.x_min + viewer.state.x_max) / 2
    assert x == pytest.approx(result.events["x"][rows[1]], abs=1)
    for track in (0, 7):
        with pytest.raises(ValueError, match=f"stars has no event of an object {track}"):
            go_to_track(app.viewers, attached, track)


def test_the_box_of_a_kept_event_in_pieces_holds_all_of_them(app, attached, result):
    number = event_of_track(attached, 1)
    frame = int(result.events["frame"][result.events["event"] == number][0]) - 1
    labels = attached.cube[attached.event].copy()
    labels[frame, 38, 2] = number  # far from the rest
    attached.cube.update_components({attached.event: labels})
    _, y, x = np.nonzero(labels == number)
    event = find_event(attached, number)
    assert event.center == (frame, (y.min() + y.max()) / 2, (x.min() + x.max()) / 2)
    assert event.size == max(np.ptp(y), np.ptp(x)) + 1
    viewer = app.new_data_viewer(SimpleImageViewer, data=attached.cube)
    go_to_event(app.viewers, attached, number)
    # as much as there is of the image, not four times the event
    assert min(viewer.state.x_max - viewer.state.x_min, viewer.state.y_max - viewer.state.y_min) < 70
