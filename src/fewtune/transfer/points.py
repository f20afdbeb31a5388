"""Where the straight line between two solutions is measured."""

POINTS = tuple(round(-0.2 + 0.1 * i, 1) for i in range(15))
"""From -0.2 to 1.2. 0 is the first solution, 1 the second."""
