"""Work of a cleaning that is done by the workers of dask.distributed, on one machine or on many."""

import pickle
import re
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from itertools import islice
from pathlib import Path
from uuid import uuid4

from .. import __version__

__all__ = ["connect", "each", "rows_at_a_time"]

_PATIENCE = 10  # s, until something answers
_LONGEST_ALONE = 300  # s; workers may come back, as those of a batch system do
_RETRIES = 2  # shared disks fail for moments
_PIECES = 3  # for each thread, so that none waits long for the last one
_FEWEST_ROWS = 32  # with fewer of them mostly those beside are read


def connect(address):
    """Connect to a scheduler of dask.distributed.

    Parameters
    ----------
    address : str
        As the scheduler has printed it: ``tcp://host:port``.

    Returns
    -------
    distributed.Client
        To be used in a ``with`` statement.

    Raises
    ------
    ImportError
        Where dask.distributed is not installed.
    OSError
        Where no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            f"work on a cluster needs dask.distributed, pip install 'glue-cleanset[cluster]': {error}"
        ) from error
    if not re.fullmatch(r"inproc://.+|.+:\d+(/.*)?", address):  # dask would take half a minute, and say more than that
        raise OSError(f"{address!r} is no address of a dask scheduler; give what it has printed, as tcp://host:8786")
    try:
        return Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(
            f"no dask scheduler answers at {address!r} within {_PATIENCE} s; give the address it has printed, as "
            f"tcp://host:8786 ({error})"
        ) from error


def rows_at_a_time(client, image_set, folder, most, memory=None):
    """How many rows of all frames a worker takes at a time; finds out, before any work, whether the workers can do it.

    Parameters
    ----------
    client : distributed.Client
    image_set : ImageSet
    folder : Path
        Which they must see.
    most : int
        Rows.
    memory : float, optional
        What each worker may take [GB]; default a quarter of its memory.

    Returns
    -------
    int

    Raises
    ------
    OSError
        Where there is no worker, or one does not see the folder.
    ImportError
        Where one has another version of this package, or none.
    """
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        raise OSError(f"the scheduler at {_address(client)} has no workers; start some (dask worker ADDRESS)") from None
    try:
        facts = client.run(_facts, str(folder))
    except ImportError as error:
        raise ImportError(f"a worker lacks what it needs, install glue-cleanset {__version__} there: {error}") from None
    n, ny, nx = image_set.shape
    row = 2 * n * nx * image_set.work_dtype.itemsize
    for worker, (version, sees, threads, limit) in facts.items():
        if version != __version__:
            raise ImportError(f"the worker {worker} has glue-cleanset {version}, here it is {__version__}")
        if not sees:
            raise OSError(f"the worker {worker} does not see {folder}; choose a folder that all workers share")
        if memory or limit:
            most = min(most, (memory * 1e9 if memory else limit / 4) // (row * threads))
    threads = sum(facts[worker][2] for worker in facts)
    return int(max(4, min(most, max(_FEWEST_ROWS, -(-ny // (_PIECES * threads))))))


def _facts(folder, dask_worker):
    """Of a worker: version, whether it sees the folder, threads, memory [bytes] or None."""
    return __version__, Path(folder).is_dir(), dask_worker.state.nthreads, dask_worker.memory_manager.memory_limit


def each(client, function, items, done=None):
    """function(*item) for every item, on the workers; what it returns is dropped.

    A piece whose worker dies is done again by another one; so it may be done twice, even at the same time.

    Parameters
    ----------
    client : distributed.Client
    function : callable
        Can be pickled.
    items : sequence of tuple
    done : callable, optional
        As for `glue_cleanset.core.threads.in_threads`; it is called each second at least.

    Raises
    ------
    OSError
        Where the scheduler, or all workers, are gone, or workers die over a piece again and again.
    Exception
        As the function raised it.
    """
    from cloudpickle import dumps, loads  # lambdas of dask arrays need it
    from dask import config
    from distributed import KilledWorker, wait

    name, run = type(function).__name__.strip("_").lower(), uuid4().hex
    options = {"pure": False, "retries": _RETRIES}
    left, running, finished, seen = iter(enumerate(items)), set(), 0, time.monotonic()
    try:
        # what a task gives is made again where the worker that holds it dies; what is scattered is lost
        shared = client.submit(loads, dumps(function), key=f"shared-{run}", **options)
        while finished < len(items):
            threads = _threads(client)
            seen = time.monotonic() if threads else seen
            if time.monotonic() - seen > _LONGEST_ALONE:
                raise OSError(f"the scheduler at {_address(client)} has had no workers for {_LONGEST_ALONE} s")
            for k, item in islice(left, max(0, 2 * threads - len(running))):
                with config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}):  # parts of images
                    running.add(client.submit(_call, shared, pickle.dumps(item), key=f"{name}-{run}-{k}", **options))
            over = ()
            if running:
                with suppress(TimeoutError), client.as_current():
                    over = wait(running, timeout=1, return_when="FIRST_COMPLETED").done
            else:
                time.sleep(1)
            for future in over:
                future.result()
            running.difference_update(over)
            finished += len(over)
            if done is not None:
                done(finished / len(items))
    except KilledWorker as error:
        _stop(client, running)
        raise OSError(
            f"workers died again and again over the same piece ({error.task}), perhaps for want of memory; begin anew "
            "with smaller blocks (memory, --memory), or resume (resume, --resume) when workers have more"
        ) from None
    except CancelledError:
        _stop(client, running)
        raise _gone(client) from None
    except BaseException:
        _stop(client, running)
        raise


def _threads(client):
    try:
        return sum(client.nthreads().values())
    except (OSError, RuntimeError):  # no answer; closed
        raise _gone(client) from None


def _gone(client):
    return OSError(f"the scheduler at {_address(client)} is gone; what is done can be resumed (resume, --resume)")


def _call(function, item):
    function(*pickle.loads(item))


def _stop(client, tasks):
    """Cancel what has not begun, and wait for what has."""
    keys = {task.key for task in tasks}
    # (where the scheduler is gone its workers end too)
    with suppress(Exception):
        client.cancel(list(tasks))
        busy = True
        while busy:
            time.sleep(0.1)
            busy = any(client.run(_holds, keys, on_error="ignore").values())


def _holds(keys, dask_worker):
    """Whether a worker still has one of some tasks."""
    return not keys.isdisjoint(dask_worker.state.tasks)


def _address(client):
    return client.scheduler.address if client.scheduler else "its address"
