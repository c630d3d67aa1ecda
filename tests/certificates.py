"""Certificates for tests of TLS."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Certificate:
    """A self-signed certificate for localhost and an address, in two files."""

    def __init__(self, folder: Path, *, address: str | None = "127.0.0.1") -> None:
        self._address = address
        folder.mkdir()
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.cert.write_bytes(self._signed().public_bytes(serialization.Encoding.PEM))
        self.write_key(serialization.NoEncryption())

    def write_key(self, encryption: serialization.KeySerializationEncryption) -> None:
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.key.write_bytes(self._private.private_bytes(pem, pkcs8, encryption))

    @property
    def env(self) -> dict[str, str]:
        return {"LOCUM_TLS_CERT": str(self.cert), "LOCUM_TLS_KEY": str(self.key)}

    def _signed(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "locum")])
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        if self._address is not None:
            names.append(x509.IPAddress(ipaddress.ip_address(self._address)))
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._private, hashes.SHA256())
        )
