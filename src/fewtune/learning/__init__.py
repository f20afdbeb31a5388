"""The engine: a Method, a backbone and tasks come in; trained weights, or answers to episodes, go out."""
