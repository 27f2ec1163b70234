"""Work on all cores, which the kernels and numpy's copies leave free for each other; how it is stopped; and the memory
it took."""

import ctypes
import os
from contextlib import suppress
from contextvars import copy_context
from threading import Thread

import numpy as np

__all__ = ["CleanCancelled", "Work", "at_once", "cores", "in_threads", "pieces", "return_memory"]

_CACHE = 12 * 2**20  # bytes


class CleanCancelled(Exception):
    """The progress callback asked to stop; nothing was changed."""


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
    left, results, finished, faults = iter(enumerate(items)), [None] * len(items), [], []

    def work(done=None):
        try:
            for number, item in left:
                if faults:
                    break
                results[number] = function(*item)
                finished.append(number)
                share = len(finished) / len(items)
                if done is not None and share < 1:
                    done(share)
        except BaseException as fault:  # is raised where it was called
            faults.append(fault)

    # the caller works as well; a pool would take as long as many a task
    helpers = [Thread(target=copy_context().run, args=(work,)) for _ in range(min(cores(), len(items)) - 1)]
    for helper in helpers:
        helper.start()
    work(done)
    for helper in helpers:
        helper.join()
    if faults:
        raise faults[0]
    if done is not None:
        done(1.0)
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
    """What each of some functions without arguments gives, called on all cores; where not `together` one by one, which
    takes less memory."""
    if not together:
        return [function() for function in functions]
    return in_threads(lambda function: function(), [(function,) for function in functions])


def pieces(length, most=4):
    """(first, last + 1) of that many parts of a length, or fewer."""
    step = max(1, -(-length // most))
    return [(first, min(first + step, length)) for first in range(0, length, step)]


def return_memory():
    """Give back to the system what the C library keeps of the memory that has been freed; glibc only."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
