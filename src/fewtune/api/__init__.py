"""What `import fewtune` shows: `adapt` and `load`, which read data by path or value, and the scikit-learn estimator."""
