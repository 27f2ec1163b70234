"""The cleaning in a thread of its own, with progress and cancel."""

import threading

from glue_qt.utils.threading import Worker
from qtpy import QtCore

__all__ = ["COMPILING", "CleanWorker"]

COMPILING = "Compiling, this first time only: some ten seconds…"
COMPARED = 300  # of 1000: where the bar stands when the positions of the frames are known


class CleanWorker(Worker):
    """Clean a `CleanJob`; touches its arrays only, never a glue object.

    Emits `progress` (0 ... 1000, what is done) as work goes on, then ``result((CleanResult, warning))`` with the
    warning of an unregistered set ('' = none), or ``error(exc_info)``; after `cancel` the
    error is a `CleanCancelled`.
    """

    progress = QtCore.Signal(int, str)

    def __init__(self, job):
        super().__init__(self._clean, job)
        self._cancelled = threading.Event()

    def cancel(self):
        """Ask the cleaning to stop; it does at the end of the piece it is working on."""
        self._cancelled.set()

    def _clean(self, job):
        # the loops are compiled when they are imported; here no window waits for that
        from glue_cleanset.core.clean import clean_image_set, must_compile
        from glue_cleanset.io.registration import registration_warning

        warning = registration_warning(
            job.image_set, progress=self._reporter("Comparing the positions of the frames…", 0, COMPARED)
        )
        text = COMPILING if must_compile() else "Cleaning…"
        masks = {"mask": job.mask, "protect": job.protect, "reject": job.reject}
        result = clean_image_set(
            job.image_set,
            job.settings,
            gain=job.gain,
            readnoise=job.readnoise,
            progress=self._reporter(text, COMPARED, 1000),
            **{name: mask for name, mask in masks.items() if mask is not None},
        )
        return result, warning

    def _reporter(self, text, first, last):
        shown = None

        def report(done, total):
            nonlocal shown
            permille = first + int((last - first) * done / total)
            if permille != shown:  # no more signals than the bar can show
                shown = permille
                self.progress.emit(permille, text)
            return not self._cancelled.is_set()

        return report
