"""A real S3 server: Ceph RGW from Debian's packages: one monitor, one OSD in memory, one gateway, all on loopback."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.components.processes import free_port, listens, running, wait_until

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
_TRIES = 5


@dataclass(frozen=True)
class S3Server:
    """Where the server listens (host:port, plain HTTP) and the keys of its one user."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str = "default"


def missing() -> list[str]:
    """Return the programs of Ceph that this machine lacks."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextlib.contextmanager
def ceph() -> Iterator[S3Server]:
    """Start an empty server, which takes about 15 s; everything it stored is gone on leaving."""
    with tempfile.TemporaryDirectory(prefix="atlas-ceph-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        mon_port, s3_port = free_port(), free_port()
        conf = _write_conf(home, mon_port, s3_port)
        _start_monitor(stack, home, conf, mon_port)
        _start_osd(stack, home, conf)
        user = S3Server(f"127.0.0.1:{s3_port}", secrets.token_hex(10).upper(), secrets.token_hex(20))
        # Before the gateway starts: where both set up the empty cluster at once, either may wait for ever.
        _run(
            f"radosgw-admin -n client.rgw -c {conf} user create --uid=atlas --display-name=atlas"
            f" --access-key={user.access_key} --secret-key={user.secret_key}"
        )
        stack.enter_context(
            running(["radosgw", "-f", "-n", "client.rgw", "-c", str(conf)], home / "rgw.out", env=_env())
        )
        wait_until(lambda: listens(s3_port), f"radosgw (logs in {home})", 300)
        yield user


def _start_monitor(stack: contextlib.ExitStack, home: Path, conf: Path, port: int) -> None:
    fsid = conf.read_text().split("fsid = ")[1].split()[0]
    _run(f"monmaptool --create --fsid {fsid} --addv a [v1:127.0.0.1:{port}] {home}/monmap")
    _run(f"ceph-mon -c {conf} --mkfs -i a --monmap {home}/monmap")
    stack.enter_context(running(["ceph-mon", "-f", "-i", "a", "-c", str(conf)], home / "mon.out", env=_env()))
    wait_until(lambda: listens(port), f"ceph-mon (logs in {home})", 120)


def _start_osd(stack: contextlib.ExitStack, home: Path, conf: Path) -> None:
    osd_uuid = str(uuid.uuid4())
    _run(f"ceph -c {conf} --connect-timeout 120 osd new {osd_uuid}")
    # Done for the OSD: with cephx off it may try before it knows the cluster's fsid, and then ends ("wrong fsid").
    _run(f"ceph -c {conf} osd crush add osd.0 1 root=default host=localhost")
    _run(f"ceph-osd -c {conf} -i 0 --mkfs --osd-uuid {osd_uuid}")
    stack.enter_context(running(["ceph-osd", "-f", "-i", "0", "-c", str(conf)], home / "osd.out", env=_env()))


def _run(command: str) -> None:
    for _ in range(_TRIES):
        done = subprocess.run(command.split(), capture_output=True, text=True, timeout=300, env=_env(), check=False)
        if not done.returncode:
            return
        # On a busy machine a monitor that has just started may not yet say which commands it has.
        if "problem getting command descriptions" not in done.stderr:
            break
    raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")


def _env() -> dict[str, str]:
    # Debian's `ceph` is a Python script of the system: a virtual environment's variables would lead it astray.
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"}


def _write_conf(home: Path, mon_port: int, s3_port: int) -> Path:
    for folder in ("mon", "osd", "run"):
        (home / folder).mkdir()
    conf = home / "ceph.conf"
    conf.write_text(
        f"""
[global]
fsid = {uuid.uuid4()}
mon host = v1:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
keyring = /dev/null
run dir = {home}/run
admin socket =
pid file =
log file = {home}/$name.log
crash dir = {home}/run
mon data = {home}/mon
mon data avail crit = 1
mon allow pool size one = true
osd data = {home}/osd
osd journal =
osd objectstore = memstore
memstore device bytes = 8589934592
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush update on start = false
osd class update on start = false

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{s3_port}
"""
    )
    return conf
