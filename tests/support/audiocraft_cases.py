"""Runs of audiocraft to convert: the toy model with one setting at another value each."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.support.audiocraft import MELODY, UNCHANGED, Changes


class Case(NamedTuple):
    """Changes to the settings of the language model and of the codec.

    `refused`: the setting that a refusal must name, or None for an exact conversion.
    """

    language_model: Changes = UNCHANGED
    codec: Changes = UNCHANGED
    refused: str | None = None


def _lm(name: str, value: Any, *, refused: bool = False, **more: Any) -> tuple[str, Case]:
    path = f"transformer_lm.{name}"
    changes = {path: value} | {f"transformer_lm.{n}": v for n, v in more.items()}
    return f"{path}={value}", Case(changes, refused=path if refused else None)


def _run(path: str, value: Any, *, refused: bool = False, **more: Any) -> tuple[str, Case]:
    return f"{path}={value}", Case({path: value} | more, refused=path if refused else None)


def _codec(path: str, value: Any, *, refused: bool = False, **more: Any) -> tuple[str, Case]:
    changes = {path: value} | {n.replace("__", "."): v for n, v in more.items()}
    return f"codec {path}={value}", Case({}, changes, path if refused else None)


_N_CHROMA = "conditioners.self_wav.chroma_stem.n_chroma"
_STEREO: dict[str, Any] = {
    "channels": 2,
    "interleave_stereo_codebooks.use": True,
    "transformer_lm.n_q": 8,
    "codebooks_pattern.delay.delays": [0, 0, 1, 1, 2, 2, 3, 3],
}
_TRAINING: dict[str, Any] = {
    "autocast": False,
    "autocast_dtype": "bfloat16",
    "tokens.padding_with_special_token": True,
    "dataset.batch_size": 7,
    "dataset.train.merge_text_p": 0.5,
    "dataset.train.drop_desc_p": 0.1,
    "generate.lm.use_sampling": False,
    "generate.lm.temp": 0.5,
    "generate.lm.top_k": 9,
    "generate.lm.top_p": 0.9,
    "classifier_free_guidance.training_dropout": 0.1,
    "classifier_free_guidance.inference_coef": 5.0,
    "attribute_dropout": {"text": {}},
    "conditioners.description.t5.word_dropout": 0.1,
    "optim.lr": 0.1,
    "optim.ema.use": False,
}

CASES: dict[str, Case] = dict(
    [
        ("base", Case()),
        _lm("dim", 32),
        _lm("num_heads", 2),
        _lm("num_layers", 3),
        _lm("hidden_scale", 3),
        _run("transformer_lm.n_q", 2, refused=True, **{"codebooks_pattern.delay.delays": [0, 1]}),
        (
            "n_q=2",
            Case(
                {"transformer_lm.n_q": 2, "codebooks_pattern.delay.delays": [0, 1]}, {"rvq.n_q": 2}
            ),
        ),
        ("card=48", Case({"transformer_lm.card": 48}, {"rvq.bins": 48})),
        _lm("card", 48, refused=True),
        _lm("dropout", 0.1),
        _lm("emb_lr", 0.001),
        _lm("activation", "relu"),
        _lm("norm_first", False, refused=True),
        _lm("bias_ff", True, refused=True),
        _lm("bias_attn", True, refused=True),
        _lm("bias_proj", True, refused=True),
        _lm("past_context", 4, refused=True, memory_efficient=False, custom=True),
        _lm("causal", False, refused=True),
        _lm("custom", True, memory_efficient=False),
        _lm("memory_efficient", False),
        _lm("attention_as_float32", True),
        _lm("layer_scale", 0.1, refused=True),
        _lm("positional_embedding", "rope", refused=True),
        _lm("positional_embedding", "sin_rope", refused=True),
        _lm("xpos", True),
        _lm("checkpointing", "torch"),
        _lm("weight_init", "uniform"),
        _lm("depthwise_init", "global"),
        _lm("zero_bias_init", False),
        _lm("norm", "rms_norm", refused=True),
        _lm("cross_attention", True),
        _lm("qk_layer_norm", True, refused=True),
        _lm("qk_layer_norm_cross", True, refused=True),
        _lm("attention_dropout", 0.1),
        _lm("kv_repeat", 2, refused=True),
        _lm("two_step_cfg", True),
        _lm("max_period", 100, refused=True),
        _lm("positional_scale", 0.5, refused=True),
        _run("lm_model", "transformer_lm_magnet", refused=True),
        _run("codebooks_pattern.modeling", "parallel", refused=True),
        _run("codebooks_pattern.modeling", "unroll", refused=True),
        _run("codebooks_pattern.modeling", "coarse_first", refused=True),
        _run("codebooks_pattern.delay.delays", [0, 2, 4, 6], refused=True),
        _run("codebooks_pattern.delay.delays", None),
        _run("codebooks_pattern.delay.flatten_first", 2, refused=True),
        _run("codebooks_pattern.delay.empty_initial", 1, refused=True),
        _run("codebooks_pattern.unroll.flattening", [0, 0, 1, 1]),
        _run("codebooks_pattern.unroll.delays", [0, 0, 1, 1]),
        _run("codebooks_pattern.music_lm.group_by", 1),
        _run("codebooks_pattern.coarse_first.delays", [1, 1, 1]),
        _run("fuser.cross_attention_pos_emb", True, refused=True),
        _run("fuser.cross_attention_pos_emb_scale", 2),
        _run("fuser.sum", ["description"], refused=True, **{"fuser.cross": []}),
        _run("fuser.input_interpolate", ["description"], refused=True, **{"fuser.cross": []}),
        _run("fuser.prepend", ["description"], refused=True, **{"fuser.cross": []}),
        _run("fuser.ignore", ["description"], refused=True, **{"fuser.cross": []}),
        _run("conditioners.description.t5.finetune", True),
        _run("conditioners.description.t5.name", "t5-small", refused=True),
        _run("conditioners.description.t5.normalize_text", True, refused=True),
        _run("conditioners.description.t5.autocast_dtype", None),
        _run(
            "conditioners.genre",
            {"model": "lut", "lut": {"n_bins": 9, "dim": 8, "tokenizer": "noop"}},
            refused=True,
            **{"fuser.cross": ["description", "genre"]},
        ),
        _run("conditioners.description.model", "lut", refused=True),
        _run("sample_rate", 3200, refused=True),
        _run("compression_model_checkpoint", "//sig/abc"),
        _run("channels", 2, refused=True),
        _run(
            "compression_model_n_q",
            2,
            **{"transformer_lm.n_q": 2, "codebooks_pattern.delay.delays": [0, 1]},
        ),
        _run("dataset.segment_duration", 20),
        _run("dataset.segment_duration", 60, refused=True),
        ("interleave_stereo_codebooks.use=True", Case(_STEREO)),
        _run(
            "interleave_stereo_codebooks.per_timestep",
            True,
            refused=True,
            **{"channels": 2, "interleave_stereo_codebooks.use": True},
        ),
        (
            "stereo, delays of mono",
            Case(
                _STEREO | {"codebooks_pattern.delay.delays": list(range(8))},
                refused="codebooks_pattern.delay.delays",
            ),
        ),
        ("settings of training", Case(_TRAINING)),
        ("melody", Case(MELODY)),
        ("melody, n_chroma=16", Case(MELODY | {_N_CHROMA: 16})),
        ("melody, n_chroma=24", Case(MELODY | {_N_CHROMA: 24}, refused=_N_CHROMA)),
        (
            "melody, match_len_on_eval=True",
            Case(MELODY | {"conditioners.self_wav.chroma_stem.match_len_on_eval": True}),
        ),
        ("melody, segment_duration=20", Case(MELODY | {"dataset.segment_duration": 20})),
        (
            "melody, radix2_exp=12",
            Case(
                MELODY | {"conditioners.self_wav.chroma_stem.radix2_exp": 12},
                refused="conditioners.self_wav.chroma_stem.radix2_exp",
            ),
        ),
        (
            "melody, argmax=False",
            Case(
                MELODY | {"conditioners.self_wav.chroma_stem.argmax": False},
                refused="conditioners.self_wav.chroma_stem.argmax",
            ),
        ),
        (
            "melody, winhop=2048",
            Case(
                MELODY | {"conditioners.self_wav.chroma_stem.winhop": 2048},
                refused="conditioners.self_wav.chroma_stem.winhop",
            ),
        ),
        ("melody, two_step_cfg", Case(MELODY | {"transformer_lm.two_step_cfg": True})),
        _codec("compression_model", "dac", refused=True),
        _codec("encodec.autoencoder", "other", refused=True),
        ("codec of another rate", Case({}, {"encodec.sample_rate": 3200}, "sample_rate")),
        _codec("encodec.causal", True),
        _codec("encodec.renormalize", True, refused=True),
        _codec("encodec.quantizer", "no_quant", refused=True),
        _codec("encodec.channels", 2, refused=True),
        _codec("seanet.channels", 2, refused=True),
        _codec("seanet.dimension", 6),
        _codec("seanet.causal", True),
        _codec("seanet.n_filters", 4),
        _codec("seanet.n_residual_layers", 2),
        _codec("seanet.ratios", [8, 2, 2]),
        _codec("seanet.activation", "ReLU", refused=True, seanet__activation_params={}),
        _codec("seanet.activation_params.alpha", 0.5, refused=True),
        _codec("seanet.norm", "none"),
        _codec("seanet.norm", "time_group_norm", refused=True),
        _codec("seanet.norm", "spectral_norm", refused=True),
        _codec("seanet.norm_params", {"eps": 0.1}),
        _codec("seanet.kernel_size", 5),
        _codec("seanet.residual_kernel_size", 5),
        _codec("seanet.last_kernel_size", 5),
        _codec("seanet.dilation_base", 3, seanet__n_residual_layers=2),
        _codec("seanet.pad_mode", "reflect"),
        _codec("seanet.pad_mode", "replicate"),
        _codec("seanet.pad_mode", "circular", refused=True),
        _codec("seanet.true_skip", False),
        _codec("seanet.compress", 1),
        _codec("seanet.lstm", 1),
        _codec("seanet.lstm", 0, refused=True),
        _codec("seanet.disable_norm_outer_blocks", 2),
        _codec("seanet.decoder.trim_right_ratio", 0.5, encodec__causal=True),
        _codec("seanet.decoder.final_activation", "Tanh", refused=True),
        _codec("seanet.decoder.final_activation_params", {"inplace": True}),
        _codec("seanet.decoder.n_filters", 4, refused=True),
        _codec("seanet.encoder.n_filters", 4, refused=True),
        (
            "codec settings of training",
            Case(
                {},
                {
                    "rvq.q_dropout": True,
                    "rvq.decay": 0.9,
                    "rvq.kmeans_init": False,
                    "rvq.kmeans_iters": 3,
                    "rvq.threshold_ema_dead_code": 0,
                    "rvq.orthogonal_reg_weight": 0.1,
                    "rvq.orthogonal_reg_active_codes_only": True,
                },
            ),
        ),
    ]
)
