"""The observer process: looks into one ring, computes, judges, and hands on what it finds as lines on standard output.
`python -m edge_node.observer CONFIG SOURCE PARENT_PID`.

Rule owned: an observer may be stopped, killed or late at any moment and the ring goes on; what it did not see lowers
the coverage that its heartbeats and its findings carry. Once a second it says that it lives, whatever else happens.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_node import entries
from edge_node.build import drift_of, plan_of, rule_of
from edge_node.channels import Window
from edge_node.children import end_with_parent
from edge_node.config import ConfigError, EdgeConfig, load
from edge_node.drift.watch import DriftWatch, take_notes
from edge_node.dsp.features import BadWindow, Extractor
from edge_node.dsp.heartbeat import Pulse
from edge_node.dsp.rules import Rule
from edge_node.dsp.throttle import Throttle
from edge_node.dsp.windows import hop_of
from edge_node.entries import Entry
from edge_node.findings import Anomaly, FeatureBatch, Quality
from edge_node.keeping import Keeper
from edge_node.looking import Look
from edge_node.ring import RingError

IDLE_S = 0.005
"""How long it sleeps when the ring has nothing new."""

ATTACH_WITHIN_S = 0.5
"""It tries again after that, so that it can say that it lives while it waits for a writer."""

NOTES_EVERY_S = 1.0
"""How often it looks whether somebody noted that a sensor was recalibrated."""

PATIENT_TURNS = 4
"""Attempts that may fail before it complains: a writer needs a moment to start."""


class Observer:
    """Turns windows into entries. `say` takes each as it comes."""

    def __init__(self, config: EdgeConfig, name: str, say: Callable[[Entry], None]) -> None:
        self.config, self.name, self.say = config, name, say
        self.throttle = Throttle(round(config.rule.quiet_s * 1e9))
        self.pulse = Pulse(time.monotonic_ns())
        self.bad: set[str] = set()
        self._look: Look | None = None
        self._epoch = 0
        self._rule: Rule | None = None
        self._extractor: Extractor | None = None
        self._next_report = 0.0
        self._keeper = Keeper(config.snapshots, name) if config.snapshots is not None else None
        self._drift: DriftWatch | None = None
        self._next_notes = 0.0
        self._told = ""
        self._failures = 0

    def turn(self) -> bool:
        """Looks once; whether there was anything new. RingError and the like are told and survived."""
        try:
            if self._look is None:
                f = self.config.features
                self._look = Look(
                    self.name,
                    self.config.ring.folder,
                    f.samples,
                    hop_of(f.samples, f.overlap),
                    start="oldest" if self.config.source(self.name).kind == "replay" else "latest",
                    within_s=ATTACH_WITHIN_S,
                )
            busy = self._look_on(self._look)
        except RingError as error:
            self._failures += 1
            if self._failures >= PATIENT_TURNS:
                self._complain(str(error))
            self._leave()
            return False
        except ValueError as error:
            # Features that do not fit what the ring holds: said at once, and tried again with the next writer.
            self._complain(str(error))
            self._leave()
            return False
        finally:
            self._beat()
        self._failures = 0
        return busy

    def _look_on(self, look: Look) -> bool:
        busy = False
        for window in look.windows():
            busy = True
            if self._epoch != look.reader.epoch:
                self._begin(look)
            self._window(look, window)
            self._beat()
        if look.ended and not busy:
            # Its writer closed it: a new one makes a new file, which is looked for from the start.
            self._leave()
        return busy

    def _begin(self, look: Look) -> None:
        """A new writer: its samples are planned for by what its ring says. What was learned stays with equal
        channels.
        """
        plan = plan_of(self.config, look.channels, look.rate_hz)
        if self._extractor is None or self._extractor.plan != plan or self._rule is None:
            self._extractor, self._rule = Extractor(plan), rule_of(self.config, look.channels, plan)
            self._drift = drift_of(self.config, self.name, look.channels)
        self._epoch = look.reader.epoch
        self._told = ""
        self.say(entries.incident(self.name, "observing", f"epoch {self._epoch}", rule=self._rule.version))

    def _window(self, look: Look, window: Window) -> None:
        extractor, rule = self._extractor, self._rule
        if extractor is None or rule is None:
            return
        try:
            batch = extractor.features(window)
        except BadWindow as error:
            self._complain(str(error))
            return
        provenance = look.provenance(window, rule.version)
        total = window.samples + window.missing
        coverage = window.samples / total
        self.pulse.windows += 1
        for anomaly in rule.judge(batch, provenance, coverage):
            passed = self.throttle.offer(anomaly)
            if passed is None:
                self.pulse.suppressed += 1
            else:
                self.pulse.anomalies += 1
                self.say(entries.of_anomaly(passed))
                self._keep(look, window, passed)
        self._note_quality(look, batch)
        self._watch_drift(window, batch)
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + self.config.features.report_every_s
            self.say(entries.of_features(batch, [c.name for c in look.channels], look.provenance(window)))
            if self._drift is not None:
                self.say(entries.of_fused(self.name, self._drift.fused()))

    def _keep(self, look: Look, window: Window, anomaly: Anomaly) -> None:
        if self._keeper is not None:
            told = self._keeper.keep(window, look.channels, anomaly.provenance, anomaly)
            if told is not None:
                self.say(told)

    def _watch_drift(self, window: Window, batch: FeatureBatch) -> None:
        """The windows' means are the readings; one that cannot be trusted is none."""
        if self._drift is None:
            return
        sound = np.array([quality in (Quality.OK, Quality.MISSING) for quality in batch.quality])
        for item in self._drift.take(np.where(sound, batch.mean, np.float32(np.nan)), window.t_ns):
            self.say(entries.of_recalibration(self.name, item))
        now = time.monotonic()
        if now >= self._next_notes:
            self._next_notes = now + NOTES_EVERY_S
            for note in take_notes(self.config.notes_folder, self._drift):
                self.say(entries.of_recalibrated(self.name, note.group, note.sensor, note.by))

    def _note_quality(self, look: Look, batch: FeatureBatch) -> None:
        """Says when a channel turns bad or good again, once each."""
        pairs = list(zip(look.channels, batch.quality, strict=True))
        bad = {f"{c.name}: {q}" for c, q in pairs if q not in (Quality.OK, Quality.MISSING)}
        self.pulse.bad_channels = max(self.pulse.bad_channels, len(bad))
        if bad != self.bad:
            worse, better = sorted(bad - self.bad), sorted(self.bad - bad)
            self.bad = bad
            for what, which in (("channel_bad", worse), ("channel_good", better)):
                if which:
                    self.say(entries.incident(self.name, what, "; ".join(which)))

    def _beat(self) -> None:
        if self._look is not None:
            self.pulse.seen += self._look.seen
            self.pulse.missed += self._look.missed
            self._look.seen = self._look.missed = 0
        beat = self.pulse.beat(time.monotonic_ns(), ready=self._rule is not None and self._rule.ready)
        if beat is not None:
            self.say(entries.of_heartbeat(beat, self.name))

    def _complain(self, words: str) -> None:
        if words != self._told:
            self._told = words
            self.say(entries.incident(self.name, "cannot_observe", words))

    def _leave(self) -> None:
        if self._look is not None:
            self._look.close()
            self._look = None

    def close(self) -> None:
        """Tells what was held back and lets go of the ring."""
        held_back = [f"{channel} {measure}: {n}" for (channel, measure), n in self.throttle.drain().items()]
        if held_back:
            self.say(entries.incident(self.name, "suppressed", "; ".join(held_back)))
        self._leave()


def observe(observer: Observer, ending: threading.Event) -> None:
    while not ending.is_set():
        if not observer.turn():
            ending.wait(IDLE_S)
    observer.close()


def main() -> int:
    config_path, name, parent = sys.argv[1:]
    ending = end_with_parent(int(parent))
    try:
        config = load(Path(config_path))
        config.source(name)
    except ConfigError as error:
        entries.say(entries.incident(name, "cannot_observe", str(error)))
        return 1
    observe(Observer(config, name, entries.say), ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
