"""Files, folders, arrays, data frames and datasets of a user come in; Examples come out (`read.read_examples`). Any file may be damaged or
hostile."""
