"""Clean a set of registered images, pixel by pixel through the set, in glue or in a script."""

from importlib import import_module

__version__ = "0.1.0"
__all__ = [
    "CleanResult",
    "CleanSettings",
    "ImageSet",
    "clean_image_set",
    "clean_to_files",
    "overrule",
    "read_image_set",
    "setup",
]

# Imported on first use: importing the package loads neither numba nor glue nor Qt.
_HOMES = {
    "CleanResult": "glue_cleanset.core.clean",
    "CleanSettings": "glue_cleanset.core.settings",
    "ImageSet": "glue_cleanset.core.imageset",
    "clean_image_set": "glue_cleanset.core.clean",
    "clean_to_files": "glue_cleanset.io.stream",
    "overrule": "glue_cleanset.core.overrule",
    "read_image_set": "glue_cleanset.io.read",
}


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_HOMES})


def setup():
    """Register with glue; glue calls this once when it loads its plugins."""
    import_module("glue_cleanset.viewer").register()
    try:
        import_module("glue_qt")
    except ImportError:  # glue-core alone: the factories and the importer still work
        return
    import_module("glue_cleanset.qt").register()
