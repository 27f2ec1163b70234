"""The demo: glue with the bundled set loaded, cleaned and laid out for review."""

import argparse
import os
import shutil
import subprocess
import sys

__all__ = ["main"]

SIZE = (1600, 1000)
DIRECTORY = "glue_cleanset_demo"


def main(picture=None, directory=None):
    """Show the demo; where there is no display, take a picture of it on a virtual screen.

    Parameters
    ----------
    picture : str or Path, optional
        Write a picture of the window to this file (PNG) and end. Without a display the default is ``demo.png``.
    directory : str or Path, optional
        Where the frames of the bundled set are written; default ``glue_cleanset_demo``.

    Returns
    -------
    int
        0 = all went well, for `sys.exit`.

    Raises
    ------
    OSError
        Where the frames cannot be written, or the folder holds other FITS files.
    """
    from glue_cleanset.io.demo import write_demo_set

    directory = write_demo_set(directory or DIRECTORY)
    if not has_display():
        return _on_virtual_screen(picture or "demo.png", directory)
    from glue_qt.app import GlueApplication
    from glue_qt.utils import get_qapp

    _use_qt_in_matplotlib()
    qapp = get_qapp()
    application = GlueApplication()
    application.start(size=SIZE, block=False, maximized=False)
    problem = fill(application, directory)
    if picture is None:
        return qapp.exec_()
    if not problem:
        _settle()
        if application.grab().save(str(picture)):
            print(f"A picture of glue with the demo set is in {picture}")
        else:
            problem = f"the picture {picture} could not be written"
    application.close()
    if problem:
        print(f"The demo failed: {problem}", file=sys.stderr)
    return 1 if problem else 0


def fill(application, directory):
    """Load the set in a folder, clean it by way of the menu and open the review layout, as a person would.

    Returns
    -------
    str
        What went wrong; '' = nothing.
    """
    from glue.core.data_factories import load_data
    from glue_qt.utils import process_events

    from . import MENU_LABEL
    from .dialog import CleanDialog

    application.add_datasets([load_data(str(directory))])
    next(action for action in application._actions["plugins"] if action.text() == MENU_LABEL).trigger()
    dialog = application.findChildren(CleanDialog)[-1]
    dialog.run()
    while dialog.running:
        dialog.worker.wait(20)
        process_events()
    if dialog.summary is None:
        return dialog.message.text()
    dialog.summary.button_review.click()
    return ""


def has_display():
    """Whether Qt can open a window: a display of its own, or a platform that needs none."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _on_virtual_screen(picture, directory):
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        print(
            "There is no display, and no xvfb-run to make a virtual one: install xvfb and xauth, "
            "or set QT_QPA_PLATFORM=offscreen.",
            file=sys.stderr,
        )
        return 1
    screen = f"-screen 0 {SIZE[0]}x{SIZE[1]}x24"
    command = [xvfb, "-a", "-s", screen, sys.executable, "-m", "glue_cleanset.qt.demo"]
    command += ["--picture", str(picture), "--directory", str(directory)]
    return subprocess.run(command, check=False).returncode


def _use_qt_in_matplotlib():
    # before any viewer is made, as the glue command does
    from glue._mpl_backend import set_mpl_backend

    set_mpl_backend()


def _settle(seconds=2):
    # canvases redraw a quarter of a second after they got their size
    from glue_qt.utils import process_events

    process_events(wait=seconds)


def _parse():
    parser = argparse.ArgumentParser(description="glue with the bundled image set, cleaned and laid out for review")
    parser.add_argument("--picture", help="write a picture of the window to this file and end")
    parser.add_argument("--directory", help=f"where the frames are written (default: {DIRECTORY})")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _parse()
    sys.exit(main(arguments.picture, arguments.directory))
