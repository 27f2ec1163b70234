"""Overruling a result that is read from its files: the same as in memory, and no file is changed."""

import gc
import json
import tracemalloc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from glue.core import Data
from glue.core.data_factories import load_data
from glue.core.roi import RectangularROI
from glue.core.subset import AndState, ElementSubsetState, RoiSubsetState, SliceSubsetState
from viewer_sets import ViewerApplication, clean_with_kinds

from glue_cleanset import clean_image_set
from glue_cleanset.core import threads
from glue_cleanset.core.ondemand import FramesOnDemand, PackedFlags
from glue_cleanset.core.simulate import simulate_set
from glue_cleanset.io import frames as frames_module
from glue_cleanset.io.products import Products
from glue_cleanset.io.stream import clean_to_files
from glue_cleanset.io.write import write_result
from glue_cleanset.viewer import ondemand
from glue_cleanset.viewer import overrule as overruling
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.export import prepare_writing
from glue_cleanset.viewer.factories import image_set
from glue_cleanset.viewer.kinds import set_kind
from glue_cleanset.viewer.ondemand import FramesComponent
from glue_cleanset.viewer.overrule import (
    find_overrules,
    keep_object,
    reject_selected,
    rejected_frames,
    repair_object,
    restore_event,
    restore_selected,
)
from glue_cleanset.viewer.stack import image_set_from_cube
from glue_cleanset.viewer.tables import table_data
from glue_cleanset.viewer.trace import Tracer

_CLEANED = clean_with_kinds()


def write_cube(path, frames):
    path.parent.mkdir(exist_ok=True)
    fits.writeto(path, frames)
    return str(path)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Pair:
    """The same cleaning in two sessions: in memory, and read from its files."""

    def __init__(self, tmp_path, outputs=tuple(OUTPUTS), loaded=False):
        frames, result = _CLEANED
        self.frames, self.folder = frames, tmp_path / "clean"
        self.apps = [ViewerApplication(), ViewerApplication()]
        lazy = load_data(write_cube(tmp_path / "raw" / "field.fits", frames), factory=image_set, on_demand=True)
        cubes = [Data(image=frames, label=lazy.label), lazy]
        files = image_set_from_cube(lazy, "image")
        result = replace(result, summary=result.summary.copy())
        result.summary["name"] = np.array(files.names)
        if loaded:
            cubes[1] = Data(image=frames, label=lazy.label)
        for cube in cubes:
            cube.meta["frame names"] = list(files.names)
        write_result(result, files, self.folder)
        for app, cube, folder in zip(self.apps, cubes, (None, self.folder), strict=True):
            app.data_collection.append(cube)
            command = AttachResult(
                data=cube, attribute="image", result=result, axis=0, outputs=outputs, images=None, folder=folder
            )
            app.session.command_stack.do(command)
        self.before = files_in(self.folder)

    @property
    def attached(self):
        return [find_attached(app.data_collection)[-1] for app in self.apps]

    def do(self, function):
        """function(session, attached) in both."""
        return [function(app.session, a) for app, a in zip(self.apps, self.attached, strict=True)]

    def check(self):
        """Both tell the same, and the files are what they were."""
        mine, other = self.attached
        for name in ("cleaned", "rejected", "event"):
            cid = getattr(other, name)
            if cid is not None:
                assert isinstance(other.cube.get_component(cid), FramesComponent)
                np.testing.assert_array_equal(other.values(cid)[:], mine.values(getattr(mine, name)))
        assert [data.label for data in mine.datasets] == [data.label for data in other.datasets]
        for data, again in zip(mine.datasets, other.datasets, strict=True):
            assert [cid.label for cid in data.components] == [cid.label for cid in again.components]
            for cid, theirs in zip(data.main_components, again.main_components, strict=True):
                np.testing.assert_array_equal(data[cid], again[theirs], err_msg=cid.label)
        for masks in zip((mine.kept, *find_overrules(mine)), (other.kept, *find_overrules(other)), strict=True):
            np.testing.assert_array_equal(*(False if mask is None else mask[:] for mask in masks))
        np.testing.assert_array_equal(rejected_frames(mine), rejected_frames(other))
        assert mine.record["overrules"] == other.record["overrules"]
        assert files_in(self.folder) == self.before

    def values(self):
        """All that can change of the one in files."""
        other = self.attached[1]
        return [other.values(cid)[:] for cid in (other.cleaned, other.rejected, other.event)] + [
            np.array(data[cid]) for data in other.datasets for cid in data.main_components
        ]


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setattr(ondemand, "_PART", 1000)  # as if it were large: no array of all frames is made
    return Pair(tmp_path)


def group_of(session, state, label="own"):
    return session.data_collection.new_subset_group(label, state)


def on_map(session, a):
    return group_of(session, RoiSubsetState(*a.map.pixel_component_ids[::-1], RectangularROI(3.5, 30.5, 5.5, 30.5)))


def in_frames(session, a):
    """A region that is drawn in one of the frames."""
    return group_of(session, RoiSubsetState(*a.cube.pixel_component_ids[:0:-1], RectangularROI(15.5, 21.5, 9.5, 12.5)))


def of_rows(session, a):
    return group_of(session, ElementSubsetState([0, 3, 7], data=a.events))


def bright(session, a):
    return group_of(session, a.cube.id["image"] > 260)


def in_one_frame(session, a):
    slices = SliceSubsetState(a.cube, [slice(3, 4), slice(None), slice(None)])
    return group_of(session, AndState(bright(session, a).subset_state, slices))


def rows_in_region(session, a):
    return group_of(session, AndState(of_rows(session, a).subset_state, on_map(session, a).subset_state))


def weak(session, a):
    return group_of(session, a.events.id["peak significance"] < 8)


STEPS = {
    "map": lambda session, a: restore_selected(session, on_map(session, a)),
    "map, one frame": lambda session, a: restore_selected(session, on_map(session, a), frame=3),
    "frames": lambda session, a: restore_selected(session, in_frames(session, a)),
    "rows": lambda session, a: restore_selected(session, of_rows(session, a)),
    "values": lambda session, a: restore_selected(session, bright(session, a)),
    "values of one frame": lambda session, a: restore_selected(session, in_one_frame(session, a)),
    "range of a histogram": lambda session, a: restore_selected(session, weak(session, a)),
    "reject": lambda session, a: reject_selected(session, in_frames(session, a), 4),
    "reject values": lambda session, a: reject_selected(session, bright(session, a), 2),
    "keep": lambda session, a: keep_object(session, a, 1),
    "repair": lambda session, a: repair_object(session, a, 2),
    "event": lambda session, a: restore_event(session, a, int(a.events["event"][a.events["kept"] == 0][4])),
    "kind": lambda session, a: set_kind(session, a, a.events["event"][[1, 4]], "trail"),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_is_overruled_is_as_in_memory(pair, name):
    pair.do(lambda session, a: repair_object(session, a, 1))  # that can be kept
    pair.check()
    before = pair.values()
    labels = [command.label for command in pair.do(STEPS[name])]
    assert labels[0] == labels[1]
    pair.check()
    after = pair.values()
    assert any(not np.array_equal(now, then) for now, then in zip(after, before, strict=True))
    for step, expected in (("undo", before), ("redo", after)):
        for app in pair.apps:
            getattr(app, step)()
        pair.check()
        for now, then in zip(pair.values(), expected, strict=True):
            np.testing.assert_array_equal(now, then)


def test_many_steps_one_after_the_other(pair):
    before = pair.values()
    done = 0
    for name in ("reject", "rows", "kind", "repair", "map, one frame", "event", "values", "reject values"):
        pair.do(STEPS[name])
        pair.check()
        done += 1
    for _ in range(done):
        for app in pair.apps:
            app.undo()
        pair.check()
    for now, then in zip(pair.values(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    other = pair.attached[1]
    for cid in (other.cleaned, other.rejected, other.event):  # nothing lies over the files any more
        component = other.cube.get_component(cid)
        assert component.data is component._read


def test_the_frames_are_compared_once(pair, monkeypatch):
    """And whoever forgets the cube forgets that, too."""
    read, images = [], frames_module.FitsFrames.rows
    monkeypatch.setattr(frames_module.FitsFrames, "rows", lambda *args: read.append(args) or images(*args))
    monkeypatch.setattr(threads, "_CACHE", 1000)  # many blocks
    pair.do(lambda session, a: reject_selected(session, in_frames(session, a), 3))
    first, read[:] = len(read), []
    pair.do(lambda session, a: reject_selected(session, in_frames(session, a), 2))
    assert 0 < len(read) < first / 2
    pair.check()
    gone = weakref.ref(pair.attached[1].cube)
    assert gone() in overruling._compared
    pair.apps.clear()
    gc.collect()
    assert gone() is None


def test_all_is_restored_and_the_table_comes_and_goes(pair):
    def all_of_it(session, a):
        return restore_selected(
            session, group_of(session, RoiSubsetState(*a.map.pixel_component_ids[::-1], everywhere))
        )

    everywhere = RectangularROI(-1, 60, -1, 60)
    pair.do(all_of_it)
    held = pair.attached[1].events.size  # kept ones stay
    assert held == np.count_nonzero(_CLEANED[1].events["kept"])
    pair.check()
    np.testing.assert_array_equal(pair.attached[1].values(pair.attached[1].cleaned), pair.frames)
    for app in pair.apps:
        app.undo()
    pair.check()


def reopen(app, path, absolute):
    app.save_session(str(path), absolute_paths=absolute)
    return ViewerApplication.restore_session(str(path))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_session_keeps_what_was_overruled(pair, tmp_path, absolute):
    for name in ("reject", "rows", "repair", "kind"):
        pair.do(STEPS[name])
    size = pair.attached[1].map.size
    for _ in range(2):
        pair.apps = [reopen(app, tmp_path / f"{k}.glu", absolute) for k, app in enumerate(pair.apps)]
        pair.check()
    assert pair.attached[1].folder == pair.folder
    # only what differs from the files is stored
    records = json.loads((tmp_path / "1.glu").read_text()).values()
    patches = [record for record in records if isinstance(record, dict) and "steps" in record]
    over = pair.attached[1].cube.get_component(pair.attached[1].cleaned).data
    assert 0 < over.index.size < 100
    assert all(len(record["steps"]) < size for record in patches)
    # and it goes on
    for name in ("map, one frame", "reject values"):
        pair.do(STEPS[name])
        pair.check()


def test_sessions_of_earlier_versions(pair):
    for name in ("reject", "rows"):
        pair.do(STEPS[name])
    mine, other = pair.attached
    expected = [None if mask is None else mask[:] for mask in (*find_overrules(mine), mine.kept)]
    # masks were stored whole, and of kept events in files the numbers
    for attached in (mine, other):
        for name, mask in zip(("restored", "rejected by hand"), expected, strict=False):
            attached.record[name] = ondemand_text(mask)
    mine.record["kept"] = ondemand_text(expected[2])
    other.record["kept"] = None
    other.record["kept events"] = other.events["event"][other.events["kept"] == 1].tolist()
    pair.check()
    for mask, known in zip((*find_overrules(other), other.kept), expected, strict=True):
        np.testing.assert_array_equal(mask, known)
    pair.do(STEPS["repair"])
    pair.check()
    assert "kept events" not in other.record


def ondemand_text(mask):
    from glue_cleanset.viewer.sparse import pack_mask

    return pack_mask(mask)


@pytest.mark.parametrize("outputs", [("cleaned", "event"), ("cleaned", "rejected", "events")])
def test_only_some_parts_are_attached(tmp_path, outputs):
    pair = Pair(tmp_path, outputs)
    pair.do(STEPS["frames"])
    pair.check()
    pair.do(STEPS["reject"])
    pair.check()
    for app in pair.apps:
        app.undo()
        app.undo()
    pair.check()


def test_frames_in_memory_with_a_result_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr(ondemand, "_PART", 1000)
    pair = Pair(tmp_path, loaded=True)
    for name in ("rows", "values", "repair", "reject"):
        pair.do(STEPS[name])
        pair.check()
    for app in pair.apps:
        app.undo()
    pair.check()


def test_a_trace_follows(pair):
    pair.do(STEPS["reject"])
    one, other = (Tracer(attached).trace(11, 17) for attached in pair.attached)
    np.testing.assert_array_equal(one.trace.rejected, other.trace.rejected)
    np.testing.assert_array_equal(one.repaired, other.repaired)
    np.testing.assert_array_equal(one.by_hand, other.by_hand)
    assert other.by_hand.tolist() == [False, False, False, False, True, False]


def test_what_selects_nothing_is_told(pair):
    nowhere = RectangularROI(-5, -4, -5, -4)

    def restore(session, a):
        with pytest.raises(ValueError, match="'own' selects no pixel of 'field'; draw it larger"):
            restore_selected(session, group_of(session, RoiSubsetState(*a.cube.pixel_component_ids[:0:-1], nowhere)))
        with pytest.raises(ValueError, match="'own' selects no pixel of 'field'; draw it larger"):
            restore_selected(session, group_of(session, a.cube.id["image"] > 1e9))
        with pytest.raises(ValueError, match="selects no rejected pixel in frame 1 of it"):
            restore_selected(session, in_one_frame(session, a), frame=0)

    pair.do(restore)
    pair.check()


def test_what_was_ignored_stays_ignored(tmp_path, monkeypatch):
    """Whatever kind of selection it was, a mask of the files beside it or not."""
    frames = simulate_set(6, (40, 50), seed=3).frames
    flags = np.zeros(frames.shape, np.uint8)
    flags[:, 30:33] = 1
    (tmp_path / "raw").mkdir()
    hdus = fits.HDUList([fits.PrimaryHDU(frames), fits.ImageHDU(flags, name="DQ")])
    hdus.writeto(tmp_path / "raw" / "field.fits")
    ignored = np.zeros(frames.shape, bool)
    ignored[2, 8:20, 5:9] = True
    flat = np.broadcast_to(ignored.any(axis=0), frames.shape)
    for number, mask in enumerate((flat, PackedFlags(np.packbits(ignored), ignored.shape))):
        app = ViewerApplication()
        cube = load_data(str(tmp_path / "raw" / "field.fits"), factory=image_set, on_demand=True)
        app.data_collection.append(cube)
        folder = tmp_path / f"clean{number}"
        result = clean_to_files(image_set_from_cube(cube, "image").without(mask), folder)
        command = AttachResult(
            data=cube, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None, folder=folder
        )
        app.session.command_stack.do(command)
        expected = mask[:] | (flags > 0)
        for _ in range(2):
            (attached,) = find_attached(app.data_collection)
            np.testing.assert_array_equal(attached.image_set().mask, expected)
            y, x = attached.cube.pixel_component_ids[1:]
            box = group_of(app.session, RoiSubsetState(x, y, RectangularROI(3.5, 12.5, 9.5, 12.5)))
            reject_selected(app.session, box, 2)
            rejected = attached.values(attached.rejected)[2, 10:13, 4:13]
            np.testing.assert_array_equal(rejected == 0, expected[2, 10:13, 4:13])
            app.undo()
            app = reopen(app, tmp_path / "session.glu", True)


@pytest.mark.parametrize("name", ["field.fits.gz", "field.fits.fz"])
def test_compressed_frames_are_read_once(tmp_path, monkeypatch, name):
    """What takes long is not done for every block of rows, nor for every overrule."""
    frames = simulate_set(6, (64, 50), seed=3).frames.astype(np.uint16)
    flags = np.zeros(frames.shape, np.uint8)
    flags[2, 30:33] = 1
    (tmp_path / "raw").mkdir()
    kind = fits.CompImageHDU if name.endswith("fz") else fits.ImageHDU
    hdus = [fits.PrimaryHDU(), kind(frames, name="SCI"), kind(flags, name="DQ")]
    fits.HDUList(hdus).writeto(tmp_path / "raw" / name)
    lazy = load_data(str(tmp_path / "raw" / name), factory=image_set, on_demand=True)
    cubes = [load_data(str(tmp_path / "raw" / name), factory=image_set, on_demand=False), lazy]
    result = clean_to_files(image_set_from_cube(lazy, "image"), tmp_path / "clean")
    apps = [ViewerApplication(), ViewerApplication()]
    found = []
    for app, cube, folder in zip(apps, cubes, (None, tmp_path / "clean"), strict=True):
        app.data_collection.append(cube)
        if folder is None:
            result_here = clean_image_set(image_set_from_cube(cube, "image"))
        command = AttachResult(
            data=cube, attribute="image", result=result if folder else result_here, axis=0, outputs=tuple(OUTPUTS),
            images=None, folder=folder,
        )  # fmt: skip
        app.session.command_stack.do(command)
        found.append(command.attached)
    mine, other = found
    monkeypatch.setattr(threads, "_CACHE", 1000)  # many blocks
    opened, read = [], frames_module._read
    monkeypatch.setattr(
        frames_module,
        "_read",
        lambda image, *rows: (opened.append(image) if image.compressed else None, read(image, *rows))[1],
    )
    for step, most in (
        (lambda s, a: restore_event(s, a, int(a.events["event"][3])), 2 * len(frames) + 2),
        (STEPS["reject"], 0),
    ):
        opened.clear()
        for app, attached in zip(apps, found, strict=True):
            step(app.session, attached)
        # (values that were cleaned are asked for once, and a mask)
        assert len(opened) <= most
        for part in ("cleaned", "rejected", "event"):
            np.testing.assert_array_equal(other.values(getattr(other, part))[:], mine.values(getattr(mine, part)))
        np.testing.assert_array_equal(other.map["reference"], mine.map["reference"])


def test_no_array_of_the_size_of_the_set_is_made(app, tmp_path, monkeypatch):
    monkeypatch.setattr(ondemand, "_PART", 50_000)
    few = {"hit_fraction": 2e-4, "hot_fraction": 0.0, "cold_fraction": 0.0}
    frames = simulate_set(120, (420, 60), seed=5, **few).frames.astype(np.uint16)
    cube = load_data(write_cube(tmp_path / "raw" / "field.fits", frames), factory=image_set, on_demand=True)
    app.data_collection.append(cube)
    result = clean_to_files(image_set_from_cube(cube, "image"), tmp_path / "clean")
    command = AttachResult(
        data=cube, attribute="image", result=result, axis=0, outputs=tuple(OUTPUTS), images=None,
        folder=tmp_path / "clean",
    )  # fmt: skip
    app.session.command_stack.do(command)
    a = command.attached
    group = group_of(app.session, a.events.id["event"] > 0)
    some = int(a.events["event"][5])
    steps = (
        lambda: restore_event(app.session, a, some),
        lambda: restore_selected(app.session, group_of(app.session, cube.id["image"] > 3000)),
        lambda: restore_selected(app.session, group, frame=7),
        lambda: reject_selected(app.session, in_frames(app.session, a), 3),
        app.undo,
    )
    monkeypatch.setattr(threads, "_CACHE", 100_000)  # of blocks of rows
    made = []
    monkeypatch.setattr(FramesOnDemand, "__array__", lambda self, *args, **options: made.append(self.shape) or 1 / 0)
    for number, step in enumerate(steps):
        tracemalloc.start()
        try:
            step()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # a mask of bool takes 1
        assert peak < 0.8 * frames.size, f"step {number} takes {peak / frames.size:.2f} bytes for each pixel"
    reopen(app, tmp_path / "session.glu", True)
    assert not made


# --- written into another folder --------------------------------------------------------------------------------------


def test_what_was_overruled_is_written_into_another_folder(pair, tmp_path):
    for name in ("reject", "rows", "repair", "kind"):
        pair.do(STEPS[name])
    mine, other = pair.attached
    told = []
    for attached, folder in ((mine, tmp_path / "a"), (other, tmp_path / "b")):
        write = prepare_writing(attached, folder)
        assert not folder.exists()
        write(progress=lambda *done: told.append(done))
    pair.check()
    assert told[: len(told) // 2] == [(k, len(told) // 2) for k in range(1, 1 + len(told) // 2)]
    found = files_in(tmp_path / "b")
    assert found.keys() == pair.before.keys()
    for i, name in enumerate(image_set_from_cube(other.cube, "image").names):
        cleaned, header = fits.getdata(tmp_path / "b" / f"{name}_crclean.fits", header=True)
        np.testing.assert_array_equal(cleaned, mine.values(mine.cleaned)[i])
        assert header["CRNPIX"] == np.count_nonzero(mine.values(mine.rejected)[i])
        np.testing.assert_array_equal(
            fits.getdata(tmp_path / "b" / f"{name}_crmask.fits") != 0, mine.values(mine.rejected)[i] > 0
        )
        np.testing.assert_array_equal(fits.getdata(tmp_path / "a" / f"{name}_crclean.fits"), cleaned)
    history = " ".join(map(str, header["HISTORY"]))
    for text in other.record["overrules"]:
        assert text in history
    # it is a result as one of a cleaning is
    written = Products(tmp_path / "b")
    assert written.knows_events
    np.testing.assert_array_equal(written.image("TIMES_REJECTED"), mine.map["times rejected"])
    np.testing.assert_array_equal(written.image("KIND"), mine.map["kind"])
    for part, data in (("events", mine.events), ("tracks", mine.tracks), ("frames", mine.frames)):
        made = table_data(part, written.table(part))
        assert {cid.label for cid in made.main_components} == {cid.label for cid in data.main_components}
        for cid in made.main_components:
            if (part, cid.label) != ("tracks", "events"):  # as the table says after the cleaning
                np.testing.assert_array_equal(made[cid], data[cid.label], err_msg=f"{part} {cid.label}")
    with pytest.raises(FileExistsError, match=r"exists already; choose another output folder$"):
        prepare_writing(other, pair.folder)


def test_nothing_written_is_the_same_as_before(pair, tmp_path):
    """Where nothing was overruled, the files are those of the cleaning, byte for byte."""
    for attached, name in zip(pair.attached, "ab", strict=True):
        prepare_writing(attached, tmp_path / name)()
    written = files_in(tmp_path / "b")
    for name, content in pair.before.items():
        if not name.endswith(".ecsv"):  # figures of tables in a session have six digits
            assert written[name] == content, name


def test_a_set_in_memory_is_written_with_its_headers(app, tmp_path):
    frames = simulate_set(5, (40, 50), seed=3).frames
    (tmp_path / "raw").mkdir()
    for i, frame in enumerate(frames):
        fits.writeto(tmp_path / "raw" / f"f{i}.fits", frame, fits.Header({"OBSERVER": f"me {i}"}))
    cube = load_data(str(tmp_path / "raw"), factory=image_set)
    app.data_collection.append(cube)
    command = AttachResult(
        data=cube, attribute="image", result=clean_image_set(image_set_from_cube(cube, "image")), axis=0,
        outputs=tuple(OUTPUTS), images=None,
    )  # fmt: skip
    app.session.command_stack.do(command)
    attached = command.attached
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f0_crclean.fits").write_text("mine")
    with pytest.raises(FileExistsError, match=r"f0_crclean\.fits"):
        prepare_writing(attached, tmp_path / "out")
    prepare_writing(attached, tmp_path / "clean")()
    assert fits.getheader(tmp_path / "clean" / "f3_crclean.fits")["OBSERVER"] == "me 3"
    (tmp_path / "raw" / "f1.fits").unlink()
    prepare_writing(attached, tmp_path / "again")()
    np.testing.assert_array_equal(
        fits.getdata(tmp_path / "again" / "f3_crclean.fits"), attached.values(attached.cleaned)[3]
    )


def test_what_is_not_in_the_session_is_not_written(tmp_path):
    pair = Pair(tmp_path, ("cleaned", "event"))
    with pytest.raises(ValueError, match="The session has no rejection map of 'field'"):
        prepare_writing(pair.attached[1], tmp_path / "out")
