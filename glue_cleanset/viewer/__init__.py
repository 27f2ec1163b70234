"""Everything that knows glue but not Qt."""

__all__ = ["register"]


def register():
    """Register the data factories, the importer and the colour maps with glue; a second call does nothing."""
