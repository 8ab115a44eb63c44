"""Image formation: what the camera did to the picture."""
