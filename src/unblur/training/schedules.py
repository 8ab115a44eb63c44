"""Learning-rate schedules: the rate during a stage, as a share of the highest rate."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Table(BaseModel):
    """A table of a recipe; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(Table):
    """A constant rate."""

    kind: Literal["constant"]

    def share(self, done: float) -> float:
        """Share of the highest rate: always 1."""
        return 1.0


class Cosine(Table):
    """Half a cosine (Loshchilov & Hutter 2017, SGDR, Eq. 5).

    Attributes:
        last: the last rate, as a share of the highest.
    """

    kind: Literal["cosine"] = "cosine"
    last: Annotated[float, Field(ge=0, le=1)] = 0.01

    def share(self, done: float) -> float:
        """Share of the highest rate when a share `done` of the stage is done."""
        return self.last + (1 - self.last) * (1 + math.cos(math.pi * done)) / 2


class Steps(Table):
    """A rate that is multiplied by a factor at several moments.

    Attributes:
        at: the moments as shares of the stage, in rising order.
        factor: the factor at each moment.
    """

    kind: Literal["steps"]
    at: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _rising(self) -> Steps:
        if list(self.at) != sorted(self.at):
            raise ValueError("the moments in `at` do not rise")
        return self

    def share(self, done: float) -> float:
        """Share of the highest rate when a share `done` of the stage is done."""
        return self.factor ** sum(done >= moment for moment in self.at)


class Power(Table):
    """A power of what is left of the stage: `last + (1 - last) (1 - done)^exponent`.

    Attributes:
        exponent: 1 is a straight line; with a lower value the rate stays high for longer.
        last: the last rate, as a share of the highest.
    """

    kind: Literal["power"]
    exponent: Annotated[float, Field(gt=0)] = 1.0
    last: Annotated[float, Field(ge=0, le=1)] = 0.0

    def share(self, done: float) -> float:
        """Share of the highest rate when a share `done` of the stage is done."""
        return self.last + (1 - self.last) * (1 - done) ** self.exponent


Schedule = Annotated[Constant | Cosine | Steps | Power, Field(discriminator="kind")]
