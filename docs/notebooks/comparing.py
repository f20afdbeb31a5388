# %% [markdown]
# # Comparing methods, and writing one
# 5-way episodes of digits, every method on the same ones. It runs offline in a minute. In Colab, first `!pip install fewtune`.

# %%
import numpy as np
from sklearn.datasets import load_digits

import fewtune

data = load_digits()
x, y = data.data.astype(np.float32) / 16, data.target

# %% [markdown]
# A method is an expression: a short name, or written out.

# %%
methods = ["centroid", "ridge(penalty=10)", "logistic", "Method(learner=Centroid(metric='euclidean'))"]
found = fewtune.compare((x, y), methods=methods, shots=[1, 5], settings=fewtune.CompareSettings(episodes=100))
print(found)

# %%
for row in found.rows[:4]:
    print({key: row[key] for key in ("method", "shots", "mean")})
assert len(found.rows) == 8
