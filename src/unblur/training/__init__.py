"""Training of the networks of methods: sources, samples, recipes, one loop, checkpoints."""
