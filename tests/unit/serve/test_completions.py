"""Asking models over real HTTP: in OpenAI's form, whole and streamed, many at once, and across a promotion."""

import asyncio
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from trainwright.backends.reference import ReferenceBatchDecoder
from trainwright.evaluate.generation import Decoding
from trainwright.pipeline.promote import roll_back
from trainwright.pipeline.use import find_model, generate
from trainwright.serve import writers
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.store.workspace import open_workspace

PROMPT = "The cat saw 4 "


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    """uvicorn on loopback, over a copy of the world."""
    root = tmp_path_factory.mktemp("served") / "ws"
    shutil.copytree(world.root, root)
    app = create_app(root, Settings())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that who stops reading is noticed soon
        running = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        yield root, f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        running.should_exit = True
        thread.join()


@pytest.fixture
def asked(server):
    with httpx.Client(base_url=server[1], trust_env=False, timeout=60) as client:
        yield client


def complete(client, **fields):
    body = {"model": "zoo@production", "prompt": PROMPT, "max_tokens": 12, "temperature": 0, **fields}
    return client.post("/completions", json=body)


def read_stream(lines):
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(line) for line in data[:-1]]


def test_an_answer_is_what_the_command_would_write(server, asked, world):
    root, _ = server
    answer = complete(asked).json()
    with open_workspace(root) as workspace:
        decoding = Decoding(max_tokens=12, temperature=0.0, top_p=1.0)
        expected = "".join(generate(find_model("zoo@production", workspace), PROMPT, decoding, workspace))
    (choice,) = answer["choices"]
    assert choice["text"] == expected
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 12
    assert answer["model"] == "zoo@production"
    assert answer["trainwright"]["checkpoint"] == world.checkpoints[1]


def test_a_stream_says_the_same_piece_by_piece(asked):
    whole = complete(asked).json()
    body = {"model": "zoo@production", "prompt": PROMPT, "max_tokens": 12, "temperature": 0, "stream": True}
    with asked.stream("POST", "/completions", json={**body, "stream_options": {"include_usage": True}}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        chunks = read_stream(answer.iter_lines())
    assert len(chunks) > 3
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == whole["choices"][0]["text"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"] == whole["usage"]


def test_one_message_of_a_user_is_what_a_model_of_text_goes_on_from(asked):
    text = complete(asked).json()["choices"][0]["text"]
    body = {
        "model": "zoo@production",
        "max_tokens": 12,
        "temperature": 0,
        "messages": [{"role": "user", "content": PROMPT}],
    }
    answer = asked.post("/chat/completions", json=body).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": text}
    body["messages"].insert(0, {"role": "system", "content": "Be brief."})
    refused = asked.post("/chat/completions", json=body)
    assert refused.status_code == 400
    assert "knows no turns" in refused.json()["error"]["message"]


def test_a_stop_ends_an_answer_and_is_not_shown(asked):
    text = complete(asked).json()["choices"][0]["text"]
    stop = text[4:7]
    answer = complete(asked, stop=[stop, "never said"]).json()["choices"][0]
    assert answer["text"] == text.partition(stop)[0]
    assert answer["finish_reason"] == "stop"


def test_a_seed_gives_the_same_answer_again(asked):
    texts = [complete(asked, temperature=2, seed=seed).json()["choices"][0]["text"] for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5000}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 2}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"logprobs": 1}, "logprobs"),
        ({"surprise": 1}, "surprise"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"stop": ["a", "b", "c", "d", "e"]}, None),
        ({"stop": [""]}, None),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(asked, fields, param):
    answer = complete(asked, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param


def test_a_body_that_is_no_json_is_refused(asked):
    answer = asked.post("/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("ref", ["nobody@production", "ffffffff", "zoo@elsewhere"])
def test_an_unknown_model_is_not_found(asked, ref):
    answer = complete(asked, model=ref)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_record_that_is_no_model_is_not_found(asked, world):
    assert complete(asked, model=world.dataset).status_code == 404


def test_models_are_listed_by_their_refs(asked):
    names = [row["id"] for row in asked.get("/models").json()["data"]]
    assert names == ["first@latest", "second@latest", "zoo@production", "zoo@staging"]


def test_many_at_once_are_all_answered_as_if_they_were_alone(server, asked):
    prompts = [f"The {animal} saw {number} " for animal in ("cat", "pig") for number in range(4)]
    alone = [complete(asked, prompt=prompt).json()["choices"][0]["text"] for prompt in prompts]

    def ask(prompt):
        with httpx.Client(base_url=server[1], trust_env=False, timeout=60) as client:
            return complete(client, prompt=prompt).json()["choices"][0]["text"]

    with ThreadPoolExecutor(len(prompts)) as pool:
        assert list(pool.map(ask, prompts)) == alone


def test_those_that_come_together_share_each_pass_through_the_model(server, asked, monkeypatch):
    prompts = [f"The pig saw {number} " for number in range(6)]
    gate, waiting, sizes = threading.Event(), threading.Semaphore(0), []
    play, feed, seat = writers._play_round, ReferenceBatchDecoder.feed, writers._Seat

    def play_once_all_are_there(*arguments):
        assert gate.wait(60)
        return play(*arguments)

    def count(decoder, numbers, tokens_N):
        sizes.append(len(numbers))
        return feed(decoder, numbers, tokens_N)

    def sit_down(answer):
        waiting.release()
        return seat(answer)

    monkeypatch.setattr(writers, "_play_round", play_once_all_are_there)
    monkeypatch.setattr(writers, "_Seat", sit_down)
    monkeypatch.setattr(writers, "ROUND_S", 0.0)  # a token a round: who came first is not done when the others join
    monkeypatch.setattr(ReferenceBatchDecoder, "feed", count)

    def ask(prompt):
        with httpx.Client(base_url=server[1], trust_env=False, timeout=60) as client:
            return complete(client, prompt=prompt).json()["usage"]["completion_tokens"]

    with ThreadPoolExecutor(len(prompts)) as pool:
        answers = pool.map(ask, prompts)
        assert all(waiting.acquire(timeout=60) for _ in prompts)
        gate.set()
        num_tokens = sum(answers)
    assert max(sizes) == len(prompts)
    assert len(sizes) < num_tokens / 2


def test_what_goes_wrong_as_answers_are_computed_is_told_to_each_and_the_next_is_answered(server, asked, monkeypatch):
    def fail(*_):
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(writers, "_play_round", fail)
        with httpx.Client(base_url=server[1], trust_env=False, timeout=60) as client:
            assert complete(client).status_code == 500
    assert complete(asked).status_code == 200


def test_too_many_at_once_are_told_to_come_back(asked, monkeypatch):
    monkeypatch.setattr("trainwright.serve.writers.MAX_ANSWERS", 0)
    answer = complete(asked)
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert answer.headers["retry-after"] == "1"


def test_a_place_is_free_again_when_a_client_has_gone(asked, monkeypatch):
    monkeypatch.setattr("trainwright.serve.writers.MAX_ANSWERS", 1)
    body = {"model": "zoo@production", "prompt": PROMPT, "max_tokens": 4096, "temperature": 0, "stream": True}
    with asked.stream("POST", "/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert complete(asked).status_code == 429
    del lines
    for _ in range(200):
        if complete(asked).status_code == 200:
            break
    else:
        pytest.fail("the place of an answer that nobody hears was never free again")


def test_a_place_is_free_again_when_a_client_stops_reading(server, asked, monkeypatch):
    monkeypatch.setattr("trainwright.serve.writers.MAX_ANSWERS", 1)
    monkeypatch.setattr("trainwright.serve.streaming.STALLED_S", 0.2)
    body = {"model": "zoo@production", "prompt": PROMPT, "max_tokens": 4096, "temperature": 0, "stream": True}
    sent = json.dumps(body).encode()
    host, port = server[1].removeprefix("http://").removesuffix("/v1").split(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        deaf.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        assert deaf.recv(12) == b"HTTP/1.1 200"
        for _ in range(400):
            if complete(asked).status_code == 200:
                break
        else:
            pytest.fail("the place of an answer that nobody reads was never free again")


def test_a_roll_back_answers_the_next_request_and_leaves_the_one_under_way_to_its_model(
    server, asked, world, monkeypatch
):
    root, _ = server
    under_way, go_on, iter_pieces = [], threading.Event(), writers.Writers.iter_pieces

    async def hold_the_first(own, answer):
        under_way.append(answer)
        async for piece in iter_pieces(own, answer):
            yield piece
            while answer is under_way[0] and not go_on.is_set():
                await asyncio.sleep(0.01)

    monkeypatch.setattr(writers.Writers, "iter_pieces", hold_the_first)
    before, after = world.checkpoints[1], world.checkpoints[0]
    body = {"model": "zoo@production", "prompt": PROMPT, "max_tokens": 600, "temperature": 0, "stream": True}
    with asked.stream("POST", "/completions", json=body) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        with open_workspace(root) as workspace:
            roll_back("zoo", "production", workspace, who="a person", why="a test")
        assert complete(asked).json()["trainwright"]["checkpoint"] == after
        assert under_way[0].finish is None
        go_on.set()
        rest = read_stream(list(lines))
    assert {chunk["trainwright"]["checkpoint"] for chunk in (first, *rest)} == {before}
    text = first["choices"][0]["text"] + "".join(chunk["choices"][0]["text"] for chunk in rest)
    with open_workspace(root) as workspace:
        model = find_model(before, workspace)
        decoding = Decoding(max_tokens=600, temperature=0.0, top_p=1.0)
        assert text == "".join(generate(model, PROMPT, decoding, workspace))
