"""Pretraining: backbones made from data, by contrast, by labels or by masked words. `run.py` is the folder that such a run writes."""
