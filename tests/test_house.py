"""The rules of the house that a program can check."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import glue_cleanset

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "glue_cleanset"
ROOMS = ["core", "io", "viewer", "qt"]  # each may import from those before it
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(path):
    """Full names of all that a module imports, also inside functions and by ``import_module("...")``."""
    home = path.relative_to(ROOT).with_suffix("").parts
    package = home[:-1]  # a module's parent, and an __init__.py's own package
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            yield name.value if isinstance(name, ast.Constant) else "glue_cleanset"  # a name from a table of its own


def modules_of(room):
    found = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] == room]
    assert found, f"no modules in {room}"
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    allowed = ROOMS[: ROOMS.index(room) + 1]
    for path in modules_of(room):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "glue_cleanset" and len(parts) > 1 and parts[1] in ROOMS:
                assert parts[1] in allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    ("room", "strangers"),
    [
        ("core", {"glue", "glue_qt", "echo", "qtpy", "PyQt5", "PyQt6", "PySide6", "matplotlib"}),
        ("io", {"glue", "glue_qt", "echo", "qtpy", "PyQt5", "PyQt6", "PySide6", "matplotlib"}),
        ("viewer", {"glue_qt", "qtpy", "PyQt5", "PyQt6", "PySide6"}),
        ("qt", {"PyQt5", "PyQt6", "PySide6"}),  # through qtpy, for all of them
    ],
)
def test_no_room_knows_more_than_it_should(room, strangers):
    for path in modules_of(room):
        known = {name.split(".")[0] for name in imports_of(path)}
        assert not known & strangers, f"{path.relative_to(ROOT)} imports {sorted(known & strangers)}"


def test_imports_of_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "glue_cleanset" / "io" / "read.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..viewer import f\n"
        "def g():\n    from ..qt.h import i\n    import_module('j.k')\n"
    )
    assert set(imports_of(path)) == {
        "a.b",
        "c.d",
        "glue_cleanset.io.e",
        "glue_cleanset.viewer.f",
        "glue_cleanset.qt.h.i",
        "j.k",
    }


def test_importing_the_package_is_cheap():
    heavy = ["numba", "numpy", "scipy", "astropy", "skimage", "matplotlib", "glue", "glue_qt", "qtpy", "PyQt6"]
    code = f"import sys, glue_cleanset; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def public_definitions(path):
    """(name, node) of the public functions, classes, methods and properties at the top of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            for child in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
                    yield f"{node.name}.{child.name}", child


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "no docstring at the top of the module"


# the kernels are private: the functions above it document what goes in and out
@pytest.mark.parametrize(
    "path", [p for p in modules_of("core") + modules_of("io") if not p.name.startswith("kernels")], ids=lambda p: p.stem
)
def test_public_names_are_documented(path):
    for name, node in public_definitions(path):
        assert ast.get_docstring(node), f"{name} has no docstring"


@pytest.mark.parametrize("name", ["clean_image_set", "CleanSettings", "ImageSet", "CleanResult"])
def test_public_names_document_every_argument(name):
    thing = getattr(glue_cleanset, name)
    for argument in inspect.signature(thing).parameters:
        assert re.search(rf"\b{argument}\b", thing.__doc__ or ""), f"{name} says nothing about {argument}"


def tracked_texts():
    git = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if git.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, git.stdout.decode().split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):  # a binary file; one that is being removed
            continue


def test_no_machine_and_no_package_host_is_named():
    # in parts, so that this file does not find itself
    hosts = ["pypi" + ".org", "python" + "hosted", "ana" + "conda.org", "deb." + "debian.org"]
    paths = ["/" + top + "/" for top in ("work", "root", "home", "Users", "tmp", "opt")]
    wrong = re.compile(r"(?<![\w.}])(" + "|".join(map(re.escape, paths)) + ")|" + "|".join(map(re.escape, hosts)))
    assert wrong.search("cd " + paths[0] + "main")
    assert wrong.search("https://" + hosts[0] + "/simple")
    for name, text in tracked_texts():
        found = wrong.search(text)
        assert not found, f"{name} names {text[max(0, found.start() - 20) : found.end() + 20]!r}"


def test_sources_are_short_enough_to_read():
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 800, f"{path.relative_to(ROOT)} should be split"


def test_readme_points_at_what_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = re.findall(r"^    make (\w+)$", text, re.MULTILINE)
    assert commands == ["demo", "test"]
    assert set(commands) <= targets
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
