"""The verbose summary of a cleaning: what was rejected from which frame, and what to make of it."""

import numpy as np
from glue_qt.utils import messagebox_on_error
from qtpy import QtCore, QtGui, QtWidgets

from glue_cleanset.core.settings import KINDS
from glue_cleanset.viewer.colors import kind_color

from .kinds import kind_icon
from .review import open_review

__all__ = ["SummaryDialog"]

SOURCES = {"given": "given", "fitted": "fitted to the set"}
# the column of a kind -> the kind
KIND_OF = {kind.replace(" ", "_"): kind for kind in KINDS}
# column -> heading, format, what it is
COLUMNS = {
    "frame": ("Frame", "d", "Number of the frame, as in the rejection map"),
    "name": ("Name", "s", "Name of the frame"),
    "events": ("Events", ",d", "Connected groups of rejected pixels; what is kept does not count"),
    "pixels": ("Pixels", ",d", "Rejected pixels"),
    "percent": ("Percent", ".3f", "Rejected pixels in percent of the frame's pixels"),
    **{name: (kind.capitalize(), ",d", f"Events that are: {KINDS[kind]}") for name, kind in KIND_OF.items()},
    "scale": ("Scale", ".4f", "Factor of the frame against the reference"),
    "offset": ("Offset [ADU]", ".2f", "Constant of the frame against the reference"),
    "mismatch": ("Mismatch [%]", ".1f", "How far its stars differ from the rest of the set: seeing, registration"),
    "remark": ("Remark", "s", "What is to be said of the frame"),
}
# shown where there is anything in them
WHERE_ANY = (*KIND_OF, "remark")


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
    folder : str, optional
        Where the cleaning wrote its files.
    parent : QWidget, optional
    """

    def __init__(self, session, attached, result, registration="", folder="", parent=None):
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
        self.kinds = QtWidgets.QLabel(describe_kinds(result))
        self.kinds.setWordWrap(True)
        self.kinds.setVisible(bool(self.kinds.text()))
        self.noise = QtWidgets.QLabel(describe_noise(result.noise))
        self.folder = QtWidgets.QLabel(
            f"The cleaned frames are in {folder}, from where glue reads them. What you overrule lies over them in the "
            "session; 'Write result into files…' writes all of it into another folder."
        )
        self.folder.setWordWrap(True)
        self.folder.setVisible(bool(folder))
        for label in (self.headline, self.kinds, self.noise, self.folder):
            label.setTextInteractionFlags(QtCore.Qt.TextSelectableByMouse)
            layout.addWidget(label)
        self.table = _table(result.summary, result.settings.kinds)
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

        columns, cells = self.table.horizontalHeader(), self.table.sizeHintForColumn
        width = 60 + sum(max(columns.sectionSizeHint(i), cells(i)) for i in range(columns.count()))
        room = self.screen().availableGeometry()
        # for its title bar and the panels of the desktop
        self.resize(
            min(max(width, 640), 1100, room.width() - 40), min(300 + 24 * len(result.summary), 720, room.height() - 100)
        )

    @messagebox_on_error("Open review layout")
    def _review(self, *_):
        open_review(self.session, self.attached)
        self.close()


def describe_total(result):
    """In words: how many events and pixels, in how many frames, and what is kept."""
    n_frames = len(result.summary)
    rejected, pixels = (int(np.sum(result.summary[name])) for name in ("events", "pixels"))
    percent = 100 * pixels / result.rejected.size
    text = (
        f"{rejected:,} event{'' if rejected == 1 else 's'}, {pixels:,} pixels rejected in {n_frames} frames "
        f"({percent:.3g} % of all pixels)."
    )
    kept, tracks = np.count_nonzero(result.events["kept"]), len(result.tracks)
    if kept:
        text += f" {kept:,} {'event is' if kept == 1 else 'events are'} kept."
    if tracks:
        text += f" {tracks} moving {'object is' if tracks == 1 else 'objects are'} tracked."
    return text


def describe_kinds(result):
    """One line: how many events of each kind that occurs, with its colour; '' where no kinds were told."""
    if not result.settings.kinds:
        return ""
    kinds, kept = np.asarray(result.events["kind"]), np.asarray(result.events["kept"])
    parts = []
    for kind in KINDS:
        count, held = np.count_nonzero(kinds == kind), np.count_nonzero(kept[kinds == kind])
        if count:
            how = "" if not held else " (kept)" if held == count else f" ({held:,} kept)"
            words = f"{kind} {count:,}{how}".replace(" ", "&nbsp;")
            parts.append(f"<span style='color: {kind_color(kind)}'>■</span>&nbsp;{words}")
    return " &nbsp; ".join(parts)


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


def _table(summary, kinds):
    from glue_cleanset.core.clean import BAD_MISMATCH, MANY_PERCENT  # loaded with the result

    doubts = {
        "percent": (MANY_PERCENT, "More than {:g} % of its pixels were rejected: something in it varies"),
        "mismatch": (BAD_MISMATCH, "Its stars differ from the rest of the set by more than {:g} %: blurred, trailed"),
    }
    reasons = [
        [f"{text.format(limit)}, or not registered." for name, (limit, text) in doubts.items() if frame[name] > limit]
        for frame in summary
    ]
    for row, remark in zip(reasons, summary["remark"], strict=True):
        row += [str(remark)] if remark else []
    names = [name for name in COLUMNS if name not in WHERE_ANY or (any(summary[name]) and (kinds or name == "remark"))]
    model = QtGui.QStandardItemModel(len(summary), len(names))
    model.setSortRole(QtCore.Qt.UserRole)
    for column, name in enumerate(names):
        heading, form, tip = COLUMNS[name]
        model.setHorizontalHeaderItem(column, QtGui.QStandardItem(heading))
        model.horizontalHeaderItem(column).setToolTip(tip)
        if name in KIND_OF:
            model.horizontalHeaderItem(column).setIcon(kind_icon(KIND_OF[name]))
        for row, value in enumerate(summary[name].tolist()):
            item = QtGui.QStandardItem(format(value, form))
            item.setData(value, QtCore.Qt.UserRole)  # numbers sort as numbers
            item.setEditable(False)
            if form != "s":
                item.setTextAlignment(QtCore.Qt.AlignRight | QtCore.Qt.AlignVCenter)
            if reasons[row]:
                item.setBackground(QtGui.QColor("#f7d9c4"))
                item.setForeground(QtGui.QColor("#5c1f00"))
                item.setToolTip("\n".join(reasons[row]))
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
