"""The bill of materials of a model: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), as JSON.

`cyclonedx-python-lib` writes components and dependencies, and checks the document against the published schema. It has no
model cards, so the model's is put into the document afterwards.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trainwright.core.hashing import canonical_json
from trainwright.core.records import (
    Checkpoint,
    DatasetVersion,
    Estimate,
    ImportedModel,
    ImportedShape,
    Record,
    Report,
    Tokenizer,
)
from trainwright.release.provenance import History, name_record
from trainwright.release.signing import signing_packages

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

SPEC_VERSION = "1.6"
NAMESPACE = uuid.UUID("0c3b8f0e-6a4e-5d0b-8f0f-3f7f8c7f2a51")


def build_bill(
    history: History,
    *,
    packages: Mapping[str, str | None],
    trainwright: str,
    report: Report | None,
    estimates: Mapping[str, Mapping[str, Estimate]],
    limits: Sequence[str],
    at: str,
) -> bytes:
    """The bill as canonical JSON; equal arguments give equal bytes. Raises PackageMissing.

    `packages` are those of the run's environment (None: not installed, and left out), `estimates` the figures of each
    evaluation, {evalset: {metric: estimate}}. What is undefined is left out: the schema has no place for the reason.
    """
    with signing_packages():
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6

    model = _build_model(history)
    parts = [*_iter_records(history), *_iter_packages(packages)]
    tool = Component(type=ComponentType.APPLICATION, name="trainwright", version=trainwright, bom_ref="trainwright")
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, history.release.id),
        metadata=BomMetaData(component=model, timestamp=datetime.fromisoformat(at)),
        components=parts,
    )
    bom.metadata.tools.components.add(tool)
    bom.register_dependency(model, parts)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    card = _build_card(history, report, estimates, limits)
    document["metadata"]["component"]["modelCard"] = card
    for component in document["components"]:
        if component["type"] == "data":
            is_dataset = component["bom-ref"] in {each["ref"] for each in card["modelParameters"]["datasets"]}
            component["data"] = [{"type": "dataset" if is_dataset else "definition", "name": component["name"]}]
    return canonical_json(document)


def check_bill(data: bytes, weights: str) -> list[str]:
    """What is wrong with a bill: it is not as the schema says, or not of these weights. Raises PackageMissing."""
    with signing_packages():
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

    try:
        document = json.loads(data)
    except ValueError as error:
        return [f"it is not JSON: {error}"]
    if not isinstance(document, dict) or document.get("specVersion") != SPEC_VERSION:
        return [f"it is no CycloneDX {SPEC_VERSION} document"]
    with signing_packages():
        try:
            problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode("utf-8"))
        except MissingOptionalDependencyException as error:
            raise ImportError(str(error).splitlines()[0]) from error
    if problem is not None:
        return [f"it is not as the schema of CycloneDX {SPEC_VERSION} says: {' '.join(str(problem).split())[:300]}"]
    hashes = document.get("metadata", {}).get("component", {}).get("hashes", [])
    found = {each["content"] for each in hashes if each["alg"] == "SHA-256"}
    return [] if weights in found else ["it is of other weights"]


# ── components ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _build_model(history: History) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    release, checkpoint = history.release, history.checkpoint
    facts = {
        "release": release.id,
        "stage": release.stage,
        "decision": release.decision,
        "checkpoint": checkpoint.id,
        "run": history.run.id,
        "plan": history.plan.id,
        "num_parameters": history.plan.model.num_parameters,
        "num_steps": checkpoint.step,
        "num_tokens": checkpoint.num_tokens,
    }
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=release.name,
        version=f"{history.run.name}@{checkpoint.step}",
        bom_ref=name_record(release),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=release.weights)],
        components=_list_files("checkpoint", checkpoint.files.items()),
        properties=[
            Property(name=f"trainwright:{name}", value=str(value)) for name, value in facts.items() if value is not None
        ],
    )


def _iter_records(history: History) -> list["Component"]:
    """Datasets, tokenizers and models that it began from, with the digests of the files they came in."""
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    def build(kind: ComponentType, record: Record, name: str, files: Iterable[tuple[str, str]]) -> Component:
        return Component(
            type=kind,
            name=name,
            version=getattr(record, "version", None),
            bom_ref=name_record(record),
            components=_list_files(record.id, files),
            properties=[Property(name="trainwright:record", value=record.id)],
        )

    components = []
    for record in history.materials:
        match record:
            case DatasetVersion():
                files = [(file.name, file.digest) for file in record.files]
                components.append(build(ComponentType.DATA, record, record.name or record.source, files))
            case Tokenizer():
                name = f"tokenizer ({record.algorithm}, {record.vocab_size} pieces)"
                components.append(build(ComponentType.DATA, record, name, record.files.items()))
            case ImportedModel():
                components.append(
                    build(ComponentType.MACHINE_LEARNING_MODEL, record, record.name, record.files.items())
                )
            case Checkpoint():
                name = f"checkpoint at step {record.step}"
                components.append(build(ComponentType.MACHINE_LEARNING_MODEL, record, name, record.files.items()))
    return components


def _list_files(owner: str, files: Iterable[tuple[str, str]]) -> list["Component"]:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return [
        Component(
            type=ComponentType.FILE,
            name=name,
            bom_ref=f"file:{owner}:{number}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        )
        for number, (name, digest) in enumerate(sorted(files), start=1)
    ]


def _iter_packages(packages: Mapping[str, str | None]) -> list["Component"]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    found = []
    for name, version in sorted(packages.items()):
        if version is not None:
            purl = PackageURL("pypi", None, name, version)
            found.append(
                Component(type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=purl.to_string())
            )
    return found


# ── the model card ────────────────────────────────────────────────────────────────────────────────────────────────────
def _build_card(
    history: History,
    report: Report | None,
    estimates: Mapping[str, Mapping[str, Estimate]],
    limits: Sequence[str],
) -> dict[str, Any]:
    shape = history.plan.model
    architecture = shape.config.get("model_type") if isinstance(shape, ImportedShape) else "qwen3"
    datasets = [{"ref": name_record(each)} for each in history.materials if isinstance(each, DatasetVersion)]
    figures = [*_iter_held_out(report), *_iter_estimates(estimates)]
    considerations = {"technicalLimitations": list(limits)} if limits else {}
    return {
        "modelParameters": {
            "task": "text generation",
            "architectureFamily": "transformer decoder",
            **({"modelArchitecture": str(architecture)} if architecture else {}),
            "datasets": datasets,
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        **({"quantitativeAnalysis": {"performanceMetrics": figures}} if figures else {}),
        **({"considerations": considerations} if considerations else {}),
    }


def _iter_held_out(report: Report | None) -> list[dict[str, Any]]:
    if report is None:
        return []
    return [
        {"type": name, "value": repr(measure.value), "slice": report.split}
        for name, measure in report.metrics.items()
        if measure.value is not None
    ]


def _iter_estimates(estimates: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    figures = []
    for evalset, by_metric in estimates.items():
        for metric, estimate in by_metric.items():
            if estimate.value is None:
                continue
            figure: dict[str, Any] = {"type": metric, "value": repr(estimate.value), "slice": evalset}
            if estimate.low is not None and estimate.high is not None:
                bounds = {"lowerBound": repr(estimate.low), "upperBound": repr(estimate.high)}
                figure["confidenceInterval"] = bounds
            figures.append(figure)
    return figures
