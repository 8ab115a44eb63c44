"""Training of networks: sources, samples, recipes, the training loop and checkpoints."""
