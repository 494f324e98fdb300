"""The certificate that is shown where no Secret has one, and whether a Secret has one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from tempfile import NamedTemporaryFile

SUBJECT = "Kubernetes Ingress Controller Fake Certificate"
_DAY = timedelta(days=1)


@cache
def self_signed(name: str = SUBJECT, *hosts: str) -> str:
    """A self-signed certificate and its key as one PEM text, for `hosts` (DNS names)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = [x509.DNSName(host) for host in hosts or ("ingress.local",)]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 365 * _DAY)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (made.public_bytes(serialization.Encoding.PEM) + private).decode()


@lru_cache(maxsize=1024)
def is_pair(pem: str) -> bool:
    """Whether a PEM text is a certificate (chain) and its key, as OpenSSL, so nginx, takes them."""
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        try:
            # A password keeps OpenSSL from asking the terminal for that of an encrypted key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name, password="")
        except (ssl.SSLError, ValueError):
            return False
    return True
