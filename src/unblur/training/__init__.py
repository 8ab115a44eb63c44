"""Training of the methods' networks: a recipe, samples made from sharp photos, one loop, checkpoints."""
