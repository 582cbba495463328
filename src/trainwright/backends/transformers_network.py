"""A causal language model of the `transformers` library as a module with named weights; LoRA through `peft`.

A model is built from its configuration alone, and its weights are put in by name: code that comes with a folder is never
run, and nothing is downloaded. Names are those of the module, without what `peft` wraps around them, so that an adapter's
matrices are called "model.layers.0.self_attn.q_proj.lora_A.weight" beside "…q_proj.weight", which stays as it was.

Shapes: B rows, T positions, V vocabulary.
"""

import inspect
import warnings
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn

from trainwright.backends.protocol import Batch, count_within_segments
from trainwright.core.records import Adapter, ImportedShape, ModelShape, Shape
from trainwright.core.state import Weights

Parameters = dict[str, nn.Parameter]

BRANCH_ENDS = ("o_proj", "down_proj")
"""What the last projection of a residual branch is called in the decoders that we know: dropout comes after it."""


def build_module(shape: Shape) -> nn.Module:
    """The module in float32, with weights that mean nothing yet. Raises ValueError for a configuration nobody knows."""
    config = dict(shape.config) if isinstance(shape, ImportedShape) else _describe_shape(shape)
    for key in ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "quantization_config"):
        config.pop(key, None)
    try:
        known = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
        open_module: Any = transformers.AutoModelForCausalLM.from_config
        module: nn.Module = open_module(known, attn_implementation="sdpa", dtype=torch.float32)
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"transformers cannot build this model: {error}") from error
    module.eval()
    adapter = shape.adapter if isinstance(shape, ImportedShape) else None
    return module if adapter is None else _wrap(module, adapter)


def _describe_shape(shape: ModelShape) -> dict[str, Any]:
    """Our own decoder as a configuration: it is a Qwen3, and its weights already have those names."""
    return {
        "model_type": "qwen3",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _wrap(module: nn.Module, adapter: Adapter) -> nn.Module:
    """Put the adapter's matrices beside the linear maps it names. Raises ValueError where it names none."""
    import peft

    settings = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=cast("int", adapter.alpha),  # annotated as whole; any factor is taken
        target_modules=list(adapter.target_modules),
        lora_dropout=adapter.dropout,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():  # peft asks transformers for some things by their older names
        warnings.simplefilter("ignore", FutureWarning)
        wrapped: nn.Module = peft.get_peft_model(module, settings)
    wrapped.eval()
    return wrapped


def name_parameters(module: nn.Module) -> Parameters:
    """Every weight under its name, tied ones once, in the order of the module."""
    return {_standard_name(name): parameter for name, parameter in module.named_parameters()}


def _standard_name(name: str) -> str:
    """Without what `peft` adds: its wrapper, the name of the adapter, and the layer that was wrapped."""
    return name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".default.", ".")


def list_tied_names(module: nn.Module) -> frozenset[str]:
    """Other names of weights that are tied to one that is listed by `name_parameters`."""
    every = {_standard_name(name) for name, _ in module.named_parameters(remove_duplicate=False)}
    return frozenset(every - set(name_parameters(module)))


def find_cache_name(module: nn.Module) -> str:
    """What the module calls the memory of what it has read: `past_key_values` until 5.40 of transformers, then `cache`."""
    wrapped: Any = module
    inner = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped
    return "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"


@torch.no_grad()
def load_weights(module: nn.Module, weights: Weights) -> None:
    """Put weights in by name. Raises ValueError naming the first that is missing, has another shape, or does not belong."""
    parameters = name_parameters(module)
    for name, parameter in parameters.items():
        if name not in weights:
            raise ValueError(f"the weight {name} is missing")
        if tuple(weights[name].shape) != tuple(parameter.shape):
            raise ValueError(f"the weight {name} has shape {tuple(weights[name].shape)}, not {tuple(parameter.shape)}")
    for name in weights:
        if name not in parameters and name not in list_tied_names(module):
            raise ValueError(f"the model has no weight {name}")
    for name, parameter in parameters.items():
        parameter.copy_(torch.tensor(weights[name]))


class Dropping:
    """Dropout after each residual branch, as the reference has it, and before an adapter's matrices: on inside the block."""

    def __init__(self, module: nn.Module, rate: float) -> None:
        self._rate, self._is_on = rate, False
        self._adapters = [part for name, part in module.named_modules() if "lora_dropout" in name]
        if rate:
            for name, part in module.named_modules():
                if name.rpartition(".")[2] in BRANCH_ENDS:
                    part.register_forward_hook(self._drop)

    def __enter__(self) -> None:
        self._set(True)

    def __exit__(self, *_: object) -> None:
        self._set(False)

    def _drop(self, _module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return nn.functional.dropout(output, self._rate) if self._is_on else output

    def _set(self, is_on: bool) -> None:
        self._is_on = is_on
        for part in self._adapters:
            part.train(is_on)


def run_module(module: nn.Module, batch: Batch, device: str, dtype: torch.dtype) -> Tensor:
    """Logits [B, T, V] in float32.

    Samples that share a row: `transformers` keeps positions apart that count anew (`masking_utils`), in every kind of
    layer, sliding windows among them.
    """
    inputs = {
        "input_ids": torch.from_numpy(batch.tokens_BT).to(device, torch.int64),
        "use_cache": False,
    }
    if batch.segments_BT is not None:
        inputs["position_ids"] = torch.from_numpy(count_within_segments(batch.segments_BT)).to(device)
    with torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32):
        logits: Tensor = module(**inputs).logits
    return logits.float()
