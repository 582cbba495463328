"""Every page answers, over a full workspace and an empty one; what is in it is text and never markup; forms are our own."""

import re
from html.parser import HTMLParser

import pytest

from trainwright.pipeline.models import show_model
from trainwright.serve.dashboard import PAGES
from trainwright.serve.pages import CSRF_FIELD

AREAS = (
    "/runs",
    "/sweeps",
    "/data",
    "/traces",
    "/evaluations",
    "/models",
    "/lineage",
    "/jobs",
    "/costs",
    "/alerts",
)
VOID = {"meta", "link", "input", "br", "img", "hr", "path", "line", "circle", "polyline"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and whether they are closed as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in ("li", "tr", "td", "th", "p", "option", "dt", "dd") or tag in self.open:
            while self.open and self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.text += data

    def find(self, tag):
        return [attributes for one, attributes in self.elements if one == tag]


def addresses_of(world):
    return (
        *AREAS,
        *(f"/runs/{run}" for run in world.runs),
        f"/runs/{world.runs[0]}/live",
        f"/runs/compare?run={world.runs[0]}&run={world.runs[1]}",
        f"/sweeps/{world.sweep}",
        "/sweeps/rates",
        f"/data/{world.dataset}",
        f"/data/compare?a={world.dataset}&b={world.dataset}",
        *(f"/traces/{trace}" for trace in world.traces),
        f"/traces/{world.traces[0]}?template=chatml",
        f"/evaluations/{world.evaluations[0]}",
        f"/evaluations/compare?a={world.evaluations[0]}&b={world.evaluations[1]}&flip=same",
        "/models/zoo",
        f"/decisions/{world.decision}",
        "/lineage?ref=zoo@production&check=yes",
        f"/lineage?ref={world.traces[0]}",
        *(f"/costs?by={by}" for by in ("project", "user", "tag")),
        f"/costs/{world.runs[0]}",
        "/alerts?which=all&severity=high",
        "/login",
    )


def test_every_page_answers_and_no_text_of_the_workspace_becomes_markup(client, world):
    for address in addresses_of(world):
        answer = client.get(address)
        assert answer.status_code == 200, f"{address}: {answer.text[:2000]}"
        page = Page(answer.text)
        scripts = page.find("script")
        assert all(script.get("src") == "/static/dashboard.js" for script in scripts), address
        assert not [image for image in page.find("img") if "onerror" in image], address
        assert not [one for tag, one in page.elements if any(name.startswith("on") or name == "style" for name in one)]
        assert "script-src 'self'" in answer.headers["content-security-policy"], address


def test_hostile_texts_are_shown_as_they_are(client, world):
    trace = Page(client.get(f"/traces/{world.traces[0]}").text)
    assert "<script>document.title='taken'</script> What is 1 + 1?" in trace.text
    assert "<img src=x onerror=alert(1)>" in trace.text
    assert "<script>" in Page(client.get("/models/zoo").text).text
    assert "<script>" in Page(client.get(f"/evaluations/{world.evaluations[0]}").text).text


@pytest.mark.parametrize("address", [*AREAS, "/login", "/"])
def test_an_empty_workspace_has_pages_that_say_what_to_do(empty, address):
    answer = empty.get(address)
    assert answer.status_code == 200
    if address not in ("/login",):
        assert "yet" in Page(answer.text).text


def test_pages_have_landmarks_headings_and_named_fields(client, world):
    for address in addresses_of(world):
        if address.endswith("/live"):
            continue
        page = Page(client.get(address).text)
        assert len(page.find("main")) == 1, address
        assert len(page.find("h1")) == 1, address
        assert page.find("html")[0]["lang"] == "en"
        assert [link for link in page.find("a") if link.get("href") == "#main"], address
        assert all("alt" in image for image in page.find("img")), address
        assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.find("svg")), address
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), address


def test_what_is_not_there_is_a_page_that_says_so(client):
    for address in (
        "/runs/ffffffff",
        "/traces/ffffffff",
        "/evaluations/zoo@staging",
        "/models/nobody",
        "/lineage?ref=no",
        "/sweeps/none",
    ):
        answer = client.get(address)
        assert answer.status_code == 404, address
        assert "What to do" in answer.text, address
        assert answer.headers["content-type"].startswith("text/html")
    answer = client.get("/runs/compare")
    assert answer.status_code == 422
    assert "two runs or more" in answer.text


def test_static_files_are_ours_alone(client):
    assert client.get("/static/dashboard.css").headers["content-type"].startswith("text/css")
    for name in ("nothing.css", "..%2Fpages.py", "dashboard.py"):
        assert client.get(f"/static/{name}").status_code == 404


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_plot_is_also_a_table(client, world):
    text = client.get(f"/runs/{world.runs[0]}").text
    charts = re.findall(r'data-chart="(\w+)"', text)
    assert charts[:5] == ["loss", "learning_rate", "gradient_norm", "throughput", "memory"]
    assert text.count("As a table") == len(charts)
    for figure in text.split("<figure")[1:]:
        assert "<polyline" in figure
        assert figure.index("<svg") < figure.index("<table")


def test_curves_between_two_steps_are_told_for_one_run_and_for_several(client, world):
    def read(address):
        path = re.search(r'data-curves="([^"]+)"', client.get(address).text)[1].replace("&amp;", "&")
        answer = client.get(f"{path}{'&' if '?' in path else '?'}first=3&last=5")
        assert answer.headers["content-type"] == "application/json"
        return {name: [[step for step, _ in curve] for curve in one["points"]] for name, one in answer.json().items()}

    assert read(f"/runs/{world.runs[0]}")["loss"][0] == [2, 3, 4, 5, 6]
    assert read(f"/runs/compare?run={world.runs[0]}&run={world.runs[1]}")["bits_per_byte"] == [[6], [6]]
    assert client.get(f"/runs/{world.runs[0]}/curves").status_code == 422
    assert client.get("/runs/compare/curves", params={"first": 3, "last": 5}).status_code == 422


def test_runs_are_found_by_name_id_and_status(client, world):
    def names(**query):
        return re.findall(r'href="/runs/[0-9a-f]{64}">(\w+)<', client.get("/runs", params=query).text)

    assert names() == ["second", "first"]
    assert names(words="fir") == names(words=world.runs[0][:8]) == ["first"]
    assert names(status="completed") == ["second", "first"]
    assert names(status="running") == names(words="third") == []


def test_pages_of_runs_follow_each_other(client, monkeypatch):
    monkeypatch.setattr("trainwright.serve.pages_runs.PAGE_SIZE", 1)
    first = client.get("/runs").text
    assert ">second<" in first
    assert ">first<" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    second = client.get(older).text
    assert ">first<" in second
    assert 'rel="next"' not in second


def test_a_finished_run_ends_its_stream(client, world):
    with client.stream("GET", f"/runs/{world.runs[0]}/changes") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "event: end" in "".join(answer.iter_text())


def test_the_report_of_a_run_may_not_run_anything(client, world):
    answer = client.get(f"/runs/{world.runs[0]}/report")
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]


# ── sweeps ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_sweep_is_drawn_with_a_table_beside_it(client, world):
    text = client.get("/sweeps/rates").text
    page = Page(text)
    assert text.count('class="trial band') == 23
    assert text.count('class="trial band0"') == 1
    (figure,) = [part for part in text.split("<figure")[1:] if 'class="parallel"' in part[:40]]
    assert figure.index("<svg") < figure.index("<table")
    assert "chosen by the very bits per byte" in page.text
    assert "PED-ANOVA" in page.text
    assert "one run has" not in page.text
    assert f'href="/sweeps/{world.sweep}"' in client.get("/sweeps").text
    assert f'href="/runs/{world.runs[0]}"' in text
    assert "<script>document.title='taken'</script>" in page.text


def test_sweeps_are_answered_over_http(client, world):
    (item,) = client.get("/api/sweeps").json()["items"]
    assert (item["sweep_id"], item["num_completed"], item["num_pruned"]) == (world.sweep, 23, 1)
    assert item["best"]["number"] == 23
    document = client.get(f"/api/sweeps/{world.sweep[:12]}").json()
    assert [row["place"] for row in document["trials"]] == [*range(1, 24), None]
    assert document["importance"]["keys"][0]["key"] == "train.optimizer.learning_rate"
    assert client.get("/api/sweeps/rates").json() == document
    assert client.get("/api/sweeps", params={"after": world.sweep}).json() == {"items": [], "next": None}
    assert client.get("/api/sweeps/none").status_code == 404
    assert client.get(f"/api/sweeps/{world.runs[0]}").json()["error"]["name"] == "unknown-ref"


# ── data ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_traces_are_found_by_words_kind_and_meta(client, world):
    def ids(**query):
        return re.findall(r'href="/traces/([0-9a-f]{64})"', client.get("/traces", params=query).text)

    assert set(ids()) == set(world.traces)
    assert ids(words="fruit") == ids(kind="conversation") == ids(meta="category=plain") == [world.traces[1]]
    assert ids(meta="category=<b>odd</b>") == [world.traces[0]]
    assert ids(meta="nothing") == ids(words="zebra") == []


def test_tokens_to_be_learnt_are_marked(client, world):
    text = client.get(f"/traces/{world.traces[1]}").text
    learnt = "".join(re.findall(r'<span class="learnt[^"]*"[^>]*>([^<]*)</span>', text))
    assert "An" in learnt
    assert "Name" not in learnt
    refused = client.get(f"/traces/{world.traces[1]}?template=trace")
    assert refused.status_code == 200
    assert "has no form for" in refused.text


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def send(client, address, page="/models/zoo", **fields):
    key = re.search(rf'name="{CSRF_FIELD}" value="([^"]+)"', client.get(page).text)[1]
    return client.post(address, data={CSRF_FIELD: key, **fields}, follow_redirects=False)


def current(client, stage):
    document = show_model("zoo", client.app.state.workspace)
    return next(place["checkpoint"] for place in document["places"] if place["stage"] == stage)


def test_a_model_is_rolled_back_and_promoted_again_with_reasons(client, world):
    assert current(client, "production") == world.checkpoints[1]
    answer = send(client, "/models/zoo/production/rollback", reason="it says <b>moo</b>")
    assert (answer.status_code, answer.headers["location"]) == (303, "/models/zoo")
    assert current(client, "production") == world.checkpoints[0]
    page = client.get("/models/zoo").text
    assert "it says &lt;b&gt;moo&lt;/b&gt;" in page
    refused = send(client, "/models/zoo/production/promote", ref=world.checkpoints[1], reason="again")
    assert refused.status_code == 409 or refused.status_code == 422
    assert current(client, "production") == world.checkpoints[0]
    taken = send(client, "/models/zoo/production/promote", ref=world.checkpoints[1], reason="mended", override="yes")
    assert taken.status_code == 303
    assert current(client, "production") == world.checkpoints[1]


def test_a_form_without_a_reason_changes_nothing(client, world):
    for reason in ("", "   ", "x" * 1001):
        answer = send(client, "/models/zoo/production/rollback", reason=reason)
        assert answer.status_code == 422
    assert current(client, "production") == world.checkpoints[1]


def test_a_form_that_another_site_sent_changes_nothing(client, world):
    without_key = client.post("/models/zoo/production/rollback", data={"reason": "because"})
    wrong_key = client.post("/models/zoo/production/rollback", data={"reason": "because", CSRF_FIELD: "guess"})
    assert without_key.status_code == wrong_key.status_code == 403
    key = re.search(rf'name="{CSRF_FIELD}" value="([^"]+)"', client.get("/models/zoo").text)[1]
    from_elsewhere = client.post(
        "/models/zoo/production/rollback",
        data={"reason": "because", CSRF_FIELD: key},
        headers={"Origin": "https://elsewhere.example"},
    )
    assert from_elsewhere.status_code == 403
    assert current(client, "production") == world.checkpoints[1]


def test_gates_are_asked_from_the_page_and_their_decision_is_shown(client, world):
    policy = client.app.state.workspace.ledger.find("policy")[0].record.id
    answer = send(client, "/models/zoo/staging/gate", ref=world.runs[1], policy=policy)
    assert answer.status_code == 303
    page = client.get(answer.headers["location"])
    assert "choice correct at least 0.99" in page.text
    assert '<line class="limit"' in page.text


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_is_followed_until_it_is_over_and_then_no_more(client):
    asked = {"manifest": {"data": {"corpus": "builtin:stories"}, "name": "waiting"}}
    job = client.post("/api/training/start", json=asked).json()["job_id"]
    page = client.get(f"/jobs/{job}").text
    assert f'data-follow="/jobs/{job}/changes" data-part="/jobs/{job}/live"' in page
    part = client.get(f"/jobs/{job}/live")
    assert "It has said nothing yet." in part.text
    assert "<html" not in part.text
    assert send(client, f"/jobs/{job}/stop", page=f"/jobs/{job}").status_code == 303
    assert "data-follow" not in client.get(f"/jobs/{job}").text
    with client.stream("GET", f"/jobs/{job}/changes") as answer:
        assert "event: end" in "".join(answer.iter_text())


def test_a_name_that_is_a_script_is_refused_and_shown_as_text(client):
    script = "<script>document.title='taken'</script>"
    asked = {"manifest": {"data": {"corpus": "builtin:stories"}, "name": script}}
    assert client.post("/api/training/start", json=asked).status_code in (400, 422)
    page = Page(client.get("/runs", params={"words": script}).text)
    assert script in [field.get("value") for field in page.find("input")]
    assert len(page.find("script")) == 1


# ── whatever is asked ─────────────────────────────────────────────────────────────────────────────────────────────────
NONSENSE = (
    "x",
    "%00",
    "%2e%2e",
    "a" * 300,
    "%F0%9F%8C%8A",
    "%ff",
    "@",
    "zoo@",
    "a@1",
    "abcd@99999999999999999999",
    "-1",
)
QUERIES = (
    "ref",
    "words",
    "after",
    "start",
    "run",
    "a",
    "b",
    "meta",
    "suite",
    "metric",
    "tokenizer",
    "template",
    "split",
)


def test_no_page_breaks_whatever_it_is_asked(client, world):
    paths = {(method, route.path) for router in PAGES for route in router.routes for method in route.methods}
    key = re.search(rf'name="{CSRF_FIELD}" value="([^"]+)"', client.get("/models/zoo").text)[1]
    asked = 0
    for method, path in sorted(paths):
        if path.endswith("/changes"):
            continue
        names = re.findall(r"\{(\w+)\}", path)
        for number, word in enumerate(NONSENSE):
            filled = path
            for name in names:
                filled = filled.replace(f"{{{name}}}", word)
            query = "&".join(f"{name}={word}" for name in QUERIES[number % 2 :: 2])
            data = {CSRF_FIELD: key, "ref": word, "reason": word, "to": word, "policy": word, "override": "yes"}
            answer = client.request(method, f"{filled}?{query}", data=data if method == "POST" else None)
            asked += 1
            assert answer.status_code in (200, 400, 401, 404, 405, 409, 422), (
                method,
                filled,
                query,
                answer.text[-900:],
            )
    assert asked > 150
