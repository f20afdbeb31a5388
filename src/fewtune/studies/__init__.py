"""Studies: published experiments that run from end to end by one call, with intervals, figures and a folder of rows."""
