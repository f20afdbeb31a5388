"""Sides: the ways from labelled examples to a model. A target and makers of sides come in; each is judged on examples that it has not
seen, and what is shown of it goes out: held-out answers, gains over the frozen side, and the side, or the ensemble of sides, to keep.
"""
