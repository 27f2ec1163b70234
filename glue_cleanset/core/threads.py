"""Work on all cores, which the kernels and numpy's copies leave free for each other."""

import os
from concurrent.futures import ThreadPoolExecutor

__all__ = ["at_once", "in_threads", "pieces"]


def in_threads(function, items, done=None):
    """function(*item) for every item, on all cores.

    Parameters
    ----------
    function : callable
        One that does not hold Python's lock while it works.
    items : sequence of tuple
    done : callable, optional
        Called with the share of the items that are finished; may raise to stop, and what has not begun is left out.
    """
    if len(items) == 1 and done is None:
        function(*items[0])
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        tasks = [pool.submit(function, *item) for item in items]
        try:
            for number, task in enumerate(tasks, start=1):
                task.result()
                if done is not None:
                    done(number / len(tasks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def at_once(*functions):
    """What each of some functions without arguments gives, called in threads of their own."""
    with ThreadPoolExecutor(len(functions)) as pool:
        return [task.result() for task in [pool.submit(function) for function in functions]]


def pieces(length, most=4):
    """(first, last + 1) of that many parts of a length, or fewer."""
    step = max(1, -(-length // most))
    return [(first, min(first + step, length)) for first in range(0, length, step)]
