"""The cleaning in a thread of its own, with progress and cancel."""

import threading

from glue_qt.utils.threading import Worker
from qtpy import QtCore

__all__ = ["CleanWorker"]


class CleanWorker(Worker):
    """Clean a `CleanJob`; touches its arrays only, never a glue object.

    Emits `progress` (0 ... 1000) as work goes on, then ``result((CleanResult, warning))`` with the
    warning of an unregistered set ('' = none), or ``error(exc_info)``; after `cancel` the
    error is a `CleanCancelled`.
    """

    progress = QtCore.Signal(int)

    def __init__(self, job):
        super().__init__(self._clean, job)
        self._cancelled = threading.Event()
        self._last = -1

    def cancel(self):
        """Ask the cleaning to stop; it does at the end of the piece it is working on."""
        self._cancelled.set()

    def _clean(self, job):
        # the loops are compiled when they are imported; here no window waits for that
        from glue_cleanset.core.clean import CleanCancelled, clean_image_set
        from glue_cleanset.io.registration import registration_warning

        warning = registration_warning(job.image_set)
        if self._cancelled.is_set():
            raise CleanCancelled
        result = clean_image_set(
            job.image_set, job.settings, gain=job.gain, readnoise=job.readnoise, progress=self._report
        )
        return result, warning

    def _report(self, done, total):
        permille = int(1000 * done / total)
        if permille != self._last:  # no more signals than the bar can show
            self._last = permille
            self.progress.emit(permille)
        return not self._cancelled.is_set()
