"""Selected pixels restored and rejected in a session, undone and redone."""

import numpy as np
import pytest
from astropy.io import fits
from glue.core import Data
from glue.core.roi import RectangularROI
from glue.core.subset import AndState, ElementSubsetState, MaskSubsetState, RoiSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from viewer_sets import ViewerApplication, attach, clean_with_kinds, make_result

from glue_cleanset import CleanSettings, clean_image_set
from glue_cleanset.core.settings import KINDS
from glue_cleanset.core.simulate import VARIANTS, simulate_set
from glue_cleanset.viewer.attach import OUTPUTS, find_attached
from glue_cleanset.viewer.factories import image_set
from glue_cleanset.viewer.kinds import set_kind
from glue_cleanset.viewer.overrule import (
    find_overrules,
    keep_object,
    reject_selected,
    rejected_frames,
    repair_object,
    restore_event,
    restore_selected,
)
from glue_cleanset.viewer.regions import selected_pixels
from glue_cleanset.viewer.stack import image_set_from_cube

SHAPE = (6, 40, 50)


def session_with_set(axis=0, outputs=tuple(OUTPUTS), settings=CleanSettings()):
    app = ViewerApplication()
    frames = simulate_set(SHAPE[0], SHAPE[1:], seed=3, **VARIANTS["hard"]).frames
    cube = Data(flux=np.moveaxis(frames, 0, axis), label="stars")
    app.data_collection.append(cube)
    attached = attach(app, cube, result=clean_image_set(frames, settings), axis=axis, outputs=outputs)
    return app, frames, attached


def rows(app, attached, *indices):
    return app.data_collection.new_subset_group("rows", ElementSubsetState(list(indices), data=attached.events))


def region(app, data, axes, x, y, label="region"):
    """A rectangle over two pixel axes (x, y) of some data, drawn by hand."""
    ids = [data.pixel_component_ids[axis] for axis in axes]
    return app.data_collection.new_subset_group(label, RoiSubsetState(*ids, RectangularROI(*x, *y)))


def values(attached, name):
    return np.moveaxis(attached.cube.get_data(getattr(attached, name)), attached.axis, 0)


def check_whole(app, frames, attached):
    """All parts tell the same."""
    rejected = values(attached, "rejected").astype(bool)
    np.testing.assert_array_equal(values(attached, "cleaned")[~rejected], frames[~rejected])
    labels = values(attached, "event")
    of_events = labels > 0
    assert of_events[rejected].all()
    kept = of_events & ~rejected
    assert np.array_equal(np.zeros(SHAPE, bool) if attached.kept is None else attached.kept, kept)
    m, f = attached.map, attached.frames
    assert np.array_equal(m["kind"] > 0, of_events.any(axis=0))
    assert np.array_equal(m["times rejected"], rejected.sum(axis=0))
    assert np.array_equal(m["rejected frame"] > 0, rejected.any(axis=0))
    assert np.array_equal(m["peak significance"] != 0, rejected.any(axis=0))
    assert np.array_equal(f["pixels"], rejected.sum(axis=(1, 2)))
    np.testing.assert_allclose(f["percent"], 100 * rejected.mean(axis=(1, 2)), rtol=1e-5)
    numbers, pixels = np.unique(labels[of_events], return_counts=True)
    # the table of the moment: where the last event goes, it goes
    attached = find_attached(app.data_collection)[-1]
    if not len(numbers):
        assert attached.events is None
        assert not f["events"].any()
        return
    e = attached.events
    assert np.array_equal(e["event"], numbers)
    assert np.array_equal(e["pixels"], pixels)
    assert np.array_equal(f["events"], np.bincount(e["frame index"][e["kept"] == 0], minlength=len(frames)))
    assert np.array_equal(e["kept"] * pixels, [kept[labels == number].sum() for number in numbers])
    codes = np.zeros(numbers.max() + 1, int)
    for code, kind in enumerate(KINDS, start=1):
        mine = e["kind"] == kind
        codes[numbers[mine]] = code
        assert np.array_equal(f[kind], np.bincount(e["frame index"][mine], minlength=len(frames)))
    there = [set(codes[column[column > 0]]) for column in labels[:, of_events.any(axis=0)].T]
    assert all(code in known for code, known in zip(m["kind"][of_events.any(axis=0)], there, strict=True))
    assert e in app.data_collection.data
    # and the links still select exactly the pixels of a row
    row = app.data_collection.new_subset_group("probe", ElementSubsetState([len(numbers) // 2], data=e))
    picked = selected_pixels(row, attached.cube, attached.axis)
    np.testing.assert_array_equal(picked, labels == numbers[len(numbers) // 2])
    app.data_collection.remove_subset_group(row)


@pytest.mark.parametrize("axis", [0, 2])
def test_rows_of_the_table_are_restored_and_undone(axis):
    app, frames, a = session_with_set(axis)
    before = {name: values(a, name).copy() for name in ("cleaned", "rejected", "event")}
    events = {cid.label: a.events[cid].copy() for cid in a.events.main_components}
    strongest = np.argsort(-a.events["peak significance"])[:2].tolist()
    group = rows(app, a, *strongest)
    gone = events["event"][strongest]
    mask = np.isin(before["event"], gone)
    restore_selected(app.session, group)
    check_whole(app, frames, a)
    np.testing.assert_array_equal(values(a, "rejected"), before["rejected"] & ~mask)
    np.testing.assert_array_equal(values(a, "cleaned")[mask], frames[mask])
    assert not np.isin(gone, a.events["event"]).any()
    # the subset meant these rows, which are gone; it does not jump to others
    assert not selected_pixels(group, a.cube, a.axis).any()

    app.undo()
    check_whole(app, frames, a)
    for name, old in before.items():
        np.testing.assert_array_equal(values(a, name), old)
    np.testing.assert_array_equal(selected_pixels(group, a.cube, a.axis), mask)
    for label, old in events.items():
        np.testing.assert_array_equal(a.events[label], old)
    app.redo()
    check_whole(app, frames, a)
    assert not np.isin(gone, a.events["event"]).any()


def test_a_row_subset_keeps_the_events_it_means():
    app, _, a = session_with_set()
    third = rows(app, a, 2)
    number = a.events["event"][2]
    restore_selected(app.session, rows(app, a, 0))
    np.testing.assert_array_equal(selected_pixels(third, a.cube, a.axis), values(a, "event") == number)
    app.undo()
    np.testing.assert_array_equal(selected_pixels(third, a.cube, a.axis), values(a, "event") == number)


def test_a_region_of_the_map_is_restored_in_all_frames_or_one():
    app, frames, a = session_with_set()
    box = region(app, a.map, (1, 0), (9.5, 39.5), (4.5, 29.5))
    inside = np.zeros(SHAPE, bool)
    inside[:, 5:30, 10:40] = True
    before = values(a, "rejected").astype(bool)
    assert (before & inside)[3].any()
    assert (before & inside)[[0, 1, 2, 4, 5]].any()
    restore_selected(app.session, box, frame=3)
    check_whole(app, frames, a)
    inside[[0, 1, 2, 4, 5]] = False
    np.testing.assert_array_equal(values(a, "rejected"), before & ~inside)
    restore_selected(app.session, box)
    check_whole(app, frames, a)
    assert not values(a, "rejected")[:, 5:30, 10:40].any()


def test_a_range_of_a_histogram_is_restored():
    app, frames, a = session_with_set()
    weak = app.data_collection.new_subset_group("weak", a.events.id["peak significance"] < 8)
    few = AndState(weak.subset_state, a.events.id["pixels"] < 3)
    group = app.data_collection.new_subset_group("weak and small", few)
    expected = (a.events["peak significance"] < 8) & (a.events["pixels"] < 3)
    gone = a.events["event"][expected]
    assert 0 < expected.sum() < len(expected)
    restore_selected(app.session, group)
    check_whole(app, frames, a)
    assert not np.isin(gone, a.events["event"]).any()
    assert not selected_pixels(group, a.cube, a.axis).any()


def test_pixels_are_rejected_by_hand_in_the_frame_shown():
    app, frames, a = session_with_set()
    before = values(a, "rejected").astype(bool)
    free = ~before.any(axis=0)
    y, x = next((y, x) for y, x in np.argwhere(free) if free[y : y + 2, x : x + 2].all() and 5 < y < 35 and 5 < x < 45)
    box = region(app, a.cube, (2, 1), (x - 0.5, x + 1.5), (y - 0.5, y + 1.5))
    reject_selected(app.session, box, 4)
    check_whole(app, frames, a)
    expected = before.copy()
    expected[4, y : y + 2, x : x + 2] = True
    np.testing.assert_array_equal(values(a, "rejected"), expected)
    others = np.delete(frames[:, y, x], 4)
    assert others.min() < values(a, "cleaned")[4, y, x] < others.max()
    assert a.map["rejected frame"][y, x] == 5
    restored, by_hand = find_overrules(a)
    assert restored is None
    np.testing.assert_array_equal(by_hand, expected & ~before)
    assert a.record["overrules"] == a.map.meta["overrules"] == ["4 pixels rejected by hand"]
    # the last word on a pixel counts
    restore_selected(app.session, box)
    restored, by_hand = find_overrules(a)
    np.testing.assert_array_equal(restored, expected & ~before)
    assert by_hand is None
    app.undo()
    app.undo()
    assert find_overrules(a) == (None, None)
    assert a.map.meta["overrules"] == []


def test_overrules_are_in_a_session_and_can_go_on(tmp_path):
    app, frames, a = session_with_set()
    restore_selected(app.session, rows(app, a, 1, 4))
    path = str(tmp_path / "session.glu")
    app.save_session(path)
    again = ViewerApplication.restore_session(path)
    b = find_attached(again.data_collection)[-1]
    check_whole(again, frames, b)
    np.testing.assert_array_equal(values(b, "rejected"), values(a, "rejected"))
    np.testing.assert_array_equal(find_overrules(b)[0], find_overrules(a)[0])
    restore_selected(again.session, rows(again, b, 2))
    check_whole(again, frames, b)


def test_all_is_restored_and_the_table_comes_and_goes():
    app, frames, a = session_with_set()
    table = a.events
    everything = region(app, a.map, (1, 0), (-1, 50), (-1, 40))
    restore_selected(app.session, everything)
    assert find_attached(app.data_collection)[-1].events is None
    assert table not in app.data_collection.data
    check_whole(app, frames, a)
    np.testing.assert_array_equal(values(a, "cleaned"), frames)
    box = region(app, a.cube, (2, 1), (9.5, 11.5), (9.5, 10.5), "box")
    reject_selected(app.session, box, 0)
    check_whole(app, frames, a)
    assert find_attached(app.data_collection)[-1].events.size == 1
    app.undo()
    app.undo()
    assert find_attached(app.data_collection)[-1].events is table
    check_whole(app, frames, a)


def test_viewers_follow():
    app, frames, a = session_with_set()
    viewer = app.new_data_viewer(SimpleImageViewer, data=a.cube)
    layer = viewer.state.layers[0]
    layer.attribute = a.cleaned
    frame = int(a.events["frame index"][0])
    viewer.state.slices = (frame, 0, 0)
    y, x = int(a.events["y peak"][0]), int(a.events["x peak"][0])
    assert layer.get_sliced_data()[y, x] != frames[frame, y, x]
    restore_selected(app.session, rows(app, a, 0))
    assert layer.get_sliced_data()[y, x] == frames[frame, y, x]


def test_only_some_parts_are_attached():
    app, frames, a = session_with_set(outputs=("cleaned", "event"))
    box = region(app, a.cube, (2, 1), (9.5, 39.5), (4.5, 29.5))
    restore_selected(app.session, box)
    labels = values(a, "event")
    assert not labels[:, 5:30, 10:40].any()
    np.testing.assert_array_equal(values(a, "cleaned")[labels == 0], frames[labels == 0])
    app.undo()
    assert values(a, "event")[:, 5:30, 10:40].any()


def test_the_arrays_of_a_script_are_its_own():
    app = ViewerApplication()
    frames = simulate_set(SHAPE[0], SHAPE[1:], seed=3, **VARIANTS["hard"]).frames
    result = clean_image_set(frames)
    cleaned, rejected = result.cleaned.copy(), result.rejected.copy()
    cube = Data(flux=frames, label="stars")
    app.data_collection.append(cube)
    a = attach(app, cube, result=result)
    restore_selected(app.session, rows(app, a, 0, 1, 2))
    np.testing.assert_array_equal(result.cleaned, cleaned)
    np.testing.assert_array_equal(result.rejected, rejected)


def test_what_cannot_be_done_is_told_and_nothing_changes():
    app, frames, a = session_with_set()
    depth = len(app.session.command_stack._command_stack)
    empty = app.data_collection.new_subset_group("nothing", a.events.id["pixels"] < 0)
    with pytest.raises(ValueError, match="'nothing' selects no pixel of 'stars'"):
        restore_selected(app.session, empty)
    other = Data(z=np.arange(5), label="other")
    app.data_collection.append(other)
    strange = app.data_collection.new_subset_group("strange", other.id["z"] > 2)
    with pytest.raises(ValueError, match="'strange' selects by something that 'stars' is not linked to"):
        restore_selected(app.session, strange)
    flat = app.data_collection.new_subset_group(
        "flat", MaskSubsetState(np.ones(SHAPE[1:], bool), a.map.pixel_component_ids)
    )
    with pytest.raises(ValueError, match="'flat' selects by something that 'stars' is not linked to"):
        restore_selected(app.session, flat)
    quiet = np.argwhere(~np.asarray(rejected_frames(a)).any(axis=0))[0]
    box = region(app, a.map, (1, 0), (quiet[1] - 0.4, quiet[1] + 0.4), (quiet[0] - 0.4, quiet[0] + 0.4), "quiet")
    with pytest.raises(ValueError, match="'quiet' selects no rejected pixel in it"):
        restore_selected(app.session, box)
    with pytest.raises(ValueError, match="No subset is active"):
        restore_selected(app.session, None)
    assert len(app.session.command_stack._command_stack) == depth
    bare = ViewerApplication()
    bare.data_collection.append(Data(flux=frames, label="bare"))
    with pytest.raises(ValueError, match="Nothing in the session was cleaned"):
        restore_selected(bare.session, box)


def test_a_cleaning_without_a_model_says_so(app, cube):
    a = attach(app, cube, result=make_result(cube["flux"]))
    with pytest.raises(ValueError, match="kept no noise model; clean it again"):
        restore_selected(app.session, rows(app, a, 0))


_CLEANED = clean_with_kinds(SHAPE)


class Session(RuleBasedStateMachine):
    """Whatever is restored, rejected, undone and redone: all parts agree, and undo leads back exactly."""

    @initialize()
    def clean(self):
        self.app = ViewerApplication()
        self.frames, result = _CLEANED
        cube = Data(flux=self.frames, label="stars")
        self.app.data_collection.append(cube)
        self.attached = attach(self.app, cube, result=result)
        repair_object(self.app.session, self.attached, 2)  # there is one to be repaired and one to be kept
        self.past, self.future = [self.state()], []

    def state(self):
        attached = find_attached(self.app.data_collection)[-1]
        arrays = [values(attached, name).copy() for name in ("cleaned", "rejected", "event")]
        for data in attached.datasets:
            arrays += [np.array(data[cid]) for cid in data.main_components]
        return arrays, dict(attached.record)

    def act(self, function, *args):
        try:
            function(*args)
        except ValueError:  # nothing selected: nothing happened
            return
        self.past.append(self.state())
        self.future = []

    @rule(seed=st.integers(0, 20))
    def restore_rows(self, seed):
        attached = find_attached(self.app.data_collection)[-1]
        if attached.events is not None:
            some = np.flatnonzero(np.random.default_rng(seed).random(attached.events.size) < 0.4)
            group = rows(self.app, attached, *some.tolist())
            self.act(restore_selected, self.app.session, group)

    @rule(y=st.integers(0, 30), x=st.integers(0, 40), size=st.sampled_from([1, 6, 60]))
    def restore_region(self, y, x, size):
        group = region(self.app, self.attached.map, (1, 0), (x - 0.5, x + size - 0.5), (y - 0.5, y + size - 0.5))
        self.act(restore_selected, self.app.session, group)

    @rule(y=st.integers(0, 30), x=st.integers(0, 40), size=st.sampled_from([1, 3]), frame=st.integers(0, 5))
    def reject_region(self, y, x, size, frame):
        group = region(self.app, self.attached.cube, (2, 1), (x - 0.5, x + size - 0.5), (y - 0.5, y + size - 0.5))
        self.act(reject_selected, self.app.session, group, frame)

    @rule(track=st.sampled_from([1, 2]))
    def keep_object(self, track):
        self.act(keep_object, self.app.session, find_attached(self.app.data_collection)[-1], track)

    @rule(track=st.sampled_from([1, 2]))
    def repair_object(self, track):
        self.act(repair_object, self.app.session, find_attached(self.app.data_collection)[-1], track)

    @rule(seed=st.integers(0, 20), kind=st.sampled_from(list(KINDS)))
    def call(self, seed, kind):
        attached = find_attached(self.app.data_collection)[-1]
        if attached.events is not None:
            some = np.flatnonzero(np.random.default_rng(seed).random(attached.events.size) < 0.2)
            self.act(set_kind, self.app.session, attached, attached.events["event"][some], kind)

    @precondition(lambda self: len(self.past) > 1)
    @rule()
    def undo(self):
        self.app.undo()
        self.future.append(self.past.pop())

    @precondition(lambda self: self.future)
    @rule()
    def redo(self):
        self.app.redo()
        self.past.append(self.future.pop())

    @invariant()
    def agrees(self):
        check_whole(self.app, self.frames, self.attached)
        (arrays, record), (known_arrays, known_record) = self.state(), self.past[-1]
        assert record == known_record
        for now, known in zip(arrays, known_arrays, strict=True):
            np.testing.assert_array_equal(now, known)


TestSession = Session.TestCase
TestSession.settings = hypothesis_settings(max_examples=25, stateful_step_count=10, deadline=None)


def test_what_was_ignored_stays_ignored():
    """A mask that was given to the cleaning, not one of the cube."""
    app = ViewerApplication()
    frames = simulate_set(SHAPE[0], SHAPE[1:], seed=3, **VARIANTS["hard"]).frames
    cube = Data(flux=frames, label="stars")
    app.data_collection.append(cube)
    mask = np.zeros(SHAPE[1:], bool)
    mask[:, 25:] = True
    a = attach(app, cube, result=clean_image_set(frames, mask=mask))
    box = region(app, a.cube, (2, 1), (19.5, 29.5), (9.5, 10.5))
    reject_selected(app.session, box, 2)
    check_whole(app, frames, a)
    assert values(a, "rejected")[2, 10, 20:25].all()
    assert not values(a, "rejected")[:, :, 25:].any()


def test_of_two_cleanings_the_one_is_overruled_that_the_subset_speaks_of():
    app, frames, first = session_with_set()
    second = attach(app, first.cube, result=clean_image_set(frames, CleanSettings(high=8.0)))
    count = first.events.size, second.events.size
    restore_selected(app.session, rows(app, first, 0))
    assert (first.events.size, second.events.size) == (count[0] - 1, count[1])
    everything = region(app, second.map, (1, 0), (-1, 50), (-1, 40), "map 2")
    restore_selected(app.session, everything)
    assert not values(second, "rejected").any()
    check_numbers = values(first, "rejected").sum()
    assert check_numbers == first.frames["pixels"].sum() > 0
    # what speaks of none of them is meant for the newest
    app.undo()
    box = region(app, first.cube, (2, 1), (-1, 50), (-1, 40), "cube")
    restore_selected(app.session, box)
    assert not values(second, "rejected").any()
    assert values(first, "rejected").sum() == check_numbers


def test_columns_of_a_person_go_with_their_events():
    app, _, a = session_with_set()
    size = a.events.size
    words = a.events.add_component(np.where(np.arange(size) % 2, "odd", "even"), "word")
    times = a.events.add_component(np.arange(size).astype("M8[s]"), "time")
    odd = app.data_collection.new_subset_group("odd", words == "odd")
    (mine,) = [subset for subset in a.events.subsets if subset.subset_state is odd.subset_state]
    numbers = a.events["event"].copy()
    restore_selected(app.session, rows(app, a, 1, 2))
    np.testing.assert_array_equal(a.events[times].astype(int), np.delete(np.arange(size), [1, 2]))
    np.testing.assert_array_equal(a.events["event"][mine.to_mask()], numbers[3::2])
    later = a.events.add_component(np.arange(size - 2.0), "later")
    app.undo()
    np.testing.assert_array_equal(a.events[times].astype(int), np.arange(size))
    np.testing.assert_array_equal(a.events["event"][mine.to_mask()], numbers[1::2])
    assert a.events[later].shape == (size,)
    assert np.isnan(a.events[later][1:3]).all()
    app.redo()
    np.testing.assert_array_equal(a.events[later], np.arange(size - 2.0))
    # a column that was made with the table is known by another name too
    a.events.id["pixels"].label = "area"
    restore_selected(app.session, rows(app, a, 0))
    np.testing.assert_array_equal(a.events["area"].sum(), values(a, "rejected").sum())


def test_what_cannot_be_written_down_does_not_stand_among_what_can_be_undone():
    app, _, a = session_with_set()
    before = values(a, "rejected").copy()
    depth = len(app.session.command_stack._command_stack)
    a.events.remove_component(a.events.id["event"])
    with pytest.raises(ValueError, match="'stars events' has lost its column 'event'"):
        restore_selected(app.session, region(app, a.map, (1, 0), (9.5, 39.5), (4.5, 29.5)))
    assert len(app.session.command_stack._command_stack) == depth
    np.testing.assert_array_equal(values(a, "rejected"), before)


def test_events_keep_their_numbers_where_only_the_table_was_attached():
    app, _, a = session_with_set(outputs=("cleaned", "rejected", "events"))
    numbers = a.events["event"].copy()
    peaks = np.transpose([a.events[name] for name in ("frame index", "y peak", "x peak")]).astype(int)
    frame, y, x = peaks[3]
    box = region(app, a.cube, (2, 1), (x - 0.4, x + 0.4), (y - 0.4, y + 0.4))
    single = a.events["pixels"][3] == 1
    restore_selected(app.session, box, frame=frame)
    kept = np.delete(numbers, 3)
    np.testing.assert_array_equal(a.events["event"][: kept.size], kept)
    assert single or a.events["event"][-1] > numbers.max()


def test_masked_pixels_are_refused_in_words():
    app = ViewerApplication()
    frames = simulate_set(SHAPE[0], SHAPE[1:], seed=3, **VARIANTS["hard"]).frames
    frames[2, 5:9, 5:9] = np.nan
    cube = Data(flux=frames, label="stars")
    app.data_collection.append(cube)
    a = attach(app, cube, result=clean_image_set(frames))
    box = region(app, a.cube, (2, 1), (4.5, 8.5), (4.5, 8.5))
    with pytest.raises(ValueError, match="only pixels that are masked or no numbers"):
        reject_selected(app.session, box, 2)
    assert a.map.meta["overrules"] == []


def test_one_event_is_restored_by_its_number():
    app, frames, a = session_with_set()
    number = int(a.events["event"][4])
    mask = values(a, "event") == number
    restore_event(app.session, a, number)
    check_whole(app, frames, a)
    np.testing.assert_array_equal(values(a, "cleaned")[mask], frames[mask])
    with pytest.raises(ValueError, match=f"event {number} of 'stars' are not known"):
        restore_event(app.session, a, number)


def test_a_mask_is_found_under_another_name(tmp_path):
    app = ViewerApplication()
    frames = simulate_set(SHAPE[0], SHAPE[1:], seed=3, **VARIANTS["hard"]).frames
    hdus = [fits.PrimaryHDU(frames), fits.ImageHDU(np.zeros(SHAPE, np.int16), name="DQ")]
    hdus[1].data[:, 10:20, 10:20] = 4
    fits.HDUList(hdus).writeto(tmp_path / "set.fits")
    cube = image_set(str(tmp_path / "set.fits"))
    app.data_collection.append(cube)
    cube.id["mask"].label = "bad pixels"
    found = image_set_from_cube(cube, "image")
    assert found.mask[:, 10:20, 10:20].all()
    a = attach(app, cube, "image", result=clean_image_set(found))
    cube.remove_component(cube.id["bad pixels"])
    box = region(app, a.cube, (2, 1), (8.5, 12.5), (10.5, 12.5))
    reject_selected(app.session, box, 1)
    assert values(a, "rejected")[1, 11:13, 9].all()
    assert not values(a, "rejected")[:, 10:20, 10:20].any()
