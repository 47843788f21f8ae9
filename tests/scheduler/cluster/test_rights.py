"""The scheduler's account may do in the cluster what the scheduler does, and nothing else."""

from collections.abc import Callable

import pytest
from kubernetes import client

from services.scheduler.cluster.api import Api
from tests.charts.rendering import NAMESPACE
from tests.scheduler.cluster.conftest import OURS, TRAINING, TRITON


def test_the_account_may_not_do_what_the_scheduler_does_not(api: Api) -> None:
    """What it does is shown by the other tests here, which have no other account."""
    apps, core = client.AppsV1Api(api._client), client.CoreV1Api(api._client)
    batch, rights = client.BatchV1Api(api._client), client.RbacAuthorizationV1Api(api._client)
    token = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    forbidden: list[Callable[[], object]] = [
        lambda: apps.read_namespaced_deployment(TRITON, NAMESPACE),
        lambda: apps.patch_namespaced_deployment(TRITON, NAMESPACE, {"spec": {"replicas": 2}}),
        lambda: apps.delete_namespaced_deployment(TRITON, NAMESPACE),
        lambda: apps.list_namespaced_deployment(NAMESPACE),
        lambda: apps.patch_namespaced_deployment_scale(TRITON, NAMESPACE, {"spec": {"replicas": 2}}),
        lambda: apps.read_namespaced_deployment_scale("other", NAMESPACE),
        lambda: apps.read_namespaced_deployment_scale(TRITON, "default"),
        lambda: core.list_namespaced_secret(NAMESPACE),
        lambda: core.read_namespaced_config_map("other", NAMESPACE),
        lambda: core.patch_namespaced_config_map(TRAINING, NAMESPACE, {"data": {}}),
        lambda: core.delete_namespaced_pod("any", NAMESPACE),
        lambda: core.read_namespaced_pod_log("any", NAMESPACE),
        lambda: core.connect_post_namespaced_pod_exec("any", NAMESPACE, command=["id"]),
        lambda: core.list_namespaced_pod("default"),
        lambda: core.list_namespaced_config_map(NAMESPACE),
        lambda: core.create_namespaced_service_account_token(OURS, NAMESPACE, token),
        lambda: batch.list_namespaced_job("default"),
        lambda: batch.patch_namespaced_job("any", NAMESPACE, {"spec": {"suspend": True}}),
        lambda: batch.delete_collection_namespaced_job(NAMESPACE),
        lambda: rights.list_namespaced_role(NAMESPACE),
    ]
    for attempt in forbidden:
        with pytest.raises(client.ApiException) as raised:
            attempt()
        assert raised.value.status == 403
