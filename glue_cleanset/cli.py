"""The command line: ``glue-cleanset clean FRAMES... -o OUT`` and ``glue-cleanset demo``."""

import argparse
import atexit
import gc
import re
import sys
import typing
import warnings
from contextlib import nullcontext
from dataclasses import fields
from importlib import import_module
from inspect import getdoc
from pathlib import Path

from . import __version__
from .core.settings import CENTRES, DETECTIONS, KINDS, NORMALIZATIONS, REPAIRS, CleanSettings

__all__ = ["main"]

_CHOICES = {"detection": DETECTIONS, "normalize": NORMALIZATIONS, "repair": REPAIRS, "centre": CENTRES}


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        The arguments; None = those of the process.

    Returns
    -------
    int
        0 = done, 1 = an error or an interrupt (one line on stderr says which). Wrong usage exits with 2.
    """
    arguments = _parser().parse_args(argv)
    if argv is None:
        # half a second would be spent on looking for garbage in memory that goes with the process
        atexit.register(gc.freeze)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *args, **kwargs: _say(f"warning: {message}")
            return arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        _say("; ".join(["stopped", *interrupt.args]))
    except (OSError, ValueError, TypeError, ImportError) as error:
        _say(f"error: {_one_line(error)}")
    except MemoryError as error:
        _say(f"error: the set does not fit in memory: {_one_line(error)}")
    except Exception as error:
        _say(f"error: {type(error).__name__}: {_one_line(error)} (a fault of glue-cleanset; please report it)")
    return 1


def _say(text):
    print(f"glue-cleanset: {text}", file=sys.stderr)


def _one_line(error):
    return re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split())) or type(error).__name__


# --- what can be asked -----------------------------------------------------------------------------------------------


def _parser():
    parser = argparse.ArgumentParser(
        prog="glue-cleanset",
        description="Clean a set of registered images of cosmic rays, hits and hot pixels.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    clean = commands.add_parser(
        "clean",
        formatter_class=_Help,
        usage="%(prog)s FRAMES [FRAMES ...] -o DIR [options]",
        help="clean a set of FITS files",
        description="Clean a set: writes every frame repaired, its mask, the rejection map, and the events and the "
        "summary as tables.",
    )
    clean.set_defaults(run=_clean)
    clean.add_argument(
        "frames",
        nargs="+",
        metavar="FRAMES",
        help="FITS files in order, a directory, a glob pattern in quotes, a text file that lists the frames, a FITS "
        "cube, or a multi-extension FITS file",
    )
    clean.add_argument("-o", "--out", required=True, metavar="DIR", help="folder for the output; made if missing")
    clean.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    clean.add_argument(
        "--extension", metavar="NAME", help="the extension that holds the frames: SCI, or SCI,2, or a number"
    )

    clean.add_argument(
        "--shifts",
        metavar="FILE",
        help="a file of the shifts that registered the frames, by which hot pixels are known: a table with the columns "
        "file, dy and dx, or a list of x and y in the order of the frames; not given = LTV1 and LTV2 of the headers, "
        "else measured",
    )
    clean.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out files that are damaged, hold no image or one of another shape, and say which; not given = that "
        "is an error",
    )
    clean.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run in this folder that was stopped: what is done is not done again",
    )
    clean.add_argument(
        "--memory",
        type=_gigabytes,
        metavar="GB",
        help="what the frames that are worked on at a time take in memory [GB], with --scheduler that of each worker; "
        "not given = a quarter of what is free",
    )
    clean.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a dask.distributed scheduler (tcp://host:port) whose workers do the work; they must see the frames and "
        "the folder for the output under the same paths",
    )
    align = clean.add_argument_group("registration (nothing is moved unless it is asked for)")
    align.add_argument(
        "--align",
        choices=("wcs", "stars"),
        help="bring all frames onto the pixels of the first one, by the WCS of their headers (needs reproject) or by "
        "the stars they show; interpolated by cubic splines",
    )
    align.add_argument(
        "--whole-pixels",
        action="store_true",
        help="with --align: move whole pixels, up to half a pixel off, and interpolate nothing; the noise stays white",
    )

    noise = clean.add_argument_group("noise")
    noise.add_argument(
        "--noise",
        choices=("set", "header"),
        default="set",
        help="where gain and read noise come from when not given: found from the set itself (default), "
        "or the headers of the frames",
    )
    noise.add_argument("--gain", type=_numbers, metavar="G[,G...]", help="gain [e-/ADU], one number or one per frame")
    noise.add_argument("--readnoise", type=_numbers, metavar="R[,R...]", help="read noise [e- rms], likewise")

    settings = clean.add_argument_group("settings")
    texts = _documented(CleanSettings)
    for field in fields(CleanSettings):
        _add_setting(settings, field, texts.get(field.name, ""))

    demo = commands.add_parser("demo", help="open glue with the bundled set, cleaned and laid out for review")
    demo.set_defaults(run=_demo)
    demo.add_argument("--picture", metavar="FILE", help="write a picture of the window (PNG) and end")
    demo.add_argument(
        "--directory", metavar="DIR", help="where the frames of the set are written (default glue_cleanset_demo)"
    )
    return parser


class _Help(argparse.HelpFormatter):
    """Keeps the lines of a text apart, so that every choice begins one."""

    def _split_lines(self, text, width):
        return [part for line in text.splitlines() for part in super(_Help, self)._split_lines(line, width)]


def _add_setting(group, field, text):
    options = {"default": argparse.SUPPRESS, "dest": field.name}
    default = field.default
    text = _for_command_line(text).replace("None =", "Not given =" if default is None else "none =")
    choices = _CHOICES.get(field.name)
    if choices:
        text += "".join(f"\n{name}: {meaning}" for name, meaning in choices.items())
        options["choices"], options["metavar"] = tuple(choices), "NAME"
    elif field.type is bool:
        options["action"] = argparse.BooleanOptionalAction
        default = "on" if default else "off"
    else:
        kinds = typing.get_args(field.type) or (field.type,)
        if field.name == "keep":
            options["type"], options["metavar"] = _kinds, "KIND[,KIND...]"
            text += f" The kinds: {', '.join(KINDS)}; nothing = none of them."
        elif any(typing.get_origin(kind) is tuple for kind in kinds):
            options["type"], options["metavar"] = _numbers, "BRIGHT[,DARK]"
        elif int in kinds and default is not None and len(kinds) > 1:
            options["type"], options["metavar"] = _count_or_none, "N|none"
        else:
            options["type"] = next(kind for kind in kinds if kind in (int, float))
            options["metavar"] = "N" if options["type"] is int else "VALUE"
    if default is not None:
        text += f"{chr(10) if choices else ' '}(default {default})"
    options["help"] = text.replace("%", "%%")
    group.add_argument("--" + field.name.replace("_", "-"), **options)


def _documented(cls):
    """The texts of the parameters in a numpydoc docstring, by name."""
    lines = (getdoc(cls) or "").partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    texts = {}
    for entry in re.split(r"\n(?=\w)", lines):
        head, _, body = entry.partition("\n")
        texts[head.split(" :")[0]] = " ".join(body.split())
    return texts


def _for_command_line(text):
    """A text of the docstring in the words of the command line: options for fields, these for the choices below."""
    text = re.sub(r"`+(\w+)='(\w+)'`+", r"`\1` \2", text)
    text = re.sub(r"(?<!`)`([a-z_]+)`", lambda found: "--" + found[1].replace("_", "-"), text)
    return re.sub(r"[`*']", "", re.sub("`[A-Z]+`", "these", text))


def _numbers(text):
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, nor numbers with a comma between them") from None
    return values[0] if len(values) == 1 else values


def _kinds(text):
    return () if text == "nothing" else tuple(kind.strip().replace("_", " ") for kind in text.split(","))


def _gigabytes(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of GB")
    return value


def _count_or_none(text):
    try:
        return None if text.lower() == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, nor 'none'") from None


# --- what is done ----------------------------------------------------------------------------------------------------


def _clean(arguments):
    if not arguments.out:  # as of a shell variable that is not set; it would mean the current folder
        raise ValueError("--out is empty; name the folder for the output")
    settings = CleanSettings(
        **{f.name: getattr(arguments, f.name) for f in fields(CleanSettings) if hasattr(arguments, f.name)}
    )
    # after the settings are known to be right: these load numba and more
    import numpy as np
    from tqdm import tqdm

    from .core.imageset import per_frame
    from .io.read import read_image_set
    from .io.registration import registration_warning
    from .io.stream import RUN_FOLDER, check_folder, clean_to_files, is_finished

    if arguments.whole_pixels and not arguments.align:
        raise ValueError("--whole-pixels is given without --align; say --align wcs or --align stars")
    if arguments.align and arguments.shifts:
        raise ValueError("--shifts tells how frames were registered, --align registers them; choose one")
    image_set = read_image_set(
        arguments.frames,
        extension=arguments.extension,
        shifts=arguments.shifts,
        skip_bad=arguments.skip_bad,
        on_demand=not arguments.align,
    )
    options = {"overwrite": arguments.overwrite, "resume": arguments.resume}
    given = arguments.gain, arguments.readnoise, arguments.shifts, arguments.extension, arguments.align
    told = arguments.resume and arguments.noise == "set" and given == (None,) * 5
    if told and is_finished(image_set, arguments.out, settings):
        print(f"nothing is left to do: {arguments.out} holds the {len(image_set)} frames, cleaned with these settings")
        return 0
    check_folder(image_set, arguments.out, **options)
    gain, readnoise = arguments.gain, arguments.readnoise
    if arguments.noise == "header":
        if gain is not None or readnoise is not None:
            raise ValueError("--noise header and --gain or --readnoise are both given; choose one")
        gain, readnoise = image_set.header_noise()
    for name, value in (("gain", gain), ("readnoise", readnoise)):
        per_frame(name, value, len(image_set))  # an error comes before the work, not after the shifts are measured
    bar_format = "{desc}: {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
    if arguments.align:
        from .io.align import align_by_stars, align_by_wcs, describe_alignment, noise_after_alignment

        with tqdm(desc="aligning", total=1, bar_format=bar_format, leave=False, disable=None) as bar:
            align_by = align_by_wcs if arguments.align == "wcs" else align_by_stars
            image_set = align_by(image_set, whole_pixels=arguments.whole_pixels, progress=_shown_by(bar))
        gain, readnoise = noise_after_alignment(image_set, gain, readnoise)
        print(describe_alignment(image_set.alignment))
    client = nullcontext()
    if arguments.scheduler:
        from .io.cluster import connect

        client = connect(arguments.scheduler)
    with client as client, tqdm(desc="cleaning", total=1, bar_format=bar_format, leave=False, disable=None) as bar:

        def look(image_set):
            message = registration_warning(image_set)
            if message:
                bar.clear()
                _say(f"warning: {message}")

        try:
            result = clean_to_files(
                image_set,
                arguments.out,
                settings,
                gain=gain,
                readnoise=readnoise,
                memory=arguments.memory,
                client=client,
                progress=_shown_by(bar),
                tell=bar.set_description,
                look=look,
                **options,
            )
        except KeyboardInterrupt:
            left = Path(arguments.out, RUN_FOLDER).exists()
            raise KeyboardInterrupt(*["go on with the same command and --resume"] * left) from None

    table = result.summary.copy(copy_data=False)
    table.remove_columns([kind.replace(" ", "_") for kind in KINDS])
    for column in table.columns.values():
        if column.dtype.kind == "f":
            column.format = ".4g"
    print("\n".join(table.pformat(max_lines=-1, max_width=-1)))
    percent = np.mean(result.summary["percent"])
    held = np.count_nonzero(result.events["kept"])
    print(
        f"{len(image_set)} frames, {len(result.events) - held} events, {percent:.3g} % of the pixels rejected"
        f"{f', {held} events kept' if held else ''}; written to {arguments.out}"
    )
    if settings.kinds:
        for kind in KINDS:
            number = np.count_nonzero(result.events["kind"] == kind)
            kept = ", kept" if kind in settings.keep else ""
            if number:
                print(f"{number:8d} {kind}{kept}")
    for track in result.tracks:
        print(
            f"moving object {track['track']}: in {track['frames']} frames, {track['rate']:.2f} px/frame "
            f"at position angle {track['position_angle']:.1f} deg, y {track['y']:.1f}, x {track['x']:.1f} in the first"
        )
    for message in result.warnings:
        _say(f"warning: {message}")
    return 0


def _shown_by(bar):
    """progress(done, total) that moves the bar."""

    def progress(done, total):
        bar.total = total
        bar.update(done - bar.n)

    return progress


def _demo(arguments):
    try:
        for needed in ("glue_qt", "qtpy.QtWidgets"):  # asked for before the frames are written
            import_module(needed)
        return import_module("glue_cleanset.qt.demo").main(arguments.picture, arguments.directory)
    except ImportError as error:
        raise ImportError(f"the demo needs glue and Qt, pip install 'glue-cleanset[pyqt6]': {error}") from error
