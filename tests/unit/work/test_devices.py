"""Which GPUs a host hands out, and what a job comes to see of them."""

from pathlib import Path

import pytest

from trainwright.core.errors import InvalidValue
from trainwright.core.jobs import Job
from trainwright.work.devices import find_devices, name_visible, parse_devices
from trainwright.work.submit import build_job


def make_job(device_held: str | None, **compute: object) -> Job:
    job = build_job({"compute": {"framework": "torch", **compute}}, who="ada", folder=Path("/"))
    return job.model_copy(update={"device_held": device_held})


def test_gpus_are_found_by_the_files_of_their_driver(tmp_path: Path) -> None:
    assert find_devices(tmp_path, {}) == ()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert find_devices(tmp_path, {}) == ("cuda:0", "cuda:1")
    assert find_devices(tmp_path, {"CUDA_VISIBLE_DEVICES": "1"}) == ("cuda:0",)
    assert find_devices(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_devices_are_named_once_each() -> None:
    assert parse_devices("none") == ()
    assert parse_devices("cuda:0, cuda:1") == ("cuda:0", "cuda:1")
    for text in ("cuda:0,cuda:0", "", "cuda:", "a b"):
        with pytest.raises(InvalidValue):
            parse_devices(text)


@pytest.mark.parametrize(
    ("compute", "device"),
    [
        ({}, "any"),
        ({"device": "cuda"}, "any"),
        ({"device": "cuda:1"}, "cuda:1"),
        ({"device": "cpu"}, "cpu"),
        ({"framework": "reference"}, "cpu"),
    ],
)
def test_what_a_job_asks_for_is_what_its_manifest_says(compute: dict[str, object], device: str) -> None:
    assert make_job(None, **compute).device == device


def test_a_job_sees_the_gpu_that_it_was_given_and_no_other() -> None:
    assert name_visible(make_job("cuda:1"), {}) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert name_visible(make_job("cuda:1"), {"CUDA_VISIBLE_DEVICES": "4,7"}) == {"CUDA_VISIBLE_DEVICES": "7"}
    assert name_visible(make_job(None), {}) == {}
    assert name_visible(make_job("cuda"), {}) == {}


def test_a_job_that_names_its_gpu_sees_all_of_them_by_the_numbers_of_the_host() -> None:
    assert name_visible(make_job("cuda:1", device="cuda:1"), {}) == {}
