"""Trainings as Jobs of Kubernetes, from the template that the chart keeps in a ConfigMap.

The Job is the record: its name follows from what is asked for, its annotations tell what that was, and Kubernetes
deletes it some time after its end, or when the template goes.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from services.core.errors import AtlasError, Reason
from services.core.names import content_id
from services.scheduler.cluster.api import Api, Manifest
from services.scheduler.trainings import ENDED, State, Training

TEMPLATE = "job.yaml"
"""The template's key in the ConfigMap."""
_PLAN, _ACTOR = "abdomenatlas/plan", "abdomenatlas/actor"
_AT_WORK = ("Running", "Succeeded")
"""Phases of a pod; that it succeeded, the Job knows a moment later."""
_NAME_LETTERS, _ID_LETTERS = 42, 20
"""What a Job's name takes of the ConfigMap's, and its id: pods carry it as a label, which has 63 letters at most."""


class Jobs:
    """The `TrainingRunner` of an installation whose template is in the ConfigMap `template`.

    Kubernetes deletes a Job some time after its end: then the training is forgotten.
    """

    repository = "/repository"

    def __init__(self, api: Api, template: str) -> None:
        self._api, self._template = api, template

    def start(self, plan: Mapping[str, Any], arguments: list[str], actor: str) -> Training:
        """Start a training with these arguments of `python -m services.serving.training`, or find the one there is.

        One that has ended goes on, as another Job of the same name: its data may have changed.
        """
        owner = self._api.config_map(self._template)
        job = manifest(owner, plan, arguments, actor)
        name = job["metadata"]["name"]
        if made := self._made(job):
            return made
        known = self._api.job(name)
        found = self._seen(known)
        if found.state not in ENDED:
            return found
        try:
            self._api.delete_job(name, known["metadata"]["uid"])
        except AtlasError as error:
            # Somebody else deleted it just now, and perhaps made the next one.
            if error.reason not in (Reason.ETAG_MISMATCH, Reason.RESOURCE_NOT_FOUND):
                raise
        return self._made(job) or self._seen(self._api.job(name))

    def get(self, training_id: str) -> Training:
        """A training. Raises RESOURCE_NOT_FOUND, as it does some time after its end."""
        return self._seen(self._api.job(self._job_name(training_id)))

    def all(self) -> list[Training]:
        """All trainings, newest first."""
        labels = _own_labels(_template(self._api.config_map(self._template)))
        pods = self._api.pods(labels)
        found = [training(job, [pod for pod in pods if _is_of(pod, job)]) for job in self._api.jobs(labels)]
        return sorted(found, key=lambda one: (one.create_time, one.id), reverse=True)

    def cancel(self, training_id: str) -> None:
        """End a training, or forget one that has ended. Raises RESOURCE_NOT_FOUND."""
        self._api.delete_job(self._job_name(training_id))

    def wait(self, training_id: str, seconds: int) -> None:
        """Return when something may have changed, or after `seconds`."""
        self._api.wait_for_pods(_pod_labels(self._api.job(self._job_name(training_id))), seconds)

    def _made(self, job: Manifest) -> Training | None:
        """The training of a new Job; None if there is one of its name."""
        try:
            return training(self._api.create_job(job), [])
        except AtlasError as error:
            if error.reason != Reason.RESOURCE_CONFLICT:
                raise
            return None

    def _seen(self, job: Manifest) -> Training:
        return training(job, self._api.pods(_pod_labels(job)))

    def _job_name(self, training_id: str) -> str:
        return _name(self._template, training_id)


def manifest(owner: Manifest, plan: Mapping[str, Any], arguments: list[str], actor: str) -> Manifest:
    """The Job that runs `arguments`, after the template in the ConfigMap `owner`, with which it is deleted."""
    job, name = _template(owner), owner["metadata"]["name"]
    metadata = job["metadata"]
    metadata["name"] = _name(name, content_id(name, *arguments)[:_ID_LETTERS])
    metadata["annotations"] = metadata.get("annotations", {}) | {_PLAN: json.dumps(plan), _ACTOR: actor}
    metadata["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner["metadata"]["uid"]}
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["args"] = [*container.get("args", []), *arguments]
    return job


def training(job: Manifest, pods: list[Manifest]) -> Training:
    """What a Job and its pods say."""
    metadata, status = job["metadata"], job.get("status", {})
    held = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
    newest = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    ended: str | None = None
    if "Complete" in held:
        state, message, ended = State.DONE, _last_words(newest), held["Complete"]["lastTransitionTime"]
    elif "Failed" in held:
        state, ended = State.FAILED, held["Failed"]["lastTransitionTime"]
        message = _last_words(newest) or held["Failed"].get("message", "")
    elif any(pod["status"].get("phase") in _AT_WORK for pod in newest):
        state, message = State.RUNNING, ""
    else:
        state, message = State.WAITING, _hindrance(newest) or _last_words(newest)
    annotations = metadata.get("annotations", {})
    return Training(
        id=metadata["name"].rpartition("-")[2],
        plan=json.loads(annotations.get(_PLAN, "{}")),
        actor=annotations.get(_ACTOR, ""),
        state=state,
        message=message,
        create_time=datetime.fromisoformat(metadata["creationTimestamp"]),
        end_time=datetime.fromisoformat(ended) if ended else None,
    )


def _template(config_map: Manifest) -> Manifest:
    try:
        template: Manifest = yaml.safe_load(config_map["data"][TEMPLATE])
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The ConfigMap holds no template of a Job under {TEMPLATE}.",
            field=config_map["metadata"]["name"],
            remedy="Install the chart again: it writes it.",
        ) from error
    return template


def _name(template: str, training_id: str) -> str:
    return f"{template[:_NAME_LETTERS].rstrip('-.')}-{training_id}"


def _own_labels(template: Manifest) -> dict[str, str]:
    labels = template["metadata"]["labels"]
    return {name: labels[name] for name in ("app.kubernetes.io/instance", "app.kubernetes.io/component")}


def _pod_labels(job: Manifest) -> dict[str, str]:
    """They hold the Job's uid: pods of an earlier Job of the same name may still be on their way out."""
    labels: dict[str, str] = job["spec"]["selector"]["matchLabels"]
    return labels


def _is_of(pod: Manifest, job: Manifest) -> bool:
    return bool(_pod_labels(job).items() <= pod["metadata"]["labels"].items())


def _last_words(pods: list[Manifest]) -> str:
    """What the newest container that ended left as its message."""
    for pod in reversed(pods):
        for container in pod["status"].get("containerStatuses", []):
            if said := container.get("state", {}).get("terminated", {}).get("message", ""):
                return str(said).strip()
    return ""


def _hindrance(pods: list[Manifest]) -> str:
    """Why the newest pod does not run yet: no node for it, no image, or an initial container that fails."""
    for pod in reversed(pods):
        statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
        for container in statuses:
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("message"):
                return str(waiting["message"])
        for condition in pod["status"].get("conditions", []):
            if condition["status"] == "False" and condition.get("message"):
                return str(condition["message"])
    return ""
