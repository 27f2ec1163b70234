"""Everything that knows glue but not Qt."""
