"""An apply to a new account goes through, and a destroy leaves nothing that costs money."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from infra.check.terraform.expressions import find_references
from infra.check.terraform.modules import FOLDER, read_module

pytestmark = pytest.mark.skipif(
    find_spec("hcl2") is None, reason="needs python-hcl2: `make check-infra` brings it"
)
SERVICES = {
    "google_artifact_registry_": "artifactregistry",
    "google_compute_": "compute",
    "google_container_": "container",
    "google_project_iam_": "cloudresourcemanager",
    "google_service_account": "iam",
    "google_service_networking_": "servicenetworking",
    "google_sql_": "sqladmin",
    "google_storage_": "storage",
}
"""Google's interface behind each kind of resource, by the beginning of its type."""
ENABLED = "google_project_service.this"


def test_a_new_project_of_google_has_every_interface_before_its_first_use() -> None:
    """A project begins with them off. Without Resource Manager's, or too early, an apply fails."""
    module = read_module(FOLDER / "google")
    [enabled] = [b for b in module.select("resource") if b.address == ENABLED]
    resources = [b for b in module.select("resource") if b.labels[0].startswith("google_")]
    edges = {b.address: {".".join(r[:2]) for r in find_references(b.body)} for b in resources}
    for block in resources:
        if block is enabled:
            continue
        [service] = {v for k, v in SERVICES.items() if block.labels[0].startswith(k)}
        assert f"{service}.googleapis.com" in str(enabled.body["for_each"]), block.address
        reached, left = set[str](), [block.address]
        while left:
            address = left.pop()
            reached.add(address)
            left += (edges[address] & edges.keys()) - reached
        assert ENABLED in reached, f"{block.address} may come before its interface"


def test_a_destroy_takes_the_logs_of_the_database_along() -> None:
    """RDS makes a group of logs without an end, and nobody deletes it: it costs for ever."""
    blocks = {block.address: block for block in read_module(FOLDER / "aws").blocks}
    exports = blocks["aws_db_instance.this"].body["enabled_cloudwatch_logs_exports"]
    group = blocks["aws_cloudwatch_log_group.database"].body
    assert exports == "${local.database_logs}" and exports[2:-1] in group["for_each"]
    assert "retention_in_days" in group
    assert "/aws/rds/instance/" in str(group["name"])
    assert "aws_cloudwatch_log_group.database" in str(
        blocks["aws_db_instance.this"].body["depends_on"]
    )
