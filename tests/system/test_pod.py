"""Run the pod of examples/kubernetes: start, probes, a token, a call, a swapped ConfigMap, a drain."""

import json
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clients.secrets import generate_secret
from gateway.settings.secret_texts import UNUSABLE_SECRET
from tests.system.dockerfile import ROOT, Image
from tests.system.pod import (
    POD_IPS,
    Manifest,
    Pod,
    basic,
    give_to_group,
    read_manifest,
    running_pod,
    wait_for,
)

MANIFEST = ROOT / "examples/kubernetes"
COUNTRY = "/ms-system/country/code/AUS"
GATE, ADMIN = 8080, 9090
SECRET, STORED = generate_secret()


@pytest.fixture
def manifest() -> Manifest:
    """Return the example, with the secret that its README tells to make."""
    manifest = read_manifest(MANIFEST, {"sidegate-admin": {"token": b"t" * 43 + b"\n"}})
    policy = manifest.config_maps["sidegate"]["country.yaml"]
    manifest.config_maps["sidegate"]["country.yaml"] = policy.replace(
        UNUSABLE_SECRET.encode(), STORED.encode()
    )
    return manifest


@pytest.fixture
def pod(manifest: Manifest, image: Image, memory: Path, tmp_path: Path) -> Iterator[Pod]:
    # Not below tmp_path, whose parents only root may enter.
    with running_pod(manifest, image, memory / tmp_path.name) as pod:
        yield pod


@pytest.fixture
def ready(pod: Pod) -> Pod:
    """Return the pod with both containers, ready."""
    pod.start("country", command=["python3", "-m", "gateway.demo.country_service", "--port", "9001"])
    start_gate(pod)
    return pod


def start_gate(pod: Pod) -> None:
    pod.start("sidegate")

    def is_ready() -> bool:
        assert pod.running["sidegate"].poll() is None, pod.log("sidegate")
        return pod.probe("sidegate", "startupProbe") == 200

    wait_for(is_ready, "the startup probe")


def token(pod: Pod) -> str:
    status, body = pod.curl(
        "/oauth2/token", port=GATE, fields=[basic("billing", SECRET)], form="grant_type=client_credentials"
    )
    assert status == 200, body
    return str(json.loads(body)["access_token"])


def call(pod: Pod, bearer: str, **more: str) -> tuple[int, bytes]:
    return pod.curl(COUNTRY, port=GATE, fields=[f"Authorization: Bearer {bearer}"], **more)


def test_the_pod_starts_serves_takes_a_new_policy_and_drains(ready: Pod) -> None:
    pod = ready
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod.probe("sidegate", name) == 200, name
    assert pod.curl(COUNTRY, port=GATE)[0] == 401
    bearer = token(pod)
    status, body = call(pod, bearer)
    assert (status, json.loads(body)["name"]) == (200, "AUSTRALIA")
    # The service is reached through the gate alone.
    assert pod.curl(COUNTRY, port=9001)[0] == 0

    # Prometheus comes to the pod's address; the admin API wants the token of the secret.
    host = f"Host: {POD_IPS[0]}:{ADMIN}"
    assert pod.curl("/metrics", port=ADMIN, fields=[host])[0] == 200
    assert pod.curl("/metrics", port=ADMIN, fields=["Host: evil.example"])[0] == 421
    assert pod.curl("/api/v1/status", port=ADMIN)[0] == 401
    admin = f"Authorization: Bearer {'t' * 43}"
    assert pod.curl("/api/v1/status", port=ADMIN, fields=[admin])[0] == 200
    asked = pod.execute("sidegate", *pod.image.health)
    assert (asked.returncode, asked.stdout) == (0, "ready\n"), asked.stderr

    # A right is taken away by an edited ConfigMap, which the running process takes by itself.
    policy = pod.manifest.config_maps["sidegate"]["country.yaml"]
    pod.manifest.config_maps["sidegate"]["country.yaml"] = policy.replace(
        b"scopes: [country.read], default_scopes: [country.read]}", b"scopes: []}"
    ).replace(b"expect: allow", b"expect: {deny: missing_scope}")
    pod.swap_config_map("configuration")
    wait_for(lambda: call(pod, bearer)[0] == 403, "the new policy")
    pod.manifest.config_maps["sidegate"]["country.yaml"] = policy
    pod.swap_config_map("configuration")
    wait_for(lambda: call(pod, bearer)[0] == 200, "the former policy")

    # The stop: not ready at once, still serving, and gone within the time that the manifest gives.
    begun = time.monotonic()
    pod.terminate("sidegate")
    wait_for(lambda: pod.probe("sidegate", "readinessProbe") == 503, "the readiness probe to fail")
    assert call(pod, bearer)[0] == 200
    assert pod.probe("sidegate", "livenessProbe") == 200
    assert pod.wait("sidegate") == 0, pod.log("sidegate")
    assert time.monotonic() - begun < pod.manifest.pod["terminationGracePeriodSeconds"]


def test_a_pod_of_an_ipv6_cluster(pod: Pod) -> None:
    files = pod.manifest.config_maps["sidegate"]
    files["gateway.yaml"] = files["gateway.yaml"].replace(b"0.0.0.0:8080", b'"[::]:8080"')
    files["gateway.yaml"] = files["gateway.yaml"].replace(b"0.0.0.0:9090", b'"[::]:9090"')
    pod.swap_config_map("configuration")
    pod.address = POD_IPS[1]
    start_gate(pod)
    assert pod.probe("sidegate", "readinessProbe") == 200
    for host in (f"[{POD_IPS[1]}]:{ADMIN}", "[FD00:88:0:0::7]"):
        assert pod.curl("/metrics", port=ADMIN, fields=[f"Host: {host}"])[0] == 200
    assert pod.curl("/metrics", port=ADMIN, fields=["Host: [fd00:88::8]"])[0] == 421
    assert pod.curl(COUNTRY, port=GATE)[0] == 401


def warnings(pod: Pod) -> list[str]:
    """Return the warnings of the gate, without those that tell of a machine with no time for it."""
    lines = [line for line in pod.log("sidegate").splitlines() if '"level":"warning"' in line]
    return [line for line in lines if '"logger":"gateway.observe.loop_watch"' not in line]


def test_a_restarted_pod_keeps_keys_and_revocations_and_is_strictly_sound(ready: Pod) -> None:
    pod = ready
    bearer, revoked = token(pod), token(pod)
    assert (
        pod.curl("/oauth2/revoke", port=GATE, fields=[basic("billing", SECRET)], form=f"token={revoked}")[0]
        == 200
    )
    pod.terminate("sidegate")
    assert pod.wait("sidegate") == 0
    data = pod.volume("data")
    keys = list((data / "keys").glob("*.pem"))
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600]
    give_to_group(data, pod.group)  # what the next mount does
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o660]
    start_gate(pod)
    assert call(pod, bearer)[0] == 200
    assert call(pod, revoked)[0] == 401
    checked = pod.execute("sidegate", "sidegate", "check", "--strict")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert warnings(pod) == []


def test_nothing_but_the_data_directory_is_written(ready: Pod) -> None:
    pod = ready
    script = (
        "import os\n"
        "for place in ('/etc/sidegate', '/opt/sidegate', '/tmp', '/', '/var/lib/sidegate'):\n"
        "    try:\n"
        "        open(os.path.join(place, 'x'), 'w').close()\n"
        "        print(place)\n"
        "    except OSError:\n"
        "        pass\n"
        "print(os.getuid(), os.getgid(), sorted(os.getgroups()))\n"
        "print([line for line in open('/proc/self/status') if line.startswith(('CapEff', 'NoNewPrivs'))])\n"
    )
    told = pod.execute("sidegate", "python3", "-c", script)
    assert told.stdout.splitlines()[:2] == ["/var/lib/sidegate", "10001 10001 [10001]"], told
    assert "CapEff:\\t0000000000000000" in told.stdout
    assert "NoNewPrivs:\\t1" in told.stdout


def test_the_probes_fit_the_process(manifest: Manifest) -> None:
    gate = manifest.container("sidegate")
    grace_s = manifest.pod["terminationGracePeriodSeconds"]
    assert grace_s > 5 + 30, "shutdown_delay and drain_timeout"
    readiness = gate["readinessProbe"]
    noticed_s = readiness["periodSeconds"] * readiness["failureThreshold"] + 1
    assert noticed_s <= 5, "a probe notices within the shutdown_delay"
    (_, seconds) = manifest.container("country")["lifecycle"]["preStop"]["exec"]["command"]
    assert 5 < int(seconds) < grace_s


def test_a_volume_of_the_image_below_a_mount_would_not_start(pod: Pod) -> None:
    """The reproduction of what kept the pod from starting: so we know that this setup would notice."""
    pod.image.volumes.append("/etc/sidegate/keys")
    try:
        pod.start("sidegate")
        assert pod.wait("sidegate") != 0
        assert "read-only file system" in pod.log("sidegate")
    finally:
        pod.image.volumes.clear()


def test_the_image_alone_runs_the_starter(image: Image) -> None:
    shown = subprocess.run(
        ["chroot", str(image.root), "/opt/sidegate/bin/sidegate", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split()[-1] == image.labels["org.opencontainers.image.version"]
    assert (image.user, image.volumes, image.ports) == ("10001:10001", [], [GATE, ADMIN])
    assert image.environment["SIDEGATE_DATA"] == "/var/lib/sidegate"
    installed = stat.S_IMODE(image.inside("/var/lib/sidegate").stat().st_mode)
    assert (installed, image.inside("/var/lib/sidegate").stat().st_uid) == (0o700, 10001)
