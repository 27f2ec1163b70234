"""What the events of a cleaning are: corrected by a person, and one kind shown alone."""

import numpy as np
from glue.core.subset import SubsetState

from ..core.settings import KINDS
from .colors import kind_color
from .overrule import do_overrule
from .regions import selected_rows

__all__ = ["KindState", "set_kind", "show_kind", "shown_kind"]


def set_kind(session, attached, chosen, kind):
    """Say what some events are, as a person sees it. Whether they are repaired stays as it is.

    Their confidence is 1 then; what is called no moving object belongs to no track any more. The map of kinds and the
    counts of the frames follow.

    Parameters
    ----------
    session : glue.core.Session
    attached : Attached
    chosen : sequence of int, or glue.core.Subset or glue.core.subset_group.SubsetGroup
        Numbers in the column ``event`` of the events, or what selects events.
    kind : str
        One of `glue_cleanset.core.settings.KINDS`.

    Returns
    -------
    Overrule
        It is done, and on the session's command stack.

    Raises
    ------
    ValueError
        Where there is no such kind or event, or nothing to change; nothing has changed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; choose from {', '.join(map(repr, KINDS))}")
    numbers, kinds, confidence = (_column(attached, label) for label in ("event", "kind", "confidence"))
    events = attached.events
    if hasattr(chosen, "subset_state"):
        rows = selected_rows(chosen, events)
        if not rows.any():
            raise ValueError(f"'{chosen.label}' selects no event of '{attached.cube.label}'; choose rows of the table.")
    else:
        rows = np.isin(events.get_data(numbers), chosen)
        missing = np.setdiff1d(chosen, events.get_data(numbers))
        if missing.size or not rows.any():
            raise ValueError(f"'{attached.cube.label}' has no event {', '.join(map(str, missing))}; choose other rows.")
    if np.all(events.get_data(kinds)[rows] == kind) and np.all(events.get_data(confidence)[rows] == 1):
        raise ValueError(f"What is selected is called '{kind}' already.")
    mine = events.get_data(numbers)[rows]
    name = f"event {mine[0]}" if mine.size == 1 else f"{mine.size} events"
    return do_overrule(session, attached, f"{name} called '{kind}' by hand", called=(mine, kind))


def show_kind(session, attached, kind):
    """Select the events of one kind: their rows, their pixels in the frames, and the pixels where the map shows it.

    There is one subset for it, called and coloured like the kind, and it goes from kind to kind.

    Parameters
    ----------
    session : glue.core.Session
    attached : Attached
    kind : str or None
        One of `glue_cleanset.core.settings.KINDS`; None takes the subset away.

    Returns
    -------
    glue.core.subset_group.SubsetGroup or None

    Raises
    ------
    ValueError
        Where the kinds of the events are not in the session.
    """
    collection, group = session.data_collection, _group(session, attached)
    if kind is None:
        if group is not None:
            collection.remove_subset_group(group)
        return None
    state = KindState(kind, _column(attached, "kind"), attached.column("map", "kind"))
    label, color = f"{kind}{attached.suffix}", kind_color(kind)
    if group is None:
        return collection.new_subset_group(label, state, color=color)
    group.style.color = color
    group.label = label
    group.subset_state = state
    return group


def shown_kind(session, attached):
    """The kind that `show_kind` selects now, or None."""
    group = _group(session, attached)
    return None if group is None else group.subset_state.kind


class KindState(SubsetState):
    """The events of one kind.

    Parameters
    ----------
    kind : str
        One of `glue_cleanset.core.settings.KINDS`.
    att : glue.core.ComponentID
        The column ``kind`` of the events.
    on_map : glue.core.ComponentID or None
        The image ``kind`` of the map, which no link ties to the events.
    """

    def __init__(self, kind, att, on_map=None):
        super().__init__()
        self.kind, self.att, self.on_map = kind, att, on_map

    @property
    def attributes(self):
        """The attributes that the subset state depends on."""
        return (self.att,)

    def to_mask(self, data, view=None):
        """What it selects in the events or on the map; the rest is up to the links."""
        view = ... if view is None else view
        if self.on_map is not None and data is self.on_map.parent:
            return data[self.on_map, view] == 1 + list(KINDS).index(self.kind)
        return np.asarray(data[self.att, view] == self.kind)

    def copy(self):
        """Another one that selects the same."""
        return KindState(self.kind, self.att, self.on_map)

    def __gluestate__(self, context):
        return {"kind": self.kind, "att": context.id(self.att), "on_map": context.id(self.on_map)}

    @classmethod
    def __setgluestate__(cls, record, context):
        return cls(record["kind"], context.object(record["att"]), context.object(record["on_map"]))


def _group(session, attached):
    mine = [attached.column(part, "kind") for part in ("events", "map")]
    mine = [cid for cid in mine if cid is not None]
    for group in session.data_collection.subset_groups:
        state = group.subset_state
        if isinstance(state, KindState) and any(cid is own for cid in (state.att, state.on_map) for own in mine):
            return group
    return None


def _column(attached, label):
    column = attached.column("events", label)
    if column is None:
        raise ValueError(
            f"The kinds of the events of '{attached.cube.label}' are not in the session; clean it again with the table "
            "of events ticked."
        )
    return column
