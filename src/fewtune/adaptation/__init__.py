"""The main job: a target's labelled examples, and other data, come in; the best model and an honest verdict go out."""
