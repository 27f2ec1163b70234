"""What the installed package offers: public names, entry points, and where it runs with little around it."""

import configparser
import json
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import glue_cleanset

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "glue_cleanset"

# what setup() promises to glue-core, and what to the window
FACTORIES = {"Image set", "Cleaned image set"}
IMPORTERS = {"Image set from FITS files"}
MENU = {"Clean image set…"}
LAYER_ACTIONS = {"Clean as image set…"}

QT = {"glue_qt", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6"}


def run(program, absent=()):
    """Run a program in a new interpreter where the packages `absent` cannot be imported; what it printed, as JSON."""
    # None makes an import fail as if the package were not installed
    program = f"import sys\nsys.modules.update(dict.fromkeys({sorted(absent)}))\n{program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_public_names():
    names = {"CleanResult", "CleanSettings", "ImageSet", "clean_image_set", "clean_to_files", "overrule", "setup"}
    assert set(glue_cleanset.__all__) == names | {"read_image_set"}
    for name in glue_cleanset.__all__:
        assert callable(getattr(glue_cleanset, name))
        assert name in dir(glue_cleanset)
    with pytest.raises(AttributeError, match="no_such_name"):
        glue_cleanset.no_such_name  # noqa: B018


def test_version_is_the_same_everywhere():
    assert distribution("glue-cleanset").version == glue_cleanset.__version__
    assert f"\nversion: {glue_cleanset.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {glue_cleanset.__version__}" in (ROOT / "CHANGES.md").read_text(encoding="utf-8")


def test_glue_finds_the_plugin():
    found = [point for point in entry_points(group="glue.plugins") if point.value.startswith("glue_cleanset")]
    assert [(point.name, point.value) for point in found] == [("glue_cleanset", "glue_cleanset:setup")]
    assert found[0].load() is glue_cleanset.setup


def test_the_command_is_installed():
    (point,) = (p for p in entry_points(group="console_scripts") if p.name == "glue-cleanset")
    assert callable(point.load())


def test_every_import_is_a_declared_dependency():
    from test_house import MODULES, imports_of

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    groups = config["options"]["install_requires"], extras["pyqt6"], extras["align"], extras["cluster"]
    lines = [line for group in groups for line in group.splitlines()]
    declared = {line.split(">=")[0].lower() for line in lines if line and not line.startswith("#")}
    package_of = {"glue": "glue-core", "glue_qt": "glue-qt", "skimage": "scikit-image"}
    for path in MODULES:
        for name in {name.split(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names):
            if name != "glue_cleanset":
                assert package_of.get(name, name).lower() in declared, f"{path.relative_to(ROOT)} imports {name}"


def test_files_beside_the_modules_are_packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = config["options.package_data"]["glue_cleanset"].split()
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    for path in PACKAGE.rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            assert path in packaged, f"{path.relative_to(ROOT)} is in no pattern of options.package_data"


CLEAN = """
import json
import warnings
import numpy as np
from glue_cleanset import CleanSettings, clean_image_set
from glue_cleanset.core.settings import REPAIRS

frames = np.random.default_rng(1).normal(200, 10, (5, 40, 50)).astype("float32")
frames[2, 20, 30] += 1000
frames[:, 5, 6] = np.nan
frames[1, :, 0] = np.inf
found = []
# glue switches numpy's warnings off for the whole process: here is where a user of the core alone would see them
warnings.simplefilter("error", RuntimeWarning)
for repair in REPAIRS:
    result = clean_image_set(frames, CleanSettings(repair=repair), gain=1.5, readnoise=6)
    found.append(int(result.rejection_map[20, 30]))
print(json.dumps([found, abs(float(result.reference[20, 30]) - 200) < 60]))
"""


def test_core_needs_neither_glue_nor_qt():
    found, near = run(CLEAN, absent={"glue", "echo", "matplotlib", *QT})
    assert set(found) == {3}
    assert near


REGISTER = """
import json
import glue_cleanset
from glue.config import data_factory, importer

glue_cleanset.setup()
found = {"factories": [f.label for f in data_factory.members], "importers": [i[0] for i in importer.members]}
"""
REGISTER_WINDOW = """
from glue_qt.config import layer_action, menubar_plugin

found["menu"] = [m[0] for m in menubar_plugin.members]
found["layer"] = [a.label for a in layer_action.members]
"""


def test_setup_registers_with_glue_core_alone():
    found = run(REGISTER + "print(json.dumps(found))", absent=QT)
    assert set(found["factories"]) >= FACTORIES
    assert set(found["importers"]) >= IMPORTERS


def test_factories_need_no_qt(tmp_path):
    frames = np.random.default_rng(1).normal(200, 10, (4, 40, 50)).astype("float32")
    frames[2, 20, 30] += 1000
    for i, frame in enumerate(frames):
        fits.writeto(tmp_path / f"f{i}.fits", frame)
    program = f"""
from glue.config import data_factory
from glue.core.data_factories import load_data

factory = {{f.label: f.function for f in data_factory.members}}
cube = load_data({str(tmp_path)!r})
cleaned, *rest = load_data({str(tmp_path)!r}, factory=factory["Cleaned image set"])
where = next(d for d in rest if d.label.endswith("rejection map"))
print(json.dumps([cube.shape, cleaned.shape, int(where["rejected frame"][20, 30])]))
"""
    assert run(REGISTER + program, absent=QT) == [[4, 40, 50], [4, 40, 50], 3]


OVERRULE = """
import json
import numpy as np
from glue.core import Data
from glue.core.application_base import Application
from glue_cleanset import clean_image_set
from glue_cleanset.viewer.attach import OUTPUTS, AttachResult, find_attached
from glue_cleanset.viewer.overrule import restore_selected

frames = np.random.default_rng(1).normal(200, 10, (5, 40, 50)).astype("float32")
frames[2, 20, 30] += 1000
app = Application()
cube = Data(flux=frames, label="field")
app.data_collection.append(cube)
parts = {"axis": 0, "outputs": tuple(OUTPUTS), "images": None}
command = AttachResult(data=cube, attribute="flux", result=clean_image_set(frames), **parts)
app.session.command_stack.do(command)
strong = app.data_collection.new_subset_group("strong", command.attached.events.id["peak significance"] > 50)

def here(collection):
    found = find_attached(collection)[-1]
    cleaned = found.cube[found.cleaned]
    return [int(found.cube[found.rejected][2, 20, 30]), bool(cleaned[2, 20, 30] == frames[2, 20, 30])]

steps = [here(app.data_collection)]
restore_selected(app.session, strong)
steps.append(here(app.data_collection))
app.save_session(PATH)
steps.append(here(Application.restore_session(PATH).data_collection))
app.session.command_stack.undo()
steps.append(here(app.data_collection))
print(json.dumps(steps))
"""


def test_a_cleaning_is_overruled_and_saved_without_qt(tmp_path):
    steps = run(f"PATH = {str(tmp_path / 'session.glu')!r}\n{OVERRULE}", absent=QT)
    assert steps == [[1, False], [0, True], [0, True], [1, False]]


def test_setup_registers_everything_with_the_window():
    pytest.importorskip("glue_qt")
    found = run(REGISTER + REGISTER_WINDOW + "print(json.dumps(found))")
    assert set(found["factories"]) >= FACTORIES
    assert set(found["importers"]) >= IMPORTERS
    assert set(found["menu"]) >= MENU
    assert set(found["layer"]) >= LAYER_ACTIONS


def test_glue_itself_loads_the_plugin():
    pytest.importorskip("glue_qt")
    program = """
import json
from glue.main import load_plugins
from glue.config import data_factory
load_plugins(require_qt_plugins=False)
print(json.dumps([f.label for f in data_factory.members]))
"""
    labels = run(program)
    assert set(labels) >= FACTORIES
    assert all(labels.count(label) == 1 for label in FACTORIES)
