"""Work on all cores, which the kernels and numpy's copies leave free for each other; and the memory it took."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

__all__ = ["Work", "at_once", "cores", "in_threads", "pieces", "return_memory"]

_CACHE = 8 * 2**20  # bytes


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def in_threads(function, items, done=None):
    """function(*item) for every item, on all cores.

    Parameters
    ----------
    function : callable
        One that does not hold Python's lock while it works.
    items : sequence of tuple
    done : callable, optional
        Called with the share of the items that are finished; may raise to stop, and what has not begun is left out.

    Returns
    -------
    list
        What it returned for each.
    """
    if len(items) == 1 and done is None:
        return [function(*items[0])]
    with ThreadPoolExecutor(cores()) as pool:
        tasks = [pool.submit(function, *item) for item in items]
        results = []
        try:
            for number, task in enumerate(tasks, start=1):
                results.append(task.result())
                if done is not None:
                    done(number / len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return results


class Work:
    """Where the pieces of a set are worked on, and how large they are: here, on all cores.

    Parameters
    ----------
    block_rows : int, optional
        Rows of all frames that are worked on at a time; default what fits into the cache of a processor.
    """

    def __init__(self, block_rows=None):
        self.block_rows = block_rows

    def blocks(self, shape, dtype):
        """(first, last + 1) rows of each piece of a set (N, ny, nx) of that dtype."""
        n, ny, nx = shape
        size = self.block_rows or int(np.clip(_CACHE // (n * nx * dtype.itemsize), 4, ny))
        return [(y, min(y + size, ny)) for y in range(0, ny, size)]

    def map(self, name, function, items, done=None):
        """What function(*item) gives for every item, as a list.

        Parameters
        ----------
        name : str
            Of the step; empty where nobody needs to know it.
        function : callable
            Can be pickled where its frames can; without side effects.
        items : list of tuple
        done : callable, optional
            As for `in_threads`.
        """
        return in_threads(function, items, done)


def at_once(*functions, together=True):
    """What each of some functions without arguments gives, called in threads of their own; where not `together` one by
    one, which takes less memory."""
    if not together:
        return [function() for function in functions]
    with ThreadPoolExecutor(len(functions)) as pool:
        return [task.result() for task in [pool.submit(function) for function in functions]]


def pieces(length, most=4):
    """(first, last + 1) of that many parts of a length, or fewer."""
    step = max(1, -(-length // most))
    return [(first, min(first + step, length)) for first in range(0, length, step)]


def return_memory():
    """Give back to the system what the C library keeps of the memory that has been freed; glibc only."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
