"""With the extra `coreml`, a bundle names its Core ML package by digest, and its id does not rest on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bit_flips import flipped
from conftest import desk_in
from shop import Shop

from mcp_forecast_engine.factory.bundle import package
from mcp_forecast_engine.models.coreml import author_core_ml

pytest.importorskip("coremltools", reason="Core ML packages are authored with coremltools, the extra `coreml`")
APART = ("model.mlpackage.zip", "coreml_receipt.json")


def test_a_bundle_names_its_core_ml_package_and_is_the_same_one_without_it(tmp_path: Path) -> None:
    with desk_in(tmp_path) as desk:
        shop, artifacts = Shop(desk), desk.app.engine.artifacts
        made = shop.done("publish_bundle", run_id=shop.passed(7))
        bundle: dict[str, Any] = json.loads(artifacts.get(made["manifest"]))
        files = {file["name"]: file["sha256"] for file in bundle["files"]}
        authored = author_core_ml(artifacts.get(files["model.onnx"]))
        assert artifacts.get(files[APART[0]]) == authored.content
        receipt = json.loads(artifacts.get(files[APART[1]]))
        assert (receipt["source"], receipt["package"]) == (files["model.onnx"], files[APART[0]])
        assert receipt["verified"] == "unverified"
        for name in ("eval_report.json", "evidence_pack.json", "gate_receipt.json", "execution_record.json"):
            told = artifacts.get(files[name]).decode()
            assert not any(files[apart] in told for apart in APART)
        with desk.app.database.read() as connection:
            run = desk.app.engine.run(connection, made["run_id"])
        document = desk.app.engine.documents.of(run)
        plain = {**document, "artifacts": [one for one in document["artifacts"] if one["name"] not in APART]}
        without = json.loads(package(run, plain, artifacts))
        assert [without[name] for name in ("bundle_id", "version")] == [bundle["bundle_id"], bundle["version"]]
        for name in APART:
            with flipped(artifacts.path(files[name])):
                for error in (
                    shop.refused("promote_bundle", bundle_id=made["bundle_id"]),
                    shop.refused("run_inference", bundle_id=made["bundle_id"]),
                ):
                    assert (error["code"], error["details"]["file"]) == ("ARTIFACT_CORRUPT", name)
