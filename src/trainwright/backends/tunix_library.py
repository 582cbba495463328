"""All that is asked of Tunix, and of flax and qwix under it: what they call things moves between versions, so it is here alone.

Tunix's Qwen3 and Gemma 3 as modules whose weights are known by their Hugging Face names; LoRA by qwix; and the training step
of Tunix's `PeftTrainer`. Its own loop is not used, nor what belongs to that: metrics listeners, hooks, checkpoints.

Where Tunix differs from what a plan says, it is made to agree:

- its Qwen3 turns queries and keys by the base 1,000,000 whatever its configuration says;
- it has no dropout: one comes after the last projection of each residual branch, with masks that are given;
- its Gemma 3 keeps the projections to keys and values in one array, so that one adapter would serve both: here each is one
  parameter, as everywhere else.

Shapes: B rows, T positions, S positions of a decoder's memory, D hidden, H query heads, K key-value heads, E head dimension,
V vocabulary, L layers.
"""

import functools
import hashlib
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from trainwright.backends.initial import EMBEDDING, FINAL_NORM, layer_prefix
from trainwright.core.errors import PackageMissing, UnsupportedPlan
from trainwright.core.records import Adapter, ImportedShape, ModelShape, Shape

DISTRIBUTION = "google-tunix"
FIRST_VERSION, FIRST_BEYOND = (0, 1, 7), (0, 2)

SHORTEST_KEPT_S = 0.2
"""What takes less time to compile is not kept."""


def require_version(found: str) -> None:
    """Raise PackageMissing where Tunix is older or newer than what is known here."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:3])
    if not FIRST_VERSION <= numbers < FIRST_BEYOND:
        raise PackageMissing(
            f"Tunix {found} is installed, and the tunix backend cannot use it.",
            why="What Tunix calls things moves between versions; known are those from 0.1.7 on, below 0.2.",
            next_step="pip install 'trainwright[tunix]'",
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that Tunix earns from the libraries under it: its users can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


require_version(metadata.version(DISTRIBUTION))

with quiet():
    import jax
    import jax.numpy as jnp
    import qwix
    from flax import nnx
    from tunix.models.gemma3 import model as gemma3
    from tunix.models.qwen3 import model as qwen3
    from tunix.sft import peft_trainer


def _keep_programs() -> None:
    """What is compiled is kept, for this machine alone, unless a person named another place: starting anew is then quick."""
    if not jax.config.jax_compilation_cache_dir:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        machine = hashlib.sha256(platform.node().encode()).hexdigest()[:16]
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "trainwright" / "jax" / machine))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_KEPT_S)


def _open_devices() -> None:
    """With one thread: JAX asks how many there are but once in a process, and results would depend on the answer."""
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = "1"
    try:
        jax.devices()
    finally:
        del os.environ["NPROC"]
        if before is not None:
            os.environ["NPROC"] = before


_keep_programs()
_open_devices()

# ── what a forward pass is told beside its arguments ─────────────────────────────────────────────────────────────────
_ROPE_THETA: ContextVar[float | None] = ContextVar("rope_theta", default=None)
_MASKS: ContextVar[Any] = ContextVar("masks", default=None)

_turn = qwen3.apply_rope


def _turn_by_the_base_told(inputs: Any, positions: Any, head_dim: int, **settings: Any) -> Any:
    theta = _ROPE_THETA.get()
    return _turn(inputs, positions, head_dim, **(settings if theta is None else {"rope_theta": theta}))


qwen3.apply_rope = _turn_by_the_base_told


@functools.cache
def _add_dropout(kind: Any) -> Any:
    """The kind of module, its output multiplied by the mask of its place, where there are masks."""

    def call(self: Any, x: Any) -> Any:
        masks, y = _MASKS.get(), kind.__call__(self, x)
        return y if masks is None else y * masks[self.layer_of_mask, self.place_of_mask]

    return type(kind.__name__, (kind,), {"__call__": call})


# ── weights by name ──────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Place:
    """Where a weight lies in the module, and its size under its standard name.

    Linear maps are [out, in] by the standard, and [in, …out] or […in, out] there.
    """

    path: tuple[str | int, ...]
    size: tuple[int, ...]
    is_linear: bool = False

    def to_standard(self, array: Any) -> Any:
        """Tunix's layout made the standard one, in numpy or in JAX."""
        return array.reshape(self.size[::-1]).T if self.is_linear else array

    def to_library(self, array: Any, like: tuple[int, ...]) -> Any:
        """The standard layout made Tunix's, which has the shape `like`."""
        return array.T.reshape(like) if self.is_linear else array

    def find(self, module: Any) -> Any:
        """The variable."""
        for key in self.path:
            module = module[key] if isinstance(key, int) else getattr(module, key)
        return module


Places = dict[str, Place]

_FEED_FORWARD = {
    "mlp.gate_proj": ("mlp.gate_proj.kernel", "DI"),
    "mlp.up_proj": ("mlp.up_proj.kernel", "DI"),
    "mlp.down_proj": ("mlp.down_proj.kernel", "ID"),
}
_QWEN3_LAYER = {
    "input_layernorm": ("input_layernorm.w", "D"),
    "self_attn.q_proj": ("attn.q_proj.w", "DQ"),
    "self_attn.k_proj": ("attn.k_proj.w", "DK"),
    "self_attn.v_proj": ("attn.v_proj.w", "DK"),
    "self_attn.q_norm": ("attn.q_norm.w", "E"),
    "self_attn.k_norm": ("attn.k_norm.w", "E"),
    "self_attn.o_proj": ("attn.o_proj.w", "QD"),
    "post_attention_layernorm": ("post_attention_layernorm.w", "D"),
    **_FEED_FORWARD,
}
_GEMMA3_LAYER = {
    "input_layernorm": ("pre_attention_norm.scale", "D"),
    "self_attn.q_proj": ("attn.q_einsum.w", "DQ"),
    "self_attn.k_proj": ("attn.kv_einsum.keys.w", "DK"),
    "self_attn.v_proj": ("attn.kv_einsum.values.w", "DK"),
    "self_attn.q_norm": ("attn._query_norm.scale", "E"),
    "self_attn.k_norm": ("attn._key_norm.scale", "E"),
    "self_attn.o_proj": ("attn.attn_vec_einsum.w", "QD"),
    "post_attention_layernorm": ("post_attention_norm.scale", "D"),
    "pre_feedforward_layernorm": ("pre_ffw_norm.scale", "D"),
    **_FEED_FORWARD,
    "post_feedforward_layernorm": ("post_ffw_norm.scale", "D"),
}
"""What is called what within a layer, and its size: one letter for a norm; inputs and outputs for a linear map.

D hidden, Q all query heads, K all key-value heads, E one head, I intermediate.
"""


def _list_layer(number: int, table: Mapping[str, tuple[str, str]], sizes: Mapping[str, int]) -> Places:
    places: Places = {}
    for name, (path, letters) in table.items():
        size = tuple(sizes[letter] for letter in reversed(letters))
        places[f"{layer_prefix(number)}{name}.weight"] = Place(
            ("layers", number, *path.split(".")), size, is_linear=len(letters) == 2
        )
    return places


def _list_adapted(places: Places, adapter: Adapter) -> Places:
    """The same, with an adapter's two matrices behind each linear map that it names."""
    found: Places = {}
    for name, place in places.items():
        found[name] = place
        stem = name.removesuffix(".weight")
        if place.is_linear and stem.rpartition(".")[2] in adapter.target_modules:
            *module, last = place.path
            outputs, inputs = place.size
            found[f"{stem}.lora_A.weight"] = Place((*module, f"{last}_lora_a"), (adapter.rank, inputs), is_linear=True)
            found[f"{stem}.lora_B.weight"] = Place((*module, f"{last}_lora_b"), (outputs, adapter.rank), is_linear=True)
    return found


# ── the two families ─────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Family:
    """One of Tunix's models in given sizes: its module, and where its weights lie.

    `rope_theta` is what it has to be told of its rotary positions (None: nothing). `branches` says where, within a layer, the
    last projections of the two residual branches are.
    """

    build: Callable[[], Any]
    places: Places
    num_layers: int
    num_kv_heads: int
    head_dim: int
    branches: tuple[str, str]
    rope_theta: float | None = None


def describe(shape: Shape) -> Family:
    """Raises ValueError for a configuration that lacks something, UnsupportedPlan for one that Tunix cannot have."""
    if isinstance(shape, ModelShape):
        return _describe_qwen3(
            qwen3.ModelConfig(
                num_layers=shape.num_layers,
                vocab_size=shape.vocab_size,
                embed_dim=shape.hidden_size,
                hidden_dim=shape.intermediate_size,
                num_heads=shape.num_heads,
                head_dim=shape.head_dim,
                num_kv_heads=shape.num_kv_heads,
                rope_theta=shape.rope_theta,
                norm_eps=shape.norm_epsilon,
                use_tied_embedding=True,
            )
        )
    if shape.adapter is not None and shape.adapter.dropout:
        raise _refuse("dropout before an adapter", "Its masks would not be a function of the step.")
    kind = str(shape.config.get("model_type"))
    if kind not in _READERS:
        raise _refuse(f"model_type {kind}", f"Of Tunix's models, {' and '.join(_READERS)} are known here.")
    try:
        return _READERS[kind](shape.config)
    except KeyError as error:
        raise ValueError(f"config.json does not give {error.args[0]}") from error


def _describe_qwen3(config: Any) -> Family:
    heads = config.head_dim
    sizes = {
        "D": config.embed_dim,
        "Q": config.num_heads * heads,
        "K": config.num_kv_heads * heads,
        "E": heads,
        "I": config.hidden_dim,
    }
    places: Places = {EMBEDDING: Place(("embedder", "input_embedding"), (config.vocab_size, config.embed_dim))}
    for number in range(config.num_layers):
        places |= _list_layer(number, _QWEN3_LAYER, sizes)
    places[FINAL_NORM] = Place(("final_norm", "w"), (config.embed_dim,))
    if not config.use_tied_embedding:
        places["lm_head.weight"] = Place(("lm_head", "w"), (config.vocab_size, config.embed_dim), is_linear=True)
    return Family(
        build=lambda: qwen3.Qwen3(config, rngs=nnx.Rngs(0)),
        places=places,
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_dim=heads,
        branches=("attn.o_proj", "mlp.down_proj"),
        rope_theta=config.rope_theta,
    )


def _read_qwen3(config: Mapping[str, Any]) -> Family:
    _require(config, hidden_act="silu", attention_bias=False, use_sliding_window=False)
    theta, factor = _read_rope(config, "full_attention", "rope_theta")
    if factor != 1.0:
        raise _refuse("scaled rotary positions", "Tunix's Qwen3 has them unscaled.")
    return _describe_qwen3(
        qwen3.ModelConfig(
            num_layers=config["num_hidden_layers"],
            vocab_size=config["vocab_size"],
            embed_dim=config["hidden_size"],
            hidden_dim=config["intermediate_size"],
            num_heads=config["num_attention_heads"],
            head_dim=config["head_dim"],
            num_kv_heads=config["num_key_value_heads"],
            rope_theta=theta,
            norm_eps=config["rms_norm_eps"],
            use_tied_embedding=bool(config.get("tie_word_embeddings", False)),
        )
    )


def _read_gemma3(config: Mapping[str, Any]) -> Family:
    _require(
        config,
        hidden_activation="gelu_pytorch_tanh",
        attention_bias=False,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        use_bidirectional_attention=False,
    )
    hidden, num_heads, heads = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    ways = gemma3.QueryPreAttentionNormalisation
    known = {
        hidden // num_heads: ways.BY_ONE_OVER_SQRT_EMBED_DIM_DIV_NUM_HEADS,
        heads: ways.BY_ONE_OVER_SQRT_HEAD_DIM,
    }
    if config["query_pre_attn_scalar"] not in known:
        names = " or ".join(map(str, known))
        raise _refuse(f"query_pre_attn_scalar {config['query_pre_attn_scalar']}", f"Tunix's would have {names}.")
    theta, factor = _read_rope(config, "full_attention", "rope_theta")
    local_theta, local_factor = _read_rope(config, "sliding_attention", "rope_local_base_freq")
    described = gemma3.ModelConfig(
        num_layers=config["num_hidden_layers"],
        num_embed=config["vocab_size"],
        embed_dim=hidden,
        hidden_dim=config["intermediate_size"],
        num_heads=num_heads,
        head_dim=heads,
        num_kv_heads=config["num_key_value_heads"],
        sliding_window_size=config["sliding_window"],
        local_base_frequency=local_theta,
        global_base_frequency=theta,
        local_scale_factor=local_factor,
        global_scale_factor=factor,
        query_pre_attn_norm=known[config["query_pre_attn_scalar"]],
        param_dtype=jnp.float32,
    )
    sizes = {
        "D": hidden,
        "Q": num_heads * heads,
        "K": described.num_kv_heads * heads,
        "E": heads,
        "I": described.hidden_dim,
    }
    every = int(config.get("sliding_window_pattern", 6))  # how transformers said it before it listed the layers
    layer_types = config.get("layer_types") or [
        "sliding_attention" if number % every else "full_attention" for number in range(1, described.num_layers + 1)
    ]
    places: Places = {EMBEDDING: Place(("embedder", "input_embedding"), (described.num_embed, hidden))}
    for number in range(described.num_layers):
        places |= _list_layer(number, _GEMMA3_LAYER, sizes)
    places[FINAL_NORM] = Place(("final_norm", "scale"), (hidden,))
    return Family(
        build=lambda: _build_gemma3(described, layer_types),
        places=places,
        num_layers=described.num_layers,
        num_kv_heads=described.num_kv_heads,
        head_dim=heads,
        branches=("attn.attn_vec_einsum", "mlp.down_proj"),
    )


def _build_gemma3(config: Any, layer_types: list[str]) -> Any:
    """Its layers in the order that the configuration gives, and every projection a parameter of its own."""
    kinds = {"full_attention": gemma3.AttentionType.GLOBAL, "sliding_attention": gemma3.AttentionType.LOCAL_SLIDING}
    model = gemma3.Gemma3(config, rngs=nnx.Rngs(0))
    for number, name in enumerate(layer_types):
        if model.layers[number].attn.attn_type != kinds[name]:
            model.layers[number] = gemma3.DecoderLayer(config=config, attn_type=kinds[name], rngs=nnx.Rngs(0))
        attention = model.layers[number].attn
        for merged in ("qkv_einsum", "q_einsum", "kv_einsum"):
            if hasattr(attention, merged):
                delattr(attention, merged)
        attention.q_einsum = _Projection(config, config.num_heads)
        attention.kv_einsum = _KeysAndValues(config)
    return model


class _Projection(nnx.Module):  # type: ignore[misc]  # nnx is not followed
    """x [B, T, D] to heads [B, T, H, E]. `shape` is what Tunix reads the number of heads from."""

    def __init__(self, config: Any, num_heads: int) -> None:
        self.shape = (num_heads, config.embed_dim, config.head_dim)
        self.w = nnx.Param(jnp.zeros((config.embed_dim, num_heads, config.head_dim), jnp.float32))

    def __call__(self, x_BTD: Any) -> Any:
        return jnp.einsum("BTD,DHE->BTHE", x_BTD, self.w.value)


class _KeysAndValues(nnx.Module):  # type: ignore[misc]
    """Keys and values [B, T, K, E] of x [B, T, D], from two parameters."""

    def __init__(self, config: Any) -> None:
        self.shape = (2, config.num_kv_heads, config.embed_dim, config.head_dim)
        self.keys = _Projection(config, config.num_kv_heads)
        self.values = _Projection(config, config.num_kv_heads)

    def __call__(self, x_BTD: Any) -> tuple[Any, Any]:
        return self.keys(x_BTD), self.values(x_BTD)


_READERS: dict[str, Callable[[Mapping[str, Any]], Family]] = {"qwen3": _read_qwen3, "gemma3_text": _read_gemma3}


def _require(config: Mapping[str, Any], **expected: Any) -> None:
    """A key that is not there, or null, has the value that Tunix has."""
    for key, value in expected.items():
        if config.get(key) is not None and config[key] != value:
            raise _refuse(f"{key} {config[key]}", f"Tunix's has {value}.")


def _read_rope(config: Mapping[str, Any], kind: str, older: str) -> tuple[float, float]:
    """Base and factor of the rotary positions of one kind of layer, as transformers 5 writes them or, under `older`, 4 did."""
    written = config.get("rope_parameters")
    if written is None:
        scaling = config.get("rope_scaling") if older == "rope_theta" else None
        written = {"rope_theta": config[older], **(scaling or {})}
    written = written.get(kind, written)
    turned = written.get("rope_type", "default")
    if turned not in ("default", "linear"):
        raise _refuse(f"rope_type {turned}", "Tunix's turns by the position, or by the position divided by a factor.")
    return float(written["rope_theta"]), float(written["factor"]) if turned == "linear" else 1.0


def _refuse(what: str, why: str) -> UnsupportedPlan:
    return UnsupportedPlan(
        f"The tunix backend cannot run a model with {what}.",
        why=why,
        next_step="Set compute.framework=transformers.",
    )


# ── a model, and what runs it ────────────────────────────────────────────────────────────────────────────────────────
class Network:
    """A model of Tunix's without numbers: what weights it has, and how it is run with some.

    `shapes` are those of its weights in Tunix's layout. With `drops`, it takes dropout masks.
    """

    def __init__(self, shape: Shape, *, drops: bool = False) -> None:
        self.family = describe(shape)
        adapter = shape.adapter if isinstance(shape, ImportedShape) else None
        self.places = self.family.places if adapter is None else _list_adapted(self.family.places, adapter)
        with quiet():
            blank = nnx.eval_shape(functools.partial(_build, self.family, adapter, drops))
            self._graph, state = nnx.split(blank)
            self._blank = dict(nnx.to_flat_state(state))
            self.shapes = {name: tuple(place.find(blank).value.shape) for name, place in self.places.items()}

    def fill(self, values: Mapping[str, Any]) -> Any:
        """The module with these weights, which are in Tunix's layout."""
        with quiet():
            filled = [
                (place.path, self._blank[place.path].replace(values[name])) for name, place in self.places.items()
            ]
            return nnx.merge(self._graph, nnx.from_flat_state(filled))

    def run(self, module: Any, tokens_BT: Any, places_BT: Any, visible_BTS: Any, cache: Any = None) -> tuple[Any, Any]:
        """Logits [B, T, V] and the renewed cache. `places_BT`: where rotary positions stand."""
        before = _ROPE_THETA.set(self.family.rope_theta)
        try:
            with quiet():
                return module(tokens_BT, places_BT, cache, visible_BTS)  # type: ignore[no-any-return]
        finally:
            _ROPE_THETA.reset(before)

    def build_cache(self, num_positions: int) -> dict[str, dict[str, Any]]:
        """An empty memory of one row: keys and values [1, S, K, E] of each layer."""
        size = (1, num_positions, self.family.num_kv_heads, self.family.head_dim)
        return {
            f"layer_{number}": {part: jnp.zeros(size, jnp.float32) for part in ("k", "v")}
            for number in range(self.family.num_layers)
        }


@contextmanager
def dropping(masks: Any) -> Iterator[None]:
    """Within the block, modules that were built to drop do so, by masks [L, 2, B, T, D] (None: they do not)."""
    before = _MASKS.set(masks)
    try:
        yield
    finally:
        _MASKS.reset(before)


def _build(family: Family, adapter: Adapter | None, drops: bool) -> Any:
    module = family.build()
    if drops:
        for layer in range(family.num_layers):
            for place, path in enumerate(family.branches):
                last = Place(("layers", layer, *path.split(".")), ()).find(module)
                kind: Any = type(last)
                last.__class__ = _add_dropout(kind)
                last.layer_of_mask, last.place_of_mask = layer, place
    return module if adapter is None else _adapt(module, family, adapter)


def _adapt(module: Any, family: Family, adapter: Adapter) -> Any:
    """The module with an adapter's matrices beside the linear maps that it names."""
    added = {name: place for name, place in _list_adapted(family.places, adapter).items() if ".lora_" in name}
    paths = {"/".join(map(str, place.path[:-1])) for place in added.values()}
    provider = qwix.LoraProvider(module_path="|".join(sorted(paths)), rank=adapter.rank, alpha=adapter.alpha)
    one = jnp.zeros((1, 1), jnp.int32)
    return qwix.apply_lora_to_model(module, provider, one, one, None, jnp.ones((1, 1, 1), jnp.bool_), rngs=nnx.Rngs(0))


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Steps:
    """The training step of Tunix's `PeftTrainer` on a module: gradients of a loss, handed to an optax transformation.

    What is trained is the adapter where there is one. `loss(module, **inputs)` gives (what is minimised, what else it says).
    """

    def __init__(self, module: Any, transformation: Any, loss: Callable[..., tuple[Any, Any]]) -> None:
        with quiet():
            config = peft_trainer.TrainingConfig(eval_every_n_steps=1)
            self._trainer = peft_trainer.PeftTrainer(module, transformation, config)
            self._trainer.with_gen_model_input_fn(lambda inputs: inputs).with_loss_fn(loss, has_aux=True)
            self._step, _ = self._trainer.jit_train_and_eval_step()
            wrt = self._trainer.optimizer.wrt
            self._update = nnx.jit(
                lambda module, optimizer, rates: optimizer.update(module, nnx.state(module, wrt), rates=rates),
                donate_argnames=("optimizer",),
            )

    @property
    def module(self) -> Any:
        """What is trained, as it is now."""
        return self._trainer.model

    def take(self, inputs: Mapping[str, Any]) -> Any:
        """One training step; what else the loss said."""
        with quiet():
            _, said, _ = self._step(dict(inputs))
        return said

    def update(self, rates: Mapping[str, Any]) -> None:
        """Have the transformation update, from what it was handed so far, the weights: it is given `rates` then."""
        with quiet():
            self._update(self._trainer.model, self._trainer.optimizer, dict(rates))

    def find_state(self) -> Any:
        """What the transformation remembers: a tree like that of its state, with a variable for each array."""
        return self._trainer.optimizer.opt_state


def list_paths(tree: Any) -> list[tuple[str, ...]]:
    """The path of each array in a tree of a module's weights, in the order in which `jax.tree` gives them."""
    keyed, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [_name_keys(keys) for keys, _ in keyed]


def _name_keys(keys: tuple[Any, ...]) -> tuple[str, ...]:
    names = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in keys]
    return tuple(names[:-1] if names[-1] == "value" else names)
