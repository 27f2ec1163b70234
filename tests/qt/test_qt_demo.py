"""The demo, from the bundled set to the picture."""

import subprocess
import sys
from pathlib import Path

import pytest
from glue_qt.viewers.image import ImageViewer
from qtpy import QtGui

from glue_cleanset.io import demo as source
from glue_cleanset.qt import demo


@pytest.fixture
def demo_set(monkeypatch, frames):
    """A small set in the place of the bundled one, which takes a second to clean."""
    from astropy.io import fits

    def write(directory):
        directory = Path(directory)
        directory.mkdir(exist_ok=True)
        for i, frame in enumerate(frames):
            fits.writeto(directory / f"frame{i}.fits", frame)
        return directory

    monkeypatch.setattr(source, "write_demo_set", write)


def test_the_demo_goes_from_the_files_to_the_review(application, demo_set, quick_core, tmp_path):
    assert demo.fill(application, source.write_demo_set(tmp_path / "set")) == ""
    cube = application.data_collection[0]
    assert cube.shape == (5, 40, 50)
    assert application.tab_names[-1].startswith("Review of")
    assert sum(isinstance(viewer, ImageViewer) for viewer in application.viewers[-1]) == 3


def test_what_goes_wrong_is_told(application, demo_set, quick_core, tmp_path):
    def fail(*args, **kwargs):
        raise ValueError("no light")

    quick_core(fail)
    assert "no light" in demo.fill(application, source.write_demo_set(tmp_path / "set"))


def test_the_picture_shows_the_window(qapp, demo_set, quick_core, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # glue puts its logger there
    picture = tmp_path / "demo.png"
    assert demo.main(picture, tmp_path / "set") == 0
    image = QtGui.QImage(str(picture))
    assert (image.width(), image.height()) == demo.SIZE
    middle = {image.pixelColor(x, 200).name() for x in range(300, 1600)}
    assert len(middle) > 20  # images, not an empty window


def test_the_folder_has_a_name_of_its_own(demo_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "has_display", lambda: False)
    monkeypatch.setattr(demo.shutil, "which", lambda name: None)
    demo.main()
    assert [path.name for path in tmp_path.iterdir()] == ["glue_cleanset_demo"]


def test_without_a_display_a_virtual_screen_is_used(demo_set, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    calls = []
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"bin/{name}")

    def run(command, check):
        calls.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(demo.subprocess, "run", run)
    assert demo.main(directory=tmp_path / "set") == 3
    (command,) = calls
    assert command[0] == "bin/xvfb-run"
    assert command[-4:] == ["--picture", "demo.png", "--directory", str(tmp_path / "set")]


def test_without_a_virtual_screen_it_says_what_to_install(demo_set, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "has_display", lambda: False)
    monkeypatch.setattr(demo.shutil, "which", lambda name: None)
    assert demo.main(directory=tmp_path / "set") == 1
    assert "install xvfb" in capsys.readouterr().err


def test_a_display_is_one_of_x_wayland_or_a_platform_without(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert not demo.has_display()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert demo.has_display()
