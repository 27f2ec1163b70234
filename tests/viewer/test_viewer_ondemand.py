"""Sets whose frames stay in their files: what glue reads of them, and what a session stores."""

import json
import os
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from glue.core import Data
from glue.core.data_factories import load_data
from glue.core.roi import RectangularROI
from glue.core.subset import ElementSubsetState, RoiSubsetState, SliceSubsetState
from glue.viewers.image.viewer import SimpleImageViewer
from viewer_sets import HITS, ViewerApplication, clean_with_kinds, event_mask, make_frames, make_result

from glue_cleanset import CleanSettings, ImageSet, clean_image_set
from glue_cleanset.core.ondemand import FramesOnDemand, PatchedFrames
from glue_cleanset.core.simulate import VARIANTS, simulate_set
from glue_cleanset.io import products
from glue_cleanset.io.frames import FitsFrames
from glue_cleanset.io.products import Products
from glue_cleanset.io.read import FitsImageSet, read_image_set
from glue_cleanset.io.stream import clean_to_files
from glue_cleanset.io.write import write_result
from glue_cleanset.viewer import factories, ondemand
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.browse import find_event
from glue_cleanset.viewer.factories import cleaned_image_set, image_set
from glue_cleanset.viewer.ondemand import FramesComponent, OnDemandCube, frames_of
from glue_cleanset.viewer.regions import selected_pixels
from glue_cleanset.viewer.stack import image_set_from_cube
from glue_cleanset.viewer.trace import Tracer


class Counted(FramesOnDemand):
    """Frames that note which of them are read, and of how many rows."""

    def __init__(self, values):
        super().__init__(values.shape, values.dtype)
        self.values, self.read = values, []

    def frame(self, i):
        return self.rows(i, 0, self.shape[1])

    def rows(self, i, first, last):
        self.read.append((i, last - first))
        return self.values[i, first:last]

    @property
    def numbers(self):
        return sorted({i for i, _ in self.read})


def counted_cube(values, label="counted"):
    frames = Counted(values)
    cube = OnDemandCube(label=label)
    cube.add_component(FramesComponent(frames, "adu"), "image")
    return cube, frames


def on_files(result):
    """As a cleaning into files gives it."""
    return replace(result, cleaned=Counted(result.cleaned), rejected=Counted(result.rejected))


def write_frames(folder, frames):
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(frames):
        fits.PrimaryHDU(frame).writeto(folder / f"f{i:03}.fits")
    return str(folder)


@pytest.fixture
def cleaned(app, tmp_path):
    """A set of files, opened on demand, and its result from a folder; what was found, and in memory."""
    frames, result = clean_with_kinds()
    path = write_frames(tmp_path / "raw", frames)
    cube = load_data(path, factory=image_set, on_demand=True)
    app.data_collection.append(cube)
    files = image_set_from_cube(cube, "image")
    result = replace(result, summary=result.summary.copy())
    result.summary["name"] = np.array(files.names)
    write_result(result, files, tmp_path / "clean")
    attached = attach(app, cube, result, tmp_path / "clean")
    return attached, result, frames


def attach(app, cube, result, folder, attribute="image", axis=0, outputs=tuple(OUTPUTS)):
    command = AttachResult(
        data=cube, attribute=attribute, result=on_files(result), axis=axis, outputs=outputs, images=None,
        folder=folder,
    )  # fmt: skip
    app.session.command_stack.do(command)
    return command.attached


@pytest.fixture
def reopen(tmp_path):
    def reopen(app, absolute=True):
        path = str(tmp_path / "session.glu")
        app.save_session(path, absolute_paths=absolute)
        return ViewerApplication.restore_session(path)

    return reopen


# --- the component ----------------------------------------------------------------------------------------------------

VALUES = np.random.default_rng(5).normal(100, 20, (7, 20, 30)).astype(np.float32)


@pytest.mark.parametrize(
    "key",
    [
        (2,),
        (2, slice(3, 9), slice(None)),
        (2, 4, 5),
        (slice(1, 4), slice(None, None, 3), slice(2, 7)),
        (slice(None), 4, 5),
        (slice(None), slice(4, 5), slice(5, 6)),
        (Ellipsis, 3),
        (-1, slice(None)),
        (np.array([0, 3, 3]), np.array([1, 2, 19]), np.array([4, 29, 0])),
        np.broadcast_arrays(np.array([[[4]]]), np.arange(20)[None, :, None], np.arange(0, 30, 2)[None, None]),
        np.broadcast_arrays(np.arange(7)[:, None, None], np.array([[[4]]]), np.arange(30)[None, None]),
        np.broadcast_arrays(np.arange(7)[:, None, None], np.arange(5)[None, :, None], np.array([[[3]]])),
        VALUES > 110,
        np.zeros(VALUES.shape, bool),
    ],
)
def test_a_part_is_that_of_an_array(key):
    component = FramesComponent(Counted(VALUES))
    key = tuple(key) if isinstance(key, list) else key
    for _ in range(2):  # read, and kept
        part = component[key]
        np.testing.assert_array_equal(part, VALUES[key])
        assert part.dtype == VALUES.dtype
        component[3]


def test_flags_are_numbers():
    component = FramesComponent(Counted(VALUES > 110))
    assert component.data.dtype == np.uint8
    assert component[2].sum() == (VALUES[2] > 110).sum()
    assert component.numeric


def test_labels_are_those_of_the_result():
    result = make_result(make_frames())
    labels = PatchedFrames(None, result.event_pixels, result.event_numbers, result.rejected.shape)
    np.testing.assert_array_equal(labels[:], result.event_labels())
    np.testing.assert_array_equal(labels[1, 6:8, 6], result.event_labels()[1, 6:8, 6])
    assert labels.dtype == np.int32


def test_a_viewer_reads_the_frame_that_it_shows(app):
    cube, frames = counted_cube(VALUES)
    app.data_collection.append(cube)
    viewer = app.new_data_viewer(SimpleImageViewer, data=cube)
    viewer.state.layers[0].percentile = "Custom"
    for frame in (4, 5, 4):
        frames.read.clear()
        viewer.state.slices = (frame, 0, 0)
        shown = viewer.state.layers[0].get_sliced_data()
        np.testing.assert_array_equal(shown, VALUES[frame])
        assert frames.numbers in ([frame], [])  # it may be kept
        assert len(frames.read) <= 1


def test_few_frames_are_kept(monkeypatch):
    monkeypatch.setattr(ondemand, "_KEPT", 2 * VALUES[0].nbytes)
    frames = Counted(VALUES)
    component = FramesComponent(frames)
    for i in (0, 1, 0, 2, 0):
        component[i]
    assert [i for i, _ in frames.read] == [0, 1, 2]
    component[1]
    assert frames.read[-1][0] == 1


def test_limits_look_at_few_rows(monkeypatch):
    monkeypatch.setattr(ondemand, "_PART", 2000)
    cube, frames = counted_cube(np.random.default_rng(3).normal(50, 5, (40, 64, 80)))
    low = cube.compute_statistic("percentile", cube.id["image"], percentile=5, random_subset=10000)
    assert sum(rows for _, rows in frames.read) == 64  # as many as one frame has
    assert len(frames.numbers) == 16
    assert low == pytest.approx(50 - 1.645 * 5, abs=0.5)


# --- what is asked of all pixels --------------------------------------------------------------------------------------


@pytest.fixture
def pair(monkeypatch):
    """The same values on demand, in small parts, and as an array."""
    monkeypatch.setattr(ondemand, "_PART", 1000)
    values = VALUES.copy()
    values[2, 3, 4], values[5, :2] = np.nan, np.inf
    return counted_cube(values)[0], Data(image=values, label="array")


def states(data):
    yield None
    yield data.id["image"] > 110
    yield RoiSubsetState(*data.pixel_component_ids[:0:-1], RectangularROI(3, 12, 2, 15))
    yield (data.id["image"] > 100) & (data.pixel_component_ids[0] > 3)
    yield SliceSubsetState(data, [slice(2, 3), slice(None), slice(None)])
    yield data.id["image"] > 1e9


@pytest.mark.parametrize("statistic", ["minimum", "maximum", "mean", "sum", "median", "percentile"])
@pytest.mark.parametrize("axis", [None, 0, 2, (1, 2), (0, 1)])
def test_statistics_equal_those_of_an_array(pair, statistic, axis):
    cube, array = pair
    for mine, theirs in zip(states(cube), states(array), strict=True):
        for positive in (False, True):
            found, expected = (
                data.compute_statistic(
                    statistic, data.id["image"], subset_state=state, axis=axis, percentile=30, positive=positive
                )
                for data, state in ((cube, mine), (array, theirs))
            )
            np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_histograms_and_masks_equal_those_of_an_array(pair):
    cube, array = pair
    for mine, theirs in zip(states(cube), states(array), strict=True):
        found, expected = (
            data.compute_histogram([data.id["image"]], range=[(60, 140)], bins=[20], subset_state=state)
            for data, state in ((cube, mine), (array, theirs))
        )
        np.testing.assert_array_equal(found, expected)
        if mine is not None:
            np.testing.assert_array_equal(cube.get_mask(mine), array.get_mask(theirs))
    two = [
        data.compute_histogram(
            [data.id["image"], data.pixel_component_ids[1]], weights=data.id["image"], range=[(60, 140), (-0.5, 19.5)],
            bins=[5, 4], log=[False, False],
        )
        for data in pair
    ]  # fmt: skip
    np.testing.assert_allclose(two[0], two[1], rtol=1e-6)


def test_the_values_of_a_subset_are_those_of_an_array(pair):
    cube, array = (data.new_subset(data.id["image"] > 110)["image"] for data in pair)
    assert cube.size
    np.testing.assert_array_equal(cube, array)


@pytest.mark.parametrize(("value", "log"), [(0, False), (1, True)])
def test_a_histogram_without_width(value, log):
    cube, _ = counted_cube(np.full((4, 20, 30), value, np.uint8))
    # (glue's own ends the process, also where the values are in memory)
    found = cube.compute_histogram([cube.id["image"]], range=[(value, value)], bins=[20], log=[log])
    np.testing.assert_array_equal(found, np.zeros(20))


def test_an_attribute_made_of_another(pair):
    for data in pair:
        data["double"] = data.id["image"] * 2
        data["flipped"] = data.id["image"] * -1
    cube, array = pair
    for axis in (None, 0, (1, 2)):
        np.testing.assert_allclose(
            cube.compute_statistic("mean", cube.id["double"], subset_state=cube.id["flipped"] < -100, axis=axis),
            array.compute_statistic("mean", array.id["double"], subset_state=array.id["flipped"] < -100, axis=axis),
            rtol=1e-6,
        )


def test_values_in_files_are_not_changed():
    cube, _ = counted_cube(VALUES)
    cube.add_component(np.zeros(VALUES.shape), "own")
    cube.update_components({cube.id["own"]: np.ones(VALUES.shape)})
    assert cube["own"].all()
    with pytest.raises(ValueError, match="'image' of counted are read from files"):
        cube.update_components({cube.id["image"]: np.ones(VALUES.shape)})


def test_few_values_are_an_array():
    cube, _ = counted_cube(VALUES)
    np.testing.assert_array_equal(cube["image"].ravel(), VALUES.ravel())


def test_memory_stays_small(monkeypatch):
    class Made(FramesOnDemand):
        def frame(self, i):
            return np.random.default_rng(i).normal(100, 5, self.shape[1:]).astype(np.float32)

    monkeypatch.setattr(ondemand, "_PART", 1 << 20)
    monkeypatch.setattr(ondemand, "_KEPT", 4 << 20)
    cube = OnDemandCube(label="made")
    cube.add_component(FramesComponent(Made((200, 400, 500), np.float32)), "image")  # 160 MB
    cid = cube.id["image"]
    flat = RoiSubsetState(*cube.pixel_component_ids[:0:-1], RectangularROI(10, 200, 10, 200))
    tracemalloc.start()
    try:
        for i in range(0, 200, 7):
            cube[cid, (i, slice(None), slice(None))]
        cube.compute_statistic("minimum", cid)
        cube.compute_statistic("median", cid, axis=(1, 2))
        cube.compute_statistic("mean", cid, subset_state=cid > 105)
        cube.compute_histogram([cid], range=[(80, 120)], bins=[50], subset_state=cid > 105)
        assert cube.get_mask(flat).sum() == 200 * 189 * 189
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6


# --- files ------------------------------------------------------------------------------------------------------------


def test_large_sets_are_opened_on_demand(app, tmp_path, monkeypatch):
    frames = make_frames()
    path = write_frames(tmp_path / "raw", frames)
    assert type(load_data(path, factory=image_set)) is Data
    monkeypatch.setattr(factories, "LARGEST_IN_MEMORY", frames.nbytes - 1)
    cube = load_data(path, factory=image_set)
    assert isinstance(cube, OnDemandCube)
    assert cube.meta["on demand"]
    assert isinstance(frames_of(cube, cube.id["image"]), FitsFrames)
    np.testing.assert_array_equal(cube["image"][:], frames)
    with pytest.raises(ValueError, match="into which folder"):
        cleaned_image_set(path)
    with pytest.raises(ValueError, match="cannot be aligned"):
        image_set(path, align="stars")
    monkeypatch.setattr(factories, "LARGEST_IN_MEMORY", frames.nbytes)  # the files are larger: they have headers
    assert type(load_data(path, factory=image_set)) is Data


def test_the_set_of_a_cube_is_that_of_its_files(tmp_path):
    frames = make_frames()
    (tmp_path / "raw").mkdir()
    for i, frame in enumerate(frames):
        hdu = fits.PrimaryHDU(frame)
        hdu.header.update({"EXPTIME": 10.0 + i, "DATE-OBS": f"2024-01-01T00:0{i}:00", "OBSERVER": "me"})
        mask = np.zeros(frame.shape, np.uint8)
        mask[i, 2] = 4
        fits.HDUList([hdu, fits.ImageHDU(mask, name="DQ")]).writeto(tmp_path / "raw" / f"f{i}.fits")
    cube = image_set(str(tmp_path / "raw"), on_demand=True)
    found = image_set_from_cube(cube, "image")
    assert isinstance(found, FitsImageSet)
    assert isinstance(found.frames, FitsFrames)
    assert found.headers[1]["OBSERVER"] == "me"
    loaded = read_image_set(tmp_path / "raw")
    np.testing.assert_array_equal(found.mask[:], loaded.mask)
    np.testing.assert_array_equal(cube["mask"][:], loaded.mask)
    for name in ("exptime", "times", "names", "shifts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(loaded, name))
    cube.meta["frame shifts"] = [[1.0, 2.0]] * 5
    assert image_set_from_cube(cube, "image").shifts[3].tolist() == [1, 2]
    cube.remove_component(cube.id["mask"])
    assert image_set_from_cube(cube, "image").mask is None
    with pytest.raises(ValueError, match="choose axis 0"):
        image_set_from_cube(cube, "image", axis=1)


# --- results in files -------------------------------------------------------------------------------------------------


def test_what_is_attached_equals_what_was_found(cleaned):
    attached, result, frames = cleaned
    assert attached.on_demand
    cube = attached.cube
    for cid in (attached.cleaned, attached.rejected, attached.event):
        assert isinstance(cube.get_component(cid), FramesComponent)
    np.testing.assert_array_equal(cube[attached.cleaned][:], result.cleaned)
    np.testing.assert_array_equal(cube[attached.rejected][:], result.rejected)
    np.testing.assert_array_equal(cube[attached.event][:], result.event_labels())
    np.testing.assert_array_equal(attached.image_set().frames[:], frames)


def same(data, other):
    assert data.label == other.label
    assert type(data) is type(other)
    assert [cid.label for cid in data.components] == [cid.label for cid in other.components]
    for cid, again in zip(data.main_components, other.main_components, strict=True):
        one, two = data[cid], other[again]
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one[:], two[:])
        mine, theirs = data.get_component(cid), other.get_component(again)
        assert mine.units == theirs.units
        assert type(mine) is type(theirs)
        if mine.categorical:
            assert mine.categories.tolist() == theirs.categories.tolist()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_session_holds_no_values(app, cleaned, reopen, tmp_path, absolute):
    attached, result, _ = cleaned
    row = app.data_collection.new_subset_group("row", ElementSubsetState([2], data=attached.events))
    attached.events.add_component(np.arange(attached.events.size), "mine")
    again = reopen(app, absolute)
    records = json.loads((tmp_path / "session.glu").read_text()).values()
    types = [record["_type"].rpartition(".")[2] for record in records if isinstance(record, dict)]
    assert not {"SparseComponent", "SparseCategoricalComponent"} & set(types)
    assert types.count("Component") == 1  # what a person added
    for one, two in zip(app.data_collection, again.data_collection, strict=True):
        same(one, two)
    (found,) = find_attached(again.data_collection)
    assert found.on_demand
    np.testing.assert_array_equal(found.kept, attached.kept)
    number = int(attached.events["event"][2])
    mask = again.data_collection[0].get_mask(again.data_collection.subset_groups[0].subset_state)
    np.testing.assert_array_equal(mask, result.event_labels() == number)
    np.testing.assert_array_equal(attached.cube.get_mask(row.subset_state), mask)
    assert isinstance(image_set_from_cube(found.cube, found.source), FitsImageSet)
    assert find_event(found, number) == find_event(attached, number)
    # and once more
    app = again
    np.testing.assert_array_equal(reopen(app).data_collection[0]["image cleaned"][:], result.cleaned)


def test_a_set_is_cleaned_from_files_to_files(app, tmp_path, reopen):
    frames = simulate_set(8, (64, 80), seed=4, **VARIANTS["hard"]).frames
    (tmp_path / "raw").mkdir()
    for i, frame in enumerate(frames):
        mask = np.zeros(frame.shape, np.uint8)
        mask[3 * i, 5:9] = 1
        hdus = fits.HDUList([fits.PrimaryHDU(frame), fits.ImageHDU(mask, name="DQ")])
        hdus.writeto(tmp_path / "raw" / f"f{i}.fits")
    cube = load_data(str(tmp_path / "raw"), factory=image_set, on_demand=True)
    app.data_collection.append(cube)
    result = clean_to_files(image_set_from_cube(cube, "image"), tmp_path / "clean", CleanSettings())
    expected = clean_image_set(read_image_set(tmp_path / "raw"), CleanSettings())
    command = AttachResult(
        data=cube, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None,
        folder=tmp_path / "clean",
    )  # fmt: skip
    app.session.command_stack.do(command)
    for one in (app, reopen(app)):
        (attached,) = find_attached(one.data_collection)
        cube = attached.cube
        np.testing.assert_array_equal(cube[attached.cleaned][:], expected.cleaned)
        np.testing.assert_array_equal(cube[attached.rejected][:], expected.rejected)
        np.testing.assert_array_equal(cube[attached.event][:], expected.event_labels())
        np.testing.assert_array_equal(attached.map["rejected frame"], expected.rejection_map)
        np.testing.assert_array_equal(attached.events["kind"], expected.events["kind"])
        np.testing.assert_array_equal(attached.image_set().mask[:], read_image_set(tmp_path / "raw").mask)
        np.testing.assert_equal(attached.model.to_record(), expected.model.to_record())
        assert Tracer(attached).trace(3, 6) is not None


def test_the_events_are_read_in_pieces(cleaned, tmp_path, monkeypatch):
    _, result, _ = cleaned
    monkeypatch.setattr(products, "_CHUNK", (tmp_path / "clean" / "events.ecsv").stat().st_size * 3 // 4)
    found, expected = Products(tmp_path / "clean").table("events"), Table.read(tmp_path / "clean" / "events.ecsv")
    assert found.colnames == expected.colnames
    for name in found.colnames:
        np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found[name], result.events[name])
        assert found[name].dtype == expected[name].dtype
        assert found[name].unit == expected[name].unit
    assert found.meta == expected.meta


def test_the_session_of_many_events_is_small(app, tmp_path, reopen):
    frames = simulate_set(6, (300, 300), seed=2).frames
    hits = [((i % 6, y, x),) for i, (y, x) in enumerate(np.ndindex(300, 300)) if y % 3 == 0 and x % 3 == 0]
    result = make_result(frames, hits)
    cube = image_set(write_frames(tmp_path / "raw", frames), on_demand=True)
    files = image_set_from_cube(cube, "image")
    result.summary["name"] = np.array(files.names)
    write_result(result, files, tmp_path / "clean")
    cube = load_data(str(tmp_path / "raw"), factory=image_set, on_demand=True)
    app.data_collection.append(cube)
    attached = attach(app, cube, result, tmp_path / "clean")
    assert attached.events.size == 10_000
    again = reopen(app)
    assert os.path.getsize(tmp_path / "session.glu") < 300_000
    np.testing.assert_array_equal(again.data_collection[0]["image event"][:], result.event_labels())


def test_values_that_were_changed_are_stored(app, cleaned, reopen):
    attached, *_ = cleaned
    new = np.arange(attached.frames.size, dtype=np.int64)
    attached.frames.update_components({attached.frames.id["pixels"]: new})
    attached.map.update_components({attached.map.id["times rejected"]: attached.map["times rejected"] + 1})
    again = reopen(app).data_collection
    np.testing.assert_array_equal(again["raw frames"]["pixels"], new)
    np.testing.assert_array_equal(again["raw rejection map"]["times rejected"], attached.map["times rejected"])


def test_a_session_whose_files_are_gone_says_so(app, cleaned, reopen, tmp_path):
    app.save_session(str(tmp_path / "session.glu"))
    shutil.move(tmp_path / "clean", tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="put the folder back"):
        ViewerApplication.restore_session(str(tmp_path / "session.glu"))


def test_a_session_does_not_take_another_cleaning(app, cleaned, tmp_path):
    attached, result, frames = cleaned
    app.save_session(str(tmp_path / "session.glu"))
    other = make_result(frames, HITS)
    files = attached.image_set()
    other.summary["name"] = np.array(files.names)
    write_result(other, files, tmp_path / "clean", overwrite=True)
    with pytest.raises(ValueError, match="another cleaning"):
        ViewerApplication.restore_session(str(tmp_path / "session.glu"))
    with pytest.raises(ValueError, match="another cleaning"):
        attach(app, attached.cube, result, tmp_path / "clean")


def test_a_result_in_files_needs_its_folder(app, cleaned):
    attached, result, _ = cleaned
    with pytest.raises(ValueError, match="give their folder"):
        attach(app, attached.cube, result, None)


def test_the_folder_of_a_result_is_a_set_of_cleaned_frames(cleaned, tmp_path):
    _, result, _ = cleaned
    assert (tmp_path / "clean" / "event_pixels.fits").is_file()
    np.testing.assert_array_equal(image_set(str(tmp_path / "clean"))["image"], result.cleaned)


def test_a_session_without_a_file_names_it(app, cleaned, tmp_path):
    app.save_session(str(tmp_path / "session.glu"))
    for name in ("f002_crmask.fits", "summary.ecsv", "event_pixels.fits"):
        (tmp_path / "clean" / name).rename(tmp_path / name)
        with pytest.raises((FileNotFoundError, ValueError), match=r"put it back|put the files back") as error:
            ViewerApplication.restore_session(str(tmp_path / "session.glu"))
        assert str(tmp_path / "clean") in str(error.value)
        (tmp_path / name).rename(tmp_path / "clean" / name)
    ViewerApplication.restore_session(str(tmp_path / "session.glu"))


def test_undo_and_redo(app, cleaned):
    attached, *_ = cleaned
    app.undo()
    assert [cid.label for cid in attached.cube.main_components] == ["image"]
    app.redo()
    assert find_attached(app.data_collection)[0].cleaned is attached.cleaned
    assert attached.cube[attached.cleaned][2].shape == attached.shape[1:]


def test_a_trace_tells_what_one_in_memory_tells(app, cleaned):
    attached, result, frames = cleaned
    data = Data(image=frames, label="memory")
    app.data_collection.append(data)
    command = AttachResult(data=data, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None)
    app.session.command_stack.do(command)
    one, other = Tracer(attached), Tracer(command.attached)
    events = result.events
    for row in (np.flatnonzero(events["kept"])[0], np.flatnonzero(~np.asarray(events["kept"], bool))[0]):
        place = int(events["y_peak"][row]), int(events["x_peak"][row])
        mine, theirs = one.trace(*place), other.trace(*place)
        np.testing.assert_array_equal(mine.trace.rejected, theirs.trace.rejected)
        np.testing.assert_array_equal(mine.repaired, theirs.repaired)
        np.testing.assert_array_equal(mine.kept, theirs.kept)
        np.testing.assert_array_equal(mine.event, theirs.event)
        np.testing.assert_array_equal(mine.kind, theirs.kind)
        assert mine.stands_out.any()


def test_selections_are_those_of_an_array(app, cleaned, monkeypatch):
    attached, result, frames = cleaned
    on_map = RectangularROI(3.5, 22.5, 5.5, 30.5)
    group = app.data_collection.new_subset_group("map", RoiSubsetState(*attached.map.pixel_component_ids[::-1], on_map))
    mask = selected_pixels(group, attached.cube)
    expected = np.zeros(frames.shape, bool)
    expected[:, 6:31, 4:23] = True
    np.testing.assert_array_equal(mask, expected)
    assert mask.strides[0] == 0  # one frame in memory
    group.subset_state = attached.cube.id["image"] > 1000
    np.testing.assert_array_equal(selected_pixels(group, attached.cube), frames > 1000)
    # and to the rows of the events
    (subset,) = [s for s in attached.events.subsets if s.subset_state is group.subset_state]
    numbers = np.unique(result.event_labels()[frames > 1000])
    np.testing.assert_array_equal(subset.to_mask(), np.isin(attached.events["event"], numbers))
    # of which glue wants no array of the whole cube
    made = []
    monkeypatch.setattr(OnDemandCube, "_parts", lambda self, along=0: made.append(along) or [])
    group.subset_state = attached.cube.id["image"] > 900
    (subset,) = [s for s in attached.events.subsets if s.subset_state is group.subset_state]
    numbers = np.unique(result.event_labels()[frames > 900])
    np.testing.assert_array_equal(subset.to_mask(), np.isin(attached.events["event"], numbers))
    assert not made


def test_a_cube_in_memory_takes_a_result_in_files(app, tmp_path):
    frames = make_frames()
    result = make_result(frames)
    write_result(result, ImageSet(frames, names=list(result.summary["name"])), tmp_path / "clean")
    data, turned = Data(flux=frames, label="stars"), Data(flux=np.moveaxis(frames, 0, 2), label="turned")
    app.data_collection.extend([data, turned])
    attached = attach(app, data, result, tmp_path / "clean", "flux")
    assert isinstance(data, OnDemandCube)
    assert isinstance(data.get_component(attached.cleaned), FramesComponent)
    assert data.compute_statistic("maximum", data.id["flux rejected"]) == 1
    np.testing.assert_array_equal(data.get_mask(data.id["flux rejected"] == 1), event_mask(1, 2, 3, 4))
    other = attach(app, turned, result, tmp_path / "clean", "flux", axis=2)
    np.testing.assert_array_equal(turned[other.cleaned], np.moveaxis(result.cleaned, 0, 2))
    assert not other.on_demand
