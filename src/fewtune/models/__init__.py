"""What is saved: a bundle, and what can be done with it: predict, evaluate, add a class, export, and the card that describes it."""
