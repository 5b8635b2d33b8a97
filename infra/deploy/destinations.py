"""Checks of the NetworkPolicies against the addresses in the Secrets of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from infra.check.network import list_clients
from infra.check.objects import Objects
from infra.check.reachability import End, find_pod, has_way_out, may_connect
from infra.deploy.target import Check

POSTGRESQL = "5432"


def check_database(objects: Objects, url: str) -> Check:
    """Check the policies for every host and port of `DATABASE_URL`."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    name = "way to the database"
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        return Check(name, False, f"Secret musicgen-database: url: {str(error).strip()}")
    hosts = str(parts.get("host") or "").split(",")
    ports = str(parts.get("port") or POSTGRESQL).split(",")
    ports *= len(hosts) if len(ports) == 1 else 1
    for host, port in zip(hosts, ports, strict=False):
        number = int(port or POSTGRESQL)
        if closed := _find_closed(objects, host, number):
            detail = f"port {number} is closed for {closed}"
            return Check(name, False, f"{detail}: set it in the NetworkPolicy database")
    return Check(name, True)


def check_endpoint(objects: Objects, url: str) -> Iterator[Check]:
    """Check the policies for the address of the bucket, if the Secret has one."""
    if not url:
        return
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    if closed := _find_closed(objects, parts.hostname or "", port):
        detail = f"{parts.hostname}, port {port}, is closed for {closed}"
        advice = "add the component bucket-endpoint with its network and port"
        yield Check("way to the bucket", False, f"{detail}: {advice}")
    else:
        yield Check("way to the bucket", True)


def _find_closed(objects: Objects, host: str, port: int) -> str | None:
    """Return a Deployment without a way to a host, or None. A name may have any address."""
    for name in list_clients(objects):
        pod = find_pod(objects, name)
        try:
            is_open = may_connect(objects, pod, End(str(ip_address(host))), port)
        except ValueError:
            is_open = has_way_out(objects, pod, port)
        if not is_open:
            return name
    return None
