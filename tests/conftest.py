"""The real server, started once for all suites, and real clients for it."""

import itertools
import os

import pytest

from harness import Server

_names = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A development server with two declared accounts, a user and a KMS key."""
    running = Server(tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def s3(server):
    return server.client()


@pytest.fixture
def bucket(s3):
    """A fresh bucket's name."""
    name = f"test-{os.getpid()}-{next(_names)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def shared_bucket(s3):
    """A bucket for suites whose keys do not meet."""
    name = f"shared-{os.getpid()}"
    s3.create_bucket(Bucket=name)
    return name
