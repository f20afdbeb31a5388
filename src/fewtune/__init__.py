"""fewtune adapts foundation models to a target task with few labels, and says honestly whether finetuning helped."""

__version__ = "0.1.0"
