"""How a row is seen: the specs of augmentations, and the pixels that they make."""
