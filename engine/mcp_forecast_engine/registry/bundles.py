"""Bundles on record: published once, never changed; found by id and version, listed newest first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, Table, bindparam, insert, select

from mcp_forecast_engine.errors import DataInvalid, NotFound
from mcp_forecast_engine.store.identity import canonical_bytes
from mcp_forecast_engine.store.tables import BundleRow, table_of

BUNDLE: Final[Table] = table_of(BundleRow)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VERSION: Final = re.compile(r"[a-z0-9.-]{1,40}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_INSERT: Final = insert(BUNDLE).returning(*BUNDLE.c)
_FIND: Final = select(BUNDLE).where(
    BUNDLE.c.bundle_id == bindparam("the_bundle"), BUNDLE.c.version == bindparam("the_version")
)
_VERSIONS: Final = select(BUNDLE).where(BUNDLE.c.bundle_id == bindparam("the_bundle")).order_by(BUNDLE.c.seq)
_OF_RUN: Final = select(BUNDLE).where(BUNDLE.c.run_id == bindparam("the_run")).order_by(BUNDLE.c.seq)


class BundleRef(NamedTuple):
    """A bundle's name: one version of one id. There is no latest one."""

    bundle_id: str
    version: str

    def __str__(self) -> str:
        """`id@version`, as people read it."""
        return f"{self.bundle_id}@{self.version}"


@dataclass(frozen=True)
class Bundle:
    """What a bundle is on record. manifest, gate_receipt: digests of artifacts; gate_decision: PASS or another.

    compatibility: what it can do, JSON values: target, freq, horizon (steps), levels, input_contract_version, …
    """

    bundle_id: str
    version: str
    kind: str
    run_id: str
    manifest: str
    compatibility: Mapping[str, Any]
    gate_decision: str
    gate_receipt: str

    @property
    def ref(self) -> BundleRef:
        """Its name."""
        return BundleRef(self.bundle_id, self.version)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What needs and promotions are compared with."""
        return {"kind": self.kind, **self.compatibility}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def find(connection: Connection, ref: BundleRef) -> Bundle | None:
    """The published bundle of this name, or None."""
    row = connection.execute(_FIND, {"the_bundle": ref.bundle_id, "the_version": ref.version}).mappings().one_or_none()
    return None if row is None else read_bundle(row)


def get(connection: Connection, ref: BundleRef) -> Bundle:
    """The published bundle of this name. Raises NotFound, which names the versions there are."""
    return find(connection, ref) or named(connection, *ref)


def named(connection: Connection, bundle_id: str, version: str | None = None) -> Bundle:
    """The bundle of this id, and version where it has several. Raises NotFound, also where none of several is named."""
    rows = connection.execute(_VERSIONS, {"the_bundle": bundle_id}).mappings()
    versions = {str(row["version"]): read_bundle(row) for row in rows}
    wanted = next(iter(versions), None) if version is None and len(versions) == 1 else version
    if wanted in versions:
        return versions[wanted]
    if not versions:
        raise NotFound(
            f"no bundle {bundle_id} is published here", field="bundle_id",
            next_step="list_bundles shows what is published; publish_bundle publishes a run that passed its gate",
        )  # fmt: skip
    what = "several versions, and none was named" if version is None else f"no version {version}"
    raise NotFound(
        f"bundle {bundle_id} has {what}",
        field="version",
        allowed=list(versions),
        next_step="name one of these versions",
    )


def of_run(connection: Connection, run_id: str) -> list[Bundle]:
    """The published bundles of a run."""
    return [read_bundle(row) for row in connection.execute(_OF_RUN, {"the_run": run_id}).mappings()]


def read_ref(connection: Connection, text: str) -> BundleRef:
    """The name of a published bundle from "id" or "id@version". Raises NotFound."""
    bundle_id, _, version = text.partition("@")
    return named(connection, bundle_id, version or None).ref


def enter(connection: Connection, bundle: Bundle, *, seq: int, at: float) -> None:
    """Enter a new bundle; seq: the event that publishes it; at: seconds since 1970, UTC."""
    plain = {**bundle.to_dict(), "compatibility": canonical_bytes(bundle.compatibility).decode()}
    connection.execute(_INSERT, {**plain, "seq": seq, "published_at": at})


def require_whole(bundle: Bundle) -> None:
    """Refuse a record that says too little to be judged by. Raises DataInvalid."""
    for name, (shape, allowed) in _TEXTS.items():
        if not shape.fullmatch(getattr(bundle, name)):
            raise _invalid(name, getattr(bundle, name), allowed)
    for name, (kinds, allowed) in _CAPABILITIES.items():
        found = bundle.compatibility.get(name)
        if not isinstance(found, kinds) or isinstance(found, bool) or not found:
            raise _invalid(f"compatibility.{name}", found, allowed)


def read_bundle(row: RowMapping | Mapping[str, Any]) -> Bundle:
    """A bundle from a row that has the columns of `bundle`."""
    values = {name: row[name] for name in _fields()}
    return Bundle(**{**values, "compatibility": json.loads(values["compatibility"])})


@cache
def _fields() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Bundle))


_TEXTS: Final = {
    "bundle_id": (_ID, "1 to 64 letters, digits, _ and -"),
    "version": (_VERSION, "1 to 40 of a-z, 0-9, . and -"),
    "manifest": (_DIGEST, "a digest, sha256:…"),
    "gate_receipt": (_DIGEST, "a digest, sha256:…"),
}
_CAPABILITIES: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    "target": (str, "the target's name"),
    "freq": (str, "the step, e.g. D or h"),
    "horizon": (int, "steps ahead, 1 or more"),
    "levels": ((list, tuple), "quantile levels, one or more"),
    "input_contract_version": (str, "the version of its inputs"),
}


def _invalid(field: str, found: object, allowed: str) -> DataInvalid:
    return DataInvalid(
        f"a bundle's {field} is {found!r}", field=field, allowed=allowed,
        next_step="package the run again; publish_bundle makes this record from the bundle's manifest",
        reason="BUNDLE_PUBLICATION_INVALID",
    )  # fmt: skip
