"""Cleaning on the workers of dask.distributed: processes on this machine."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from astropy.io import fits

from glue_cleanset.cli import main
from glue_cleanset.core.clean import CleanCancelled, clean_image_set
from glue_cleanset.core.imageset import ImageSet
from glue_cleanset.io import cluster as on_cluster
from glue_cleanset.io.cluster import connect, each, rows_at_a_time
from glue_cleanset.io.read import read_image_set
from glue_cleanset.io.stream import RUN_FOLDER, clean_to_files

distributed = pytest.importorskip("distributed")

LOCAL = "127.0.0.1:0"
SMALL = 0.0004  # GB; several blocks


@pytest.fixture(scope="module")
def inputs(small_set, tmp_path_factory):
    """Nine frames with a mask each."""
    folder = tmp_path_factory.mktemp("inputs")
    for i, frame in enumerate(small_set.frames):
        flags = np.zeros(frame.shape, np.int16)
        flags[5 * i : 5 * i + 3, 10:20] = 4
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(frame, name="SCI"), fits.ImageHDU(flags, name="DQ")]
        fits.HDUList(hdus).writeto(folder / f"f{i + 1}.fits")
    return folder


def opened(inputs):
    return read_image_set(str(inputs), on_demand=True)


def content(folder):
    assert not (folder / RUN_FOLDER).exists()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    """What one process writes."""
    folder = tmp_path_factory.mktemp("alone")
    clean_to_files(opened(inputs), folder, memory=SMALL)
    files = content(folder)
    assert len(files) > 2 * 9
    return files


@pytest.fixture(scope="module")
def two():
    """Two worker processes that are started again when they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=LOCAL, processes=True
    ) as cluster:
        yield cluster


@pytest.fixture
def client(two):
    with connect(two.scheduler_address) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def kill_one(client, number=0):
    pids = sorted(client.run(os.getpid).values())
    assert os.getpid() not in pids
    os.kill(pids[number % len(pids)], signal.SIGKILL)


class Killer:
    """A progress that kills a worker when some shares of the work are done."""

    def __init__(self, client, shares):
        self.client, self.shares = client, list(shares)

    def __call__(self, done, total):
        if self.shares and done > self.shares[0] * total:
            self.shares.pop(0)
            kill_one(self.client, len(self.shares))


# --- the same bytes --------------------------------------------------------------------------------------------------


def test_two_processes_write_what_one_does(inputs, alone, client, tmp_path):
    told = []
    result = clean_to_files(opened(inputs), tmp_path / "out", memory=SMALL, client=client, tell=told.append)
    assert content(tmp_path / "out") == alone
    assert told[0].startswith("reading frame 1 of 9, ")
    assert len(result.events) > 0


def test_the_work_is_done_by_the_workers(inputs, client, tmp_path, monkeypatch):
    for name in ("_Copy", "_Kept", "_WriteFrame"):
        fail = lambda *args: pytest.fail("a piece was done here")  # noqa: E731
        monkeypatch.setattr(f"glue_cleanset.io.stream.{name}.__call__", fail)
    clean_to_files(opened(inputs), tmp_path / "out", memory=SMALL, client=client)


def test_a_set_in_memory_is_the_same(inputs, alone, client, tmp_path):
    clean_to_files(read_image_set(str(inputs)), tmp_path / "out", client=client)
    assert content(tmp_path / "out") == alone


def test_command_line(inputs, alone, two, tmp_path, capsys):
    arguments = ["clean", str(inputs), "-o", str(tmp_path / "out"), "--scheduler", two.scheduler_address]
    assert main(arguments) == 0
    assert content(tmp_path / "out") == alone
    assert "9 frames" in capsys.readouterr().out


# --- dask arrays -----------------------------------------------------------------------------------------------------


def dask_array(small_set, first=1):
    array = pytest.importorskip("dask.array")
    frames = small_set.frames.astype(">f4")
    # a function that only cloudpickle takes to a worker
    return array.from_array(frames, chunks=(first, 40, 128)).map_blocks(lambda part: part + np.float32(1))


def test_a_dask_array_is_cleaned(small_set):
    found = clean_image_set(dask_array(small_set, 4))
    expected = clean_image_set(small_set.frames.astype(np.float32) + np.float32(1))
    np.testing.assert_array_equal(found.cleaned, expected.cleaned)
    np.testing.assert_array_equal(found.rejected, expected.rejected)


def test_a_dask_array_is_computed_by_the_workers(small_set, client, tmp_path):
    clean_to_files(ImageSet(dask_array(small_set)), tmp_path / "two", client=client)
    clean_to_files(ImageSet(np.asarray(dask_array(small_set))), tmp_path / "one")
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_a_run_on_a_dask_array_is_resumed(small_set, client, tmp_path):
    stop = {"progress": lambda done, total: done < total / 3}
    with pytest.raises(CleanCancelled):
        clean_to_files(ImageSet(dask_array(small_set)), tmp_path, client=client, **stop)
    with pytest.raises(ValueError, match="another set"):
        clean_to_files(ImageSet(dask_array(small_set) * 2), tmp_path, client=client, resume=True)
    # the same array again needs no computing to be known
    clean_to_files(ImageSet(dask_array(small_set)), tmp_path, client=client, resume=True)
    assert len(content(tmp_path)) > 18


def test_pickled_frames_compute_in_their_own_thread(small_set):
    array = pytest.importorskip("dask.array")
    threads = set()

    def note(part):
        threads.add(threading.get_ident())
        return part

    cube = array.from_array(small_set.frames, chunks=(1, 10, 10)).map_blocks(note, meta=np.zeros((0, 0, 0)))
    frames = ImageSet(cube).frames
    copy = type(frames)(*frames.__reduce__()[1])
    threads.clear()
    np.testing.assert_array_equal(copy[2], small_set.frames[2])
    assert threads == {threading.get_ident()}


def test_a_dask_array_of_unknown_shape():
    array = pytest.importorskip("dask.array")
    cube = array.ones((4, 5, 6), chunks=(2, 5, 6))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        ImageSet(cube[cube[:, 0, 0] > 0])


# --- errors, and the end ---------------------------------------------------------------------------------------------


def test_an_error_of_a_worker_names_the_file(inputs, alone, client, tmp_path):
    image_set, path = opened(inputs), inputs / "f4.fits"

    def hide(text):
        if path.exists():
            path.rename(tmp_path / "elsewhere")

    try:
        with pytest.raises(FileNotFoundError, match=r"f4\.fits"):
            clean_to_files(image_set, tmp_path / "out", memory=SMALL, client=client, tell=hide)
    finally:
        (tmp_path / "elsewhere").rename(path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RUN_FOLDER]
    clean_to_files(image_set, tmp_path / "out", memory=SMALL, client=client, resume=True)
    assert content(tmp_path / "out") == alone


def test_an_error_stays_what_it_is(client):
    def fail(i):
        raise OSError(errno.ENOSPC, "no space", f"disk {i}")

    with pytest.raises(OSError, match="no space: 'disk 7'") as caught:
        each(client, fail, [(7,)])
    assert caught.value.errno == errno.ENOSPC


def test_a_piece_that_fails_for_a_moment_is_done_again(client, tmp_path):
    def fail_once(i):
        if not (tmp_path / str(i)).exists():
            (tmp_path / str(i)).touch()
            raise OSError("stale file handle")

    each(client, fail_once, [(i,) for i in range(3)])


def test_what_is_cancelled_does_not_go_on(client, tmp_path):
    def slow(i):
        (tmp_path / f"{i} begun").touch()
        time.sleep(0.3)
        (tmp_path / f"{i} ended").touch()

    def stop(share):
        raise CleanCancelled("enough")

    with pytest.raises(CleanCancelled, match="enough"):
        each(client, slow, [(i,) for i in range(100)], stop)
    files = sorted(path.name for path in tmp_path.iterdir())
    begun = [name.split()[0] for name in files if name.endswith("begun")]
    assert begun == [name.split()[0] for name in files if name.endswith("ended")]
    assert 1 <= len(begun) <= 6
    time.sleep(0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_few_pieces_are_under_way(two, client):
    shares, under_way = [], []

    def look(share):
        shares.append(share)
        under_way.append(sum(key.startswith("function-") for key in list(two.scheduler.tasks)))

    each(client, lambda i: time.sleep(0.02), [(i,) for i in range(30)], look)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert 2 <= max(under_way) <= 2 * 2 + 1  # and the one that was looked at last


def test_large_pieces_draw_no_warning(client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        each(client, lambda values: None, [(np.zeros(2_000_000),)])


def test_nothing_answers(monkeypatch, inputs, tmp_path, capsys):
    monkeypatch.setattr(on_cluster, "_PATIENCE", 0.5)
    with pytest.raises(OSError, match=r"no dask scheduler answers at 'tcp://127.0.0.1:9' within 0.5 s"):
        connect("tcp://127.0.0.1:9")
    with pytest.raises(OSError, match="as tcp://host:8786"):
        connect("nonsense")
    assert main(["clean", str(inputs), "-o", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "glue-cleanset: error: no dask scheduler answers" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["host", "tcp://host", ""])
def test_what_is_no_address(address):
    with pytest.raises(OSError, match=rf"'{address}' is no address of a dask scheduler; give .* tcp://host:8786"):
        connect(address)


def test_no_workers(monkeypatch, small_set, tmp_path):
    monkeypatch.setattr(on_cluster, "_PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=LOCAL) as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        with pytest.raises(OSError, match="no workers"):
            clean_to_files(ImageSet(small_set.frames), tmp_path, client=client)
        monkeypatch.setattr(on_cluster, "_LONGEST_ALONE", 0.5)
        with pytest.raises(OSError, match="no workers"):
            each(client, print, [(1,)])


def test_dask_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"glue-cleanset\[cluster\]"):
        connect("tcp://127.0.0.1:9")


def test_workers_that_cannot_do_it(monkeypatch, client, small_set, tmp_path):
    image_set = ImageSet(small_set.frames)
    with pytest.raises(OSError, match=r"does not see .*nowhere"):
        rows_at_a_time(client, image_set, tmp_path / "nowhere", 96)
    monkeypatch.setattr(on_cluster, "__version__", "0.0.1")
    with pytest.raises(ImportError, match=r"here it is 0\.0\.1"):
        rows_at_a_time(client, image_set, tmp_path, 96)


def test_rows_at_a_time(client, small_set, tmp_path):
    tall = ImageSet(np.tile(small_set.frames, (1, 10, 1)))
    row = 2 * 9 * 128 * 4
    assert rows_at_a_time(client, tall, tmp_path, 960) == 160  # three pieces for each thread
    assert rows_at_a_time(client, tall, tmp_path, 50) == 50
    assert rows_at_a_time(client, tall, tmp_path, 960, memory=20 * row / 1e9) == 20
    assert rows_at_a_time(client, ImageSet(small_set.frames), tmp_path, 96) == 32


def test_a_set_goes_to_a_worker_without_what_files_hold_beside(inputs):
    image_set = opened(inputs)
    assert len(image_set.headers) == 9
    bare = image_set.with_frames(image_set.frames)
    assert type(bare) is ImageSet
    assert bare.names == image_set.names
    assert bare.mask is image_set.mask
    assert len(pickle.dumps(bare)) < 20_000


# --- workers that die ------------------------------------------------------------------------------------------------


def test_killed_workers_are_survived(inputs, alone, client, tmp_path):
    killer = Killer(client, [0.5, 0.8])  # while frames are judged and written
    clean_to_files(opened(inputs), tmp_path / "out", memory=SMALL, client=client, progress=killer)
    assert not killer.shares
    assert content(tmp_path / "out") == alone


def test_the_other_worker_takes_over(inputs, alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=LOCAL) as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
        command += ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path / "scratch")]
        workers = [subprocess.Popen(command, cwd="home", stderr=subprocess.DEVNULL) for _ in range(2)]
        try:
            client.wait_for_workers(2, timeout=60)
            killer = Killer(client, [0.1])
            # the folder is where it is for us, not for the workers
            clean_to_files(opened(inputs), "out", memory=SMALL, client=client, progress=killer)
            assert not killer.shares
            assert len(client.nthreads()) == 1
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert content(tmp_path / "out") == alone


def test_the_only_worker_is_started_again(tmp_path):
    def kill_the_first(i):
        if not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / str(i)).touch()

    def kill_each(i):
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=LOCAL) as cluster,
        connect(cluster.scheduler_address) as client,
    ):
        each(client, kill_the_first, [(i,) for i in range(8)])
        assert sorted(path.name for path in tmp_path.iterdir()) == [*map(str, range(8)), "killed"]
        cluster.scheduler.allowed_failures = 0
        with pytest.raises(OSError, match="smaller blocks"):
            each(client, kill_each, [(0,)])


def test_the_scheduler_ends(monkeypatch):
    monkeypatch.setattr(on_cluster, "_PATIENCE", 1)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=LOCAL) as cluster,
        connect(cluster.scheduler_address) as client,
        pytest.raises(OSError, match="is gone"),
    ):
        each(client, lambda i: None, [(i,) for i in range(9)], lambda share: cluster.close())
