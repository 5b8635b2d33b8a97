"""The modules of infra/terraform have no problems, and each kind of mistake is found."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from infra.check import terraform
from infra.check.terraform.modules import FOLDER, list_types
from infra.check.terraform.schemas import read_schemas

pytestmark = pytest.mark.skipif(
    find_spec("hcl2") is None, reason="needs python-hcl2: `make check-infra` brings it"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the modules, to plant mistakes in."""
    shutil.copytree(FOLDER, tmp_path / "terraform")
    return tmp_path / "terraform"


def _plant(tree: Path, file: str, old: str, new: str) -> str:
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{file} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return "\n".join(terraform.check_folders(tree))


def test_there_is_nothing_wrong() -> None:
    assert terraform.problems() == []


def test_the_schemas_have_the_types_in_use_and_no_others() -> None:
    """An unused schema is dead weight; a missing one checks nothing."""
    schemas = read_schemas()
    kept = {(kind, name) for kind in schemas if kind != "providers" for name in schemas[kind]}
    assert kept == list_types()


def test_the_layout_is_that_of_the_real_program() -> None:
    program = shutil.which("tofu") or shutil.which("terraform")
    if program is None:
        pytest.skip("needs tofu or terraform")
    command = [program, "fmt", "-check", "-diff", "-recursive", str(FOLDER)]
    env = {"CHECKPOINT_DISABLE": "1", "HOME": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "found"),
    [
        (
            "aws/bucket.tf",
            "sse_algorithm",
            "sse_algorithms",
            "no argument or block is named sse_al",
        ),
        (
            "aws/cluster.tf",
            "  role_arn                  = aws_iam_role.cluster.arn\n",
            "",
            "role_arn is m",
        ),
        ("aws/cluster.tf", '"aws_kms_key"', '"aws_kms_keys"', "no such type"),
        ("aws/cluster.tf", "access_config {", "access_config = {", "is a block, written without ="),
        (
            "aws/network.tf",
            "  tags = {\n    Name = var",
            "  tags {\n    Name = var",
            "written with =",
        ),
        (
            "aws/nodes.tf",
            "    min_size     = 0",
            '    min_size     = "none"',
            "not of the type number",
        ),
        ("aws/bucket.tf", '["GET", "HEAD"]', '"GET"', "not of the type list(string)"),
        (
            "aws/nodes.tf",
            "  taint {",
            "  update_config {}\n\n  update_config {}\n\n  taint {",
            "given once",
        ),
        ("aws/outputs.tf", "var.host", "var.hosts", "unknown variable var.hosts"),
        ("aws/nodes.tf", "local.pools.gpu.ami", "local.pool.gpu.ami", "unknown local name"),
        ("aws/outputs.tf", "aws_s3_bucket.clips.id", "aws_s3_bucket.clip.id", "unknown resource"),
        ("aws/outputs.tf", "aws_s3_bucket.clips.id", "aws_s3_bucket.clips.ids", "no attribute ids"),
        ("aws/outputs.tf", "platform.gateway_class", "platform.class", "unknown module or output"),
        (
            "aws/bucket.tf",
            "data.aws_caller_identity.current",
            "data.aws_caller.current",
            "unknown res",
        ),
        ("aws/network.tf", "aws_subnet.public[0].id", "aws_subnet.public.id", "needs an index"),
        ("aws/network.tf", "aws_eip.nat.id", "aws_eip.nat[0].id", "so it has no index"),
        ("aws/network.tf", "count.index)", "each.key)", "each.key without for_each"),
        ("aws/network.tf", "cidrsubnet(", "cidr_subnet(", "unknown function cidr_subnet"),
        (
            "aws/cluster.tf",
            "key_arn = aws_kms",
            "key_arn = aws_eks_cluster.this.arn # aws_kms",
            "cycle",
        ),
        ("aws/platform.tf", "  email = var.email\n", "", "module.platform: email is missing"),
        (
            "aws/platform.tf",
            "  email = var",
            "  mail  = 1\n  email = var",
            "no variable is named mail",
        ),
        ("aws/nodes.tf", "[scaling_config[0]", "[scaling[0]", "ignore_changes names scaling"),
        ("aws/versions.tf", '"~> 6.69"', '"~> 5.0"', "does not allow 6.69"),
        ("aws/versions.tf", "    random = {", "    dice = {", "required_providers lacks random"),
        ("aws/versions.tf", "  region = var.region", "  regions = var.region", "is named regions"),
        (
            "aws/common.tf",
            "  default     = 2",
            '  default     = "two"',
            "is not of the type number",
        ),
        ("aws/common.tf", "  type        = bool\n", "", "has no type"),
        (
            "aws/common.tf",
            "var.system_nodes >= 1 && var.system_nodes",
            "2 >= 1 && 1",
            "not look at it",
        ),
        ("aws/common.tf", 'variable "host"', 'variable "hosted"', "var.hosted is not used"),
        ("aws/common.tf", 'variable "email"', 'variable "host"', "declared twice"),
        (
            "aws/outputs.tf",
            "aws_s3_bucket.clips.id",
            "random_password.database.result",
            "shows a secret",
        ),
        ("modules/platform/variables.tf", "  sensitive   = true\n", "", "set sensitive"),
        ("aws/bucket.tf", "rule {", "rule {{", "no valid HCL"),
        ("aws/bucket.tf", "  bucket        =", "  bucket =", "= is not aligned"),
        ("aws/bucket.tf", "    id     =", "      id     =", "not indented by two spaces"),
        ("google/cluster.tf", "workload_pool", "workload_pools", "is named workload_pools"),
        (
            "google/nodes.tf",
            "gpu_driver_version",
            "driver_version",
            "gpu_driver_version is missing",
        ),
        ("google/cluster.tf", "cidr_blocks.value", "cidr_block.value", "unknown resource"),
        (
            "google/common.tf",
            "  default     = 2",
            "  default     = 3",
            "variable system_nodes: default differs between aws and google",
        ),
        (
            "google/variables.tf",
            'variable "zone"',
            'variable "cidr"',
            "variable cidr: both clouds have it, so declare it in common.tf alone",
        ),
        (
            "google/outputs.tf",
            'output "bucket"',
            'output "clips"',
            "output bucket: google has none",
        ),
    ],
)
def test_a_mistake_is_found(tree: Path, file: str, old: str, new: str, found: str) -> None:
    """Without a tofu program, these checks are the only reader before a real apply."""
    assert found in _plant(tree, file, old, new)
