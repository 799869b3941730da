import time

import pytest
from starlette.testclient import TestClient

from tests.browser import Page, open_browser
from tests.served import make_network
from utils.serving.app import create_app
from utils.serving.service import Service
from utils.serving.settings import ServingSettings


@pytest.fixture
def serve():
    """Returns a function that makes a client of a service in this process."""
    services, clients = [], []

    def make(network=None, clock=time.monotonic, **settings):
        network = network or make_network().network
        services.append(Service(network, ServingSettings(**settings), lambda _: None, clock))
        services[-1].start()
        client = TestClient(create_app(services[-1]), raise_server_exceptions=True)
        clients.append(client.__enter__())
        client.service = services[-1]
        return client

    yield make
    for client in clients:
        client.__exit__(None, None, None)
    for service in services:
        service.stop()


@pytest.fixture
def client(serve):
    return serve()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """One browser for all tests of pages."""
    downloads = tmp_path_factory.mktemp("downloads")
    driver = open_browser(downloads)
    yield Page(driver, downloads)
    driver.quit()
