"""A dataset: its frame, schema and profile as one value, with bytes that depend on the content alone."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcp_forecast_engine.data.columns import ColumnRoles, resolve_columns
from mcp_forecast_engine.data.frame import Frame, TimeAxis
from mcp_forecast_engine.data.longform import long_rows, newest_rows
from mcp_forecast_engine.data.magnitude import require_carried, require_readable
from mcp_forecast_engine.data.profile import CovariateProfile, Profile, profile_frame
from mcp_forecast_engine.data.reading import Table
from mcp_forecast_engine.data.revisions import newest_of
from mcp_forecast_engine.data.schema import CovariateSchema, DatasetSchema, code_covariates, describe_rows
from mcp_forecast_engine.data.times import CONVERTED
from mcp_forecast_engine.errors import ArtifactCorrupt, DataInvalid

FORMAT = "mcp-forecast-dataset/1"


@dataclass(frozen=True)
class Dataset:
    """Series as they were read (rows after the last target included), what the columns mean, and how it looks.

    observed: when each row became known, seconds of UTC, int64 (N); then rows that share series and time are revisions,
    in the order in which they became known, and `data.labels` says which of them count. None: nothing is revised.
    The profile is that of the newest revisions.
    """

    frame: Frame
    schema: DatasetSchema
    profile: Profile
    observed: NDArray[np.int64] | None = None

    @property
    def newest(self) -> Frame:
        """The series as they stand now: of revisions the newest. For showing; training names its `label_asof`."""
        if self.observed is None:
            return self.frame
        return self.frame.only(newest_of(self.frame.ds, self.frame.offsets, self.observed))


def build_dataset(table: Table, request: ColumnRoles) -> Dataset:
    """Make a dataset of a table; raises ColumnMissing, DataInvalid, FrequencyUnclear.

    Rows are sorted by series and time, columns by name: neither order in the file matters, except that rows which
    share series and time keep their order, so that the later one can count as the correction.
    """
    layout = resolve_columns(table, request)
    rows = long_rows(table, layout, request)
    coded, left_out = code_covariates(rows, request)
    schema = describe_rows(rows, layout, request, coded, left_out)
    if np.isnan(rows.y).all():
        raise DataInvalid("the target has no value at all", field="target", next_step="name the column to forecast")
    require_carried(rows.y)
    require_readable({name: column.values for name, column in coded.items()})
    frame = Frame(
        unique_id=rows.unique_id,
        offsets=rows.offsets,
        ds=rows.ds,
        y=rows.y,
        covariates={name: column.values for name, column in coded.items()},
        roles={covariate.name: covariate.role for covariate in schema.covariates},
        categories={name: column.words for name, column in coded.items() if column.type == "categorical"},
        axis=rows.axis,
    )
    shown = frame if rows.observed is None else frame.only(newest_rows(rows)[1])
    return Dataset(frame, schema, profile_frame(shown, warnings=schema.warnings), rows.observed)


def encode(dataset: Dataset) -> bytes:
    """The dataset as an uncompressed .npz: equal content gives equal bytes, so their digest names the dataset."""
    frame = dataset.frame
    meta = {
        "format": FORMAT,
        "unique_id": frame.unique_id,
        "roles": dict(frame.roles),
        "categories": {name: list(words) for name, words in frame.categories.items()},
        "schema": _plain(dataset.schema),
        "profile": asdict(dataset.profile),
    }
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    arrays: dict[str, NDArray[Any]] = {"meta": np.frombuffer(text, np.uint8), "offsets": frame.offsets}
    arrays |= {"ds": frame.ds, "y": frame.y}
    arrays |= {} if dataset.observed is None else {"observed": dataset.observed}
    # Numbered, because a column name may hold what a member name must not.
    arrays |= {f"x{i:05d}": frame.covariates[name] for i, name in enumerate(sorted(frame.covariates))}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        for name, values in sorted(arrays.items()):
            # A fixed date and system: the host must not show in the digest.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            file.writestr(member, _npy(values))
    return packed.getvalue()


def decode(data: bytes) -> Dataset:
    """The dataset that `encode` wrote, with numpy alone; raises ArtifactCorrupt."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        if meta["format"] != FORMAT:
            raise ArtifactCorrupt(
                f"dataset format {meta['format']!r} is not known", allowed=FORMAT,
                next_step="upgrade mcp-forecast, or register the data again with this version",
            )  # fmt: skip
        schema, profile = _schema(meta["schema"]), _profile(meta["profile"])
        frame = Frame(
            unique_id=tuple(meta["unique_id"]),
            offsets=arrays["offsets"],
            ds=arrays["ds"],
            y=arrays["y"],
            covariates={name: arrays[f"x{i:05d}"] for i, name in enumerate(sorted(meta["roles"]))},
            roles=meta["roles"],
            categories={name: tuple(words) for name, words in meta["categories"].items()},
            axis=schema.axis,
        )
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as refusal:
        raise ArtifactCorrupt(f"the bytes are no dataset: {refusal}") from refusal
    return Dataset(frame, schema, profile, arrays.get("observed"))


def _npy(values: NDArray[Any]) -> bytes:
    member = io.BytesIO()
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
    return member.getvalue()


def _plain(schema: DatasetSchema) -> dict[str, Any]:
    """The schema as JSON values; without what is not known, as it was before that was kept, so that no digest moves."""
    plain = asdict(schema)
    later = ("zone", "time_format", "observed")
    return {name: value for name, value in plain.items() if value is not None or name not in later}


def _schema(plain: dict[str, Any]) -> DatasetSchema:
    covariates = (CovariateSchema(**{**c, "categories": tuple(c["categories"])}) for c in plain["covariates"])
    return DatasetSchema(
        time=plain["time"],
        target=plain["target"],
        series=tuple(plain["series"]),
        wide=tuple(plain["wide"]),
        axis=TimeAxis(**plain["axis"]),
        covariates=tuple(covariates),
        warnings=tuple(plain["warnings"]),
        zone=plain.get("zone") or _told_zone(plain["warnings"]),
        time_format=plain.get("time_format"),
        observed=plain.get("observed"),
    )


def _told_zone(warnings: list[str]) -> str | None:
    """The zone of a dataset that was stored before the schema kept it: its note on reading says it."""
    told = (warning.partition(CONVERTED)[2] for warning in warnings if CONVERTED in warning)
    return next(told, None)


def _profile(plain: dict[str, Any]) -> Profile:
    covariates = tuple(CovariateProfile(**covariate) for covariate in plain["covariates"])
    return Profile(**{**plain, "covariates": covariates, "warnings": tuple(plain["warnings"])})
