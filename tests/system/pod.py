"""Run a Deployment's pod under runc, with what kubelet and containerd would mount.

The manifest decides: user, groups, capabilities, read-only root, environment, mounts, probes. What a
kubelet adds is written as it does it: a ConfigMap or Secret is a directory whose files are links through
`..data`, of root and the `fsGroup`; a claim's directory belongs to the `fsGroup`, down to each file. What
containerd adds is a mount for each of the image's volumes that the pod does not mount itself.

All containers share one network namespace, in which the pod's addresses are on its loopback device, so
nothing of it meets another process of this machine. Probes and callers enter it.
"""

import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.system.dockerfile import Image

POD_IPS = ("10.88.0.7", "fd00:88::7")
PATIENCE_S = 60.0
OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
"""As a container engine passes on what it has itself."""
DEFAULT_MOUNTS = (
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
)


@dataclass(frozen=True)
class Manifest:
    """A Deployment and, by name, the ConfigMaps and Secrets that it mounts."""

    deployment: Mapping[str, Any]
    config_maps: dict[str, dict[str, bytes]]
    secrets: dict[str, dict[str, bytes]]

    @property
    def pod(self) -> Mapping[str, Any]:
        return self.deployment["spec"]["template"]["spec"]

    def container(self, name: str) -> Mapping[str, Any]:
        return next(item for item in self.pod["containers"] if item["name"] == name)


def read_manifest(directory: Path, secrets: dict[str, dict[str, bytes]]) -> Manifest:
    """Return what `kubectl apply -k DIRECTORY` would make, as far as a pod sees it."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text("utf-8"))
    resources = [yaml.safe_load((directory / name).read_text("utf-8")) for name in kustomization["resources"]]
    config_maps = {}
    for generator in kustomization["configMapGenerator"]:
        pairs = [entry.rpartition("=") for entry in generator["files"]]
        config_maps[generator["name"]] = {
            key or file: (directory / file).read_bytes() for key, _, file in pairs
        }
    (deployment,) = [item for item in resources if item["kind"] == "Deployment"]
    return Manifest(deployment, config_maps, secrets)


def write_atomically(directory: Path, files: Mapping[str, bytes], group: int) -> None:
    """Write or replace the content of a projected volume, as kubelet's AtomicWriter does."""
    fresh = directory / f"..{time.time_ns()}"
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o640)
        os.chown(path, 0, group)
    former = (directory / "..data").resolve() if (directory / "..data").exists() else None
    (directory / "..data_tmp").symlink_to(fresh.name)
    (directory / "..data_tmp").replace(directory / "..data")
    for name in {Path(name).parts[0] for name in files}:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    if former is not None:
        shutil.rmtree(former)


def give_to_group(directory: Path, group: int) -> None:
    """Set a claim's group and modes, as kubelet does at each mount with `fsGroup`."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, -1, group)
        mode = path.stat().st_mode & 0o777
        path.chmod(mode | 0o2770 if path.is_dir() else mode | 0o660)


@dataclass
class Pod:
    """The containers of one pod, each a process of runc."""

    manifest: Manifest
    image: Image
    scratch: Path
    name: str = "pod"
    address: str = POD_IPS[0]
    """The pod's own, where probes and callers come."""
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    pause: "subprocess.Popen[bytes] | None" = None

    @property
    def group(self) -> int:
        return int(self.manifest.pod["securityContext"]["fsGroup"])

    @property
    def _network(self) -> str:
        assert self.pause is not None
        return f"/proc/{self.pause.pid}/ns/net"

    def volume(self, name: str) -> Path:
        """Return where a volume of the pod lies on this machine."""
        return self.scratch / "volumes" / name

    # --- what the kubelet does

    def set_up(self) -> None:
        """Make the network and the volumes."""
        self.pause = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        own = Path("/proc/self/ns/net").readlink()
        _wait(lambda: Path(self._network).readlink() != own, "the network namespace")
        self.inside("ip", "link", "set", "lo", "up")
        for address in POD_IPS:
            self.inside("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        for volume in self.manifest.pod["volumes"]:
            path = self.volume(volume["name"])
            path.mkdir(parents=True, exist_ok=True)
            if "configMap" in volume:
                self.swap_config_map(volume["name"])
            elif "secret" in volume:
                files = self.manifest.secrets[volume["secret"]["secretName"]]
                write_atomically(path, files, self.group)
            else:
                assert {"persistentVolumeClaim", "emptyDir"} & set(volume), volume
                give_to_group(path, self.group)

    def swap_config_map(self, name: str) -> None:
        """Bring the ConfigMap of a volume as it is now into the pod."""
        (volume,) = [item for item in self.manifest.pod["volumes"] if item["name"] == name]
        source = volume["configMap"]
        content = self.manifest.config_maps[source["name"]]
        items = source.get("items", [{"key": key, "path": key} for key in content])
        write_atomically(self.volume(name), {i["path"]: content[i["key"]] for i in items}, self.group)

    def probe(self, container: str, name: str) -> int:
        """Return the status that a probe of the manifest gets."""
        described = self.manifest.container(container)
        request = described[name]["httpGet"]
        port = next(p["containerPort"] for p in described["ports"] if p["name"] == request["port"])
        fields = [f"{field['name']}: {field['value']}" for field in request.get("httpHeaders", ())]
        return self.curl(request["path"], port=port, fields=fields)[0]

    # --- containers

    def start(self, name: str, *, command: Iterable[str] | None = None) -> None:
        """Start a container with its image's command, or another."""
        described = self.manifest.container(name)
        bundle = self.scratch / "bundles" / name
        bundle.mkdir(parents=True, exist_ok=True)
        arguments = [*self.image.entrypoint, *self.image.command] if command is None else list(command)
        document = self._bundle(described, arguments)
        (bundle / "config.json").write_text(json.dumps(document))
        with (bundle / "out").open("ab") as out, (bundle / "err").open("ab") as err:
            self.running[name] = subprocess.Popen(
                self._runc("run", "--bundle", str(bundle), self._id(name)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def log(self, name: str) -> str:
        """Return what a container wrote, runc's own words included."""
        bundle = self.scratch / "bundles" / name
        return "".join((bundle / file).read_text("utf-8") for file in ("out", "err"))

    def execute(self, name: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a container, as its user."""
        return subprocess.run(
            self._runc("exec", self._id(name), *command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def terminate(self, name: str) -> None:
        """Send SIGTERM to a container."""
        subprocess.run(self._runc("kill", self._id(name), "TERM"), check=True, timeout=PATIENCE_S)

    def wait(self, name: str) -> int:
        """Return a container's exit code, once it has ended."""
        return self.running.pop(name).wait(PATIENCE_S)

    def tear_down(self) -> None:
        """End what runs."""
        for name, process in self.running.items():
            subprocess.run(
                self._runc("kill", self._id(name), "KILL"), stderr=subprocess.DEVNULL, timeout=PATIENCE_S
            )
            process.wait(PATIENCE_S)
        if self.pause is not None:
            self.pause.send_signal(signal.SIGKILL)
            self.pause.wait(PATIENCE_S)

    def _id(self, name: str) -> str:
        return f"{self.name}-{name}-{os.getpid()}"

    def _runc(self, *arguments: str) -> list[str]:
        return ["runc", "--root", str(self.scratch / "runc"), *arguments]

    def _bundle(self, described: Mapping[str, Any], arguments: list[str]) -> dict[str, Any]:
        context = described.get("securityContext", {})
        user, group = self.image.ids
        user, group = context.get("runAsUser", user), context.get("runAsGroup", group)
        assert not context.get("runAsNonRoot") or user != 0
        assert context.get("capabilities", {"drop": ["ALL"]})["drop"] == ["ALL"]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False,
                "user": {"uid": user, "gid": group, "additionalGids": [self.group]},
                "args": arguments,
                "env": [f"{key}={value}" for key, value in self._environment(described).items()],
                "cwd": self.image.directory,
                "capabilities": {},
                "noNewPrivileges": not context.get("allowPrivilegeEscalation", True),
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": OPEN_FILES, "soft": 1024}],
            },
            "root": {
                "path": str(self.image.root),
                "readonly": context.get("readOnlyRootFilesystem", False),
            },
            "hostname": self.name,
            "mounts": [*_default_mounts(), *self._mounts(described)],
            "linux": {
                "namespaces": [
                    *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                    {"type": "network", "path": self._network},
                ],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        }

    def _environment(self, described: Mapping[str, Any]) -> dict[str, str]:
        environment = dict(self.image.environment)
        for entry in described.get("env", ()):
            if "value" in entry:
                environment[entry["name"]] = entry["value"]
            else:
                assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}, entry
                environment[entry["name"]] = self.address
        return environment

    def _mounts(self, described: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        places = {mount["mountPath"] for mount in described.get("volumeMounts", ())}
        for mount in described.get("volumeMounts", ()):
            mode = "ro" if mount.get("readOnly") else "rw"
            yield _bind(self.volume(mount["name"]), mount["mountPath"], mode)
        # containerd compares whole paths: a volume below a mount of the pod is mounted all the same.
        for place in self.image.volumes:
            if place not in places:
                made = self.scratch / "image-volumes" / place.lstrip("/").replace("/", "-")
                made.mkdir(parents=True, exist_ok=True)
                yield _bind(made, place, "rw")

    # --- from inside the pod's network

    def inside(self, *command: str, stdin: bytes = b"") -> bytes:
        """Run a command of this machine in the pod's network; return what it prints."""
        done = subprocess.run(
            ["nsenter", f"--net={self._network}", *command],
            input=stdin,
            capture_output=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout

    def curl(self, path: str, *, port: int, fields: Iterable[str] = (), form: str = "") -> tuple[int, bytes]:
        """Return status and body of a request to the pod; 0 when nobody answers."""
        host = self.address
        words = [word for text in fields for word in ("-H", text)]
        words += ["--data", form] if form else []
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
        done = subprocess.run(
            ["nsenter", f"--net={self._network}", *("curl", "-sS", "-w", "\n%{http_code}", *words, url)],
            capture_output=True,
            timeout=PATIENCE_S,
        )
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status or 0), body


def basic(client: str, secret: str) -> str:
    """Return the Authorization field of a client."""
    return "Authorization: Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()


def _default_mounts() -> Iterator[dict[str, Any]]:
    for place, kind, source, options in DEFAULT_MOUNTS:
        yield {"destination": place, "type": kind, "source": source, "options": options}


def _bind(source: Path, place: str, mode: str) -> dict[str, Any]:
    options = ["rbind", "rprivate", mode]
    return {"destination": place, "type": "bind", "source": str(source), "options": options}


def _wait(condition: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.05)
    return value


wait_for = _wait


@contextlib.contextmanager
def running_pod(manifest: Manifest, image: Image, scratch: Path) -> Iterator[Pod]:
    """Yield a pod whose volumes and network are there; nothing runs yet."""
    pod = Pod(manifest, image, scratch)
    try:
        pod.set_up()
        yield pod
    finally:
        pod.tear_down()
