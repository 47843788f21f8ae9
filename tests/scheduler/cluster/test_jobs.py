"""Trainings are Jobs in a real cluster: made once, watched, cleaned up."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from abdomenatlas.scheduler.v1 import training_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.scheduler.cluster.api import Api
from services.scheduler.cluster.jobs import TEMPLATE, Jobs, manifest, training
from services.scheduler.trainings import State
from tests.charts.rendering import NAMESPACE
from tests.components.processes import wait_until
from tests.scheduler.cluster.conftest import TRAINING, Site
from tests.scheduler.running import Scheduler
from tests.scheduler.world import Server

SECONDS = 120
PLAN = {"model": "models/unet"}
RESULT: dict[str, Any] = {"model": "unet", "version": 2, "promoted": False, "reasons": ["The liver lost 0.02."]}
STORED = {"name": "unet", "sha256": "ab" * 32}


@pytest.fixture
def jobs(site: Site, api: Api) -> Iterator[Jobs]:
    """Yield the runner; no Job is left behind."""
    jobs = Jobs(api, TRAINING)
    yield jobs
    for left in jobs.all():
        jobs.cancel(left.id)
    wait_until(lambda: jobs.all() == [], "the end of all Jobs", SECONDS)


def job_of(site: Site, training_id: str) -> client.V1Job:
    return client.BatchV1Api(site.cluster.admin).read_namespaced_job(f"{TRAINING}-{training_id}", NAMESPACE)


def pods_of(site: Site, training_id: str) -> list[client.V1Pod]:
    spec = job_of(site, training_id).spec
    assert spec is not None
    assert spec.selector is not None
    core = client.CoreV1Api(site.cluster.admin)
    (label,) = (spec.selector.match_labels or {}).items()
    return core.list_namespaced_pod(NAMESPACE, label_selector="=".join(label)).items


def tell(site: Site, training_id: str, phase: str, **more: Any) -> None:
    """Say what became of a training's pod, as a kubelet would."""
    wait_until(lambda: pods_of(site, training_id) != [], "a pod", SECONDS)
    (pod,) = pods_of(site, training_id)
    assert pod.metadata is not None
    core = client.CoreV1Api(site.cluster.admin)
    core.patch_namespaced_pod_status(str(pod.metadata.name), NAMESPACE, {"status": {"phase": phase, **more}})


def ended(message: str, code: int) -> dict[str, Any]:
    """The status of a pod whose container ended with a message."""
    state = {"terminated": {"exitCode": code, "message": message}}
    names = {"name": "training", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    return {"containerStatuses": [names | {"state": state}]}


def test_the_same_plan_is_the_same_job(site: Site, jobs: Jobs) -> None:
    first = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    again = jobs.start(PLAN, ["tune", "/repository/unet"], "bob")
    other = jobs.start(PLAN, ["tune", "/repository/unet", "--whole"], "bob")
    assert (again.id, again.actor, again.plan) == (first.id, "ann", PLAN)
    assert other.id != first.id
    assert sorted(one.id for one in jobs.all()) == sorted((first.id, other.id))


def test_a_job_is_the_chart_s_template_with_a_name_an_owner_and_arguments(site: Site, jobs: Jobs) -> None:
    """Kubernetes takes the template as the chart writes it, and drops nothing of it."""
    started = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    owner = client.CoreV1Api(site.cluster.admin).read_namespaced_config_map(TRAINING, NAMESPACE)
    assert owner.data is not None
    wanted = yaml.safe_load(owner.data[TEMPLATE])
    job = site.cluster.admin.sanitize_for_serialization(job_of(site, started.id))
    (reference,) = job["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["uid"]) == ("ConfigMap", owner.metadata and owner.metadata.uid)
    assert job["spec"]["ttlSecondsAfterFinished"] == wanted["spec"]["ttlSecondsAfterFinished"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["tune", "/repository/unet"]
    assert _within(wanted, job)


def _within(wanted: Any, found: Any) -> bool:
    """Whether everything in `wanted` is in `found`, which may hold more."""
    if isinstance(wanted, dict):
        return all(name in found and _within(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(found) and all(map(_within, wanted, found))
    return bool(wanted == found)


def test_a_training_is_seen_from_its_waiting_to_its_result(site: Site, jobs: Jobs) -> None:
    started = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    assert (started.state, started.end_time) == (State.WAITING, None)
    nowhere = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: no nvidia.com/gpu."}
    tell(site, started.id, "Pending", conditions=[nowhere])
    assert jobs.get(started.id).message == nowhere["message"]
    tell(site, started.id, "Running")
    assert jobs.get(started.id).state == State.RUNNING
    said = f"{json.dumps(RESULT)}\n{json.dumps(STORED)}\n"
    tell(site, started.id, "Succeeded", **ended(said, 0))
    wait_until(lambda: jobs.get(started.id).state == State.DONE, "the Job's end", SECONDS)
    done = jobs.get(started.id)
    assert done.message == said.strip()
    assert done.end_time is not None
    assert done.end_time >= done.create_time
    again = jobs.start(PLAN, ["tune", "/repository/unet"], "bob")
    assert (again.id, again.state, again.actor) == (started.id, State.WAITING, "bob"), "labels may have changed"


def test_a_failed_training_says_why_and_goes_on_when_it_is_started_again(site: Site, jobs: Jobs) -> None:
    arguments = ["tune", "/repository/unet"]
    started = jobs.start(PLAN, arguments, "ann")
    tell(site, started.id, "Failed", **ended("TRAINING_DATA: No case is held out.", 1))
    wait_until(lambda: jobs.get(started.id).state == State.FAILED, "the Job's end", SECONDS)
    assert jobs.get(started.id).message == "TRAINING_DATA: No case is held out."
    failed = job_of(site, started.id)
    again = jobs.start(PLAN, arguments, "ann")
    assert (again.id, again.state) == (started.id, State.WAITING)
    now = job_of(site, started.id)
    assert failed.metadata
    assert now.metadata
    assert failed.metadata.uid != now.metadata.uid
    assert jobs.start(PLAN, arguments, "ann").state == State.WAITING


class Overtaken(Api):
    """The API, where somebody else does something between every reading and deleting of a Job."""

    meanwhile: Callable[[], object]

    def delete_job(self, name: str, uid: str | None = None) -> None:
        self.meanwhile()
        super().delete_job(name, uid)


@pytest.mark.parametrize("rival", ["has started it", "has not yet"])
def test_of_two_who_start_an_ended_training_again_at_once_both_get_it(
    site: Site, jobs: Jobs, account: Path, rival: str
) -> None:
    """The other one has deleted the ended Job, and either made the next or is about to."""
    arguments = ["tune", "/repository/unet"]
    started = jobs.start(PLAN, arguments, "ann")
    tell(site, started.id, "Failed", **ended("DISK_FULL", 1))
    wait_until(lambda: jobs.get(started.id).state == State.FAILED, "the Job's end", SECONDS)
    api = Overtaken(account)
    has_started = rival == "has started it"
    api.meanwhile = lambda: jobs.start(PLAN, arguments, "bob") if has_started else jobs.cancel(started.id)
    again = Jobs(api, TRAINING).start(PLAN, arguments, "ann")
    api.close()
    assert (again.id, again.state, again.actor) == (started.id, State.WAITING, "bob" if has_started else "ann")


def _is_gone(jobs: Jobs, training_id: str) -> bool:
    try:
        jobs.get(training_id)
    except AtlasError as error:
        if error.reason != Reason.RESOURCE_NOT_FOUND:
            raise
        return True
    return False


def test_cancelling_takes_the_pod_away(site: Site, jobs: Jobs) -> None:
    started = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    wait_until(lambda: pods_of(site, started.id) != [], "a pod", SECONDS)
    (pod,) = pods_of(site, started.id)
    assert pod.metadata is not None
    name = str(pod.metadata.name)
    jobs.cancel(started.id)
    wait_until(lambda: _is_gone(jobs, started.id), "the end of the Job", SECONDS)
    core = client.CoreV1Api(site.cluster.admin)
    everything = "app.kubernetes.io/component=training"
    wait_until(
        lambda: all(
            pod.metadata and (pod.metadata.name != name or pod.metadata.deletion_timestamp)
            for pod in core.list_namespaced_pod(NAMESPACE, label_selector=everything).items
        ),
        "the end of the pod",
        SECONDS,
    )


def test_kubernetes_forgets_a_training_some_time_after_its_end(site: Site, jobs: Jobs) -> None:
    """A week is longer than a test, so it is shortened."""
    started = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    tell(site, started.id, "Succeeded")
    wait_until(lambda: jobs.get(started.id).state == State.DONE, "the Job's end", SECONDS)
    batch = client.BatchV1Api(site.cluster.admin)
    batch.patch_namespaced_job(f"{TRAINING}-{started.id}", NAMESPACE, {"spec": {"ttlSecondsAfterFinished": 1}})
    wait_until(lambda: _is_gone(jobs, started.id), "the end of the Job", SECONDS)


def test_waiting_ends_with_a_change_of_the_pod(site: Site, jobs: Jobs) -> None:
    started = jobs.start(PLAN, ["tune", "/repository/unet"], "ann")
    wait_until(lambda: pods_of(site, started.id) != [], "a pod", SECONDS)
    jobs.wait(started.id, 1)
    tell(site, started.id, "Running")
    assert jobs.get(started.id).state == State.RUNNING


def atlas(scheduler: Scheduler, *words: str) -> str:
    """What the command prints."""
    environment = {**os.environ, "ATLAS_SCHEDULER": f"127.0.0.1:{scheduler.port}"}
    command = [sys.executable, "-m", "services.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.usefixtures("jobs", "account")
def test_a_scheduler_s_own_calls_start_and_follow_a_training(site: Site, workers: Server, tmp_path: Path) -> None:
    """The process as the chart starts it, from the call to the digest of what was made."""
    given: dict[str, Any] = {"cluster_training": TRAINING, "cluster_account": site.account}
    with Scheduler(f"sqlite:///{tmp_path}/scheduler.db", workers.address, tmp_path, **given) as scheduler:
        plan = pb.TrainingPlan(organs=["liver"], epochs=3)
        started = scheduler.rpc.StartTraining(pb.StartTrainingRequest(model="models/unet", plan=plan)).training
        assert (started.model, started.plan, started.state) == ("models/unet", plan, pb.Training.STATE_WAITING)
        training_id = started.name.removeprefix("trainings/")
        updates = scheduler.rpc.WatchTraining(pb.WatchTrainingRequest(name=started.name), timeout=SECONDS)
        assert next(updates).training.state == pb.Training.STATE_WAITING
        tell(site, training_id, "Running")
        assert next(updates).training.state == pb.Training.STATE_RUNNING
        tell(site, training_id, "Succeeded", **ended(f"{json.dumps(RESULT)}\n{json.dumps(STORED)}\n", 0))
        *_, last = updates
        assert last.training.state == pb.Training.STATE_DONE
        assert last.training.result == pb.TrainingResult(version=2, reasons=RESULT["reasons"], sha256=STORED["sha256"])
        assert list(scheduler.rpc.ListTrainings(pb.ListTrainingsRequest()).trainings) == [last.training]
        shown = atlas(scheduler, "training", "show", training_id)
        assert f"- {{name: unet, sha256: {STORED['sha256']}}}" in shown.splitlines()
        assert json.loads(atlas(scheduler, "training", "list", "--json"))[0]["result"]["version"] == 2
        scheduler.rpc.CancelTraining(pb.CancelTrainingRequest(name=started.name))
        with pytest.raises(AtlasError) as raised:
            scheduler.rpc.GetTraining(pb.GetTrainingRequest(name=started.name))
        assert raised.value.reason == Reason.RESOURCE_NOT_FOUND


def test_what_hinders_a_pod_is_told() -> None:
    job = {"metadata": {"name": "t-1", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"active": 1}}
    pod: dict[str, Any] = {"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}, "status": {"phase": "Pending"}}
    assert training(job, [pod]).message == ""
    unpulled = copy.deepcopy(pod)
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found: training:7"}}
    unpulled["status"]["initContainerStatuses"] = [{"state": waiting}]
    assert training(job, [pod, unpulled]).message == "not found: training:7"
    failed = {"metadata": pod["metadata"], "status": {"phase": "Failed", **ended("DISK_FULL", 1)}}
    assert training(job, [failed, pod]).message == "DISK_FULL"


def test_a_long_name_of_an_installation_leaves_room_for_the_id() -> None:
    """Kubernetes refuses pods whose label "job-name" has more than 63 letters."""
    template = yaml.safe_dump({"metadata": {}, "spec": {"template": {"spec": {"containers": [{}]}}}})
    owner = {"metadata": {"name": "a" * 45 + "-training", "uid": "u"}, "data": {TEMPLATE: template}}
    names = {manifest(owner, PLAN, [word], "ann")["metadata"]["name"] for word in ("tune", "train")}
    assert {len(name) for name in names} == {63}


def test_a_config_map_without_a_template_is_refused_by_name() -> None:
    with pytest.raises(AtlasError, match=r"holds no template of a Job under job\.yaml"):
        manifest({"metadata": {"name": "t", "uid": "u"}, "data": {}}, PLAN, [], "ann")


def test_states_are_those_of_the_contract() -> None:
    assert {f"STATE_{state.name}": state.value for state in State} == dict(pb.Training.State.items()[1:])
