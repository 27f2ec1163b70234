"""A result of the session, with all that was overruled, written into files."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from ..core.ondemand import marked
from ..io.products import Products, write_event_pixels
from ..io.read import read_image_set
from ..io.write import check_output, write_result
from .overrule import plan_overrule

__all__ = ["prepare_writing", "result_in_session"]

_HOT = "hot_pixels.fits"  # a session knows nothing of what it tells


def result_in_session(attached, report=lambda share: None):
    """What a session knows of a cleaning, as it is now.

    Parameters
    ----------
    attached : Attached
    report : callable, optional
        As for `glue_cleanset.viewer.overrule.plan_overrule`.

    Returns
    -------
    CleanResult
        Its frames are read on demand where those of the session are. Without `light` and `pattern`.

    Raises
    ------
    ValueError
        Where the session does not hold what is needed.
    """
    # compiled code takes a while to import
    from ..core.clean import CleanResult

    name, settings = attached.cube.label, attached.settings
    source = attached.source if settings.repair == "none" else attached.cleaned
    if source is None or attached.map is None:
        missing = "cleaned frames" if source is None else "rejection map"
        raise ValueError(f"The session has no {missing} of '{name}'; clean it again with all outputs ticked.")
    now, model = plan_overrule(attached, report=report), attached.model
    outliers, normalization = now.outliers, model.normalization
    remark = attached.column("frames", "remark")
    if remark is not None:
        now.summary["remark"] = np.asarray(attached.frames.get_component(remark).labels, str)
    return CleanResult(
        cleaned=attached.values(source),
        rejected=marked(outliers.rejected, attached.shape),
        **outliers.images(),
        events=now.events,
        summary=now.summary,
        noise=model.noise,
        scales=normalization.scales,
        offsets=normalization.offsets,
        gradients=normalization.gradients,
        settings=settings,
        event_pixels=outliers.index,
        event_numbers=now.numbers,
        model=model,
        overrules=tuple(attached.record["overrules"]),
        kind_map=now.kind_map,
        tracks=_tracks(attached, now.events),
        track_positions=attached.track_positions,
    )


def prepare_writing(attached, folder, report=lambda share: None):
    """Gather what is written of a result; nothing is written yet.

    Parameters
    ----------
    attached : Attached
    folder : str or Path
        Where the files shall go, as those of `glue_cleanset.io.write.write_result`; created where it is missing.
    report : callable, optional
        As for `result_in_session`.

    Returns
    -------
    callable
        ``write(progress=None)`` writes it, frame by frame, and gives the paths; it asks nothing of glue. `progress` is
        that of `write_result`.

    Raises
    ------
    ValueError
        Where the session does not hold what is needed.
    OSError
        Where files are there already, which are never replaced, or nothing can be written.
    """
    image_set = _frames_and_headers(attached)
    try:
        check_output(image_set, folder)
    except FileExistsError as error:
        raise FileExistsError(str(error).replace(", or allow to overwrite", "")) from None
    hot = None if attached.folder is None else attached.folder / _HOT
    return partial(_write, result_in_session(attached, report), image_set, Path(folder), hot)


def _write(result, image_set, folder, hot, progress=None):
    paths = write_result(result, image_set, folder, progress=progress)
    write_event_pixels(folder, result)
    if hot is not None and hot.is_file():
        shutil.copyfile(hot, folder / _HOT)
    return paths


def _frames_and_headers(attached):
    """The frames as they were opened, with their headers where these can be found."""
    image_set, files = attached.image_set(), attached.cube.meta.get("frame sources")
    if image_set.on_demand or not files or attached.axis:
        return image_set
    try:
        opened = read_image_set(list(dict.fromkeys(file for file, *_ in files)), on_demand=True)
    except (OSError, ValueError, TypeError):  # they are gone, or have changed
        return image_set
    same = [[str(file), hdu, plane] for file, hdu, plane in opened.sources] == [list(source) for source in files]
    return opened if same and opened.shape == image_set.shape else image_set


def _tracks(attached, events):
    """The table of tracks, as a cleaning gives it."""
    from ..core.events import events_of_tracks

    tracks = None if attached.folder is None else Products(attached.folder).table("tracks")
    if tracks is None:
        if attached.tracks is None:
            return Table()
        data = attached.tracks
        tracks = Table({cid.label.replace(" ", "_"): np.array(data[cid]) for cid in data.main_components})
    tracks = tracks.copy()
    # where it is on the sky is worked out when it is written
    tracks.remove_columns([name for name in ("ra", "dec", "sky_rate", "sky_position_angle") if name in tracks.colnames])
    tracks["events"] = events_of_tracks(events["track"], tracks["track"])
    return tracks
