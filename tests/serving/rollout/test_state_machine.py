"""Invariants of a rollout under random pushes, servers, traffic and manual steps."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from modules.contract.errors import UserError
from serving.records.database import Database
from serving.rollout import model_config_file
from serving.rollout.controller import RolloutController
from serving.rollout.manual import ManualRollout
from serving.rollout.server_status import ServedVersion
from serving.rollout.state import FULL, RolloutStore
from tests.serving.rollout.traffic import Settings, call, mirror, push


class RolloutMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name) / "pushed"
        self.database = Database(f"sqlite:///{self.scratch.name}/service.sqlite")
        self.store = RolloutStore(self.database)
        self.hand = ManualRollout(self.database, self.folder, "default", "me")
        self.versions = 0
        self.broken: set[int] = set()
        self.now = 1000.0
        self.away = False
        self.have_served: set[int] = set()

    def teardown(self) -> None:
        self.database.close()
        self.scratch.cleanup()

    @property
    def state(self):
        return self.store.read("default")

    def server(self):
        if self.away:
            return None
        held = self.state.served if self.state else ()
        return {
            version: ServedVersion(False, "broken")
            if version in self.broken
            else ServedVersion(True)
            for version in held
        }

    def seen(self, before, after) -> None:
        """Check a step, and remember the versions that have served."""
        if before and before.stable != after.stable and before.stable in after.rejected:
            # Only a broken version without a previous one is replaced by a new one.
            assert after.stable in self.have_served or before.stable in self.broken
        self.have_served.add(after.stable)

    @rule(broken=st.booleans())
    def push(self, broken) -> None:
        self.versions += 1
        push(self.folder, self.versions)
        if broken:
            self.broken.add(self.versions)

    @rule()
    def server_goes_or_comes(self) -> None:
        self.away = not self.away

    @rule(
        minutes=st.sampled_from([1, 60, 2000]),
        stages=st.sampled_from([(), ("canary",), ("shadow", "canary")]),
        asks=st.booleans(),
    )
    def watch(self, minutes, stages, asks) -> None:
        self.now += minutes * 60
        controller = RolloutController(
            self.database, self.folder, "default", Settings(stages=stages, min_requests=2),
            self.server if asks else None,
        )  # fmt: skip
        before = self.state
        controller.step(self.now)
        if self.state:
            self.seen(before, self.state)
            assert model_config_file.path(self.folder).read_text() == model_config_file.text(
                self.state, self.folder
            )

    @rule(good=st.booleans())
    def traffic(self, good) -> None:
        state = self.state
        if state is None or state.candidate is None:
            return
        status = "ok" if good else "INTERNAL"
        for _ in range(3):
            ids = call(self.database, state.stable, "stable", self.now)
            if state.stage == "shadow":
                mirror(self.database, ids, state.candidate, self.now, status=status)
            if state.stage == "canary":
                call(self.database, state.candidate, "canary", self.now, status=status)

    @rule(choice=st.integers(0, 3))
    def promote(self, choice) -> None:
        before = self.state
        try:
            version = self.hand.choose(max(1, self.versions - choice) if choice else None)
            self.hand.load(version, self.server, 0)
            event = self.hand.promote(version, "by hand")
        except UserError:
            return
        assert event.version not in self.broken
        assert self.state.stable == version != before.stable
        self.have_served.add(version)

    @rule()
    def roll_back(self) -> None:
        before = self.state
        try:
            event = self.hand.roll_back("by hand")
        except UserError:
            assert before is None or (before.candidate is None and before.previous is None)
            return
        after = self.state
        assert event.version in after.rejected
        if before.candidate is None:
            assert after.stable == before.previous
            assert after.stable in self.have_served
        else:
            assert after.stable == before.stable
        self.seen(before, after)

    @invariant()
    def it_is_sound(self) -> None:
        state = self.state
        if state is None:
            return
        assert state.stable is not None
        assert not {state.stable, state.previous, state.candidate} & set(state.rejected)
        assert state.candidate not in (state.stable, state.previous) or state.candidate is None
        assert (state.stage == FULL) == (state.candidate is None)
        assert len(self.store.events("default", 10_000)) == state.revision


TestRollout = pytest.mark.slow(RolloutMachine.TestCase)
TestRollout.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
