"""``[cameras.<camera>.facts]``: when a label begins, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from edge_agent.config.section import Section

WINDOW_LIMIT = 1000
"""Predictions that at_least may look back on: minutes at any usual rate."""


def _of_two(given: object) -> object:
    if isinstance(given, list | tuple) and len(given) == 2 and all(type(each) is int for each in given):
        least, of = given
        if 1 <= least <= of <= WINDOW_LIMIT:
            return least, of
    raise ValueError(f"must be [k, n]: whole numbers, 1 <= k <= n <= {WINDOW_LIMIT}")


Score = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Votes = Annotated[tuple[int, int], BeforeValidator(_of_two)]
LabelText = Annotated[str, StringConstraints(min_length=1)]


class _Thresholds(Section):
    """A pair, of which one or both may be left out."""

    enter: Score | None = None
    leave: Score | None = None

    @model_validator(mode="after")
    def _leave_is_not_above_enter(self) -> Self:
        if self.enter is not None and self.leave is not None and self.leave > self.enter:
            raise ValueError(f"leave must be at most enter ({self.enter}), not {self.leave}")
        return self


class LabelFactsConfig(_Thresholds):
    """``[cameras.<camera>.facts.labels."<label>"]``."""

    enter: Score | None = Field(
        default=None, description="This label begins when it scores at least this.", examples=[0.9]
    )
    leave: Score | None = Field(default=None, description="And ends when it scores less.", examples=[0.7])
    min_duration_s: Seconds | None = Field(
        default=None, description="After so many seconds without a break.", examples=[1.0]
    )
    at_least: Votes | None = Field(
        default=None, description="When k of the last n predictions say so.", examples=[[2, 3]]
    )
    cool_down_s: Seconds | None = Field(
        default=None, description="And not before so many seconds after its end.", examples=[60.0]
    )


class FactsConfig(_Thresholds):
    """``[cameras.<camera>.facts]``."""

    enter: Score | None = Field(
        default=None,
        description="A label begins when it scores at least this: 0 to 1. Left out: the threshold in force.",
        examples=[0.8],
    )
    leave: Score | None = Field(
        default=None,
        description="And ends when it scores less than this. Left out: that threshold, or enter where "
        "that is lower.",
        examples=[0.5],
    )
    min_duration_s: Seconds = Field(
        default=0.0, description="It begins only after so many seconds of such scores without a break."
    )
    at_least: Votes = Field(
        default=(1, 1),
        description="[k, n]: it begins when k of the last n predictions say so, and ends when fewer do.",
    )
    cool_down_s: Seconds = Field(
        default=0.0, description="After its end it does not begin again for so many seconds."
    )
    smoothing_s: Seconds = Field(
        default=0.0,
        description="Take the exponential mean of the scores, of this time constant. 0: as they come.",
    )
    per_label: bool = Field(
        default=False,
        description="Publish each label's ON or OFF for a multi-class model too; a multi-label one has it.",
    )
    labels: Mapping[LabelText, LabelFactsConfig] = Field(
        default_factory=dict,
        description="Labels with rules of their own; what is left out is as above.",
        examples=["fiesta red"],
    )
