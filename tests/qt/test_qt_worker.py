"""The threads that work behind the window."""

import gc
import threading

import pytest
from glue_qt.utils.threading import Worker

from glue_cleanset.qt.worker import PatientWorker


class Cycle:
    """Found by the search for garbage only, as most of what has been a part of a window."""

    def __init__(self, found):
        self.itself, self.found = self, found

    def __del__(self):
        self.found.append(threading.current_thread() is threading.main_thread())


@pytest.mark.parametrize("kind", [PatientWorker, Worker])
def test_no_other_thread_destroys_what_belongs_to_the_window(application, wait, kind):
    """Glue's own worker does, which shows that this is looked at."""
    found = []

    def work():
        for _ in range(20):
            Cycle(found)
            [[] for _ in range(50_000)]

    workers = [kind(work), kind(work)]
    for worker in workers:
        worker.start()
    for worker in workers:
        wait(worker.isFinished)
    wait(gc.isenabled)
    gc.collect()
    assert len(found) == 40
    assert all(found) == (kind is PatientWorker)


def test_a_worker_that_fails_is_the_end_of_it_as_well(application, wait):
    told = []
    worker = PatientWorker(lambda: 1 / 0)
    worker.error.connect(told.append)
    worker.start()
    assert not gc.isenabled()
    wait(gc.isenabled)
    assert told[0][0] is ZeroDivisionError
