"""A certificate for 127.0.0.1, made by the openssl command when a test wants one."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificates(NamedTuple):
    """PEM files. The certificate is its own authority."""

    ca: Path
    cert: Path
    key: Path


def make_certificates(directory: Path, openssl: str = "openssl") -> Certificates:
    """Valid for a day, for 127.0.0.1 and localhost."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return Certificates(cert, cert, key)
