"""The commands, each with one sentence; a command is imported only when it runs."""

from __future__ import annotations

from cyclopts import App

from fewtune.version import __version__

app = App(
    name="fewtune",
    version=__version__,
    help="Adapt foundation models to a task with few labels, and measure honestly how good the result is.",
    help_format="plaintext",
)
for _name, _help in (
    ("demo", "Show the main job on real text that is already on this machine: two to three minutes, offline."),
    ("adapt", "Make the best classifier from a few labelled examples, and estimate its accuracy."),
    ("predict", "Label new files with a saved model."),
    ("evaluate", "Measure a saved model on labelled data, and list what it answers wrongly."),
    ("suggest", "Say which new examples to label next."),
    ("add-class", "Add a class to a saved model from a few examples, without training."),
    ("pack", "Put the backbone's weights into a saved model's folder, so that the folder alone is enough on another machine."),
    ("serve", "Answer predictions of a saved model over HTTP, and on a page for photos or texts."),
    ("export", "Write a saved model for other programs (ONNX)."),
    ("compare", "Compare methods on the same few-shot episodes."),
    ("embed", "Embed every example once and keep the features, also by several machines."),
    ("merge", "Put together a study that several workers ran, or several finished runs."),
    ("methods", "List the methods to compare: options, defaults, reference, and what each is."),
    ("mamf", "Repeat the study of multitask finetuning (MAMF) on your data: which finetuning prepares for new few-shot tasks?"),
    ("tasks", "Say which label columns of a table should be learned together, which apart, and why."),
    ("pretrain", "Train a backbone on data, from random weights or its own; what it makes is a backbone for every command."),
    ("align", "Make an image-text model of an image encoder and a text encoder, from photos with captions or class names."),
    ("transfer", "Say what is transferred: barriers between runs, and which groups of weights matter."),
    ("inspect", "Show what a data set holds, and its problems."),
    ("backbones", "List foundation models: for what, how large, under which licence, and whether they are here."),
    ("fetch", "Put a foundation model into a folder, to carry it to a machine without a network."),
    ("doctor", "Check this installation, and say how to repair what is broken."),
):
    _word = _name.replace("-", "_")
    app.command(f"fewtune.cli.{_word}:{_word}", name=_name, help=_help)
