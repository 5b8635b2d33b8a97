"""The compose file: its variables and services, and the same services as plain processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.compose import as_processes
from infra.compose.compose_file import CPU_FILE, FILE, ComposeError, services, substitute
from infra.compose.stack import Stack
from musicgen.settings import BucketSettings
from tests.support.job_server import data_folder

TEXT = FILE.read_text()
FOUND: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
EXAMPLE = (FILE.parent / ".env.example").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("${A}", "1"), ("${B}", ""), ("${B:-two}", "two"), ("${A:-two}", "1"), ("x${A:?}y", "x1y")],
)
def test_variables_are_filled_in(text: str, expected: str) -> None:
    assert substitute(text, {"A": "1"}) == expected


def test_a_variable_that_has_to_be_given_is_named() -> None:
    with pytest.raises(ComposeError, match="PASSWORD is not set: a long one"):
        substitute("${PASSWORD:?a long one}", {"PASSWORD": ""})


def test_services_start_after_those_that_they_need(tmp_path: Path) -> None:
    names = list(services(as_processes.make_variables()))
    assert max(map(names.index, ("database", "bucket"))) < min(map(names.index, ("api", "worker")))
    circle = tmp_path / "compose.yaml"
    circle.write_text("services: {a: {depends_on: [b]}, b: {depends_on: [a]}}")
    with pytest.raises(ComposeError, match="depend on each other"):
        services({}, circle)


def test_the_example_names_every_variable_that_has_to_be_given() -> None:
    needed = set(re.findall(r"\$\{(\w+):\?", TEXT))
    assert needed == set(re.findall(r"^(\w+)=$", EXAMPLE, re.M))


@pytest.mark.parametrize("name", FOUND)
def test_a_service_is_as_closed_as_it_can_be(name: str) -> None:
    each = FOUND[name]
    assert each["read_only"] and each["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in each["security_opt"]
    assert each["restart"] == "unless-stopped"
    assert re.fullmatch(r"\$\{\w+_IMAGE:\?its digest\}", each["image"])
    assert all(port.startswith("127.0.0.1:") for port in each.get("ports", []))
    own_images = ("api", "worker")  # which name their user themselves
    assert name in own_images or int(each["user"].split(":")[0]) > 0
    for need in each.get("depends_on", {}).values():
        assert need == {"condition": "service_healthy"}
    if "profiles" not in each:
        assert each["healthcheck"]["test"][0] == "CMD"


def test_the_database_lies_in_its_volume_with_every_version_of_its_image() -> None:
    """The images of 17 put an anonymous volume over /var/lib/postgresql/data, and those of 18
    refuse a volume there (docker-library/postgres, pull request 1259)."""
    database = FOUND["database"]
    [volume] = database["volumes"]
    assert volume == "database:/var/lib/postgresql"
    folder = Path(database["environment"]["PGDATA"])
    assert Path("/var/lib/postgresql") in folder.parents
    assert folder.name not in ("data", "docker")


def test_a_machine_without_a_gpu_gets_a_worker_without_a_reservation() -> None:
    """Guards against the only file, whose reservation no machine without a GPU can give."""
    variables = as_processes.make_variables() | {"MUSICGEN_SLOTS": ""}
    plain, without = services(variables), services(variables, FILE, CPU_FILE)
    assert "deploy" in plain["worker"] and "deploy" not in without["worker"]
    assert without["worker"]["environment"].pop("MUSICGEN_SLOTS") == "2"
    assert plain["worker"]["environment"].pop("MUSICGEN_SLOTS") == "8"
    del plain["worker"]["deploy"]
    assert without == plain


def test_a_copied_service_has_its_own_ports_and_volumes(tmp_path: Path) -> None:
    """`extends` and `!override` as in Docker Compose: lists are joined without the tag."""
    (tmp_path / "below.yaml").write_text(
        "services: {a: {image: i, volumes: ['x:/x'], environment: {A: '1', B: '2'}}}"
    )
    above = tmp_path / "above.yaml"
    above.write_text(
        "services:\n"
        "  joined: {extends: {file: below.yaml, service: a}, volumes: ['y:/y']}\n"
        "  own: {extends: {file: below.yaml, service: a}, volumes: !override ['y:/y'],"
        " environment: {B: '3'}}\n"
        "  bare: {extends: {file: below.yaml, service: a}, environment: !override {C: '${C}'}}\n"
    )
    found = services({"C": "4"}, above)
    assert found["joined"]["volumes"] == ["x:/x", "y:/y"]
    assert found["own"] == {
        "image": "i",
        "volumes": ["y:/y"],
        "environment": {"A": "1", "B": "3"},
    }
    assert found["bare"]["environment"] == {"C": "4"}


def test_services_of_a_profile_start_only_with_it() -> None:
    variables = as_processes.make_variables()
    assert "prometheus" not in services(variables)
    monitored = services(variables, profiles=["monitoring"])
    assert monitored["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]


def test_a_worker_may_finish_its_jobs() -> None:
    from musicgen.settings.job_api import ApiSettings

    minutes = int(FOUND["worker"]["stop_grace_period"].removesuffix("m"))
    assert 60 * minutes > ApiSettings.drain


def test_prometheus_is_told_the_services_names() -> None:
    config = yaml.safe_load((FILE.parent / "prometheus.yml").read_text())
    targets = {
        t for job in config["scrape_configs"] for s in job["static_configs"] for t in s["targets"]
    }
    assert {target.split(":")[0] for target in targets} <= set(FOUND)


@pytest.mark.slow
@pytest.mark.parametrize("redirects", [False, True])
def test_nothing_is_lost_when_the_worker_and_the_database_are_killed(redirects: bool) -> None:
    """Presigned URLs named a host that only containers know, and the clips' callers got those."""
    with data_folder(with_database=False) as folder:
        folder.mkdir()
        with Stack(folder, as_processes.make_variables(redirects=redirects)) as stack:
            found = as_processes.check_recovery(stack, jobs=2 if redirects else 8)
    assert found["starts"] == {"database": 2, "bucket": 1, "api": 1, "worker": 2}
    assert set(found["attempts"]) <= {1, 2, 3}
    assert found["clips_from"] == (stack.outer_bucket if redirects else stack.api)


def test_no_service_shares_a_folder_with_another() -> None:
    """Containers of one service may run on another machine."""
    volumes = [
        volume.split(":")[0]
        for service in FOUND.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    ]
    assert len(volumes) == len(set(volumes))


def test_the_bucket_s_addresses_can_be_set() -> None:
    """The endpoint was a literal: .env could not reach it."""
    name = "https://clips.example.com"
    variables = as_processes.make_variables() | {
        "MUSICGEN_BUCKET_ENDPOINT_URL": "https://s3.example.com",
        "MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL": name,
        "MUSICGEN_BUCKET_DELIVERY": "redirect",
    }
    for service in ("api", "worker"):
        environment = services(variables)[service]["environment"]
        settings = BucketSettings.from_env(environment)
        assert settings.endpoint_url == "https://s3.example.com"
        assert (settings.public_endpoint_url, settings.delivery) == (name, "redirect")
        default = services(as_processes.make_variables())[service]["environment"]
        assert BucketSettings.from_env(default).public_endpoint_url is None


def test_the_bucket_is_reached_from_the_machine() -> None:
    """A presigned URL led to a port that only containers could reach."""
    variables = as_processes.make_variables() | {"BUCKET_PORT": ""}
    endpoint = services(variables)["api"]["environment"]["MUSICGEN_BUCKET_ENDPOINT_URL"]
    inside = int(endpoint.rpartition(":")[2])
    assert services(variables)["bucket"]["ports"] == [f"127.0.0.1:{inside}:{inside}"]
    variables["BUCKET_PORT"] = "9000"
    assert services(variables)["bucket"]["ports"] == [f"127.0.0.1:9000:{inside}"]
