"""The version of fewtune: part of what every kept result, trained model and feature table depends on."""

__version__ = "0.1.0"
