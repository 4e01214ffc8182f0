"""Text and speech models of `transformers`, small and with random weights."""

import torch
import transformers as tf
from zoo.sizes import Size, uniform

from matrix.torch_entry import torch_entries

VOCABULARY, POSITIONS = 101, 43
TEXT_AXES = {0: "batch", 1: "sequence"}
PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
EVEN = uniform(depth=3, width=24, shallower=2, narrower=12, deeper=5, wider=36)  # heads of 6, for rotary halves
TALL = uniform(depth=4, width=24, shallower=2, narrower=12, deeper=6, wider=36)  # layers in pairs


def _ids(*extra: str, batch: int = 2, sequence: int = 7) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, VOCABULARY, (batch, sequence), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[-1, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask, **{name: ids.flip(1) for name in extra}}


def model(config: str, base: str, head: int = 5, *extra: str, eager: bool = False, **fixed):
    """A builder: `fixed` values may be functions of (depth, width)."""

    def make(size: Size):
        (depth,), (width,) = size.depth, size.width
        common = {
            "vocab_size": VOCABULARY,
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": width // head,
            "intermediate_size": 4 * width,
            "max_position_embeddings": POSITIONS,
            "use_cache": False,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        given = {key: value(depth, width) if callable(value) else value for key, value in fixed.items()}
        settings = {key: value for key, value in {**common, **given}.items() if value is not None}
        module = getattr(tf, base)(getattr(tf, config)(**settings))
        if eager:
            module.set_attn_implementation("eager")
        return module, _ids(*extra)

    return make


def text(name: str, kind: str, make, sizes=PLAIN, axes=TEXT_AXES, **options):
    return torch_entries(name, kind, make, sizes, axes=axes, **options)


def kv(part: int = 2, head: int = 6):
    return {"num_key_value_heads": lambda d, w: w // head // part, "head_dim": head}


def looked_up(make):
    """Experts as matrices that are looked up: the grouped product is of no exporter's operators."""

    def made(size: Size):
        module, inputs = make(size)
        module.set_experts_implementation("batched_mm")
        return module, inputs

    return made


_QWEN2_MOE = looked_up(
    model(
        "Qwen2MoeConfig",
        "Qwen2MoeForCausalLM",
        6,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=lambda d, w: 2 * w,
        shared_expert_intermediate_size=lambda d, w: 3 * w,
        decoder_sparse_step=1,
        **kv(),
    )
)

SEQ2SEQ = {
    "d_model": lambda d, w: w,
    "encoder_layers": lambda d, w: d,
    "decoder_layers": lambda d, w: d,
    "encoder_attention_heads": lambda d, w: w // 5,
    "decoder_attention_heads": lambda d, w: w // 5,
    "encoder_ffn_dim": lambda d, w: 4 * w,
    "decoder_ffn_dim": lambda d, w: 4 * w,
    "decoder_start_token_id": 1,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
}
T5 = {
    "d_model": lambda d, w: w,
    "d_kv": 5,
    "d_ff": lambda d, w: 4 * w,
    "num_layers": lambda d, w: d,
    "num_decoder_layers": lambda d, w: d,
    "num_heads": lambda d, w: w // 5,
    "decoder_start_token_id": 1,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "max_position_embeddings": None,
}
GPT2 = {
    "n_embd": lambda d, w: w,
    "n_layer": lambda d, w: d,
    "n_head": lambda d, w: w // 5,
    "n_positions": POSITIONS,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "intermediate_size": None,
    "max_position_embeddings": None,
}


def _twice(size: tuple[Size, dict[str, Size]]) -> tuple[Size, dict[str, Size]]:
    """Encoder and decoder of one depth."""
    source, targets = size
    return Size(source.depth * 2, source.width), {k: Size(s.depth * 2, s.width) for k, s in targets.items()}


def seq2seq(name: str, make, **options):
    def both(size: Size):
        return make(Size(size.depth[:1], size.width))

    return text(name, "encoder-decoder", both, _twice(PLAIN), **options)


E_ = "encoder"
D_ = "decoder"
ENTRIES = [
    *text("BERT", E_, model("BertConfig", "BertModel")),
    *text("BERT masked", E_, model("BertConfig", "BertForMaskedLM")),
    *text("RoBERTa", E_, model("RobertaConfig", "RobertaForSequenceClassification")),
    *text("XLM-RoBERTa", E_, model("XLMRobertaConfig", "XLMRobertaModel")),
    *text("CamemBERT", E_, model("CamembertConfig", "CamembertForMaskedLM")),
    *text("ELECTRA", E_, model("ElectraConfig", "ElectraModel", embedding_size=lambda d, w: w)),
    *text("ELECTRA factorised", E_, model("ElectraConfig", "ElectraModel", embedding_size=lambda d, w: w // 2)),
    *text("ALBERT", E_, model("AlbertConfig", "AlbertModel", embedding_size=lambda d, w: w // 2)),
    *text("MPNet", E_, model("MPNetConfig", "MPNetModel")),
    *text(
        "DistilBERT",
        E_,
        model(
            "DistilBertConfig",
            "DistilBertModel",
            dim=lambda d, w: w,
            n_layers=lambda d, w: d,
            n_heads=lambda d, w: w // 5,
            hidden_dim=lambda d, w: 4 * w,
            hidden_size=None,
            num_hidden_layers=None,
            num_attention_heads=None,
            intermediate_size=None,
        ),
    ),
    *text(
        "DeBERTa-v2",
        E_,
        model(
            "DebertaV2Config",
            "DebertaV2Model",
            relative_attention=True,
            position_buckets=8,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
        ),
    ),
    *text(
        "ModernBERT",
        E_,
        model(
            "ModernBertConfig",
            "ModernBertModel",
            6,
            global_attn_every_n_layers=2,
            local_attention=6,
        ),
        uniform(depth=7, width=24, shallower=5, narrower=12, deeper=9, wider=36),
    ),
    *text(
        "SqueezeBERT",
        E_,
        model(
            "SqueezeBertConfig",
            "SqueezeBertModel",
            embedding_size=lambda d, w: w,
        ),
    ),
    *text(
        "MobileBERT",
        E_,
        model(
            "MobileBertConfig",
            "MobileBertModel",
            embedding_size=lambda d, w: w,
            intra_bottleneck_size=lambda d, w: w // 2,
            true_hidden_size=None,
            num_attention_heads=lambda d, w: w // 10,
            num_feedforward_networks=2,
        ),
        uniform(depth=3, width=40, shallower=2, narrower=20, deeper=5, wider=60),
    ),
    *text(
        "Funnel base",
        E_,
        model(
            "FunnelConfig",
            "FunnelBaseModel",
            block_sizes=lambda d, w: [d],
            d_model=lambda d, w: w,
            n_head=lambda d, w: w // 5,
            d_head=5,
            d_inner=lambda d, w: 4 * w,
            hidden_size=None,
            num_hidden_layers=None,
            num_attention_heads=None,
            intermediate_size=None,
        ),
    ),
    *text("RoFormer", E_, model("RoFormerConfig", "RoFormerModel", 6, embedding_size=lambda d, w: w), EVEN),
    *text(
        "Nystromformer",
        E_,
        model("NystromformerConfig", "NystromformerModel", segment_means_seq_len=8, num_landmarks=8),
    ),
    *text(
        "XLNet",
        E_,
        model(
            "XLNetConfig",
            "XLNetModel",
            use_mems_eval=False,
            d_model=lambda d, w: w,
            n_layer=lambda d, w: d,
            n_head=lambda d, w: w // 5,
            d_inner=lambda d, w: 4 * w,
            hidden_size=None,
            num_hidden_layers=None,
            num_attention_heads=None,
            intermediate_size=None,
            max_position_embeddings=None,
        ),
    ),
    *text("GPT-2", D_, model("GPT2Config", "GPT2LMHeadModel", **GPT2)),
    *text(
        "GPT-Neo",
        D_,
        model(
            "GPTNeoConfig",
            "GPTNeoForCausalLM",
            num_layers=lambda d, w: d,
            num_heads=lambda d, w: w // 6,
            attention_types=lambda d, w: [[["global", "local"], d // 2]],
            num_hidden_layers=None,
            num_attention_heads=None,
            window_size=4,
        ),
        TALL,
    ),
    *text(
        "GPT-NeoX",
        D_,
        model("GPTNeoXConfig", "GPTNeoXForCausalLM", 8, rotary_pct=0.25),
        uniform(depth=3, width=32, shallower=2, narrower=16, deeper=5, wider=48),
    ),
    *text(
        "GPT-J",
        D_,
        model("GPTJConfig", "GPTJForCausalLM", **{**GPT2, "n_head": lambda d, w: w // 6, "rotary_dim": 4}),
        EVEN,
    ),
    *text(
        "OPT", D_, model("OPTConfig", "OPTForCausalLM", ffn_dim=lambda d, w: 4 * w, word_embed_proj_dim=lambda d, w: w)
    ),
    *text("BLOOM", D_, model("BloomConfig", "BloomForCausalLM", n_layer=lambda d, w: d, n_head=lambda d, w: w // 5)),
    *text(
        "MPT",
        D_,
        model(
            "MptConfig",
            "MptForCausalLM",
            d_model=lambda d, w: w,
            n_heads=lambda d, w: w // 5,
            n_layers=lambda d, w: d,
            max_seq_len=POSITIONS,
        ),
    ),
    *text(
        "Falcon multi-query",
        D_,
        model(
            "FalconConfig",
            "FalconForCausalLM",
            6,
            multi_query=True,
            parallel_attn=True,
            new_decoder_architecture=False,
            alibi=False,
        ),
        EVEN,
    ),
    *text(
        "Falcon grouped",
        D_,
        model(
            "FalconConfig",
            "FalconForCausalLM",
            6,
            new_decoder_architecture=True,
            alibi=False,
            num_kv_heads=lambda d, w: w // 12,
        ),
        EVEN,
    ),
    *text("Llama", D_, model("LlamaConfig", "LlamaForCausalLM", 6, **kv()), EVEN),
    *text("Mistral", D_, model("MistralConfig", "MistralForCausalLM", 6, sliding_window=4, **kv()), EVEN),
    *text(
        "Mixtral",
        D_,
        model("MixtralConfig", "MixtralForCausalLM", 6, num_local_experts=3, num_experts_per_tok=2, **kv()),
        EVEN,
    ),
    *text("Qwen2-MoE", D_, _QWEN2_MOE, EVEN),
    *text("Qwen2", D_, model("Qwen2Config", "Qwen2ForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN),
    *text("Qwen3", D_, model("Qwen3Config", "Qwen3ForCausalLM", 6, **kv()), EVEN),
    *text("Gemma", D_, model("GemmaConfig", "GemmaForCausalLM", 6, **kv()), EVEN),
    *text(
        "Gemma 2",
        D_,
        model("Gemma2Config", "Gemma2ForCausalLM", 6, sliding_window=4, query_pre_attn_scalar=6, **kv()),
        TALL,
    ),
    *text(
        "Phi", D_, model("PhiConfig", "PhiForCausalLM", 6, num_key_value_heads=None, partial_rotary_factor=2 / 3), EVEN
    ),
    *text("Phi-3", D_, model("Phi3Config", "Phi3ForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN),
    *text(
        "StableLM",
        D_,
        model(
            "StableLmConfig",
            "StableLmForCausalLM",
            6,
            num_key_value_heads=lambda d, w: w // 12,
            partial_rotary_factor=2 / 3,
        ),
        EVEN,
    ),
    *text("OLMo", D_, model("OlmoConfig", "OlmoForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN),
    *text("OLMo 2", D_, model("Olmo2Config", "Olmo2ForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN),
    *text(
        "Granite", D_, model("GraniteConfig", "GraniteForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN
    ),
    *text("Cohere", D_, model("CohereConfig", "CohereForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12), EVEN),
    *text(
        "StarCoder2",
        D_,
        model("Starcoder2Config", "Starcoder2ForCausalLM", 6, num_key_value_heads=lambda d, w: w // 12),
        EVEN,
    ),
    *text("GPT-BigCode", D_, model("GPTBigCodeConfig", "GPTBigCodeForCausalLM", multi_query=True, **GPT2)),
    *text(
        "CodeGen",
        D_,
        model("CodeGenConfig", "CodeGenForCausalLM", **{**GPT2, "n_head": lambda d, w: w // 6, "rotary_dim": 4}),
        uniform(depth=3, width=48, shallower=2, narrower=24, deeper=5, wider=72),
        options={"": {"dims": {"heads": 4}}},  # heads are 4 x n: an architecture's constant
    ),
    *text("BioGPT", D_, model("BioGptConfig", "BioGptForCausalLM")),
    *text(
        "Mamba",
        "state space",
        model(
            "MambaConfig", "MambaForCausalLM", state_size=4, time_step_rank=lambda d, w: w // 4, expand=2, conv_kernel=3
        ),
        EVEN,
        axes={},  # the exporter unrolls the scan over the sequence
    ),
    *seq2seq("T5", model("T5Config", "T5ForConditionalGeneration", 5, "decoder_input_ids", eager=True, **T5)),
    *seq2seq(
        "mT5 gated",
        model(
            "MT5Config",
            "MT5ForConditionalGeneration",
            5,
            "decoder_input_ids",
            eager=True,
            **{**T5, "feed_forward_proj": "gated-gelu"},
        ),
    ),
    *seq2seq("BART", model("BartConfig", "BartModel", 5, "decoder_input_ids", **SEQ2SEQ)),
    *seq2seq("Marian", model("MarianConfig", "MarianModel", 5, "decoder_input_ids", **SEQ2SEQ)),
    *seq2seq("Pegasus", model("PegasusConfig", "PegasusModel", 5, "decoder_input_ids", **SEQ2SEQ)),
    *seq2seq("M2M100", model("M2M100Config", "M2M100Model", 5, "decoder_input_ids", **SEQ2SEQ)),
]


def _waves(config: str, base: str, **fixed):
    def make(size: Size):
        module, _ = model(config, base, 5, **fixed)(size)
        return module, {"input_values": torch.randn((2, 400), generator=torch.Generator().manual_seed(1))}

    return make


_CONVS = {
    "conv_dim": lambda d, w: (2 * w // 5, 2 * w // 5),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
}


def _whisper(size: Size):
    module, inputs = model(
        "WhisperConfig",
        "WhisperModel",
        5,
        **SEQ2SEQ,
        num_mel_bins=6,
        max_source_positions=8,
        max_target_positions=POSITIONS,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )(Size(size.depth[:1], size.width))
    features = torch.randn((2, 6, 16), generator=torch.Generator().manual_seed(1))
    return module, {"input_features": features, "decoder_input_ids": inputs["input_ids"]}


ENTRIES += [
    *torch_entries("Wav2Vec2", "speech", _waves("Wav2Vec2Config", "Wav2Vec2Model", **_CONVS), PLAIN),
    *torch_entries("HuBERT", "speech", _waves("HubertConfig", "HubertModel", **_CONVS), PLAIN),
    *torch_entries("Whisper", "encoder-decoder", _whisper, _twice(PLAIN)),
]
