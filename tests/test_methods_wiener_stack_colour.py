"""How `wiener_stack` restores colour: luminance, and what differs from it, by themselves."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import Scene, blurred_scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.imaging.colour import rgb_to_ycbcr, ycbcr_to_rgb
from unblur.methods.wiener_stack import photo
from unblur.metrics import psnr
from unblur.types import Observation


def tinted(height: int, width: int) -> Scene:
    """Light of slowly changing colour on a grey scene, as in most photos, shaken and noisy."""
    grey = structured_picture(height, width, 1)
    colour = torch.linspace(0.6, 1, width) * torch.tensor([1.0, 0.8, 0.5])[:, None, None]
    return observe(grey * colour, hook_psf().float(), sigma=0.03)


def test_a_grey_picture_in_rgb_is_restored_as_in_grey():
    scene = blurred_scene(64, 72, sigma=0.005)
    grey, rgb = (
        methods.get("wiener_stack")(Observation(blurry=blurry, psf=scene.psf, sigma=0.005)).image
        for blurry in (scene.blurry, scene.blurry.expand(-1, 3, -1, -1))
    )
    torch.testing.assert_close(rgb, grey.expand(-1, 3, -1, -1), atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [(75, 84), (76, 83)])
def test_colour_is_restored_better_than_channel_by_channel(size):
    scene = tinted(*size)
    method = methods.get("wiener_stack")
    together = method(Observation(blurry=scene.blurry, psf=scene.psf), {"chroma": "full"}).image
    apart = [method(Observation(blurry=channel, psf=scene.psf)).image for channel in scene.blurry.split(1, 1)]
    assert together.shape == scene.blurry.shape
    assert psnr(together, scene.sharp) > psnr(torch.cat(apart, 1), scene.sharp)


def test_edges_between_colours_are_sharper_with_full_chroma():
    scene = blurred_scene(64, 72, 3, sigma=0.003)
    half, full = (
        methods.get("wiener_stack")(Observation(blurry=scene.blurry, psf=scene.psf), {"chroma": chroma}).image
        for chroma in ("half", "full")
    )
    assert psnr(full, scene.sharp) > psnr(half, scene.sharp) + 1


def as_jpeg(picture: torch.Tensor, quality: int) -> torch.Tensor:
    """A picture `(1, 3, H, W)` that was saved as a JPEG file and read again."""
    file = io.BytesIO()
    pixels = (255 * picture[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255


def test_chroma_of_a_jpeg_file_is_restored_at_half_the_size_where_it_gains():
    scene = tinted(96, 104)
    seen = as_jpeg(scene.blurry, 92)
    method = methods.get("wiener_stack")
    auto, half, full = (
        method(Observation(blurry=seen, psf=scene.psf), {"chroma": chroma}).image for chroma in ("auto", "half", "full")
    )
    assert torch.equal(auto, half)
    assert psnr(half, scene.sharp) > psnr(full, scene.sharp) + 0.2


def test_chroma_with_detail_down_to_single_pixels_was_not_in_a_jpeg_file():
    noisy = tinted(64, 72).blurry
    eight_bits = (255 * noisy.clamp(0, 1)).round() / 255
    smooth = torch.linspace(0.2, 0.8, 72).expand(1, 3, 64, 72)
    assert photo.chroma_was_compressed(as_jpeg(noisy, 90))
    assert not photo.chroma_was_compressed(eight_bits)
    assert not photo.chroma_was_compressed(smooth), "not 8 bits, so not from a JPEG file"


def test_a_mostly_flat_picture_is_taken_for_a_jpeg_file_only_if_it_was_one():
    flat = tinted(64, 72).blurry.clamp(0, 1)
    flat = (255 * torch.where(torch.arange(flat.shape[-1]) < 44, flat.mean(), flat)).round() / 255
    assert not photo.chroma_was_compressed(flat)
    assert photo.chroma_was_compressed(as_jpeg(flat, 90))
    assert not photo.chroma_was_compressed(torch.ones(1, 3, 64, 72)), "all flat: it does not matter"


def test_chroma_goes_to_half_the_size_with_its_border():
    plane = torch.rand(1, 2, 5, 7)
    half = photo.halved(plane)
    assert half.shape == (1, 2, 3, 4)
    torch.testing.assert_close(half[..., 1, 2], plane[..., 2:4, 4:6].mean((-2, -1)))
    torch.testing.assert_close(half[..., 1, 3], plane[..., 2:4, 6].mean(-1))


def test_ycbcr_is_a_change_of_coordinates_with_grey_at_zero():
    picture = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(picture)), picture)
    assert rgb_to_ycbcr(picture[:, :1].expand(-1, 3, -1, -1))[:, 1:].abs().max() < 1e-12
