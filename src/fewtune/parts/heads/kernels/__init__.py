"""Compiled kernels of heads: a feature table and integers go in, states, answers and losses come out.

`judging` labels queries by any linear head; `*_fit` fit one head each, like its own `fit`, which is what they are tested against.
Everything here imports `fewtune.compiled`, and is itself imported where kernels are taken (`fewtune.fast`).
"""
