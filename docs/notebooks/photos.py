# %% [markdown]
# # Photos: from folders to a saved model
# Hand-written digits, eight of each. It runs offline in a minute. In Colab, first `!pip install fewtune`.

# %%
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import fewtune

work = Path(tempfile.mkdtemp())
data, random = load_digits(), np.random.default_rng(0)
for label in range(10):
    rows = random.permutation(np.flatnonzero(data.target == label))
    for part, some in (("few", rows[:8]), ("test", rows[8:28])):
        folder = work / part / f"digit {label}"
        folder.mkdir(parents=True)
        for row in some:
            Image.fromarray((255 - 15 * data.images[row]).astype(np.uint8)).resize((96, 96)).save(folder / f"{row}.png")

# %% [markdown]
# `adapt` chooses a learner and says how good to expect it to be. `pixels` needs no download; leave `backbone` out for a foundation model.

# %%
adapted = fewtune.adapt(work / "few", backbone="pixels,size=16", settings=fewtune.AdaptSettings(finetune="never"))
print(*adapted.sentences, sep="\n")

# %% [markdown]
# Was that honest? The test photos say.

# %%
adapted.save(work / "run")
model = fewtune.load(work / "run")
measured = model.evaluate(work / "test")
print(*measured.sentences, sep="\n")
assert 0.6 < measured.accuracy.mean < 1

# %%
for answer in model.predict([next((work / "test" / "digit 7").iterdir())]):
    print(answer.label, round(answer.probability, 2))
