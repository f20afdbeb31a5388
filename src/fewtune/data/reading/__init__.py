"""Files, folders, arrays, data frames and datasets come in, `Examples` come out.

`read_examples` reads labelled data of any kind; `read_inputs` reads what a saved model labels. Any file may be damaged or hostile: what
cannot be read raises `InputError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.data.reading.arrays import read_arrays
    from fewtune.data.reading.asked import Asked
    from fewtune.data.reading.columns import from_table
    from fewtune.data.reading.folders import read_folder
    from fewtune.data.reading.frames import read_dataset
    from fewtune.data.reading.inputs import read_inputs
    from fewtune.data.reading.read import read_asked, read_examples
    from fewtune.data.reading.table import Table
    from fewtune.data.reading.torch_dataset import read_torch_dataset

# the file of each name; imported when the name is first used, so that the command line starts at once
_WHERE = {
    "Asked": "asked",
    "Table": "table",
    "from_table": "columns",
    "read_arrays": "arrays",
    "read_dataset": "frames",
    "read_asked": "read",
    "read_examples": "read",
    "read_folder": "folders",
    "read_inputs": "inputs",
    "read_torch_dataset": "torch_dataset",
}

__all__ = [
    "Asked",
    "Table",
    "from_table",
    "read_arrays",
    "read_asked",
    "read_dataset",
    "read_examples",
    "read_folder",
    "read_inputs",
    "read_torch_dataset",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
