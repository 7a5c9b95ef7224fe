"""What one camera sees, told: predictions, the settled label, the state of each label, events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.clock import Clock, Moment
from edge_agent.facts import Began, Ended, EndReason, FactRules, Facts
from edge_agent.messages import (
    SCORE_DECIMALS,
    TIMING_DECIMALS,
    ClockState,
    EventMessage,
    Topics,
    prediction_message,
    slugs,
    timestamp,
    to_json,
)
from edge_agent.predictions import Prediction
from edge_agent.publish_pace import PublishPace, PublishRule
from edge_agent.publishing import Publishing
from edge_agent.told import Told
from edge_agent.topics import UNKNOWN

logger = logging.getLogger(__name__)

ON, OFF, CLEARED = b"ON", b"OFF", b""


@dataclass(frozen=True)
class CameraRules:
    """How a camera is told: ``keep``: its predictions wait for the broker; ``per_label``: the state of each
    label, though the model is multi-class.
    """

    facts: FactRules = field(default_factory=FactRules)
    publish: PublishRule = field(default_factory=PublishRule)
    keep: bool = False
    per_label: bool = False


class CameraFacts:
    """One camera's. ``prediction`` belongs to its lane (to two, for a moment, when it changes its slot), the
    rest to the main thread. All is told in one order, under one lock. ``told`` is what is retained by now.
    """

    def __init__(
        self,
        camera: str,
        publisher: Publishing,
        topics: Topics,
        session: str,
        clock: Clock,
        told: Told | None = None,
    ) -> None:
        """``told`` is what an earlier run left on the broker."""
        self._camera = camera
        self._publisher = publisher
        self._topics = topics
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._rules = CameraRules()
        self._facts = Facts()
        self._pace = PublishPace()
        self._sequence = 0
        self._silent = False
        self._paused = False
        self._stale = True
        self.told = told or Told()
        self._slugs = self.told.slugs
        self._label: bytes | None = None
        self._states: dict[str, bytes] = {}

    def obey(self, rules: CameraRules) -> None:
        """The camera is configured, and these rules hold from its next prediction on."""
        with self._lock:
            self._silent = self._paused = False
            if rules.facts != self._rules.facts:
                self._facts.obey(rules.facts)
                self._warn_of_strangers(rules.facts)
            self._rules, self._pace.rule = rules, rules.publish
            self._stale = True

    def prediction(self, prediction: Prediction, clock_state: ClockState, *, live: bool) -> bool:
        """Tell one prediction where the camera's rule says so, and what it changes; whether a label began.

        One that was on its way when the camera was paused settles nothing, and of a ``live`` camera is lost.
        """
        with self._lock:
            if self._paused and live:
                return False
            frame = prediction.frame
            at = Moment(frame.captured_ns, frame.captured_at_ns).seen_from(self._now())
            changes: Sequence[Began | Ended] = []
            if not (self._silent or self._paused):
                self._adopt(prediction, at, clock_state)
                changes = self._facts.observe(prediction.scores, at)
            shown = (prediction.model.digest, self._facts.held)
            if self._pace.lets(shown, at.monotonic_ns):
                self._publish(prediction, at, clock_state, live and not self._rules.keep)
            self._tell(changes, clock_state)
        return any(isinstance(change, Began) for change in changes)

    def stand(self, blind: EndReason | None, clock_state: ClockState) -> None:
        """A turn of the main loop: while the camera is ``blind`` nothing is settled. The first time what is
        retained from before this start is taken back.
        """
        with self._lock:
            self._paused = blind == "paused"
            changes = self._facts.close(self._now(), blind) if blind is not None else []
            self._tell(changes, clock_state)

    def forget(self, clock_state: ClockState) -> None:
        """It was removed: nothing of it stays retained. Its last frames may still be answered; they settle
        nothing any more.
        """
        with self._lock:
            self._stale = False  # what is cleared is not told anew before
            self._tell(self._facts.close(self._now(), "removed"), clock_state)
            self._silent = True
            for slug in {**self._states, **dict.fromkeys(self.told.slugs)}:
                self._retain(self._topics.label_state(self._camera, slug), CLEARED)
            self._retain(self._topics.label(self._camera), CLEARED)
            self._states, self._label, self.told = {}, None, Told()

    def withdraw(self, clock_state: ClockState) -> None:
        """The agent ends: nothing is settled any more."""
        with self._lock:
            self._stale = False  # a camera of which nothing was told has nothing to take back
            self._tell(self._facts.close(self._now(), "stopped"), clock_state)
            self._silent = True

    def _adopt(self, prediction: Prediction, at: Moment, clock_state: ClockState) -> None:
        """Go by the labels of the model that made the prediction. What ends with the one before is told at
        once: the label is unknown, which every reader knows, before it is one of the new ones.
        """
        labels, multilabel = prediction.labels, prediction.model.multilabel
        facts = self._facts
        # The same model gives the same tuple: thousands of labels are not compared with each frame.
        same = labels is facts.labels or labels == facts.labels
        if same and multilabel == facts.multilabel:
            return
        ended = facts.adopt(labels, at, multilabel=multilabel)
        self._slugs = slugs(labels)
        self._warn_of_strangers(facts.rules)
        self._stale = True
        if ended:
            self._tell(ended, clock_state)

    def _publish(self, prediction: Prediction, at: Moment, clock_state: ClockState, live: bool) -> None:
        self._sequence += 1
        payload = prediction_message(
            prediction,
            agent=self._topics.agent,
            camera=self._camera,
            session=self._session,
            sequence=self._sequence,
            clock=clock_state,
            captured_at_ns=at.wall_ns,
        )
        self._publisher.publish(self._topics.prediction(self._camera), payload, live=live)

    def _tell(self, changes: Sequence[Began | Ended], clock_state: ClockState) -> None:
        """The states that changed, then the events: who hears of one finds the other."""
        if changes or self._stale:
            self._stale = False
            self._tell_label()
            self._tell_states()
        for change in changes:
            payload = self._event(change, clock_state)
            self._publisher.publish(self._topics.event(self._camera), payload)

    def _tell_label(self) -> None:
        """Of a multi-label model there is none: several may be true at once."""
        held = self._facts.held
        label = self._facts.labels[held[0]] if held else UNKNOWN
        payload = CLEARED if self._is_multilabel else label.encode()
        if payload != (self._label or CLEARED):
            self._label = payload
            self._retain(self._topics.label(self._camera), payload)

    def _tell_states(self) -> None:
        """ON or OFF for each label, where that is wanted; what is told no more is cleared. OFF for those of
        the run before while the labels are not known.
        """
        wanted: dict[str, bytes] = {}
        if self._is_multilabel or self._rules.per_label or not self._facts.labels:
            held = frozenset(self._facts.held)
            wanted = {slug: ON if index in held else OFF for index, slug in enumerate(self._slugs)}
        for slug in [*wanted, *(self._states.keys() - wanted)]:
            payload = wanted.get(slug, CLEARED)
            if self._states.get(slug) != payload:
                self._retain(self._topics.label_state(self._camera, slug), payload)
        self._states = wanted
        self.told = Told(tuple(wanted), self._is_multilabel)

    @property
    def _is_multilabel(self) -> bool:
        """Of the model, or, before its first prediction, of the one before this start."""
        return self._facts.multilabel if self._facts.labels else self.told.multilabel

    def _event(self, change: Began | Ended, clock_state: ClockState) -> bytes:
        ended = change if isinstance(change, Ended) else None
        peak = change.score if ended is None else ended.peak
        began_ns = change.at.wall_ns if ended is None else ended.began_wall_ns
        return to_json(
            EventMessage(
                id=change.id,
                event_type="began" if ended is None else "ended",
                label=change.label,
                score=round(change.score, SCORE_DECIMALS),
                peak=round(peak, SCORE_DECIMALS),
                began_at=timestamp(began_ns),
                ended_at=None if ended is None else timestamp(ended.at.wall_ns),
                duration_s=None if ended is None else round(ended.duration_s, TIMING_DECIMALS),
                agent=self._topics.agent,
                camera=self._camera,
                session=self._session,
                clock=clock_state,
                reason=None if ended is None else ended.reason,
            )
        )

    def _retain(self, topic: str, payload: bytes) -> None:
        self._publisher.publish(topic, payload, retain=True)

    def _now(self) -> Moment:
        return Moment(self._clock.monotonic_ns(), self._clock.wall_ns())

    def _warn_of_strangers(self, rules: FactRules) -> None:
        known = self._facts.labels
        strangers = [label for label in rules.labels if known and label not in known]
        if strangers:
            logger.warning(
                "camera %s: its facts speak of labels that the model does not have: %s; "
                "correct cameras.%s.facts.labels (the model has: %s)",
                self._camera,
                ", ".join(strangers),
                self._camera,
                ", ".join(known[:20]) + (", ..." if len(known) > 20 else ""),
            )
