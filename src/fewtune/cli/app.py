"""The commands and what they are for; each one is imported when it is asked for."""

from __future__ import annotations

from cyclopts import App

from fewtune.version import __version__

app = App(
    name="fewtune",
    version=__version__,
    help="Adapt foundation models to a task with few labels, and learn honestly how good the result is.",
    help_format="plaintext",
)
for _name, _help in (
    ("demo", "The main job from end to end on real text that is on this machine: two to three minutes, offline."),
    ("adapt", "Make the best classifier from a few labelled examples, and say what to expect of it."),
    ("predict", "Label new files with a saved model."),
    ("evaluate", "Say how a saved model does on labelled data."),
    ("add-class", "Teach a saved model one more class from a few examples, without training."),
    ("export", "Write a saved model for other programs (ONNX)."),
    ("compare", "Compare methods on the same few-shot episodes."),
    ("inspect", "Say what is in a data set, and what is wrong with it."),
    ("doctor", "Explain this installation, and what is broken in it, in words."),
):
    _word = _name.replace("-", "_")
    app.command(f"fewtune.cli.{_word}:{_word}", name=_name, help=_help)
