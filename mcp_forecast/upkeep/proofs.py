"""What a home loses for good when its schema goes back behind a revision that named and sealed it, or registered."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, func, inspect, select

from mcp_forecast.home.schema import NAMED_SINCE, REGISTRY_SINCE
from mcp_forecast.home.sealing import home_id_of
from mcp_forecast.home.tables import HomeRow
from mcp_forecast_audit import log as audit_log
from mcp_forecast_audit.tables import CheckpointRow, NodeRow, SigningKeyRow
from mcp_forecast_engine.store.address import Address, is_postgres
from mcp_forecast_engine.store.database import open_database
from mcp_forecast_engine.store.tables import BundleRow, PreprocessingRow, RegistryEventRow

_HOME = HomeRow.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Proofs:
    """The home's name, and how much it has: entries, checkpoints, hashes of the tree, keys, preprocessings, bundles."""

    home_id: str
    entries: int
    checkpoints: int
    hashes: int
    keys: int
    preprocessings: int
    bundles: int
    registry_events: int

    def told(self, to: str) -> str:
        """What going back to a revision destroys, as an operator reads it; empty where that is nothing."""
        behind = [(NAMED_SINCE, self._told_of_the_log()), (REGISTRY_SINCE, self._told_of_the_registry())]
        return "; ".join(told for since, told in behind if to < since and told)

    def _told_of_the_registry(self) -> str:
        if not self.registry_events:
            return ""
        return (
            f"{self.bundles} published bundles, the {self.registry_events} events of the registry, and which bundle is "
            "ACTIVE where"
        )

    def _told_of_the_log(self) -> str:
        return (
            f"{self.checkpoints} signed checkpoints of the log, {self.keys} public keys and {self.hashes} hashes of "
            f"its tree, so that nothing proves any more that its {self.entries} entries are as they were made; the "
            f"home's name {self.home_id}, so that its checkpoint file elsewhere belongs to no home; "
            f"{self.preprocessings} preprocessing definitions, and what quotas have counted"
        )


def proofs_of(address: Address) -> Proofs | None:
    """What the database of a home has to lose; None where it is not there or has no name. Raises StoreUnavailable."""
    if not is_postgres(address) and not Path(address).exists():
        return None
    with closing(open_database(address)) as database, database.read() as connection:
        return _counted(connection) if inspect(connection).has_table(_HOME.name) else None


def _counted(connection: Connection) -> Proofs:
    there = inspect(connection)

    def count(table: Table) -> int:
        if not there.has_table(table.name):
            return 0
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    return Proofs(
        home_id=home_id_of(connection),
        entries=audit_log.count(connection),
        checkpoints=count(CheckpointRow.__table__),  # type: ignore[attr-defined]
        hashes=count(NodeRow.__table__),  # type: ignore[attr-defined]
        keys=count(SigningKeyRow.__table__),  # type: ignore[attr-defined]
        preprocessings=count(PreprocessingRow.__table__),  # type: ignore[attr-defined]
        bundles=count(BundleRow.__table__),  # type: ignore[attr-defined]
        registry_events=count(RegistryEventRow.__table__),  # type: ignore[attr-defined]
    )
