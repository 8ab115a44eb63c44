"""What a page asks for, checked: a photo, what is known of it, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from unblur.cli.console import check_psf_size, parse_sigma
from unblur.types import Observation, UnblurError

if TYPE_CHECKING:
    from torch import Tensor

    from unblur.pipeline.options import Options

Value = StrictBool | StrictInt | StrictFloat | str | None


class Order(BaseModel):
    """One photo to restore, as the page sends it. Pictures are named by the ids of what was sent before.

    Attributes:
        photo: the photo.
        short: the short, noisy shot of the same scene.
        psf: the PSF, if it is known.
        method: "auto", or a chain of methods of the package.
        settings: `method.key` and value.
        psf_size: odd side of the PSF to estimate, in pixels.
        sigma: noise on the [0, 1] scale, as `0.02` or `5/255`.
        exposure_ratio: exposure of the photo divided by that of the short shot.
        align: whether the short shot is moved onto the photo.
        force: whether to keep a result that is not credible.
        region: where the PSF is estimated: left, top, width, height in pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    photo: str
    short: str | None = None
    psf: str | None = None
    method: str = Field(default="auto", max_length=200)
    settings: dict[str, Value] = Field(default_factory=dict, max_length=100)
    psf_size: int | None = None
    sigma: str | None = Field(default=None, max_length=40)
    exposure_ratio: float | None = None
    align: bool = True
    force: bool = False
    region: tuple[int, int, int, int] | None = None

    @classmethod
    def read(cls, body: bytes) -> Order:
        """The order in a JSON text.

        Raises:
            UnblurError: naming the first field that is wrong.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UnblurError(f"{place or 'the request'}: {first['msg']}.") from None

    def options(self, device: str | None = None) -> Options:
        """What to do, as the command line would. No method and no setting may name a file.

        Raises:
            UnblurError: a value out of range.
        """
        from unblur.pipeline.options import Options

        check_psf_size(self.psf_size)
        return Options(
            self.method,
            self.psf_size,
            self.settings,
            force=self.force,
            device=device,
            allow_files=False,
            align=self.align,
            region=self.region,
        )

    def known(self, psf: Tensor | None) -> Observation:
        """What is known besides the pictures.

        Args:
            psf: `(1, 1, h, w)`, or None.

        Raises:
            UnblurError: a value out of range.
        """
        return Observation(psf=psf, sigma=parse_sigma(self.sigma), exposure_ratio=self.exposure_ratio)
