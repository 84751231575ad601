"""The datasets of a home and what preprocessing made of them; numeric code is imported when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from mcp_forecast_engine.store import datasets, preprocessing

if TYPE_CHECKING:
    from mcp_forecast_engine.data.registration import DatasetRequest, PreparedDataset
    from mcp_forecast_engine.data.steps import Step
    from mcp_forecast_engine.factory.preprocessing import PreparedPreprocessing
    from mcp_forecast_engine.store.artifacts import ArtifactStore
    from mcp_forecast_engine.store.database import Database


class Datasets:
    """Datasets of one home, prepared outside a transaction and recorded inside one."""

    def __init__(self, database: Database, artifacts: ArtifactStore) -> None:
        self._database, self._artifacts = database, artifacts

    def prepare_file(self, data: bytes, path: str, request: DatasetRequest) -> PreparedDataset:
        """Read a file's bytes into a stored dataset that no row names yet. Raises DataInvalid and its kinds."""
        from mcp_forecast_engine.data.registration import from_file

        return from_file(data, path, request, self._artifacts)

    def prepare_rows(self, rows: list[dict[str, Any]], request: DatasetRequest) -> PreparedDataset:
        """The same for inline rows."""
        from mcp_forecast_engine.data.registration import from_rows

        return from_rows(rows, request, self._artifacts)

    def record(self, connection: Connection, prepared: PreparedDataset, *, now: float) -> bool:
        """Give a prepared dataset its row; False when it was registered before."""
        return datasets.record(connection, prepared.dataset_id, prepared.digest, prepared.summary, now=now)

    def summary(self, connection: Connection, dataset_id: str) -> dict[str, Any]:
        """What was found in a dataset. Raises NotFound."""
        return datasets.summary(connection, dataset_id)

    def series_page(self, summary: dict[str, Any], *, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Series `after` … `after + limit` of a dataset and how many there are. Raises ArtifactCorrupt."""
        from mcp_forecast_engine.data.dataset import decode
        from mcp_forecast_engine.data.listing import series_lines

        frame = decode(self._artifacts.get(summary["digest"])).newest
        return series_lines(frame, first=after, count=limit), len(frame.unique_id)

    def require_future(self, dataset_id: str, rows: list[dict[str, Any]], horizon: int) -> None:
        """Future rows fit a dataset, told before a model is trained on it. Raises NotFound, DataInvalid,
        CovariatesMismatch, ArtifactCorrupt."""
        from mcp_forecast_engine.data.dataset import decode
        from mcp_forecast_engine.data.future import require_future
        from mcp_forecast_engine.data.preprocessing import to_panel

        with self._database.read() as connection:
            summary = datasets.summary(connection, dataset_id)
        dataset = decode(self._artifacts.get(summary["digest"]))
        require_future(to_panel(dataset.frame)[0], dataset.schema, rows, horizon)

    def prepare_preprocessing(
        self, dataset_id: str, *, steps: list[dict[str, Any]] | None, by_id: str | None, season_length: int | None
    ) -> PreparedPreprocessing:
        """Apply steps (the default ones if neither they nor an id is given) to a dataset and store the report.

        Raises NotFound, DataInvalid, ArtifactCorrupt.
        """
        from mcp_forecast_engine.data.steps import steps_from_dicts
        from mcp_forecast_engine.factory.preprocessing import prepare_preprocessing

        given = () if steps is None else steps_from_dicts(steps)
        summary, named, _ = self.with_steps(dataset_id, by_id)
        return prepare_preprocessing(summary, given or named, season_length, self._artifacts)

    def with_steps(self, dataset_id: str, by_id: str | None) -> tuple[dict[str, Any], tuple[Step, ...], list[int]]:
        """What was found in a dataset, steps by their id (None: the default ones), and the seasons that there are
        reports of these steps on it with. Raises NotFound."""
        from mcp_forecast_engine.data.steps import DEFAULT_STEPS, steps_from_dicts

        with self._database.read() as connection:
            summary = datasets.summary(connection, dataset_id)
            if by_id is None:
                return summary, DEFAULT_STEPS, []
            named = steps_from_dicts(preprocessing.steps(connection, by_id))
            return summary, named, preprocessing.seasons(connection, dataset_id=dataset_id, preprocessing_id=by_id)

    def record_preprocessing(self, connection: Connection, prepared: PreparedPreprocessing, *, now: float) -> bool:
        """Give the steps their name and enter the report; False when they had the name before."""
        preprocessing.record_report(
            connection, dataset_id=prepared.dataset_id, preprocessing_id=prepared.preprocessing_id,
            season_length=prepared.shape.season_length, artifact=prepared.artifact, now=now,
        )  # fmt: skip
        return preprocessing.record(connection, prepared.preprocessing_id, prepared.steps, now=now)
