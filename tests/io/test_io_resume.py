"""Runs that are stopped, in whatever way, are gone on with, and leave nothing half done."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from astropy.io import fits
from fits_files import fill_disk, mounted
from hypothesis import given, settings
from hypothesis import strategies as st

import glue_cleanset
from glue_cleanset.core.clean import CleanCancelled, clean_image_set
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.core.ondemand import PackedFlags, marked
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.core.simulate import simulate_set
from glue_cleanset.io import stream
from glue_cleanset.io.frames import FitsFrames
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.stream import RUN_FOLDER, check_folder, clean_to_files, unfinished_run
from glue_cleanset.io.write import write_result

TINY = 1e-9  # GB: blocks of as few rows as there may be
N = 4


def bytes_of(folder):
    """What the files in a folder hold, by name."""
    folder = Path(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.exists() else {}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four files, and what cleaning them writes."""
    folder = tmp_path_factory.mktemp("files")
    simulated = simulate_set(N, (24, 60), seed=3, star_density=2e-3)
    (folder / "set").mkdir()
    for i, frame in enumerate(simulated.frames):
        header = fits.Header({"EXPTIME": 60.0, "GAIN": 1.5})
        fits.PrimaryHDU(np.round(frame).astype("i2"), header).writeto(folder / "set" / f"f{i}.fits")
    paths = sorted((folder / "set").iterdir())
    image_set = read_image_set(paths)
    write_result(clean_image_set(image_set), image_set, folder / "expected")
    return paths, bytes_of(folder / "expected")


def opened(files):
    return read_image_set(files[0], on_demand=True)


def clean(files, outdir, options=CleanSettings(), memory=TINY, **more):
    return clean_to_files(opened(files), outdir, options, memory=memory, **more)


def resume(files, outdir):
    """Go on, and look whether all is as it should be."""
    result = clean(files, outdir, resume=True)
    assert bytes_of(outdir) == files[1]
    assert not (Path(outdir) / RUN_FOLDER).exists()
    return result


def stop_at(when, error=None):
    """progress(done, total) that says no, or raises, when a share is done."""

    def progress(done, total):
        if done >= when * total:
            if error is not None:
                raise error
            return False

    return progress


# --- stopped by a person ---------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(when=st.floats(0, 1))
def test_cancelled_and_resumed(files, when):
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        try:
            clean(files, out, progress=stop_at(when))
        except CleanCancelled:
            assert bytes_of(out) in ({}, files[1])
        if (out / RUN_FOLDER).exists():
            resume(files, out)
        assert bytes_of(out) == files[1]


def test_cancelled_again_and_again(files, tmp_path):
    for when in (0.1, 0.25, 0.5, 0.7, 0.9):
        with pytest.raises(CleanCancelled):
            clean(files, tmp_path / "out", resume=True, progress=stop_at(when))
    resume(files, tmp_path / "out")


@pytest.mark.parametrize("when", [0.1, 0.5, 0.8])
def test_interrupted_from_the_keyboard(files, tmp_path, when):
    with pytest.raises(KeyboardInterrupt):
        clean(files, tmp_path / "out", progress=stop_at(when, KeyboardInterrupt()))
    assert not bytes_of(tmp_path / "out")
    resume(files, tmp_path / "out")


# --- killed ----------------------------------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys, time
from glue_cleanset.core.settings import CleanSettings
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.stream import clean_to_files

files, folder, moments, times = sys.argv[1].split(":"), sys.argv[2], eval(sys.argv[3]), eval(sys.argv[4])
steps = 0

def killing(function, at):
    def call(*args, **kwargs):
        global steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

def run(name, at, seconds=None):
    child = os.fork()
    if not child:
        for function in ("replace", "unlink", "rmdir", "mkdir"):
            setattr(os, function, killing(getattr(os, function), at))
        clean_to_files(read_image_set(files, on_demand=True), f"{folder}/{name}", memory=1e-9)
        print(steps, flush=True)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

run("whole", -1)
for at in moments:
    run(f"step_{at}", at)
for seconds in times:
    run(f"time_{seconds}", -1, seconds)
"""


def killed(files, folder, moments, times=()):
    """Runs that are killed (kill -9) at some of their steps on the disk, or some seconds; how many steps there are."""
    environment = {**os.environ, "PYTHONPATH": str(Path(glue_cleanset.__file__).parents[1])}
    paths = ":".join(map(str, files[0]))
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, paths, str(folder), repr(list(moments)), repr(list(times))],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_and_resumed(files, tmp_path):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files[0]}
    steps = killed(files, tmp_path, range(3, 80, 8), (0.1,))
    assert 40 < steps < 100
    assert bytes_of(tmp_path / "whole") == files[1]
    finished = 0
    for out in sorted(tmp_path.iterdir()):
        there = bytes_of(out)
        assert there.items() <= files[1].items()  # nothing is half written
        if (out / RUN_FOLDER / "run.json").exists():
            assert not there or (out / RUN_FOLDER / "complete").exists()
            resume(files, out)
        elif there:
            assert there == files[1]  # all but the end of the process was over
            finished += 1
        else:
            resume(files, out)  # nothing was done yet: begin
    assert finished < 8
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files[0]}


# --- what is done again ----------------------------------------------------------------------------------------------


class Counted(FitsFrames):
    """Frames that tell how often each was read."""

    def __init__(self, frames):
        super().__init__(frames.images)
        self.count = np.zeros(len(self), int)

    def rows(self, i, first, last):
        self.count[i] += 1
        return super().rows(i, first, last)


def counted(files):
    image_set = opened(files)
    object.__setattr__(image_set, "frames", Counted(image_set.frames))
    return image_set


class _StopError(Exception):
    pass


@contextmanager
def saves(function, fails):
    """The names of what is saved meanwhile; what begins with `fails` cannot be."""
    names, real = [], getattr(stream, function)

    def save(path, content):
        if path.name.startswith(fails):
            raise _StopError
        names.append(path.name)
        real(path, content)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(stream, function, save)
        yield names


def test_only_what_is_missing_is_done_again(files, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with saves("_save", "frame_00003") as first, pytest.raises(_StopError):
        clean(files, out)
    assert "frame_00001.npy" in first
    copied = np.array([f"frame_{i + 1:05d}.npy" in first for i in range(N)])
    assert np.load(out / RUN_FOLDER / "frame_00001.npy").dtype == np.int16  # as small as it is in its file

    again = counted(files)
    with saves("_save", "find_4_00003") as second, pytest.raises(_StopError):
        clean_to_files(again, out, memory=TINY, resume=True)
    np.testing.assert_array_equal(again.frames.count, ~copied)
    assert not set(first) & set(second)
    assert {"look_4_00000.npz", "find_4_00000.npz"} <= set(second)

    # the blocks that are judged are judged no more
    with saves("_save", "never") as third, saves("_write", "f2_crclean") as written, pytest.raises(_StopError):
        clean(files, out, resume=True)
    assert "find_4_00003.npz" in third
    assert not set(second) & set(third)
    assert "f0_crclean.fits" in written

    # what is found of the set is known, the frames that are written are not written again
    monkeypatch.setattr(stream, "judge_image_set", lambda *args, **kwargs: pytest.fail("judged again"))
    last = counted(files)
    with saves("_save", "never") as fourth, saves("_write", "never") as rest:
        result = clean_to_files(last, out, memory=TINY, resume=True)
    assert not fourth
    assert not {name for name in written if name.endswith("crmask.fits")} & set(rest)
    assert {"f2_crclean.fits", "f2_crmask.fits"} <= set(rest)
    read = [f"f{i}_crmask.fits" in rest for i in range(N)]
    np.testing.assert_array_equal(last.frames.count, read)
    assert bytes_of(out) == files[1]
    assert len(result.events)


def test_less_memory_is_no_obstacle(files, tmp_path, monkeypatch):
    monkeypatch.setattr("glue_cleanset.io.costs._PIECES", 0.1)
    with pytest.raises(CleanCancelled):
        clean(files, tmp_path / "out", memory=1, progress=stop_at(0.6))
    record = json.loads((tmp_path / "out" / RUN_FOLDER / "run.json").read_text())
    assert record["block_rows"] == 24
    resume(files, tmp_path / "out")  # which has blocks of four rows


def test_what_was_cut_off_does_not_stay(files, tmp_path):
    with pytest.raises(CleanCancelled):
        clean(files, tmp_path / "out", progress=stop_at(0.5))
    left = tmp_path / "out" / RUN_FOLDER / "frame_00001.npy.12345678.part"
    left.write_bytes(b"x")
    with pytest.raises(CleanCancelled):
        clean(files, tmp_path / "out", resume=True, progress=stop_at(0))
    assert not left.exists()


@pytest.mark.parametrize(
    ("when", "name"),
    [(0.19, "frame_00002.npy"), (0.5, "look_*_00001.npz"), (0.8, "judged.pickle"), (0.85, "f1_*.fits")],
)
def test_files_that_a_power_failure_has_emptied_are_made_again(files, tmp_path, when, name):
    with pytest.raises(CleanCancelled):
        clean(files, tmp_path / "out", progress=stop_at(when))
    lost = list((tmp_path / "out" / RUN_FOLDER).rglob(name))
    assert lost
    for path in lost:
        path.write_bytes(b"")
    resume(files, tmp_path / "out")


def test_what_a_run_has_done_survives_an_error_when_it_is_resumed(files, unfinished, monkeypatch):
    def judge(*args, **kwargs):
        raise ValueError("a piece is damaged")

    before = sorted((unfinished / RUN_FOLDER).iterdir())
    with monkeypatch.context() as context:
        context.setattr(stream, "judge_image_set", judge)
        with pytest.raises(ValueError, match="damaged"):
            clean(files, unfinished, resume=True)
    assert sorted((unfinished / RUN_FOLDER).iterdir()) == before
    resume(files, unfinished)


@pytest.mark.parametrize("record", ["", '{"version'])
def test_a_run_that_nobody_knows_any_more(files, unfinished, record):
    (unfinished / RUN_FOLDER / "run.json").write_text(record)
    assert unfinished_run(opened(files), unfinished)
    with pytest.raises(ValueError, match=r"not known any more\); .* begin anew"):
        clean(files, unfinished, resume=True)
    clean(files, unfinished, overwrite=True)
    assert bytes_of(unfinished) == files[1]


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(files, tmp_path):
    with pytest.raises(CleanCancelled):
        clean(files, tmp_path / "out", progress=stop_at(0.5))
    return tmp_path / "out"


def test_an_unfinished_run_is_not_thrown_away_unasked(files, unfinished):
    with pytest.raises(FileExistsError, match="holds an unfinished run"):
        clean(files, unfinished)
    assert (unfinished / RUN_FOLDER / "run.json").exists()
    clean(files, unfinished, overwrite=True)
    assert bytes_of(unfinished) == files[1]
    assert not (unfinished / RUN_FOLDER).exists()


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        (CleanSettings(grow=1), {}, r"another setting grow=0;"),
        (CleanSettings("mad"), {}, r"another setting detection=noise, high=4.5"),
        (CleanSettings(), {"gain": 2.0}, "another gain;"),
        (CleanSettings(), {"readnoise": 2.0}, "another readnoise;"),
        (CleanSettings(), {"protect": np.ones((24, 60), bool)}, "another protected or rejected region;"),
    ],
)
def test_other_settings_are_refused(files, unfinished, options, given, message):
    with pytest.raises(ValueError, match=message):
        clean(files, unfinished, options, resume=True, **given)
    resume(files, unfinished)  # which has done no harm


@pytest.mark.parametrize("kind", ["reject", "mask"])
def test_pixels_that_are_named_count_as_the_mask_of_them(files, tmp_path, kind):
    image_set = opened(files)
    flags = np.zeros(image_set.shape, bool)
    flags[1, 5:9, 7] = True
    named = marked(np.flatnonzero(flags), flags.shape)
    packed = PackedFlags(np.packbits(flags), flags.shape)

    def start(flags, **options):
        if kind == "mask":
            return clean_to_files(opened(files).without(flags), tmp_path / "out", **options)
        return clean_to_files(opened(files), tmp_path / "out", reject=flags, **options)

    with pytest.raises(CleanCancelled):
        start(packed, progress=lambda done, total: done < total / 2)
    other = PackedFlags(np.packbits(np.roll(flags, 1, axis=0)), flags.shape)
    with pytest.raises(ValueError, match="was begun with another"):
        start(other, resume=True)
    result = start(packed if kind == "mask" else named, resume=True)
    assert (result.rejected[1, 5:9, 7] == (kind == "reject")).all()


def test_other_files_are_refused(files, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    paths = [folder / path.name for path in files[0]]
    for path, original in zip(paths, files[0], strict=True):
        path.write_bytes(original.read_bytes())
    copied = paths, files[1]
    with pytest.raises(CleanCancelled):
        clean(copied, tmp_path / "out", progress=stop_at(0.5))
    for source in (paths[::-1], paths[:3], [*paths, files[0][0]], files[0][:2] + paths[2:]):
        with pytest.raises(ValueError, match=r"another (set or order of frames|content of f0, f1 )"):
            clean((source, None), tmp_path / "out", resume=True)
    os.utime(paths[1])
    with pytest.raises(ValueError, match=r"another content of f1 \(changed since\)"):
        clean(copied, tmp_path / "out", resume=True)
    clean(copied, tmp_path / "out", overwrite=True)
    assert bytes_of(tmp_path / "out") == files[1]


def test_a_set_in_memory_is_known_by_its_content(files, tmp_path):
    image_set = read_image_set(files[0])
    with pytest.raises(CleanCancelled):
        clean_to_files(image_set, tmp_path / "out", memory=TINY, progress=stop_at(0.5))
    other = np.array(image_set.frames)
    other[1, 3, 3] += 1
    with pytest.raises(ValueError, match="content of f1"):
        clean_to_files(image_set.with_frames(other), tmp_path / "out", resume=True)
    mask = np.zeros(image_set.shape, bool)
    with pytest.raises(ValueError, match="another mask"):
        clean_to_files(image_set.with_frames(image_set.frames, mask), tmp_path / "out", resume=True)
    clean_to_files(read_image_set(files[0]), tmp_path / "out", memory=TINY, resume=True)
    assert bytes_of(tmp_path / "out") == files[1]


def test_shifts_that_are_not_known_do_not_count_as_others(small_set, tmp_path):
    shifts = [[0, 0], [np.nan, np.nan], [3, 1]]
    image_set = ImageSet(np.array(small_set.frames[:3, :20, :30]), shifts=shifts)
    with pytest.raises(CleanCancelled):
        clean_to_files(image_set, tmp_path / "out", progress=stop_at(0.5))
    clean_to_files(image_set, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "rejection_map.fits").exists()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"memory": 0}, ValueError, "memory is 0; give a positive number of GB"),
        ({"memory": -1.0}, ValueError, "memory is -1.0; give"),
        ({"memory": float("nan")}, ValueError, "memory is nan; give"),
        ({"memory": float("inf")}, ValueError, "memory is inf; give"),
        ({"client": "tcp://host:8786"}, TypeError, r"client is 'tcp://host:8786'; give a distributed\.Client"),
    ],
)
def test_arguments_that_make_no_sense_are_told_before_any_work(files, tmp_path, wrong, error, message):
    with pytest.raises(error, match=message):
        clean(files, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_resuming_where_there_is_nothing_begins(files, tmp_path):
    resume(files, tmp_path / "new" / "out")
    with pytest.raises(FileExistsError, match=r"no unfinished run in .*out to go on with, and .*f0_crclean.fits and"):
        clean(files, tmp_path / "new" / "out", resume=True)


def test_a_set_that_cannot_be_cleaned_leaves_nothing(files, tmp_path, monkeypatch):
    def judge(*args, **kwargs):
        raise ValueError("f1 cannot be normalised")

    monkeypatch.setattr(stream, "judge_image_set", judge)
    with pytest.raises(ValueError, match="normalised"):
        clean(files, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_what_somebody_has_put_there_meanwhile_stays(files, tmp_path):
    def progress(done, total):
        (tmp_path / "out" / "mine.txt").write_text("mine")
        raise ValueError("the set cannot be cleaned")

    with pytest.raises(ValueError, match="cannot be cleaned"):
        clean(files, tmp_path / "out", progress=progress)
    assert bytes_of(tmp_path / "out") == {"mine.txt": b"mine"}
    assert not (tmp_path / "out" / RUN_FOLDER).exists()


def test_a_folder_of_the_name_of_a_file_is_told_before_any_work(files, tmp_path):
    (tmp_path / "out" / "events.ecsv").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"events\.ecsv is a folder, where a file is to go; choose another"):
        clean(files, tmp_path / "out", overwrite=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["events.ecsv"]


def test_files_that_came_meanwhile_are_not_replaced(files, tmp_path):
    def tell(text):
        if text.startswith("writing"):
            (tmp_path / "out" / "f1_crmask.fits").write_text("mine")

    with pytest.raises(FileExistsError, match=r"f1_crmask.fits exists already"):
        clean(files, tmp_path / "out", tell=tell)
    assert bytes_of(tmp_path / "out") == {"f1_crmask.fits": b"mine"}
    (tmp_path / "out" / "f1_crmask.fits").unlink()
    resume(files, tmp_path / "out")


@pytest.mark.skipif(stream.fcntl is None, reason="needs file locks")
@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_two_runs_do_not_work_in_one_folder(files, tmp_path, how):
    refused = []

    def progress(done, total):
        if 0.2 * total < done < 0.9 * total and len(refused) < 3:
            with pytest.raises(FileExistsError, match=rf"process {os.getpid()} on .* is at work in .*out; wait"):
                clean(files, tmp_path / "out", **how)
            refused.append(done)

    clean(files, tmp_path / "out", progress=progress)
    assert len(refused) == 3
    assert bytes_of(tmp_path / "out") == files[1]


# --- a full disk -----------------------------------------------------------------------------------------------------


def test_a_disk_that_is_too_small_is_told_before_any_work(files, tmp_path):
    with mounted(tmp_path / "disk", "size=40k") as disk:
        with pytest.raises(OSError, match=r"needs .* GB on the disk, .* GB are free; free some space") as told:
            clean(files, disk / "out")
        assert told.value.errno == errno.ENOSPC
        assert not list(disk.iterdir())


def test_what_an_unfinished_run_takes_counts_as_free(files, tmp_path):
    with mounted(tmp_path / "disk", "size=400k") as disk:
        with pytest.raises(CleanCancelled):
            clean(files, disk / "out", progress=stop_at(0.6))
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "other").write_bytes(b"x" * (free - 200_000))
        check_folder(opened(files), disk / "out", overwrite=True)
        clean(files, disk / "out", overwrite=True)
        assert bytes_of(disk / "out") == files[1]


STEPS = ("reading", "comparing", "writing frame", "writing tables")


@pytest.mark.parametrize("left", [0, 1, 5, 9, 13])
@pytest.mark.parametrize("step", STEPS)
def test_a_disk_that_fills_up(files, tmp_path, step, left):
    """Something else takes all but some pages of a disk at each step of the work."""
    with mounted(tmp_path / "disk", "size=600k") as disk:

        def fill(text):
            if text.startswith(step) and not (disk / "other").exists():
                fill_disk(disk, left)

        told = None
        try:
            clean(files, disk / "out", tell=fill)
        except OSError as error:
            told = error
        if told is None:  # it was enough
            assert left or step == "writing tables"
            assert bytes_of(disk / "out") == files[1]
            return
        assert told.errno == errno.ENOSPC
        assert "no space is left for" in str(told)
        assert not bytes_of(disk / "out")
        (disk / "other").unlink()
        resume(files, disk / "out")


@pytest.mark.parametrize("place", ["savez", "writeto", "_save_array", "_as_text"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota(files, tmp_path, monkeypatch, place, number):
    """What a disk with a quota says, from each of those who write."""
    owner = {
        "savez": np,
        "writeto": fits.PrimaryHDU,
        "_save_array": stream,
        "_as_text": sys.modules["glue_cleanset.io.write"],
    }[place]

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as context:
        context.setattr(owner, place, fail)
        with pytest.raises(OSError, match=r"no space is left for .*out; nothing is written under its own name"):
            clean(files, tmp_path / "out")
    assert not bytes_of(tmp_path / "out")
    resume(files, tmp_path / "out")


def test_a_folder_that_cannot_be_written(files, tmp_path):
    message = r"the output folder .*out cannot be written: Read-only file system"
    with mounted(tmp_path / "disk", "ro") as disk, pytest.raises(OSError, match=message):
        clean(files, disk / "out")


def test_another_fault_of_the_disk_is_told_as_it_is(files, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as context:
        context.setattr(np, "savez", fail)
        with pytest.raises(OSError, match="Input/output error"):
            clean(files, tmp_path / "out")
    resume(files, tmp_path / "out")


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out", "a b/c d", "Größe/夜", "set"])
def test_where_the_files_go(files, tmp_path, monkeypatch, name):
    """A relative folder, names with blanks, beside the frames; the frames may be links."""
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    for path in files[0]:
        (Path("set") / path.name).symlink_to(path)
    paths = sorted(Path("set").iterdir())
    before = bytes_of(files[0][0].parent)
    with pytest.raises(CleanCancelled):
        clean((paths, None), name, progress=stop_at(0.7))
    clean((paths, None), name, resume=True)
    written = bytes_of(name)
    if name == "set":
        written = {key: value for key, value in written.items() if key not in before}
        assert all(path.is_symlink() for path in paths)
    assert written == files[1]
    assert bytes_of(files[0][0].parent) == before


def test_the_frames_may_be_where_nothing_can_be_written(files, tmp_path):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        for path in files[0]:
            (disk / path.name).write_bytes(path.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        clean((sorted(disk.iterdir()), None), tmp_path / "out")
    assert bytes_of(tmp_path / "out") == files[1]


def test_a_frame_that_changes_meanwhile(files, tmp_path):
    """Which is told, and of which nothing comes."""
    paths = [tmp_path / path.name for path in files[0]]
    for path, original in zip(paths, files[0], strict=True):
        path.write_bytes(original.read_bytes())
    image_set = read_image_set(paths, on_demand=True)
    paths[2].write_bytes(paths[2].read_bytes()[:3000])
    with pytest.raises(OSError, match=r"f2.fits has changed since it was opened"):
        clean_to_files(image_set, tmp_path / "out")
    assert not bytes_of(tmp_path / "out")
