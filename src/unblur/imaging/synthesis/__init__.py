"""From sharp pictures to what a camera would have made of them, one file per kind of scene.

`uniform`: a scene that does not move, blurred by one PSF.
"""

from unblur.imaging.synthesis.uniform import BlurRecipe, Blurred, blur, perturb_psf

__all__ = ["BlurRecipe", "Blurred", "blur", "perturb_psf"]
