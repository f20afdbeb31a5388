"""Where backbones come from: one file a library, which it imports when it is asked for a model."""
