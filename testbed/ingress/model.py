"""What the Ingress controller's proxy must do, as values; `render` makes nginx text of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import jinja2

#: How a location's path is compared: the whole, its elements from the left, or as an expression.
Match: TypeAlias = Literal["exact", "prefix", "regex"]

#: The certificate that is shown where an Ingress has none.
DEFAULT_CERTIFICATE = "default"


@dataclass(frozen=True, slots=True)
class Backend:
    """A Service port: `name` (namespace_service_port), endpoints as `address:port`."""

    name: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Location:
    """A path of a host. `backend` names one of the configuration's; "" answers 503.

    `rewrite` replaces the path that is asked of the backend; "" leaves it.
    """

    path: str
    match: Match
    backend: str
    rewrite: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual host: "" for any other, `*.example.com` for one more label on the left.

    `certificate` names one of the configuration's; `redirect` sends HTTP to HTTPS.
    """

    name: str
    locations: tuple[Location, ...]
    certificate: str = DEFAULT_CERTIFICATE
    redirect: bool = False

    @property
    def expression(self) -> str:
        """nginx's server_name: its own wildcard would take more than one label."""
        if self.name.startswith("*."):
            rest = self.name[2:].replace(".", r"\.")
            return f"~^[^.]+\\.{rest}$"
        return self.name or "_"

    def expressions(self, location: Location) -> list[str]:
        """What nginx calls a location: a prefix of elements is two of nginx's.

        The prefix itself is the exact location's where the host has one of that path.
        """
        path = location.path
        if location.match == "exact":
            return [f"= {quoted(path)}"]
        if location.match == "regex":
            return [f"~* {quoted('^' + path)}"]
        if path == "/":
            return [quoted("/")]
        below = quoted(f"{path}/")
        if any(each.match == "exact" and each.path == path for each in self.locations):
            return [below]
        return [f"= {quoted(path)}", below]


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything the proxy does. `certificates`: PEM texts (chain and key) by name."""

    hosts: tuple[Host, ...] = ()
    backends: tuple[Backend, ...] = ()
    certificates: Mapping[str, str] = field(default_factory=dict)
    proxy_protocol: bool = False


def quoted(text: str) -> str:
    """A word of nginx's language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["quoted"] = quoted
    text = (Path(__file__).parent / "templates" / "nginx.conf.j2").read_text()
    return environment.from_string(text)


def render(configuration: Configuration, directory: str) -> str:
    """nginx.conf; `directory` has its pid file, temporary files and `NAME.pem` certificates."""
    hosts = sorted(configuration.hosts, key=lambda h: (h.name.startswith("*."), -len(h.name)))
    return _template().render(
        directory=directory,
        hosts=[host for host in hosts if host.name],
        others=next((host for host in hosts if not host.name), Host("", ())),
        backends=[backend for backend in configuration.backends if backend.endpoints],
        empty={backend.name for backend in configuration.backends if not backend.endpoints},
        proxy_protocol=" proxy_protocol" if configuration.proxy_protocol else "",
    )
