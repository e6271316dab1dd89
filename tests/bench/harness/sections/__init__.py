"""One file for each section, with a function `run` that adds its figures to the report."""
