"""The version of fewtune: part of what every kept result, trained model and feature table depends on."""

__version__ = "0.2.0"
