"""Manual promotion and rollback. Imports little, so that a rollback is fast."""

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

#: Attempts while the watcher changes the rollout at the same time.
_TRIES = 10
_POLL_SECONDS = 0.2


class ManualRollout:
    """Promotes and rolls back on request.

    Args:
        database: holds the state.
        push_directory: absolute path of the pushed versions.
        model: the model's name on the model server.
        by: actor to record in events.

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
        """Adopt the newest pushed version if none serves yet, and write the server's file.

        Raises:
            UserError: no version is pushed.
        """
        if self._store.read(self._model) is None:
            pushed = list(complete_versions(self._push_directory))
            if not pushed:
                raise UserError(
                    f"no model is pushed to {self._push_directory}; `bert run` trains and pushes "
                    "one"
                )
            reason = "no version serves yet, and this is the newest pushed version"
            change = transitions.adopt(self._model, pushed[-1], time.time(), reason)
            with contextlib.suppress(ConflictError):  # the watcher has adopted one just now
                self._store.change(change, now=time.time(), by=self._by)
        state = self._synchronise()
        assert state is not None
        return state

    def read(self) -> RolloutState:
        """Return the state of the rollout.

        Raises:
            UserError: no version was adopted yet.
        """
        state = self._store.read(self._model)
        if state is None:
            raise UserError(
                f"no version of model {self._model!r} has been adopted; `bert serve` or "
                "`bert watch --once` with rollout.enabled=true adopts the newest"
            )
        return state

    def roll_back(self, reason: str) -> RolloutEventRow:
        """Reject the candidate; without one, return to the previous version.

        Raises:
            UserError: there is neither.
        """
        return self._change(lambda state: transitions.roll_back(state, time.time(), reason))

    def choose(self, version: int | None) -> int:
        """Return the version to promote.

        Args:
            version: a pushed version; None is the candidate.

        Raises:
            UserError: the version is not pushed or is the stable one, or there is no candidate.
        """
        state = self.read()
        pushed = complete_versions(self._push_directory)
        legal = ", ".join(map(str, pushed)) or "none"
        if version is None:
            if state.candidate is None:
                raise UserError(
                    f"there is no candidate; the stable version is {state.stable}, pushed are "
                    f"{legal}; name one of them: `bert promote VERSION`"
                )
            return state.candidate
        if version not in pushed:
            raise UserError(
                f"version {version} is not in {self._push_directory}; pushed are {legal}"
            )
        if version == state.stable:
            raise UserError(f"version {version} is already the stable version")
        return version

    def load(self, version: int, server_status: ServerStatus, timeout_seconds: float) -> None:
        """Make the model server load a version, without traffic, and wait for it.

        Args:
            version: from ``choose``.
            server_status: queries the server.
            timeout_seconds: how long to wait.

        Raises:
            UserError: the server is unavailable, too slow, or cannot load the version.
        """
        served = server_status()
        if served is None:
            raise UserError(
                f"the model server does not answer, so it is unknown whether version {version} "
                "loads; start it, set gateway.server_url, or add --force"
            )
        if version not in self.read().served:
            reason = "a manual promotion was requested"
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
                    f"the model server did not load version {version} within "
                    f"{timeout_seconds:g} s; check its log, or wait longer with --wait SECONDS"
                )
            time.sleep(_POLL_SECONDS)
            served = server_status()

    def promote(self, version: int, reason: str) -> RolloutEventRow:
        """Give a version all traffic now.

        If it is older than the stable version, all newer versions are rejected, because the
        rollout would otherwise start them again at once.

        Raises:
            UserError: it is the stable version.
        """

        def step(state: RolloutState) -> Change:
            unwanted: set[int] = set()
            if state.stable is not None and version < state.stable:
                pushed = complete_versions(self._push_directory)
                unwanted = {state.stable, *(each for each in pushed if each > version)}
            return transitions.promote(state, version, time.time(), reason, unwanted=unwanted)

        return self._change(step)

    def _give_up(self, version: int, error: str) -> None:
        """Reject a candidate that cannot be loaded, unless the watcher was faster.

        Raises:
            UserError: always.
        """
        if self.read().candidate == version:
            self.roll_back(f"the model server cannot load it: {error}")
        raise UserError(
            f"the model server cannot load version {version}: {error}; the stable version "
            f"{self.read().stable} keeps serving"
        )

    def _change(self, step: Callable[[RolloutState], Change]) -> RolloutEventRow:
        for _ in range(_TRIES):
            try:
                change = step(self.read())
                event = self._store.change(change, now=time.time(), by=self._by)
            except NotPossibleError as error:
                raise UserError(f"{error}; see `bert rollout status`") from error
            except ConflictError:
                continue
            self._synchronise()
            return event
        raise UserError("the rollout keeps changing; stop `bert watch` and try again")

    def _synchronise(self) -> RolloutState | None:
        return model_config_file.synchronise(self._store, self._model, self._push_directory)
