# %% [markdown]
# # Several label columns: one model, and the truth about sharing
# Wines: twelve numbers in, the kind of wine and its alcohol out. It runs offline in a minute. In Colab, first `!pip install fewtune`.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sklearn.datasets import load_wine

import fewtune

work = Path(tempfile.mkdtemp())
data, random = load_wine(), np.random.default_rng(0)
names = [name.replace("/", "_") for name in data.feature_names]
kinds = [None if random.random() < 0.2 else f"wine {kind}" for kind in data.target]
wines = pa.table({**{name: data.data[:, i] for i, name in enumerate(names)}, "kind": kinds})
order = random.permutation(len(wines))
pyarrow.csv.write_csv(wines.take(order[:120]), work / "wines.csv")
pyarrow.csv.write_csv(wines.take(order[120:]), work / "test.csv")

# %%
numbers = [name for name in names if name != "alcohol"]
made = fewtune.adapt(work / "wines.csv", label=["kind", "alcohol"], numbers=numbers)
print(*made.sentences, sep="\n")

# %%
made.save(work / "run")
model = fewtune.load_columns(work / "run")
answers = model.predict(work / "test.csv").answers
print(sorted(answers), answers["alcohol"][0])
assert set(answers) == {"kind", "alcohol"}
