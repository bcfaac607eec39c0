"""Runs rollouts: adopts, starts, judges, advances, promotes, rolls back."""

import os
from collections.abc import Mapping

from modules.contract.pushed_model import complete_versions
from serving.records.database import Database
from serving.records.tables import RolloutEventRow
from serving.rollout import model_config_file, rules, transitions
from serving.rollout.figures import StageFigures, read_figures
from serving.rollout.rules import RolloutSettings
from serving.rollout.server_status import ServedVersion, ServerStatus
from serving.rollout.state import LOADING, Change, ConflictError, RolloutState, RolloutStore

#: Maximum changes in one step: start, loaded, promoted, and some to spare.
_MOST_CHANGES = 6


class RolloutController:
    """Runs the rollout of one model. Several controllers may run at the same time.

    Args:
        database: holds the state, predictions and feedback.
        push_directory: absolute path of the pushed versions.
        model: the model's name on the model server.
        settings: the ``[rollout]`` section of the config.
        server_status: queries the versions on the model server. With it, a candidate gets no
            traffic before the server has loaded it, and one that cannot be loaded is rolled back;
            without it, candidates are assumed to load.
        by: actor to record in events.

    Raises:
        UserError: the push directory is not on a file system.
    """

    def __init__(
        self,
        database: Database,
        push_directory: str | os.PathLike[str],
        model: str,
        settings: RolloutSettings,
        server_status: ServerStatus | None = None,
        by: str = "watch",
    ) -> None:
        self._database = database
        self._store = RolloutStore(database)
        self._push_directory = os.fspath(push_directory)
        model_config_file.check_directory(self._push_directory)
        self._model = model
        self._settings = settings
        self._server_status = server_status
        self._by = by

    def step(self, now: float) -> list[RolloutEventRow]:
        """Make the changes that are due, and update the model server's file.

        Args:
            now: seconds since 1970.

        Returns:
            Events of the changes, in order; also empty when another controller was faster.

        Raises:
            SQLAlchemyError: the database failed or is unavailable.
            OSError: the file cannot be written.
        """
        served = self._server_status() if self._server_status else None
        events: list[RolloutEventRow] = []
        try:
            while len(events) < _MOST_CHANGES:
                change = self._next_change(self._store.read(self._model), served, now)
                if change is None:
                    break
                events.append(self._store.change(change, now=now, by=self._by))
        except ConflictError:
            pass  # the faster controller continues
        finally:
            model_config_file.synchronise(self._store, self._model, self._push_directory)
        return events

    def read_figures(self, state: RolloutState) -> StageFigures:
        """Return the figures of the stage so far; all zero without a candidate.

        Raises:
            SQLAlchemyError: the database failed or is unavailable.
        """
        if state.candidate is None or state.stage == LOADING:
            return StageFigures()
        return read_figures(self._database, state, self._store.trial_started(state))

    def _next_change(
        self, state: RolloutState | None, served: Mapping[int, ServedVersion] | None, now: float
    ) -> Change | None:
        pushed = list(complete_versions(self._push_directory))
        if state is None or state.stable is None:
            if not pushed:
                return None
            reason = "no version serves yet, and this is the newest pushed version"
            return transitions.adopt(self._model, pushed[-1], now, reason)
        return (
            _leave_failed_stable(state, served or {}, pushed, now)
            or _start_newest(state, pushed, now)
            or self._judge_candidate(state, served, pushed, now)
        )

    def _judge_candidate(
        self,
        state: RolloutState,
        served: Mapping[int, ServedVersion] | None,
        pushed: list[int],
        now: float,
    ) -> Change | None:
        if state.candidate is None:
            return None
        at_server = (served or {}).get(state.candidate)
        if at_server is not None and at_server.error:
            reason = f"the model server cannot load it: {at_server.error}"
            return transitions.roll_back(state, now, reason)
        if state.candidate not in pushed:
            return transitions.roll_back(state, now, "its folder does not exist any more")
        if state.stage == LOADING:
            return self._leave_loading(state, at_server, now)
        verdict = rules.judge(state, self.read_figures(state), self._settings, now)
        if verdict.action == "rollback":
            return transitions.roll_back(state, now, verdict.reason, verdict.details)
        if verdict.action == "promote":
            return transitions.promote(state, state.candidate, now, verdict.reason, verdict.details)
        if verdict.next_stage is not None:
            return transitions.advance(
                state, verdict.next_stage, now, verdict.reason, verdict.details
            )
        return None

    def _leave_loading(
        self, state: RolloutState, at_server: ServedVersion | None, now: float
    ) -> Change | None:
        """Return the change after loading; None while the server has not loaded the candidate."""
        assert state.candidate is not None
        if self._server_status is None:
            reason = "loading is not checked, because no model server is queried"
        elif at_server is None or not at_server.available:
            return None
        else:
            reason = "the model server has loaded it"
        following = rules.next_stage(LOADING, self._settings.stages)
        if following is None:
            return transitions.promote(
                state, state.candidate, now, f"{reason}; rollout.stages is empty"
            )
        return transitions.advance(state, following, now, reason)


def _leave_failed_stable(
    state: RolloutState, served: Mapping[int, ServedVersion], pushed: list[int], now: float
) -> Change | None:
    """Switch to another version when the server cannot load the stable one."""
    assert state.stable is not None
    at_server = served.get(state.stable)
    if at_server is None or not at_server.error:
        return None
    reason = f"the model server cannot load it: {at_server.error}"
    if state.previous is not None:
        before = served.get(state.previous)
        if before is None or not before.available:
            return None  # the previous version cannot answer either
        return transitions.roll_back_stable(state, now, reason)
    others = [
        version
        for version in pushed
        if version not in (state.stable, state.candidate, *state.rejected)
    ]
    if not others:
        return None
    reason = f"the model server cannot load version {state.stable}: {at_server.error}"
    return transitions.replace_failed(state, others[-1], now, reason)


def _start_newest(state: RolloutState, pushed: list[int], now: float) -> Change | None:
    """Start the newest pushed version if it is newer than the stable version and the candidate."""
    assert state.stable is not None
    newest = max(
        (version for version in pushed if version not in state.rejected), default=state.stable
    )
    if newest <= max(state.stable, state.candidate or 0):
        return None
    reason = f"it was pushed and is newer than the stable version {state.stable}"
    if state.candidate is not None:
        reason += f"; it supersedes the candidate {state.candidate}"
    return transitions.start(state, newest, now, reason)
