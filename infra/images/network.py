"""A bridge with one network namespace for each service, and published ports on loopback.

The services reach each other by name through a hosts file, and nothing else. The host reaches them
at their addresses and, as with Docker's proxy, through published ports.
"""

from __future__ import annotations

import contextlib
import ipaddress
import selectors
import socket
import threading
from dataclasses import dataclass, field

from infra.images.places import ImageError, run

_BLOCK = ipaddress.ip_network("10.231.0.0/16")
_BUFFER = 1 << 16


@dataclass
class Network:
    """Context manager of a bridge; `key` is a short name for its devices and namespaces."""

    key: str
    addresses: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Network:
        for subnet in _BLOCK.subnets(new_prefix=24):
            if f"{subnet.network_address + 1}/" not in run("ip", "-o", "address"):
                break
        else:
            raise ImageError(f"every network of {_BLOCK} is in use here.")
        self._hosts = subnet.hosts()
        gateway = next(self._hosts)
        run("ip", "link", "add", self.key, "type", "bridge")
        run("ip", "address", "add", f"{gateway}/24", "dev", self.key)
        run("ip", "link", "set", self.key, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.addresses:
            with contextlib.suppress(ImageError):
                run("ip", "netns", "del", self.namespace(name))
        run("ip", "link", "del", self.key)

    def namespace(self, name: str) -> str:
        """Return the name of a service's network namespace."""
        return f"{self.key}-{name}"

    def path(self, name: str) -> str:
        """Return the path of a service's network namespace."""
        return f"/run/netns/{self.namespace(name)}"

    def attach(self, name: str) -> str:
        """Create a service's namespace with an address on the bridge, and return the address."""
        address, space = str(next(self._hosts)), self.namespace(name)
        number = address.rsplit(".", 1)[1]
        outside, inside = f"{self.key}-{number}", f"{self.key}i{number}"
        run("ip", "netns", "add", space)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", outside, "master", self.key, "up")
        run("ip", "link", "set", inside, "netns", space, "name", "eth0")
        within = ("ip", "-n", space)
        run(*within, "address", "add", f"{address}/24", "dev", "eth0")
        run(*within, "link", "set", "eth0", "up")
        run(*within, "link", "set", "lo", "up")
        self.addresses[name] = address
        return address

    def hosts_file(self) -> str:
        """Return /etc/hosts of the containers."""
        lines = [f"{address}\t{name}\n" for name, address in self.addresses.items()]
        return "127.0.0.1\tlocalhost\n" + "".join(lines)


class PublishedPort:
    """Forwarder of a port of the host to one of a container, until `close`."""

    def __init__(self, host: str, port: int, target: tuple[str, int]) -> None:
        self.target = target
        self._listener = socket.create_server((host, port), reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError))
            stack.enter_context(client)
            server = stack.enter_context(socket.create_connection(self.target, timeout=10))
            server.settimeout(None)
            _pass_bytes(client, server)


def _pass_bytes(client: socket.socket, server: socket.socket) -> None:
    """Pass bytes both ways until both sides have ended."""
    other = {client: server, server: client}
    with selectors.DefaultSelector() as waiting:
        for side in other:
            waiting.register(side, selectors.EVENT_READ)
        while waiting.get_map():
            for key, _ in waiting.select():
                side = client if key.fileobj is client else server
                data = side.recv(_BUFFER)
                if data:
                    other[side].sendall(data)
                else:
                    waiting.unregister(side)
                    other[side].shutdown(socket.SHUT_WR)
