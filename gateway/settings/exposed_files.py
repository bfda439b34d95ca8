"""Warn of files that give everything away: others may write them, or they hold too little.

Shell: looks at modes and reads the admin token. Only modes are judged; access lists and
whoever owns the file are not. The group of a file counts as others unless it is its owner's
private one, as many systems give each user.
"""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.files import UnusableFileError, read_file, real_path
from gateway.hosts import is_loopback
from gateway.settings.findings import Finding
from gateway.settings.model import Settings, TcpAddress
from gateway.settings.private_files import PrivateFiles
from gateway.settings.problems import Severity
from gateway.settings.secret_texts import SHORTEST_SECRET

_LARGEST_TOKEN = 64 * 1024


def check_exposed_files(settings: Settings, private: PrivateFiles) -> Iterator[Finding]:
    """Yield a warning for a `secrets_directory` with secrets of the process, and for a weak admin token."""
    directory = real_path(settings.secrets_directory)
    held = dict.fromkeys(key for key, path in private.by_key if path.is_relative_to(directory))
    if held:
        yield Finding(
            None,
            ("secrets_directory",),
            f"the directory holds what the process itself keeps secret: {', '.join(held)}",
            "no policy can read that, but a directory of its own for secrets of clients is safer",
            Severity.WARNING,
        )
    yield from _check_admin(settings)


def _check_admin(settings: Settings) -> Iterator[Finding]:
    admin = settings.admin
    if (
        not isinstance(admin.address, TcpAddress)
        or is_loopback(admin.address.host)
        or admin.token_file is None
    ):
        return
    try:
        token = read_file(admin.token_file, largest_bytes=_LARGEST_TOKEN).octets.strip()
    except UnusableFileError:
        return  # said already
    doubts = [f"the token has fewer than {SHORTEST_SECRET} characters"] * (len(token) < SHORTEST_SECRET)
    others = who_else_may_write(admin.token_file)
    if others:
        doubts.append(f"{others} may write the file")
    if doubts:
        yield Finding(
            None,
            ("admin", "token_file"),
            f"the admin API is open to other machines in plain http, and {', and '.join(doubts)}",
            "keep it on loopback or a unix socket; `sidegate secret generate` prints strong ones; chmod 600",
            Severity.WARNING,
        )


def who_else_may_write(path: Path) -> str:
    """Return who besides its owner may write or replace a file, in words, or nothing."""
    places = {path.absolute(), real_path(path)}
    for place in (*places, *{place.parent for place in places}):
        try:
            status = place.stat()
            if os.statvfs(place).f_flag & os.ST_RDONLY:
                continue  # ConfigMaps are mounted so, whatever their modes say
        except (OSError, ValueError):
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
            continue  # others may add files, but not replace this one
        if status.st_mode & stat.S_IWOTH:
            return "everybody on this machine"
        if status.st_mode & stat.S_IWGRP and not _is_private_group(status):
            return f"the group {_group_name(status.st_gid)}"
    return ""


def _is_private_group(status: os.stat_result) -> bool:
    """Return whether a file's group is that of its owner alone."""
    try:
        owner = pwd.getpwuid(status.st_uid)
        return owner.pw_gid == status.st_gid and set(grp.getgrgid(status.st_gid).gr_mem) <= {owner.pw_name}
    except KeyError:
        return status.st_uid == status.st_gid  # of users that nobody named, as containers have them


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
