"""Comparing methods: a protocol and methods come in; the same saved episodes for all, rows of results and their summary go out."""
