"""All five services, started together once."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.contract.service_process import SERVICES, ServiceProcess, launched, wait_healthy


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServiceProcess]]:
    """Yield the services by name, ready. There is no Triton behind them, and they do not know each other."""
    home = tmp_path_factory.mktemp("services")
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(launched(name, home)) for name in SERVICES}
        for service in started.values():
            wait_healthy(service)
        yield started
        for service in started.values():  # all at once, so that they drain side by side
            service.process.terminate()


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, services: dict[str, ServiceProcess]) -> ServiceProcess:
    """Each service in turn."""
    return services[request.param]
