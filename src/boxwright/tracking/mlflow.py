"""MLflow: figures, settings and small files, in a database or at a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import MLFlowLogger

from boxwright.host.files import write_text

from .loggers import Tracker
from .media import BestModel, Gallery

__all__ = ["RUN_ID_FILE", "MlflowTracker", "resolve_mlflow_uri"]

RUN_ID_FILE = "mlflow_run_id"

_SQLITE = "sqlite:///"
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # MLflow's own seven with a timeout of 120 s hold training up for minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # s
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What MLflow reads from the environment only; values that are set already are left."""


def resolve_mlflow_uri(uri: str) -> str:
    """A tracking URI that means the same from any folder: the path of a SQLite file is made absolute."""
    if not uri.startswith(_SQLITE):
        return uri
    return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())


class MlflowTracker(Tracker):
    """A run whose id is kept in the run folder, so that resuming continues it.

    Args:
        run: the run folder.
        name: shown in MLflow.
        experiment: the run is filed under; made if it does not exist.
        uri: tracking URI.
        settings: logged as parameters.
    """

    logger: MLFlowLogger

    def __init__(self, run: Path, name: str, experiment: str, uri: str, settings: Mapping[str, Any]) -> None:
        self._ours = _ENVIRONMENT.keys() - os.environ.keys()
        for variable in self._ours:
            os.environ[variable] = _ENVIRONMENT[variable]
        kept = run / RUN_ID_FILE
        run_id = kept.read_text(encoding="utf-8").strip() if kept.is_file() else None
        self._uri = uri
        self.logger = MLFlowLogger(experiment, name, uri, run_id=run_id, synchronous=True)
        self._id = str(self.logger.run_id)
        if run_id:
            self.logger.experiment.update_run(self._id, status="RUNNING")
            return
        write_text(kept, self._id + "\n")
        self.logger.log_hyperparams(dict(settings))

    def show_pictures(self, gallery: Gallery) -> None:
        """MLflow shows no boxes on pictures."""

    def show_best(self, best: BestModel, step: int) -> None:
        """Keep the small files, if MLflow stores files in a place that this machine can write to."""
        place = self.logger.experiment.get_run(self._id).info.artifact_uri
        if not _takes_files(self._uri, str(place)):
            return
        for path in best.files:
            self.logger.experiment.log_artifact(self._id, str(path))

    def finish(self, status: str) -> None:
        """Mark the run as ended."""
        self.logger.finalize(status)
        self.abandon()

    def abandon(self) -> None:
        """Nothing is left open; the environment is as it was."""
        for variable in self._ours:
            os.environ.pop(variable, None)


def _takes_files(uri: str, place: str) -> bool:
    """Whether files go through the server, or to a disk of this machine.

    A path on the server's own disk means nothing here, and other stores need a client of their own.
    """
    served = urlsplit(uri).scheme in ("http", "https")
    return urlsplit(place).scheme in (("mlflow-artifacts", "http", "https") if served else ("", "file"))
