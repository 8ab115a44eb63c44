"""The blurred and noisy faces are CelebA's, by the readings of the paper that the protocol states."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import signal

from unblur import datasets
from unblur.imaging.convolution import convolve
from unblur.types import UnblurError

CELEBA = datasets.get("celeba")
FACES = 106


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small pictures under the published names; they are resized to 256 x 256 all the same."""
    root = tmp_path_factory.mktemp("celeba")
    (root / "img_align_celeba").mkdir()
    generator = np.random.default_rng(0)
    for number in range(1, FACES + 1):
        pixels = generator.integers(0, 256, (24, 19, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "img_align_celeba" / f"{number:06}.jpg")
    (root / "img_align_celeba" / "notes.jpg").write_text("not a face")
    return root


def test_the_last_hundred_faces_are_the_test_set_if_there_is_no_list(folder):
    assert CELEBA.count(folder) == CELEBA.count(folder / "img_align_celeba") == 400
    samples = list(CELEBA.samples(folder, 5))
    assert [sample.name for sample in samples] == ["000007_10", "000007_20", "000007_30", "000007_40", "000008_10"]
    assert [sample.group for sample in samples[:2]] == ["sigma 10", "sigma 20"]


def test_with_the_official_list_they_are_the_last_hundred_of_the_test_partition(folder, tmp_path):
    root = tmp_path / "celeba"
    shutil.copytree(folder, root)
    rows = [f"{number:06}.jpg {1 if number in (50, FACES) else 2 if number > 3 else 0}" for number in range(1, 300)]
    (root / "list_eval_partition.txt").write_text("\n".join(rows) + "\n")
    names = list(CELEBA._photos(root))
    assert names == [f"{number:06}" for number in range(5, FACES) if number != 50]
    (root / "list_eval_partition.txt").write_text("\n".join(rows[:90]))
    with pytest.raises(UnblurError, match=r"holds 86 faces of the test partition. Expected: img_align_celeba"):
        CELEBA.count(root)
    (root / "list_eval_partition.txt").write_text("000001.jpg\n")
    with pytest.raises(UnblurError, match="lines that are not 'NAME PARTITION'"):
        CELEBA.count(root)


def test_the_whole_face_is_resized_then_blurred_with_the_nearest_pixels_outside(folder):
    sample = next(CELEBA.samples(folder))
    with Image.open(folder / "img_align_celeba" / "000007.jpg") as face:
        resized = np.asarray(face.resize((256, 256), Image.Resampling.LANCZOS), dtype=np.float64) / 255
    np.testing.assert_allclose(sample.sharp[0].movedim(0, -1).numpy(), resized, atol=1e-6)
    psf = sample.psf[0, 0].double().numpy()
    half = len(psf) // 2
    padded = np.pad(resized, ((half, half), (half, half), (0, 0)), mode="edge")
    blurry = np.stack([signal.fftconvolve(padded[..., c], psf, "valid") for c in range(3)])
    np.testing.assert_allclose(sample.noise_free[0].numpy(), blurry, atol=1e-5)
    assert float((sample.blurry - sample.noise_free).std()) == pytest.approx(10 / 255, rel=0.01)


def test_psfs_and_noise_are_those_of_nidf(folder, tmp_path):
    """A photo of the same name gets the same shake; only what lies outside the picture differs."""
    Image.new("RGB", (304, 304), "white").save(tmp_path / "000007.png")
    photo, face = next(datasets.get("nidf").samples(tmp_path)), next(CELEBA.samples(folder))
    assert (photo.psf == face.psf).all()
    np.testing.assert_allclose(photo.blurry - photo.noise_free, face.blurry - face.noise_free, atol=1e-6)
    assert not (face.noise_free == convolve(face.sharp, face.psf, "zero")).all()


def test_too_few_faces_and_a_damaged_one_are_refused(folder, tmp_path):
    with pytest.raises(UnblurError, match=r"holds 0 faces\. Expected: img_align_celeba/000001\.jpg"):
        CELEBA.count(tmp_path)
    root = tmp_path / "celeba"
    shutil.copytree(folder, root)
    (root / "img_align_celeba" / "000007.jpg").write_bytes(b"torn")
    with pytest.raises(UnblurError, match=r"000007\.jpg.*Expected: img_align_celeba"):
        next(CELEBA.samples(root))
