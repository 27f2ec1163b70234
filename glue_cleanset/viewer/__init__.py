"""Everything that knows glue but not Qt."""

__all__ = ["register"]


def register():
    """Register the data factories, the importer and the colour maps with glue; a second call does nothing."""
    from glue.config import data_factory, importer, session_patch

    from . import factories
    from .colors import register_session_colormaps

    if any(member.function is factories.image_set for member in data_factory.members):
        return
    # above glue's reader of FITS files (100): a directory named like a file of FITS is still a directory
    data_factory("Image set", identifier=factories.is_image_set, priority=200)(factories.image_set)
    # cleaning is never done unasked: no identifier
    data_factory("Cleaned image set")(factories.cleaned_image_set)
    importer.add("Image set from FITS files", factories.import_fits_files)
    session_patch.add(register_session_colormaps)
