"""The lab's certificate authority, and the credentials of its kubeconfig.

Everything is made anew when a control plane starts in an empty run directory; nothing is trusted by
anything but the lab's own clients.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: Names under which the API server is reached inside the lab.
SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
LIFETIME = timedelta(days=365)
_FILES = ("ca.crt", "server.crt", "server.key", "client.crt", "client.key", "token")


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM texts of one lab, and the bearer token."""

    ca: str
    server_certificate: str
    server_key: str
    client_certificate: str
    client_key: str
    token: str


def credentials(directory: Path, addresses: Sequence[str]) -> Credentials:
    """The credentials kept in `directory`; made there (files 0600) on first use.

    A control plane that restarts finds its old ones, so that its clients keep working. `addresses`
    are the server's IPs; where they have changed, everything is made anew.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    named = "\n".join(sorted(set(addresses)))
    valid_for = directory / "addresses"
    known = valid_for.exists() and valid_for.read_text() == named
    if known and all((directory / name).exists() for name in _FILES):
        return Credentials(*((directory / name).read_text() for name in _FILES))
    made = make_credentials(addresses)
    texts = (
        made.ca,
        made.server_certificate,
        made.server_key,
        made.client_certificate,
        made.client_key,
        made.token,
    )
    for name, text in zip(_FILES, texts, strict=True):
        write_private(directory / name, text)
    write_private(valid_for, named)
    return made


def make_credentials(addresses: Sequence[str]) -> Credentials:
    """A new authority with one server certificate for `addresses` and one administrator."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])

    def signed(
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: tuple[x509.ExtensionType, bool],
    ) -> str:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(authority, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def pem(key: ec.EllipticCurvePrivateKey) -> str:
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in SERVER_NAMES),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
    )
    admin = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
            x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin"),
        ]
    )
    return Credentials(
        ca=signed(issuer, authority, (x509.BasicConstraints(ca=True, path_length=0), True)),
        server_certificate=signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]),
            server,
            (names, False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ),
        server_key=pem(server),
        client_certificate=signed(
            admin, client, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        ),
        client_key=pem(client),
        token=secrets.token_urlsafe(32),
    )


def server_context(made: Credentials, directory: Path) -> ssl.SSLContext:
    """TLS for the server; a client may show a certificate of the lab's authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=made.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    return context


def kubeconfig(made: Credentials, url: str, name: str) -> str:
    """A kubeconfig (JSON, which is YAML too) for the administrator of lab `name`."""

    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": url, "certificate-authority-data": data(made.ca)},
            }
        ],
        "users": [
            {
                "name": f"{name}-admin",
                "user": {
                    "client-certificate-data": data(made.client_certificate),
                    "client-key-data": data(made.client_key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin"}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path`, readable by its owner alone, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
