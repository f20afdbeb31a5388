"""Examples: labelled images, texts and vectors, and all that is known of them before a model looks. Files, arrays and data frames come
in through `reading`."""
