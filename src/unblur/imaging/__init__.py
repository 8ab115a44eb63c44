"""Image formation: colour, convolution, PSFs, camera shake, noise, and synthetic observations."""
