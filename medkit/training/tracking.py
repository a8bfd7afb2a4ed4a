"""MLflow tracking that is safe to start from several processes and to take up again after a kill."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.loggers import MLFlowLogger

from medkit.data.writing import write_text

__all__ = ["TrackingLogger", "absolute_uri", "default_tracking_uri", "register_bundle"]

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_RUN_ID_FILE = "mlflow_run_id.txt"


def default_tracking_uri(runs: str | Path = "runs") -> str:
    """The store that ``MLFLOW_TRACKING_URI`` names, or an SQLite file under ``runs``; files by absolute path."""
    return absolute_uri(os.environ.get(URI_VARIABLE) or f"{_SQLITE}{Path(runs) / 'mlflow.db'}")


def absolute_uri(uri: str) -> str:
    """The same store from whatever folder."""
    return f"{_SQLITE}{_database(uri)}" if uri.startswith(_SQLITE) else uri


def _database(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE)).absolute()


def _store_lock(uri: str) -> AbstractContextManager[Any]:
    """Keep other processes out of an SQLite store; a server looks after itself.

    Two processes that create the database at once leave it half-migrated for ever.
    """
    if not uri.startswith(_SQLITE):
        return nullcontext()
    database = _database(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{database}.lock")


def _artifacts(uri: str) -> str | None:
    """Beside an SQLite store (MLflow would put them in the current folder); a server places its own."""
    return (_database(uri).parent / "mlartifacts").as_uri() if uri.startswith(_SQLITE) else None


class TrackingLogger(MLFlowLogger):
    """Lightning's MLflow logger with a store made safely and a run that outlives the process.

    Args:
        experiment_name: created when it does not exist, under the store's lock.
        run_name: shown in the UI.
        run_dir: folder of the training run; the MLflow run id is kept there and taken up on resuming.
        tracking_uri: SQLite file or server; by default :func:`default_tracking_uri`.
    """

    def __init__(
        self,
        experiment_name: str,
        run_name: str,
        run_dir: str | Path,
        tracking_uri: str | None = None,
    ) -> None:
        uri = absolute_uri(tracking_uri) if tracking_uri else default_tracking_uri()
        self.tracking_uri, self._run_file = uri, Path(run_dir) / _RUN_ID_FILE
        run_id = self._run_file.read_text().strip() if self._run_file.is_file() else None
        with _store_lock(uri):
            super().__init__(
                experiment_name=experiment_name,
                run_name=run_name,
                tracking_uri=uri,
                artifact_location=_artifacts(uri),
                run_id=run_id,
            )
            self._ensure_experiment(experiment_name)
            write_text(self._run_file, f"{self.run_id}\n")

    def _ensure_experiment(self, name: str) -> None:
        """Create the experiment, or find that another process just did."""
        from mlflow.exceptions import MlflowException

        if self._mlflow_client.get_experiment_by_name(name) is None:
            try:
                self._mlflow_client.create_experiment(name, artifact_location=_artifacts(self.tracking_uri))
            except MlflowException:
                if self._mlflow_client.get_experiment_by_name(name) is None:
                    raise


def register_bundle(logger: TrackingLogger, name: str, folder: Path) -> str:
    """Log a bundle's folder as an artifact of the run and as a new version of the model ``name``.

    Returns:
        The version's number.
    """
    from mlflow.exceptions import MlflowException

    client, run_id = logger.experiment, logger.run_id
    client.log_artifacts(run_id, str(folder), "bundle")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
    return str(client.create_model_version(name, source=source, run_id=run_id).version)
