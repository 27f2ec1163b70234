"""Choosing files in Qt's own dialog."""

from glue_qt.utils import get_qapp
from qtpy import QtWidgets

__all__ = ["pick_fits_files"]

FITS = "FITS files (*.fits *.fit *.fts *.fits.gz *.fit.gz *.fts.gz *.fz);;All files (*)"


def pick_fits_files():
    """Ask for the FITS files of one image set.

    Returns
    -------
    list of str
        Their paths, in the order of their names; empty where the person cancelled.
    """
    get_qapp()
    paths, _ = QtWidgets.QFileDialog.getOpenFileNames(
        QtWidgets.QApplication.activeWindow(), "Frames of one image set", "", FITS
    )
    return sorted(paths)
