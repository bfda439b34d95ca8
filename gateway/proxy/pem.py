"""Read PEM files for TLS, so that what is used is what was read.

OpenSSL opens a certificate and its key by path, after we have looked at them: in between
the file may have become another one. So the octets that were read are put into anonymous
files in memory, and OpenSSL is given those.

Shell: blocks on the file system.

Sources: memfd_create(2).
"""

import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.files import read_pem_file

LARGEST_PEM_BYTES = 1024 * 1024
CERTIFICATE_FORM = "it begins with -----BEGIN CERTIFICATE-----; of DER make it by `openssl x509 -inform der`"
KEY_FORM = "it begins with -----BEGIN PRIVATE KEY-----; of an encrypted one make it by `openssl pkey`"
"""What an operator is told who names another file."""

Password = str | Callable[[], str]
"""An answer of our own keeps OpenSSL from asking for one on the terminal."""


def read_pem(path: Path) -> bytes:
    """Return the octets of a whole PEM file; raises `gateway.files.UnusableFileError`."""
    return read_pem_file(path, largest_bytes=LARGEST_PEM_BYTES).octets


def load_pair(
    context: ssl.SSLContext, chain: bytes, chain_file: Path, key: bytes, key_file: Path, *, password: Password
) -> None:
    """Give `context` a certificate chain and its private key, as they were read from these files.

    Raises:
        ssl.SSLError, ValueError, OSError: As `SSLContext.load_cert_chain` does.
    """
    if sys.platform != "linux":
        context.load_cert_chain(chain_file, key_file, password=password)
        return
    with ExitStack() as stack:
        chain_path = stack.enter_context(_in_memory(chain))
        key_path = stack.enter_context(_in_memory(key))
        context.load_cert_chain(chain_path, key_path, password=password)


@contextmanager
def _in_memory(octets: bytes) -> Iterator[str]:
    """Yield a path under which this process alone finds `octets`."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        view = memoryview(octets)
        while view:
            view = view[os.write(descriptor, view) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
