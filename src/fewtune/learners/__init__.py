"""Choosing a learner on few labels: features and labels come in; the best learner, what to expect of it, and which rows are in
doubt go out.
"""
