"""What methods are made of: heads, losses, aggregators, plans, rates, optimizers and what is kept."""
