"""The cut of a network: what lies below the weights that move is computed once a row, kept, and the rest runs again."""
