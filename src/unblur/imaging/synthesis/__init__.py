"""Synthetic observations from sharp pictures.

`uniform` blurs a picture with one PSF, as in a static scene. `moving` renders scenes in which the camera and objects
move.
"""

from unblur.imaging.synthesis.uniform import BlurRecipe, Blurred, blur, perturb_psf

__all__ = ["BlurRecipe", "Blurred", "blur", "perturb_psf"]
