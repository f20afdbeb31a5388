"""Several label columns at once: one model that answers all of them, and whether they should be learned together.

A table with label columns comes in (`LabelTable`). Its rows get features (`rows`), each column is a task; every way to answer them (a head
on the features, a network for each task, networks that share) answers rows it has not seen (`folds`, `judged`), and the best way for
each task is saved as one model. What was found out goes to the report.
"""
