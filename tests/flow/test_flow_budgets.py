"""What a run may spend: it stops there, saved, and goes on to the same weights once it may spend more."""

import json
import shutil
import signal
import subprocess
import time

import pytest

PRICES = "currency: EUR\nregion: here\ndevices: {cpu: 3600}\n"


def test_a_run_stops_at_its_budget_and_a_raised_one_ends_in_the_same_weights(command, finished, corpus):
    stopped = command.run(corpus, "costs.limits.tokens=500", expect=7).error
    assert stopped["name"] == "budget-reached"
    (row,) = command("runs", "list", "--json").document["items"]
    assert row["status"] == "budget-reached"
    assert row["step"] == 4  # 128 tokens a step: the first one at which nothing is left
    (folder,) = command.run_folders()
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    assert [line["band"] for line in lines if "budget" in line] == [0.5, 0.75, 1.0]

    again = command("resume", "--json", expect=7).error
    assert "Nothing was trained" in again["message"]
    assert command("runs", "show", row["run_id"], "--json").document["status"] == "budget-reached"

    command("budgets", "set", row["run_id"][:12], "--tokens", "900")
    assert command("resume", "--json", expect=7).error["name"] == "budget-reached"
    command("budgets", "set", row["run_id"][:12], "--tokens", "0")
    ended = command("resume", "--json")
    assert ended.document["weights_digest"] == finished.document["weights_digest"]
    assert command.events() == finished.command.events()
    assert ended.document["plan_id"] == finished.document["plan_id"]

    (costs,) = command("costs", "--json").document["items"]
    assert costs["num_processes"] == 4
    assert costs["so_far"]["tokens"]["value"] == 10 * 128
    assert costs["so_far"]["money"]["value"] is None
    assert costs["projected"] == costs["so_far"]


@pytest.mark.slow  # many processes, one after the other
def test_a_project_shares_one_budget_and_costs_are_summed_up(command, corpus):
    (command.folder / "prices.yaml").write_text(PRICES)
    labels = ("costs.project=stories", "costs.tags=[nightly, small]", "costs.prices=prices.yaml")
    command.run(corpus, *labels, "train.steps=3")
    command("budgets", "set", "--project", "stories", "--tokens", "640")
    stopped = command.run(corpus, *labels, "train.steps=9", expect=7).error
    assert "project stories" in stopped["message"]
    assert "at step 2 of 9" in stopped["message"]
    (standing,) = command("budgets", "list", "--json").document["items"]
    assert (standing["target"], standing["spent"], standing["limit"]) == ("stories", 640, 640)

    (group,) = command("costs", "--by", "project", "--json").document["items"]
    assert (group["project"], group["num_runs"]) == ("stories", 2)
    assert group["so_far"]["money"]["unit"] == "EUR"
    assert group["so_far"]["money"]["value"] == pytest.approx(group["so_far"]["cpu_hours"]["value"] * 3600)
    assert group["projected"]["money"]["value"] > group["so_far"]["money"]["value"]
    tags = command("costs", "--by", "tag", "--json").document["items"]
    assert [row["tag"] for row in tags] == ["nightly", "small"]
    (user,) = command("costs", "--by", "user", "--json").document["items"]
    assert user["num_runs"] == 2


@pytest.mark.slow  # many processes, one after the other
def test_the_time_of_a_killed_process_counts(command, corpus, at_instant):
    command.run(corpus, expect=-signal.SIGKILL, instant=at_instant("KILL", 1, '"kind":"step","step":5,'))
    (killed,) = command("costs", "--json").document["items"]
    assert killed["status"] == "interrupted"
    assert killed["so_far"]["tokens"]["value"] == 4 * 128
    assert killed["so_far"]["wall_hours"]["value"] > 0
    command("resume", "--json")
    (ended,) = command("costs", "--json").document["items"]
    assert ended["num_processes"] == 2
    (folder,) = command.run_folders()
    from_step = json.loads((folder / "attempts.jsonl").read_text().splitlines()[-1])["from_step"]
    assert ended["so_far"]["tokens"]["value"] == (4 + 10 - from_step) * 128  # steps that were done again count again


@pytest.mark.parametrize("limit", ["money", "energy_kwh"])
def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_trained(command, corpus, limit):
    error = command.run(corpus, f"costs.limits.{limit}=1", expect=None).error
    if limit == "energy_kwh" and error["name"] != "invalid-value":
        pytest.skip("this machine tells its energy")
    assert error["exit_code"] == 64
    assert "not known" in error["why"]
    (folder,) = command.run_folders()
    assert not (folder / "events.jsonl").exists()


def test_a_wrong_price_file_is_refused_before_anything_is_made(command, corpus):
    (command.folder / "prices.yaml").write_text("currency: EUR\ndevice: {cpu: 1}\n")
    error = command.run(corpus, "costs.prices=prices.yaml", expect=64).error
    assert error["name"] == "unknown-key"
    assert not (command.workspace / "runs").exists() or command.run_folders() == []


def test_a_run_from_before_usage_was_measured_has_time_and_tokens_and_nothing_made_up(finished_copy):
    shutil.rmtree(finished_copy.workspace / "accounts")
    (old,) = finished_copy("costs", "--json").document["items"]
    assert old["so_far"]["tokens"]["value"] == 10 * 128
    assert old["so_far"]["wall_hours"]["value"] > 0
    assert old["so_far"]["cpu_hours"]["value"] is None
    assert old["users"] == []


def test_what_was_spent_stays_spent_where_the_run_is_deleted(finished_copy):
    (folder,) = finished_copy.run_folders()
    shutil.rmtree(folder)
    (gone,) = finished_copy("costs", "--json").document["items"]
    assert gone["status"] == "deleted"
    assert gone["so_far"]["tokens"]["value"] == 10 * 128
    assert gone["storage"]["value"] == 0


def test_a_limit_that_is_set_while_the_run_works_stops_it(command, corpus):
    running = command.start(*command.run_words(corpus, "train.steps=1000000"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not list(command.workspace.glob("runs/*/events.jsonl")):
            time.sleep(0.1)
        (row,) = command("runs", "list", "--json").document["items"]
        command("budgets", "set", row["run_id"], "--tokens", "1")
        assert running.wait(100) == 7
    finally:
        running.kill()
        running.wait()
