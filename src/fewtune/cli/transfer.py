"""`fewtune transfer RUN... --data DATA`: what runs share, and which groups of weights carry what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags, input_of


def transfer(
    *runs: str,
    data: Path,
    out: Path | None = None,
    label: str | None = None,
    input: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    rows: int = 300,
    group: Annotated[list[str] | None, Parameter(negative=())] = None,
    criticality: Annotated[bool, Parameter(negative=())] = False,
    valley: Annotated[bool, Parameter(negative=())] = False,
    probe: Annotated[bool, Parameter(negative=())] = False,
    batchnorm: bool | None = None,
    shift: Annotated[list[str] | None, Parameter(negative=())] = None,
    seed: int = 0,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Say what is transferred: barriers between runs, and which groups of weights matter.

    The weights of every two runs are mixed, and the mixtures are measured: where accuracy falls in between, the runs lie in different
    basins. Each group of a run is put back to its start, alone. A new head on every group says how deep the task can be read off. Errors
    of every two runs are compared row by row.

    Parameters
    ----------
    runs: str
        Folders that `fewtune adapt` or `fewtune pretrain` wrote, or run:FOLDER,step=N for a checkpoint. One alone is compared with its
        start.
    data: Path
        Labelled data that the runs did not learn from: a folder of class folders, a table or an .npz file.
    out: Path
        The folder for report.html and the measured lines (CSV). It must not exist yet, unless --overwrite is given.
    label: str
        The label column of a table.
    input: str
        The input column of a table. Or two columns of texts that belong together.
    rows: int
        How many rows of the data are used at most; more give narrower intervals and take longer.
    group: str
        The groups of weights to rewind, with * for anything, as in 'blocks.[56]*'. Repeat for more. By default all.
    criticality: bool
        Also search how far each group may go back and how much noise it bears. This takes ten to fifty times as long.
    valley: bool
        Also draw the error on the way of each group from its start to its end, with noise. It takes about a hundred passes a group.
    probe: bool
        Fit a new head to half of the rows at every point, instead of the heads that were saved.
    batchnorm: bool
        Estimate BatchNorm statistics again at every point. By default only where they differ between the runs.
    shift: str
        Also answer the rows under a shift: a corruption with its severity (gaussian_noise:5, blur, jpeg, ...), blocks:SIZE (blocks
        of photos in another order), shares:CLASS=NUMBER (other shares of the classes), subgroups (half of the groups). Repeat it for more.
    seed: int
        The seed of the rows, the noise and the intervals.
    overwrite: bool
        Replace what fewtune wrote in --out. Other files in that folder stay.
    """
    from fewtune.errors import InputError
    from fewtune.files import refuse_existing

    if not runs:
        raise InputError("transfer compares runs: give the folder of one or more, as in fewtune transfer runs/a runs/b --data photos/.")
    from fewtune.cli.first import check_data, load_libraries

    check_data(data)
    if out is not None:
        from fewtune.report.transferred import WRITES

        refuse_existing(out, overwrite=overwrite, writes=WRITES)
    from fewtune.studies.transferred.settings import TransferSettings

    settings = TransferSettings(
        rows=rows,
        groups=tuple(group) if group else ("*",),
        criticality=criticality,
        valley=valley,
        probe=probe,
        batchnorm=batchnorm,
        shifts=tuple(shift or ()),
        seed=seed,
        quiet=running.quiet,
    )
    load_libraries()

    from fewtune.cli.say import note, show, tell
    from fewtune.models.evaluate import read_labelled
    from fewtune.report.transferred import sentences, tables, write_transferred
    from fewtune.studies.transferred.compare import compare_runs
    from fewtune.studies.transferred.solutions import read_solution

    examples = read_labelled(data, label=label, input=input_of(input))
    found = compare_runs([read_solution(run, running.value()) for run in runs], examples, settings)
    tell("", *sentences(found), "")
    for one in tables(found):
        show(one)
    tell(*found.details)
    if out is not None:
        note(f"The report and the lines are in {write_transferred(found, out, overwrite=overwrite)}.")
