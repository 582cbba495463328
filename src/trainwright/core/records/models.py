"""What a model looks like: ours by its sizes, one made elsewhere by its own configuration."""

from typing import Any, Literal

from trainwright.core.hashing import Digest
from trainwright.core.records.base import Frozen, Record


class ModelShape(Frozen):
    """A Qwen3 decoder: RMSNorm, rotary positions, grouped-query attention with QK-norm, SwiGLU, tied embedding."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-6

    @property
    def num_parameters_per_layer(self) -> int:
        """Weights of one decoder layer, its two norms and the two head norms included."""
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size + 2 * self.head_dim

    @property
    def num_parameters(self) -> int:
        """All weights, the tied embedding counted once."""
        return self.vocab_size * self.hidden_size + self.num_layers * self.num_parameters_per_layer + self.hidden_size


class Adapter(Frozen):
    """A low-rank adapter (Hu et al. 2021, "LoRA"): W + alpha/rank · B A beside each linear map that is named like a target.

    The adapter's matrices are what is trained; W stays as it was. `dropout` is that of the adapter's input.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    dropout: float = 0.0


class ImportedShape(Frozen):
    """A causal language model that was made elsewhere: what its `config.json` says, and the record of its files (`base`).

    `num_parameters` counts its weights, tied ones once, without an adapter's. `adapter` None: all of them are trained.
    """

    base: Digest
    config: dict[str, Any]
    vocab_size: int
    num_parameters: int
    adapter: Adapter | None = None


Shape = ModelShape | ImportedShape
"""What a plan can train."""


class ImportedModel(Record):
    """A model folder in the Hugging Face format, as it was taken in: its configuration and its weights, by digest.

    `name` is the folder's own. Weights that were pickled are kept as safetensors (`was_pickled`). `left_out` are tensors in
    the files that are only another name of one that is there.
    """

    kind: Literal["imported-model"] = "imported-model"
    name: str
    architecture: str
    files: dict[str, Digest]
    was_pickled: bool = False
    left_out: tuple[str, ...] = ()
