"""Steps that a person takes. Imports little, so that a rollback is quick."""

import contextlib
import os
import time
from collections.abc import Callable

from modules.contract.errors import UserError
from modules.contract.pushed_model import complete_versions
from serving.records.database import Database
from serving.records.tables import RolloutEventRow
from serving.rollout import model_config_file, transitions
from serving.rollout.server_status import ServerStatus
from serving.rollout.state import Change, ConflictError, RolloutState, RolloutStore
from serving.rollout.transitions import NotPossibleError

#: Tries where the watcher changes the rollout at the same time.
_TRIES = 10
_POLL_SECONDS = 0.2


class ManualRollout:
    """Promotes and rolls back by hand.

    Args:
        database: where the state is.
        push_directory: folder of the pushed versions, absolute.
        model: its name at the model server.
        by: who acts, for the events.

    Raises:
        UserError: the push directory is not on a file system.
    """

    def __init__(
        self, database: Database, push_directory: str | os.PathLike[str], model: str, by: str
    ) -> None:
        self._store = RolloutStore(database)
        self._push_directory = os.fspath(push_directory)
        model_config_file.check_directory(self._push_directory)
        self._model = model
        self._by = by

    def adopt(self) -> RolloutState:
        """Let the newest pushed version serve where none does yet, and write the server's file.

        Raises:
            UserError: nothing is pushed.
        """
        if self._store.read(self._model) is None:
            pushed = list(complete_versions(self._push_directory))
            if not pushed:
                raise UserError(
                    f"no model is pushed to {self._push_directory}; `bert run` trains and pushes "
                    "one"
                )
            reason = "the newest pushed version is the first that serves"
            change = transitions.adopt(self._model, pushed[-1], time.time(), reason)
            with contextlib.suppress(ConflictError):  # the watcher has adopted one just now
                self._store.change(change, now=time.time(), by=self._by)
        state = self._synchronise()
        assert state is not None
        return state

    def read(self) -> RolloutState:
        """Where the rollout stands.

        Raises:
            UserError: nothing was adopted yet.
        """
        state = self._store.read(self._model)
        if state is None:
            raise UserError(
                f"no version of model {self._model!r} has been adopted; `bert serve` or "
                "`bert watch --once` with rollout.enabled=true adopts the newest"
            )
        return state

    def roll_back(self, reason: str) -> RolloutEventRow:
        """Reject the candidate; without one, return to the version that served before.

        Raises:
            UserError: there is neither.
        """
        return self._change(lambda state: transitions.roll_back(state, time.time(), reason))

    def choose(self, version: int | None) -> int:
        """The version to promote.

        Args:
            version: a pushed one; None is the candidate.

        Raises:
            UserError: it is not pushed, serves already, or there is no candidate.
        """
        state = self.read()
        pushed = complete_versions(self._push_directory)
        legal = ", ".join(map(str, pushed)) or "none"
        if version is None:
            if state.candidate is None:
                raise UserError(
                    f"no version is on trial; version {state.stable} serves, pushed are {legal}: "
                    "`bert promote VERSION` takes any of them"
                )
            return state.candidate
        if version not in pushed:
            raise UserError(
                f"no version {version} under {self._push_directory}; pushed are {legal}"
            )
        if version == state.stable:
            raise UserError(f"version {version} is the stable version already")
        return version

    def load(self, version: int, server_status: ServerStatus, timeout_seconds: float) -> None:
        """Have the model server load a version, without traffic, and wait for it.

        Args:
            version: from ``choose``.
            server_status: asks the server.
            timeout_seconds: for the server to load it.

        Raises:
            UserError: the server is away, does not load it in time, or cannot.
        """
        served = server_status()
        if served is None:
            raise UserError(
                f"the model server does not answer, so whether version {version} loads is not "
                "known; start it, set gateway.server_url, or add --force"
            )
        if version not in self.read().served:
            reason = "it is to be promoted by hand"
            self._change(
                lambda state: transitions.start(state, version, time.time(), reason, again=True)
            )
        end = time.monotonic() + timeout_seconds
        while True:
            at_server = served.get(version) if served is not None else None
            if at_server is not None and at_server.available:
                return
            if at_server is not None and at_server.error:
                self._give_up(version, at_server.error)
            if time.monotonic() > end:
                raise UserError(
                    f"the model server has not loaded version {version} within "
                    f"{timeout_seconds:g} s; look at its log, or wait longer with --wait SECONDS"
                )
            time.sleep(_POLL_SECONDS)
            served = server_status()

    def promote(self, version: int, reason: str) -> RolloutEventRow:
        """Give a version all traffic now.

        Where it is older than the stable version, everything newer is never tried again by
        itself: it would come back at once.

        Raises:
            UserError: it is the stable version.
        """

        def step(state: RolloutState) -> Change:
            newer = [each for each in complete_versions(self._push_directory) if each > version]
            goes_back = state.stable is not None and version < state.stable
            unwanted = {*newer, state.stable} if goes_back else set()
            return transitions.promote(
                state, version, time.time(), reason, unwanted={each for each in unwanted if each}
            )

        return self._change(step)

    def _give_up(self, version: int, error: str) -> None:
        """A candidate that cannot be loaded is rejected, unless somebody was faster."""
        if self.read().candidate == version:
            self.roll_back(f"the model server cannot load it: {error}")
        raise UserError(
            f"the model server cannot load version {version}: {error}; the stable version "
            f"{self.read().stable} goes on"
        )

    def _change(self, step: Callable[[RolloutState], Change]) -> RolloutEventRow:
        for _ in range(_TRIES):
            try:
                change = step(self.read())
                event = self._store.change(change, now=time.time(), by=self._by)
            except NotPossibleError as error:
                raise UserError(f"{error}; `bert rollout status` tells more") from error
            except ConflictError:
                continue
            self._synchronise()
            return event
        raise UserError("the rollout changes all the time; stop `bert watch` and try again")

    def _synchronise(self) -> RolloutState | None:
        return model_config_file.synchronise(self._store, self._model, self._push_directory)
