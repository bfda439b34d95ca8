"""Build the Dockerfile without a container engine: mmdebstrap for FROM, chroot for RUN.

What is run in a test is then what is shipped, to the last instruction. Only what our own file uses is
known; anything else stops the build with its name, so that nobody believes it was done.

Packages of Python come from a directory that is filled beforehand from the lock file, with its hashes:
how this machine reaches an index is not the image's business.
"""

import json
import re
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEBIAN = re.compile(r"debian:(?P<suite>[a-z]+)-slim\Z")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.pyc")
WHEELS = "/wheels"
BUILD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Image:
    """One stage: a root file system, and how a container of it is started."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BUILD_PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[int, int]:
        """Return the numeric user and group that it names."""
        user, _, group = self.user.partition(":")
        return int(user), int(group)

    def inside(self, path: str) -> Path:
        """Return where a path of the image lies here."""
        return self.root / Path("/", self.directory, path).relative_to("/")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction and its arguments, with continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def build(dockerfile: Path, scratch: Path) -> Image:
    """Return the last stage, made below `scratch`, whose file system must take device files."""
    wheels = _download_wheels(scratch)
    stages: dict[str, Image] = {}
    image: Image | None = None
    for name, rest in instructions(dockerfile.read_text("utf-8")):
        if name == "FROM":
            base, _, stage = rest.partition(" AS ")
            image = Image(_debian(base, scratch, stage or "final"))
            stages[stage or "final"] = image
        else:
            assert image is not None
            _carry_out(name, rest, image, stages, wheels)
    assert image is not None
    return image


def _carry_out(name: str, rest: str, image: Image, stages: Mapping[str, Image], wheels: Path) -> None:
    values = {**image.arguments, **image.environment}
    match name:
        case "RUN":
            _run(rest, image, wheels)
        case "COPY":
            _copy(shlex.split(rest), image, stages)
        case "ENV":
            image.environment |= _pairs(rest, values)
        case "ARG":
            image.arguments |= _pairs(rest, values)
        case "LABEL":
            image.labels |= _pairs(rest, values)
        case "WORKDIR":
            image.directory = rest
            image.inside(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        case "CMD":
            image.command = json.loads(rest)
        case "HEALTHCHECK":
            image.health = json.loads(rest.partition("CMD ")[2])
        case "EXPOSE":
            image.ports = [int(port) for port in rest.split()]
        case "VOLUME":
            image.volumes += json.loads(rest)
        case "STOPSIGNAL":
            assert rest == "SIGTERM"
        case _:
            raise AssertionError(f"the instruction {name} is not known here")


def _pairs(text: str, values: Mapping[str, str]) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: string.Template(value).substitute(values) for name, _, value in pairs}


def _debian(base: str, scratch: Path, stage: str) -> Path:
    """Return a fresh root file system of the Debian release that `base` names."""
    found = DEBIAN.match(base)
    assert found, f"the base image {base} is not Debian's slim one"
    pristine = scratch / found["suite"]
    if not pristine.exists():
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", found["suite"], str(pristine)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300)
    root = scratch / stage
    subprocess.run(["cp", "-a", "--reflink=auto", str(pristine), str(root)], check=True)
    return root


def _run(command: str, image: Image, wheels: Path) -> None:
    """Run a command in the root file system, with the system's own directories and the network's names."""
    mounts = {"/proc": "/proc", "/dev": "/dev", "/etc/resolv.conf": "/etc/resolv.conf", str(wheels): WHEELS}
    done: list[Path] = []
    try:
        for source, place in mounts.items():
            target = image.root / place.lstrip("/")
            if Path(source).is_dir():
                target.mkdir(exist_ok=True)
            else:
                target.touch()
            subprocess.run(["mount", "--rbind", "--make-rslave", source, str(target)], check=True)
            done.append(target)
        environment = {**image.environment, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
        words = [f"{name}={value}" for name, value in environment.items()]
        shell = f"cd {shlex.quote(image.directory)} && {command}"
        subprocess.run(
            ["env", "-i", *words, "/usr/sbin/chroot", str(image.root), "/bin/sh", "-c", shell],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=400,
        )
    finally:
        for target in reversed(done):
            subprocess.run(["umount", "--recursive", str(target)], check=True)
        (image.root / WHEELS.lstrip("/")).rmdir()


def _copy(words: list[str], image: Image, stages: Mapping[str, Image]) -> None:
    origin = ROOT
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    destination = image.inside(target)
    for source in sources:
        found = origin / source.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, destination, symlinks=True, ignore=NOT_COPIED, dirs_exist_ok=True)
        else:
            destination.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, destination / found.name)


def _download_wheels(scratch: Path) -> Path:
    """Return a directory with what the lock files name."""
    wheels = scratch / "downloads"
    wheels.mkdir()
    for lock in ("requirements.lock", "requirements-build.lock"):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"),
                *("--only-binary", ":all:", "--require-hashes", "--requirement", str(ROOT / lock)),
                *("--dest", str(wheels)),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
    return wheels
