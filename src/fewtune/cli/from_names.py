"""`fewtune adapt --classes cat dog`: a model from the names of classes, without labelled examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewtune.errors import InputError

if TYPE_CHECKING:
    from fewtune.cli.options import BackboneFlags


def adapt_names(
    classes: Sequence[str],
    given: Mapping[str, object],
    out: Path | None,
    model: BackboneFlags,
    prompts: tuple[str, ...],
    threshold: float,
    *,
    overwrite: bool,
    pack: bool,
) -> None:
    """Make, save and describe the model. `given`: what needs labelled examples, by its name on the command line; none may be there."""
    from fewtune.backbones.defaults import is_size
    from fewtune.cli.first import chosen_out
    from fewtune.data.class_names import check_names
    from fewtune.files import refuse_existing

    check_names(classes)
    if wrong := [name for name, there in given.items() if there]:
        raise InputError(f"--classes makes a model from class names alone, without labelled examples: leave {wrong[0]} out.")
    if model.backbone is None or is_size(model.backbone):
        raise InputError(
            "--classes needs the name of a backbone that reads class names: --backbone open_clip:ViT-B-32/laion2b_s34b_b79k for photos, or "
            "--backbone hf:sentence-transformers/all-MiniLM-L6-v2 for texts."
        )
    model.check()
    out = chosen_out(Path("names"), out, resume=False, overwrite=overwrite)
    refuse_existing(out, overwrite=overwrite)
    _made(classes, out, model, prompts, threshold, overwrite=overwrite, pack=pack)


def _made(
    classes: Sequence[str], out: Path, model: BackboneFlags, prompts: tuple[str, ...], threshold: float, *, overwrite: bool, pack: bool
) -> None:
    import shlex

    from fewtune.cli.first import load_libraries
    from fewtune.cli.say import saved_in, tell
    from fewtune.progress import stage

    load_libraries()
    from fewtune.adaptation.from_names import from_names
    from fewtune.files import refuse_existing
    from fewtune.models.bundle import FILES
    from fewtune.models.its_place import PACKED
    from fewtune.models.pack import pack_run

    refuse_existing(out, overwrite=overwrite, writes=(*FILES, *((PACKED,) if pack else ())))
    with stage("loading the backbone"):
        backbone = model.load_for_names(classes)
    with stage("reading the class names"):
        made = from_names(classes, backbone, prompts=prompts, threshold=threshold)
    where = made.bundle.save(out, overwrite=overwrite)
    tell(*made.sentences, "", "What to do next:")
    tell(*(f"{number}. {action}" for number, action in enumerate(made.verdict.to_do(shlex.quote(str(where))), 1)), "")
    if pack:
        tell(*pack_run(where, weights=model.weights).sentences)
    tell(f"{saved_in(where, out)}.")
