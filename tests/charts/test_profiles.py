"""Every profile renders, alike in both Helms, into objects that every supported Kubernetes takes."""

import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.charts import tools
from tests.charts.rendering import (
    CHART,
    PROFILES,
    Manifest,
    Values,
    containers,
    job_templates,
    manifests,
    manifests_of_helm_3,
    merged,
    one,
    pod_of,
    pods,
    profile,
    values_file,
)

VERSIONS = [f"1.{minor}" for minor in range(28, 37)]
FOREIGN = ("cert-manager.io", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com")
"""Groups of add-ons; kubernetes-validate knows only Kubernetes' own."""


@pytest.mark.parametrize("name", PROFILES)
def test_both_helms_make_the_same_of_it(name: str) -> None:
    assert _sorted(manifests(profile(name))) == _sorted(manifests_of_helm_3(name))


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas_of_every_supported_version(version: str) -> None:
    every_profile = [manifests(profile(name)) for name in PROFILES]
    all_of_them = [m for found in every_profile for m in (*found, *job_templates(found))]
    own = {json.dumps(m, sort_keys=True) for m in all_of_them if m["apiVersion"].split("/")[0] not in FOREIGN}
    kinds = {json.loads(text)["kind"] for text in own}
    assert {"Deployment", "StatefulSet", "NetworkPolicy", "Job", "Ingress", "HorizontalPodAutoscaler"} <= kinds
    for text in own:
        kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_a_wrong_field_is_found_by_those_schemas() -> None:
    manifest = one(manifests(profile("evaluation")), "StatefulSet", "-scheduler")
    manifest["spec"]["podManagmentPolicy"] = "Parallel"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_helm_lints_it() -> None:
    for parts in PROFILES.values():
        files = [argument for part in parts for argument in ("-f", values_file(part))]
        tools.run(tools.HELM_3, "lint", "--strict", CHART, *files)


EXCEPTIONS = {
    "CKV_K8S_11": "A limit of CPU slows bursts down and frees nothing; memory, which can run out, has a limit.",
    "CKV_K8S_15": "An air-gapped node must start from the images that it has; `global.imagePullPolicy` may say Always.",
    "CKV_K8S_43": "Digests are values of the installation: those of the hospital's mirror are not known here.",
    "CKV_K8S_38": "The scheduler calls the API of Kubernetes where it scales Triton itself.",
    "CKV_K8S_8": "The pod of `helm test` runs once and ends.",
    "CKV_K8S_9": "The pod of `helm test` runs once and ends.",
}


def test_checkov_finds_nothing_but_what_is_explained(tmp_path: Path) -> None:
    for name in PROFILES:
        found = manifests(profile(name))
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all([*found, *job_templates(found)]))
    command = ("-d", tmp_path, "--framework", "kubernetes", "--skip-download", "--quiet", "-o", "json")
    report = json.loads(tools.run(tools.CHECKOV, *command, ok=(0, 1)))
    assert report["summary"]["passed"] > 1000
    failed = {(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]}
    assert {check for check, _ in failed} == EXCEPTIONS.keys(), "an exception that is needed no more, or a new fault"
    assert {resource.split(".")[0] for check, resource in failed if check == "CKV_K8S_38"} == {"StatefulSet"}
    assert all("-test" in resource for check, resource in failed if check in ("CKV_K8S_8", "CKV_K8S_9"))


SCALED = [({"mode": mode, "maxReplicas": most}, most > 1) for mode in ("keda", "hpa", "scheduler") for most in (1, 4)]


@pytest.mark.parametrize(("autoscaling", "is_kept"), [*SCALED, ({"mode": "none", "maxReplicas": 4}, False)])
def test_a_budget_keeps_pods_of_which_there_may_be_several(autoscaling: Values, is_kept: bool) -> None:
    """A drained node takes one at a time; of a single pod it would keep the node from being drained."""
    values = {"triton": {"replicas": 1, "autoscaling": autoscaling}, "merging": {"replicas": 1}}
    found = manifests(merged(profile("production"), values))
    budgets = {m["metadata"]["name"].rpartition("-")[2]: m["spec"] for m in found if m["kind"] == "PodDisruptionBudget"}
    several = {"storage", "inference", "uncertainty", "scheduler"} | ({"triton"} if is_kept else set())
    assert budgets.keys() == several
    for component, spec in budgets.items():
        assert spec["maxUnavailable"] == 1
        assert spec["selector"]["matchLabels"].items() <= pod_of(found, component)["metadata"]["labels"].items()


@pytest.mark.parametrize("name", PROFILES)
def test_pods_meet_the_restricted_standard(name: str) -> None:
    """Kubernetes' Pod Security Standard "restricted", and a root that nobody can write."""
    for pod in pods(manifests(profile(name))).values():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(pod["spec"].get(field) for field in ("hostNetwork", "hostPID", "hostIPC"))
        kinds = {kind for volume in pod["spec"]["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim"}
        for container in containers(pod):
            context = container["securityContext"]
            assert not context["allowPrivilegeEscalation"]
            assert context["readOnlyRootFilesystem"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


def test_the_networks_on_cpus_run_the_image_for_cpus() -> None:
    """Whatever tag and digest one's own values name for GPUs; a digest goes by its repository."""
    sha256 = {name: f"sha256:{number * 64}" for name, number in (("triton-gpu", "1"), ("triton", "2"))}
    own = {"triton": {"image": {"tag": "gpu-9.9", "digest": sha256["triton-gpu"]}}}
    cpu = yaml.safe_load(values_file("cpu").read_text())
    values = merged(merged(profile("production"), own), cpu)
    assert _triton_image(values).endswith(f"abdomenatlas/triton:{_app_version()}")
    by_repository = {"global": {"imageDigests": {f"abdomenatlas/{name}": it for name, it in sha256.items()}}}
    assert _triton_image(merged(values, by_repository)).endswith(f"abdomenatlas/triton@{sha256['triton']}")


def _triton_image(values: Values) -> str:
    (image,) = {c["image"] for c in containers(pod_of(manifests(values), "triton")) if "/triton" in c["image"]}
    return str(image)


def _app_version() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"])


def _sorted(found: list[Manifest]) -> list[Manifest]:
    for manifest in found:
        if manifest["kind"] == "Secret":  # drawn anew at every rendering
            manifest["stringData"] = sorted(manifest["stringData"])
    return sorted(found, key=lambda m: (m["kind"], m["metadata"]["name"]))
