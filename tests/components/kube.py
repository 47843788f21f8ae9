"""A real Kubernetes API: Debian's etcd, and kube-apiserver and kube-controller-manager as tools/kube builds them.

There is no kubelet: Deployments and Jobs make pods, which stay pending until a test says what became of them.
"""

import contextlib
import os
import secrets
import shutil
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kubernetes import client, config

from tests.components.processes import free_port, listens, running, wait_until

VERSION = "1.20.2"
BIN = Path(
    os.environ.get("ATLAS_KUBE_BIN")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"abdomenatlas/kube-{VERSION}"
)
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
CA = "certificates/apiserver.crt"
_READY_SECONDS = 240


@dataclass(frozen=True)
class Cluster:
    """Where the API server listens, whom it trusts, and a client that may do everything."""

    port: int
    ca: Path
    admin: client.ApiClient
    kubeconfig: Path
    """The same for programs."""

    def account(self, namespace: str, name: str, folder: Path) -> dict[str, str]:
        """Fill `folder` as a kubelet mounts the token of a service account; the environment that its pod would have."""
        request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
        core = client.CoreV1Api(self.admin)
        granted = core.create_namespaced_service_account_token(name, namespace, request).status
        assert granted is not None
        assert granted.token is not None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(granted.token)
        (folder / "namespace").write_text(namespace)
        shutil.copy(self.ca, folder / "ca.crt")
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}


def missing() -> list[str]:
    """What this machine lacks, and how to get it."""
    lacks = [] if shutil.which("etcd") else ["etcd (apt-get install etcd-server)"]
    return lacks + [f"{program} (run tools/kube)" for program in PROGRAMS if not (BIN / program).exists()]


@contextlib.contextmanager
def kube() -> Iterator[Cluster]:
    """Start an empty cluster, which takes about 10 s; everything in it is gone on leaving."""
    with tempfile.TemporaryDirectory(prefix="atlas-kube-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        etcd = _start_etcd(stack, home)
        port, kubeconfig = _start_api(stack, home, etcd)
        stack.enter_context(
            running(
                [
                    str(BIN / "kube-controller-manager"),
                    f"--kubeconfig={kubeconfig}",
                    f"--service-account-private-key-file={home}/accounts.key",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={free_port()}",
                    "--port=0",
                    "--leader-elect=false",
                    "--feature-gates=TTLAfterFinished=true",
                ],
                home / "controllers.log",
            )
        )
        admin = stack.enter_context(config.new_client_from_config(str(kubeconfig)))
        yield Cluster(port, home / CA, admin, kubeconfig)


def _start_etcd(stack: contextlib.ExitStack, home: Path) -> str:
    port, peer = free_port(), free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        "etcd",
        f"--data-dir={home}/etcd",
        "--unsafe-no-fsync",
        f"--listen-client-urls={address}",
        f"--advertise-client-urls={address}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    stack.enter_context(running(command, home / "etcd.log"))
    wait_until(lambda: listens(port), f"etcd (logs in {home})", _READY_SECONDS)
    return address


def _start_api(stack: contextlib.ExitStack, home: Path, etcd: str) -> tuple[int, Path]:
    key = home / "accounts.key"
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    token, port = secrets.token_hex(16), free_port()
    (home / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    command = [
        str(BIN / "kube-apiserver"),
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={home}/certificates",
        f"--token-auth-file={home}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--feature-gates=TTLAfterFinished=true",
        # It would wait for token Secrets that nothing here needs.
        "--disable-admission-plugins=ServiceAccount",
    ]
    stack.enter_context(running(command, home / "apiserver.log"))
    kubeconfig = home / "kubeconfig"
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority": f"{home / CA}",
    }
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        )
    )
    wait_until(lambda: _is_ready(port, home / CA), f"kube-apiserver (logs in {home})", _READY_SECONDS)
    return port, kubeconfig


def _is_ready(port: int, ca: Path) -> bool:
    request = f"https://127.0.0.1:{port}/readyz"
    try:
        with urllib.request.urlopen(request, timeout=5, context=ssl.create_default_context(cafile=ca)) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
