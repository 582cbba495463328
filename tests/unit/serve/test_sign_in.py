"""Browsers sign in with a token; what a role may not do is neither offered nor done."""

import re
import shutil

import pytest
from fastapi.testclient import TestClient

from trainwright.serve.access import COOKIE
from trainwright.serve.app import create_app
from trainwright.serve.pages import CSRF_FIELD
from trainwright.serve.settings import Settings
from trainwright.serve.tokens import add_token

HTML = {"Accept": "text/html"}


@pytest.fixture
def guarded(world, tmp_path):
    """The service for two people: one who may only look, one who may promote. ({role: token}, client)"""
    shutil.copytree(world.root, tmp_path / "ws")
    path = tmp_path / "tokens.yaml"
    tokens = {role: add_token(path, f"a {role}", role) for role in ("viewer", "approver")}
    with TestClient(create_app(tmp_path / "ws", Settings(tokens_path=path)), base_url="http://127.0.0.1") as client:
        yield tokens, client


def form_key(client, address):
    return re.search(rf'name="{CSRF_FIELD}" value="([^"]+)"', client.get(address).text)[1]


def sign_in(client, token, to="/models"):
    fields = {CSRF_FIELD: form_key(client, "/login"), "token": token, "to": to}
    return client.post("/login", data=fields, follow_redirects=False)


def test_a_browser_without_a_token_is_asked_for_one_and_comes_back(guarded):
    tokens, client = guarded
    answer = client.get("/models/zoo?x=1", headers=HTML, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?to=%2Fmodels%2Fzoo%3Fx%3D1")
    assert client.get("/models/zoo").status_code == 401
    wrong = sign_in(client, "tw_wrong")
    assert wrong.status_code == 401
    assert "The token is not known" in wrong.text
    taken = sign_in(client, tokens["viewer"], "/models/zoo?x=1")
    assert (taken.status_code, taken.headers["location"]) == (303, "/models/zoo?x=1")
    assert "httponly" in taken.headers["set-cookie"].lower()
    assert "samesite=strict" in taken.headers["set-cookie"].lower()
    assert client.get("/models/zoo").status_code == 200


@pytest.mark.parametrize("to", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere.example", ""])
def test_signing_in_leads_nowhere_else(guarded, to):
    tokens, client = guarded
    assert sign_in(client, tokens["viewer"], to).headers["location"] == "/runs"


def test_a_viewer_is_offered_no_form_and_cannot_send_one(guarded):
    tokens, client = guarded
    sign_in(client, tokens["viewer"])
    page = client.get("/models/zoo").text
    assert "Roll back production" not in page
    fields = {CSRF_FIELD: form_key(client, "/models/zoo"), "reason": "because"}
    answer = client.post("/models/zoo/production/rollback", data=fields, headers=HTML)
    assert answer.status_code == 403
    assert "is for the role" in answer.text


def test_an_approver_rolls_back_in_their_own_name_and_signs_out(guarded):
    tokens, client = guarded
    sign_in(client, tokens["approver"])
    fields = {CSRF_FIELD: form_key(client, "/models/zoo"), "reason": "because"}
    assert client.post("/models/zoo/production/rollback", data=fields, follow_redirects=False).status_code == 303
    assert "an approver" in client.get("/models/zoo").text or "a approver" in client.get("/models/zoo").text
    client.post("/login", data={CSRF_FIELD: form_key(client, "/models/zoo"), "out": "yes"})
    assert COOKIE not in client.cookies
    assert client.get("/models/zoo").status_code == 401
