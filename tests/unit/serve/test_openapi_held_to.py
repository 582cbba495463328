"""What OpenAPI promises, held against the service over HTTP by schemathesis: requests that the document allows, and others.

Every request is sent twice: as it was made up, and with names in its path that are really there.
"""

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from hypothesis import HealthCheck, Phase, settings

from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings

schemathesis = pytest.importorskip("schemathesis", reason="pip install 'trainwright[interop]'")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.config import SchemathesisConfig  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.extra

DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text(encoding="utf-8"))
schema = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig())
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
NUM_EXAMPLES = 6


@pytest.fixture(scope="module")
def address(world, tmp_path_factory):
    """Where the service answers, over a copy of the world."""
    folder = tmp_path_factory.mktemp("held")
    shutil.copytree(world.root, folder / "ws")
    app = create_app(folder / "ws", Settings())
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("TRAINWRIGHT_KEYS", str(folder / "keys"))
        patch.setenv("no_proxy", "127.0.0.1")
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def known(world):
    """What stands in a path, by the name it has there."""
    return {
        "run": world.runs[0],
        "dataset": "sums@v1",
        "evaluation": world.evaluations[0],
        "trace_id": world.traces[0],
        "ref": "zoo@production",
        "name": "zoo",
    }


@schema.parametrize()
@settings(
    max_examples=NUM_EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_has(case, address, known):
    case.call_and_validate(base_url=address, checks=CHECKS, timeout=60)
    if case.path_parameters and set(case.path_parameters) & set(known):
        case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        case.call_and_validate(base_url=address, checks=CHECKS, timeout=60)
