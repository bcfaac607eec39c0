"""Evaluation of a pushed version, found by the model that was pushed."""

import logging
from typing import Any

from modules.contract.errors import UserError
from pipeline.config import Config
from runners.lineage.deployed_run import read_source
from runners.lineage.evaluation import read_evaluation
from runners.lineage.runs import read_runs

_log = logging.getLogger(__name__)


class VersionEvaluations:
    """Evaluations of pushed versions, read from the metadata and cached.

    Args:
        config: gives the pipeline, its metadata and the push directory.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._found: dict[int, dict[str, Any]] = {}

    def read(self, version: int) -> dict[str, Any]:
        """Return a version's figures on the test split; empty if they are not recorded here.

        Args:
            version: version number.
        """
        if version not in self._found:
            try:
                figures = self._search(version)
            except Exception as error:  # the page works without figures
                _log.warning(
                    "cannot read the evaluation of version %d: %s", version, type(error).__name__
                )
                return {}
            if not figures:
                return {}
            self._found[version] = figures
        return self._found[version]

    def _search(self, version: int) -> dict[str, Any]:
        try:
            source = read_source(self._config, version)
            runs = read_runs(self._config, with_outputs=["Evaluator"])
        except UserError:  # the version is not here, or nothing has run here
            return {}
        for run in runs:
            record = read_evaluation(run)
            if (
                record is None
                or (record.decision.get("candidate_model") or {}).get("uri") != source
            ):
                continue
            metrics = {row.metric: row.candidate for row in record.overall()}
            return {
                "metric": record.metric,
                "examples": record.decision.get("examples"),
                "interval": record.decision.get("candidate_interval"),
                "metrics": {name: value for name, value in metrics.items() if value is not None},
                "sentences": record.sentences,
                "run_id": run.run_id,
            }
        return {}
