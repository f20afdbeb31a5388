"""`fewtune adapt DATA --source MORE --out RUN`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags
from fewtune.cli.source_flags import NO_SOURCE_FLAGS, SourceFlags
from fewtune.cli.text_flags import NO_TEXT_FLAGS, TextFlags


def adapt(
    data: Path | None = None,
    /,
    *,
    classes: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    out: Path | None = None,
    method: str | None = None,
    finetune: Literal["auto", "never", "own", "sources", "all"] = "auto",
    keep: Literal["likely", "shown"] = "likely",
    budget: str = "minutes=5",
    prompts: Annotated[list[str] | None, Parameter(negative=())] = None,
    threshold: float | None = None,
    folds: int = 5,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    pack: Annotated[bool, Parameter(negative=())] = False,
    other: SourceFlags = NO_SOURCE_FLAGS,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
    texts: TextFlags = NO_TEXT_FLAGS,
) -> None:
    """Make the best classifier from a few labelled examples, and estimate its accuracy.

    Several learners on top of the unchanged backbone are compared by cross-validation on your labelled examples. The backbone is also
    finetuned on your labels and, with --source, on the tasks of the other data that suit yours. Every way answers examples it has not seen.
    The one to expect most of is saved, and you are told whether finetuning is shown to help. The model and report.html are saved in --out.

    Parameters
    ----------
    data: Path
        A folder of class folders, a CSV, JSONL, Parquet or Excel table, an .npz file, or drawn scenes (scenes:counting).
    classes: str
        The names of the classes, if you have no labelled example yet: the model then answers by the name that is nearest. It needs a
        --backbone that reads names, and takes no DATA.
    out: Path
        The folder to save the model in. It must not exist yet, unless --overwrite is given. By default runs/DATA-1, or the next number
        that is free.
    method: str
        Use this learner instead of the best one, for example 'ridge(penalty=10)'. Or finetune by this method: on your own labels, for
        example "lora(on='support')", or on the other data, for example 'multitask(shots=5)'.
    finetune: str
        What may change the backbone. auto: your labels, and other data if there is any. own, sources: that alone. all: every method for
        your labels, in settings chosen for your data too, and more ensembles. never: nothing.
    keep: str
        likely: a finetuned model is saved if it is expected to be the best one. shown: only if it is shown to be better, at 95%.
    budget: str
        minutes=5: time for everything after the data is read. visits=6000: how many examples each training run on other data may look at,
        however long it takes.
    prompts: str
        A sentence for learners that read class names, such as 'a photo of a {}'. Repeat for more.
    threshold: float
        The model gives no label where its probability is below this number, 0 to 1. By default the probability below which held-out
        answers were more often wrong than right, or 0 where that is not shown.
    folds: int
        Folds of the cross-validation, at least 2.
    seed: int
        The seed of all random choices: splits, candidate tasks and training.
    overwrite: bool
        Replace the model that fewtune saved in --out. Other files in that folder stay.
    resume: bool
        Go on with what the same command had finished when it was stopped. What is finished is kept in OUT.unfinished until the end.
    pack: bool
        Put the weights of the backbone into the folder too, so that the folder alone is enough on another machine.
    """
    model = replace(model, reading=texts)
    from fewtune.cli.first import check_data, chosen_out, load_libraries, needed
    from fewtune.cli.from_names import adapt_names
    from fewtune.cli.say import tell, understood
    from fewtune.cli.source_flags import budget_of
    from fewtune.files import refuse_existing
    from fewtune.progress import stage
    from fewtune.recipes.spelled import check_words

    if classes is not None:
        given = {"DATA": data, "--source": other.source, "--method": method, "--finetune": finetune != "auto", "--keep": keep != "likely"}
        given |= {
            "--budget": budget != "minutes=5",
            "--folds": folds != 5,
            "--resume": resume,
            "what says how data is read": reading != NO_DATA_FLAGS,
        }
        adapt_names(classes, given, out, model, tuple(prompts or ()), threshold or 0.0, overwrite=overwrite, pack=pack)
        return
    if data is None:
        raise needed()
    minutes, visits = budget_of(budget)
    other.check()
    if method is not None:
        check_words(method)
    model.check()
    model.refuse_table()
    out = chosen_out(data, out, resume=resume, overwrite=overwrite)
    refuse_existing(out, overwrite=overwrite)
    check_data(data, *other.source)
    if (wanted := reading.columns(data)) is not None:
        from fewtune.cli.adapt_columns import ColumnsAsked, adapt_table, refuse_flags

        refused = {"--source": other.source, "--prompts": prompts, "--threshold": threshold, "--keep": keep != "likely"}
        refuse_flags({**refused, "--budget visits=": visits}, resume=resume)
        asked = ColumnsAsked(method, finetune, minutes, folds, seed, reading.skip_bad, tuple(reading.metric))
        adapt_table(data, wanted, out, asked, model, overwrite=overwrite, pack=pack)
        return
    with stage("reading the data"):
        examples, sources = reading.read(data), other.read(tuple(reading.input) if len(reading.input) > 1 else ())
    model.check_here(examples)
    tell(*understood(examples, sources))
    load_libraries()

    from fewtune.adaptation.adapt import adapt_examples
    from fewtune.adaptation.by_method import by_method, check_sources
    from fewtune.adaptation.settings import AdaptSettings
    from fewtune.cli.say import backbone_line, expected_time, save_and_show, saved_in
    from fewtune.cli.speeds import measured, work_of
    from fewtune.models.bundle import FILES, REPORT, SELECTION
    from fewtune.models.its_place import PACKED
    from fewtune.models.pack import pack_run
    from fewtune.models.reading_texts import sources_for
    from fewtune.sides.job import Workplace
    from fewtune.sides.progress import Finished
    from fewtune.words import noun_of

    refuse_existing(
        out, overwrite=overwrite, writes=(*FILES, REPORT, *((PACKED,) if pack else ()), *((SELECTION,) if other.source else ()))
    )
    whole = out.resolve()
    finished = Finished(whole.with_name(f"{whole.name}.unfinished"))
    finished.check()
    settings, methods = by_method(
        AdaptSettings(
            finetune=finetune,
            keep=keep,
            sources=other.settings(visits),
            minutes=minutes,
            prompts=tuple(prompts or ()),
            threshold=threshold,
            folds=folds,
            skip_bad=reading.skip_bad,
            seed=seed,
        ),
        method,
    )
    check_sources(settings, bool(other.source))
    if not resume:
        finished.clear()
    with stage("loading the backbone"):
        backbone = model.load(examples)
        sources = list(sources_for(backbone, sources))
    with stage("measuring the speed"):
        work = work_of(examples, backbone, sources, settings, None if methods is None else len(methods))
        speeds = measured(examples, backbone, settings, others=work.others > 0)
    tell(backbone_line(examples, backbone), *([] if speeds is None else [expected_time(work, speeds, noun_of(examples.modality))]))
    at = Workplace(cache=model.cache, quiet=model.quiet, say=tell, finished=finished)
    outcome = adapt_examples(examples, backbone, sources=sources, settings=settings, methods=methods, at=at)
    with stage("writing the model and its report"):
        where = save_and_show(outcome, out, overwrite=overwrite)
    if not outcome.stopped:
        finished.clear()
    if pack:
        tell(*pack_run(where, weights=model.weights).sentences)
    tell("", f"{saved_in(where, out)}; open {where / 'report.html'}.")
