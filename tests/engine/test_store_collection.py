"""Collection: what rows or named artifacts refer to stays, what is young stays, and a put beside it loses nothing."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Connection, Float, Integer, LargeBinary, MetaData, String, Table, insert

from mcp_forecast.home.opening import open_home
from mcp_forecast.migrations.metadata import METADATA
from mcp_forecast_engine.errors import StoreUnavailable
from mcp_forecast_engine.store.artifacts import ArtifactStore
from mcp_forecast_engine.store.collection import collect, digests_named, reachable
from mcp_forecast_engine.store.database import Database, open_database
from mcp_forecast_engine.store.snapshot import artifacts_named

DAY_S = 86_400.0
RUN = Table("run", MetaData(), Column("id", Integer, primary_key=True), Column("plan", String))


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "forecast.db")
    with opened.command() as connection:
        RUN.create(connection)
    yield opened
    opened.close()


def put_long_ago(artifacts: ArtifactStore, data: bytes) -> str:
    digest = artifacts.put(data)
    long_ago = time.time() - 3 * DAY_S
    os.utime(artifacts.path(digest), (long_ago, long_ago))
    return digest


def put(artifacts: ArtifactStore, value: object) -> str:
    return put_long_ago(artifacts, json.dumps(value).encode())


def kept(artifacts: ArtifactStore) -> set[str]:
    return {file.digest for file in artifacts.files() if file.digest is not None}


def name(connection: Connection, *digests: str) -> None:
    connection.execute(insert(RUN), [{"plan": json.dumps({"deep": [{"in": digest}]})} for digest in digests])


def test_what_a_row_names_anywhere_in_its_text_stays_with_all_it_refers_to(
    artifacts: ArtifactStore, database: Database
) -> None:
    numbers = put_long_ago(artifacts, b"PK\x03\x04 numbers")
    step = put(artifacts, {"numbers": numbers})
    document = put(artifacts, {"artifacts": [{"digest": step}]})
    left = put(artifacts, {"also names": document})
    with database.command() as connection:
        name(connection, document)

    def named() -> set[str]:
        with database.read() as connection:
            return digests_named(connection, [RUN])

    before = time.time() - DAY_S
    dry = collect(artifacts, named, before=before, dry_run=True)
    assert kept(artifacts) == {numbers, step, document, left}
    done = collect(artifacts, named, before=before)
    assert kept(artifacts) == {numbers, step, document}
    assert dry == done
    assert (done.removed, done.named, done.young) == (1, 3, 0)


def test_no_column_of_the_real_tables_is_overlooked(tmp_path: Path) -> None:
    """A row in every table with a digest in every column that can hold one: were one missed, its bytes would go."""
    database = open_home(tmp_path / "home")
    digests: list[str] = []

    def filling(column: Column[Any]) -> object:
        plain: dict[type, object] = {Integer: 7, Float: 0.0, Boolean: False, LargeBinary: b""}
        if type(column.type) in plain:
            return plain[type(column.type)]
        digests.append(f"sha256:{len(digests):064x}")
        return json.dumps({"in": [digests[-1]]})

    with database.command() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(insert(table), {column.name: filling(column) for column in table.columns})
    with database.read() as connection:
        assert digests_named(connection, METADATA.sorted_tables) == set(digests)
        assert {json.loads(text)["in"][0] for text in artifacts_named(connection)} <= set(digests)
    database.close()
    assert len(digests) > 20


def test_young_files_stay_and_putting_bytes_again_makes_them_young(artifacts: ArtifactStore) -> None:
    again, old = put(artifacts, "again"), put(artifacts, "old")
    young = artifacts.put(b"young")
    artifacts.put(artifacts.get(again))
    done = collect(artifacts, set, before=time.time() - DAY_S)
    assert kept(artifacts) == {again, young}
    assert old not in kept(artifacts)
    assert done.young == 2


def test_what_a_put_left_unfinished_goes_once_it_is_old(artifacts: ArtifactStore) -> None:
    folder = artifacts.path(artifacts.put(b"kept")).parent
    for age_s, text in ((3 * DAY_S, "old"), (0.0, "young")):
        (folder / f".new-1-{text}").write_bytes(b"half")
        os.utime(folder / f".new-1-{text}", (time.time() - age_s,) * 2)
    done = collect(artifacts, set, before=time.time() - DAY_S)
    assert (done.removed, done.unfinished) == (1, 1)
    assert [path.name for path in folder.glob(".new-*")] == [".new-1-young"]


def test_a_digest_across_two_pieces_of_a_long_file_is_found(
    artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = artifacts.put(b"inner")
    for chunk in (64, 71, 100):
        monkeypatch.setattr("mcp_forecast_engine.store.collection._CHUNK", chunk)
        for shift in range(0, 150, 7):
            outer = artifacts.put(b"x" * shift + inner.encode() + b"y" * 200)
            assert reachable(artifacts, {outer}) == {outer, inner}


def test_one_collection_at_a_time_and_none_beside_a_backup(artifacts: ArtifactStore) -> None:
    old = put(artifacts, "old")
    with (
        artifacts.collecting(alone=False, within_s=0.0),
        artifacts.collecting(alone=False, within_s=0.0),
        pytest.raises(StoreUnavailable, match="backup"),
    ):
        collect(artifacts, set, before=time.time())
    assert kept(artifacts) == {old}
    collect(artifacts, set, before=time.time())
    assert kept(artifacts) == set()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.lists(st.sets(st.integers(0, 11), max_size=3), min_size=12, max_size=12),
    roots=st.sets(st.integers(0, 11), max_size=4),
)
def test_exactly_what_is_reached_stays(
    tmp_path_factory: pytest.TempPathFactory, links: list[set[int]], roots: set[int]
) -> None:
    artifacts = ArtifactStore(tmp_path_factory.mktemp("a"))
    digests: list[str] = []
    reached: list[set[int]] = []
    for number, wanted in enumerate(links):
        lower = {other for other in wanted if other < number}  # content addressing allows no circles
        digests.append(put(artifacts, [number, *(digests[other] for other in sorted(lower))]))
        reached.append({number}.union(*(reached[other] for other in lower)))
    expected = {digests[number] for root in roots for number in reached[root]}
    collect(artifacts, lambda: {digests[root] for root in roots}, before=time.time() - DAY_S)
    assert kept(artifacts) == expected


def test_threads_that_put_again_and_commit_while_collections_run_lose_nothing(
    artifacts: ArtifactStore, database: Database
) -> None:
    """All bytes are there from before and old, so that every one is a candidate until the moment it is put again."""
    bytes_of = [f"artifact {number}".encode() for number in range(600)]
    for data in bytes_of:
        put_long_ago(artifacts, data)
    committed: list[str] = []
    removed = 0
    working = threading.Event()

    def work(share: list[bytes]) -> None:
        working.wait()
        for data in share:
            digest = artifacts.put(data)
            with database.command() as connection:
                name(connection, digest)
            committed.append(digest)

    def named() -> set[str]:
        with database.read() as connection:
            return digests_named(connection, [RUN])

    threads = [threading.Thread(target=work, args=(bytes_of[at:400:4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    working.set()
    while any(thread.is_alive() for thread in threads):
        removed += collect(artifacts, named, before=time.time() - DAY_S).removed
    for thread in threads:
        thread.join()
    assert len(committed) == 400
    assert {artifacts.get(digest) for digest in committed} == set(bytes_of[:400])
    assert removed >= 200  # what nobody put again went


def test_a_sweep_after_a_lost_worker_leaves_what_another_host_is_writing(
    artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcp_forecast_engine.store import artifacts as module

    folder = artifacts.path(artifacts.put(b"kept")).parent
    mine = folder / f"{module._unfinished(77)}half"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "host_name", lambda: "another")
        theirs = folder / f"{module._unfinished(77)}half"
    for path in (mine, theirs):
        path.write_bytes(b"half")
    artifacts.sweep(77)
    assert (mine.exists(), theirs.exists()) == (False, True)
