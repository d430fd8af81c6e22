"""What a SAELens `cfg.json` means, of any version: unknown keys are refused, so that none takes effect unnoticed."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from accord.concepts.config import Origin
from accord.concepts.hooks import residual_layer
from accord.errors import AccordError, nearest

# Architecture -> what pre-activations go through. The batchtopk kinds are saved like that only while they are trained:
# outside training a threshold chooses their latents.
ACTIVATIONS = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
NORMALISE = {"none": "none", "layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm"}

# Names of before version 6, as SAELens' own `handle_pre_6_0_config` reads them.
_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_layer": "hook_layer",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
# Keys that say how it was trained, on what, or which dtype and device SAELens computes on: sae-lens 2.1 to 6.54.
_NO_EFFECT = """
    act_store_device activations_mixing_fraction adam_beta1 adam_beta2 autocast autocast_lm aux_loss_coefficient
    b_dec_init_method cached_activations_path checkpoint_path compile_llm compile_sae context_size dataset_path
    dataset_trust_remote_code dead_feature_threshold dead_feature_window decoder_heuristic_init
    decoder_heuristic_init_norm decoder_init_norm decoder_orthogonal_init device disable_concat_sequences dtype
    eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens expansion_factor feature_sampling_window
    finetuning_method finetuning_tokens from_pretrained_path hook_eval hook_layer_out hook_point_eval
    init_encoder_as_decoder_transpose is_dataset_tokenized jumprelu_bandwidth jumprelu_init_threshold
    jumprelu_sparsity_loss_mode jumprelu_ste_to_input jumprelu_tanh_scale l0_coefficient l0_warm_up_steps
    l1_coefficient l1_warm_up_steps llm_compilation_mode llm_device log_activations_store_to_wandb
    log_optimizer_state_to_wandb log_to_wandb log_weights_to_wandb logger lp_norm lr lr_decay_steps lr_end
    lr_scheduler_name lr_warm_up_steps matryoshka_widths model_class_name model_kwargs mse_loss_normalization
    n_batches_for_norm_estimate n_batches_in_buffer n_checkpoints n_eval_batches n_restart_cycles neuronpedia_id
    noise_scale normalize_sae_decoder output_path pre_act_loss_coefficient prefetch_llm_batches prepend_bos resume
    resume_from_checkpoint run_name sae_compilation_mode sae_lens_training_version save_final_checkpoint
    scale_sparsity_penalty_by_decoder_norm seed seqpos_slice sequence_separator_token store_batch_size_prompts
    streaming target_l0 tokens_per_buffer topk_threshold_lr total_training_samples total_training_tokens
    train_batch_size train_batch_size_samples train_batch_size_tokens training_tokens use_cached_activations
    use_chat_formatting use_ghost_grads use_matryoshka_aux_loss use_sparse_activations verbose wandb_entity wandb_id
    wandb_log_frequency wandb_project
    """.split()  # noqa: SIM905


class SAELensConfig(BaseModel):
    """The keys that decide what a dictionary computes, and where in its model; names and defaults of version 6."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    architecture: str = "standard"
    d_in: int = Field(ge=1)
    d_sae: int = Field(ge=1)
    d_out: int | None = Field(default=None, ge=1)
    k: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    reshape_activations: str = "none"  # hook_z: the heads of a row side by side, as its rows come here
    rescale_acts_by_decoder_norm: bool = False
    activation_fn: str = "relu"
    activation_fn_kwargs: dict[str, Any] = {}
    finetuning_scaling_factor: bool = False
    use_error_term: bool = False
    model_name: str | None = None
    model_from_pretrained_kwargs: dict[str, Any] = {}
    hook_name: str | None = None
    hook_layer: int | list[int] | None = None
    hook_head_index: int | None = None
    hook_name_out: str | None = None
    hook_head_index_out: int | None = None

    @field_validator("normalize_activations", mode="before")
    @classmethod
    def _as_name(cls, value: Any) -> Any:
        """Before version 3 it was true or false."""
        if value is None or isinstance(value, bool):
            return "expected_average_only_in" if value else "none"
        return value

    @field_validator("activation_fn_kwargs", "model_from_pretrained_kwargs", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return value or {}

    @model_validator(mode="after")
    def _understood(self) -> "SAELensConfig":
        if self.architecture not in ACTIVATIONS:
            raise ValueError(
                f"architecture {self.architecture!r} cannot be imported; these can: {', '.join(ACTIVATIONS)}"
            )
        if self.activation_fn not in ("relu", "topk") or (self.activation_fn == "topk" and self.activation != "topk"):
            raise ValueError(f"activation_fn {self.activation_fn!r} cannot be imported with {self.architecture!r}")
        if self.activation == "topk" and (self.k is None or self.k != int(self.k) or self.k > self.d_sae):
            raise ValueError(f"topk needs a whole number k up to d_sae = {self.d_sae}; here it is {self.k}")
        allowed = ("k",) if self.activation == "topk" else ()
        if rest := {k: v for k, v in self.activation_fn_kwargs.items() if k not in allowed and v is not False}:
            raise ValueError(f"activation_fn_kwargs {rest} cannot be imported with {self.architecture!r}")
        if self.activation == "topk" and self.activation_fn_kwargs.get("k", self.k) != self.k:
            raise ValueError(f"k is {self.k}, and {self.activation_fn_kwargs['k']} in activation_fn_kwargs")
        if self.reshape_activations not in ("none", "hook_z"):
            raise ValueError(f"reshape_activations {self.reshape_activations!r} cannot be imported")
        if self.use_error_term:
            raise ValueError("use_error_term cannot be imported: it adds what the reconstruction misses")
        if self.transcodes and (self.d_out is None or self.apply_b_dec_to_input):
            raise ValueError("a transcoder needs d_out, and cannot take b_dec from what it reads")
        if self.rescale_acts_by_decoder_norm and self.architecture not in ("topk", "batchtopk", "matryoshka_batchtopk"):
            raise ValueError("rescale_acts_by_decoder_norm goes with topk")
        return self

    @property
    def activation(self) -> str:
        """What pre-activations go through."""
        return ACTIVATIONS[self.architecture]

    @property
    def transcodes(self) -> bool:
        """Whether it reconstructs another place than it reads."""
        return self.architecture.endswith("transcoder")

    @property
    def skip(self) -> bool:
        """Whether it has a skip connection."""
        return self.architecture.endswith("skip_transcoder")

    def origin(self) -> Origin:
        """The model, the place in it that the dictionary reads, and the layer if that place holds a layer's states."""
        reads = self.hook_name and self.hook_name.replace("{layer}", str(self.hook_layer))
        layer, target, caution = residual_layer(reads), residual_layer(self.hook_name_out), None
        if reads and self.hook_head_index is not None:
            reads, layer = f"head {self.hook_head_index} of {reads}", None
        if layer is not None and self.model_from_pretrained_kwargs.get("center_writing_weights"):
            # TransformerLens takes from each state of a LayerNorm model its mean over dimensions; ours keep it.
            layer = None
            caution = f"{reads} of a model with center_writing_weights: states less their mean, unless it has RMSNorm"
        return Origin(
            tool="SAELens",
            model=self.model_name,
            reads=reads or None,
            writes=self.hook_name_out or None,
            layer=layer,
            target_layer=target,
            caution=caution,
        )


def understand(table: dict[str, Any], where: object) -> SAELensConfig:
    """A parsed `cfg.json` of any version. Raises AccordError for a key or value that is not understood."""
    metadata = _table(table, "metadata", where)
    config = {_RENAMED.get(key, key): value for key, value in table.items() if key not in _NO_EFFECT}
    config |= {key: metadata[key] for key in _ABOUT if metadata.get(key) is not None}
    for key in ("metadata", "sae_lens_version"):
        config.pop(key, None)
    kwargs = _table(config, "activation_fn_kwargs", where)
    if _before_6(table.get("sae_lens_version") or metadata.get("sae_lens_version")):
        if config.get("activation_fn") == "topk":  # whatever the architecture is called
            config["architecture"] = "topk"
        if config.get("architecture") == "topk":
            config |= {"activation_fn": "topk", "k": kwargs.get("k", config.get("k"))}
        if "hook_point" in table:  # before version 3: TransformerLens' own defaults
            options = _table(config, "model_from_pretrained_kwargs", where)
            config["model_from_pretrained_kwargs"] = {"center_writing_weights": True, **options}
    elif config.get("architecture") == "topk":
        config.setdefault("activation_fn", "topk")
    if str(config.get("architecture")).endswith("transcoder"):
        config.setdefault("apply_b_dec_to_input", False)
    try:
        return SAELensConfig.model_validate(config)
    except ValidationError as error:
        raise _refusal(error, where) from None


def _table(table: dict[str, Any], key: str, where: object) -> dict[str, Any]:
    value = table.get(key) or {}
    if not isinstance(value, dict):
        raise AccordError("This value is not understood.", where=f"{where}: {key}", got=repr(value), wanted="a table")
    return value


_ABOUT = ("model_name", "hook_name", "hook_head_index", "hook_name_out", "hook_head_index_out",
          "model_from_pretrained_kwargs")  # fmt: skip


def _before_6(version: Any) -> bool:
    first = str(version or "0").partition(".")[0]
    return not first.isdigit() or int(first) < 6


def _refusal(error: ValidationError, where: object) -> AccordError:
    first = error.errors()[0]
    key = ".".join(str(name) for name in first["loc"])
    if first["type"] == "extra_forbidden":
        fix = "if it only says how the dictionary was trained, take it out of a copy of cfg.json"
        wanted = nearest(key, SAELensConfig.model_fields)
        return AccordError("cfg.json has a key that is not understood.", where=where, got=key, wanted=wanted, fix=fix)
    if first["type"] == "value_error":
        return AccordError("This dictionary cannot be imported.", where=where, got=str(first["ctx"]["error"]))
    return AccordError(f"{first['msg']}.", where=f"{where}: {key}", got=repr(first["input"]))
