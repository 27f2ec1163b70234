"""The cleaning itself: arrays in, arrays out. Knows neither glue nor Qt nor files."""
