"""The verbose summary of a cleaning: what was rejected from which frame, and what to make of it."""

import numpy as np
from glue_qt.utils import messagebox_on_error
from qtpy import QtCore, QtGui, QtWidgets

from .review import open_review

__all__ = ["SummaryDialog"]

SOURCES = {"given": "given", "fitted": "fitted to the set"}
# column -> heading, format, what it is
COLUMNS = {
    "frame": ("Frame", "d", "Number of the frame, as in the rejection map"),
    "name": ("Name", "s", "Name of the frame"),
    "events": ("Events", ",d", "Connected groups of rejected pixels"),
    "pixels": ("Pixels", ",d", "Rejected pixels"),
    "percent": ("Percent", ".3f", "Rejected pixels in percent of the frame's pixels"),
    "scale": ("Scale", ".4f", "Factor of the frame against the reference"),
    "offset": ("Offset [ADU]", ".2f", "Constant of the frame against the reference"),
    "mismatch": ("Mismatch [%]", ".1f", "How far its stars differ from the rest of the set: seeing, registration"),
}


class SummaryDialog(QtWidgets.QDialog):
    """One row per frame, the warnings above, and the way to the review layout.

    Parameters
    ----------
    session : glue.core.Session
    attached : glue_cleanset.viewer.attach.Attached
        What the cleaning added to the session.
    result : CleanResult
    registration : str, optional
        Warning of a set that does not look registered.
    parent : QWidget, optional
    """

    def __init__(self, session, attached, result, registration="", parent=None):
        super().__init__(parent)
        self.session = session
        self.attached = attached
        self.setWindowTitle(f"Summary of cleaning {attached.cube.label}")
        self.setAttribute(QtCore.Qt.WA_DeleteOnClose)

        layout = QtWidgets.QVBoxLayout(self)
        self.warnings = [text for text in (registration, *result.warnings) if text]
        if self.warnings:
            layout.addWidget(_warning_box(self.warnings))
        self.headline = QtWidgets.QLabel(describe_total(result))
        self.noise = QtWidgets.QLabel(describe_noise(result.noise))
        for label in (self.headline, self.noise):
            label.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
            layout.addWidget(label)
        self.table = _table(result.summary)
        layout.addWidget(self.table, 1)

        self.button_review = QtWidgets.QPushButton("Open review layout")
        self.button_review.setToolTip("Original, cleaned and rejection map side by side, in a new tab")
        self.button_review.clicked.connect(self._review)
        button_close = QtWidgets.QPushButton("Close")
        button_close.setAutoDefault(False)
        button_close.clicked.connect(self.close)
        buttons = QtWidgets.QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.button_review)
        buttons.addWidget(button_close)
        layout.addLayout(buttons)

        longest = max(len(str(name)) for name in result.summary["name"])
        width = 620 + self.fontMetrics().averageCharWidth() * longest
        room = self.screen().availableGeometry().height() - 100  # for its title bar and the panels of the desktop
        self.resize(min(width, 1100), min(300 + 24 * len(result.summary), 720, room))

    @messagebox_on_error("Open review layout")
    def _review(self, *_):
        open_review(self.session, self.attached)
        self.close()


def describe_total(result):
    """One sentence: how many events and pixels, in how many frames."""
    n_frames = len(result.summary)
    pixels = int(np.sum(result.summary["pixels"]))
    percent = 100 * pixels / result.rejected.size
    return (
        f"{len(result.events):,} events, {pixels:,} pixels rejected in {n_frames} frames "
        f"({percent:.3g} % of all pixels)."
    )


def describe_noise(noise):
    """One sentence: gain and read noise, and where they come from."""
    parts = []
    for name, values, unit, source in (
        ("gain", noise.gain, "e-/ADU", noise.gain_source),
        ("read noise", noise.readnoise, "e-", noise.readnoise_source),
    ):
        if source in SOURCES and np.isfinite(values).any():
            parts.append(f"{name} {_range(values)} {unit} ({SOURCES[source]})")
        else:
            parts.append(f"{name} unknown (it could not be fitted)")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _range(values):
    low, high = f"{np.nanmin(values):.3g}", f"{np.nanmax(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _warning_box(texts):
    label = QtWidgets.QLabel("\n".join(f"• {text[0].upper()}{text[1:]}" for text in texts))
    label.setWordWrap(True)
    label.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
    label.setStyleSheet("background: #fdf1d5; color: #5c3d00; border: 1px solid #e0b252; padding: 6px")
    if sum(map(len, texts)) < 600:
        return label
    scroll = QtWidgets.QScrollArea()
    scroll.setWidget(label)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QtWidgets.QFrame.NoFrame)
    scroll.setFixedHeight(150)
    return scroll


def _table(summary):
    from glue_cleanset.core.clean import BAD_MISMATCH, MANY_PERCENT  # loaded with the result

    doubts = {
        "percent": (MANY_PERCENT, "More than {:g} % of its pixels were rejected: something in it varies"),
        "mismatch": (BAD_MISMATCH, "Its stars differ from the rest of the set by more than {:g} %: blurred, trailed"),
    }
    reasons = [
        [text.format(limit) for name, (limit, text) in doubts.items() if frame[name] > limit] for frame in summary
    ]
    names = [name for name in COLUMNS if name in summary.colnames]
    model = QtGui.QStandardItemModel(len(summary), len(names))
    model.setSortRole(QtCore.Qt.UserRole)
    for column, name in enumerate(names):
        heading, form, tip = COLUMNS[name]
        model.setHorizontalHeaderItem(column, QtGui.QStandardItem(heading))
        model.horizontalHeaderItem(column).setToolTip(tip)
        for row, value in enumerate(summary[name].tolist()):
            item = QtGui.QStandardItem(format(value, form))
            item.setData(value, QtCore.Qt.UserRole)  # numbers sort as numbers
            item.setEditable(False)
            if form != "s":
                item.setTextAlignment(QtCore.Qt.AlignRight | QtCore.Qt.AlignVCenter)
            if reasons[row]:
                item.setBackground(QtGui.QColor("#f7d9c4"))
                item.setForeground(QtGui.QColor("#5c1f00"))
                item.setToolTip("\n".join(f"{reason}, or not registered." for reason in reasons[row]))
            model.setItem(row, column, item)
    table = QtWidgets.QTableView()
    table.setModel(model)
    model.setParent(table)
    table.setSortingEnabled(True)
    table.sortByColumn(0, QtCore.Qt.AscendingOrder)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(24)
    table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
    table.resizeColumnsToContents()
    table.horizontalHeader().setSectionResizeMode(names.index("name"), QtWidgets.QHeaderView.Stretch)
    return table
