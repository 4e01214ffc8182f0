"""More text models of `transformers`, in one form: written down after the tool was, and nothing was tuned to them."""

from matrix.torch_settings import of_depth, of_width, over, times
from matrix.torch_text import EVEN, GPT2, PLAIN, SEQ2SEQ, T5, TALL, kv, looked_up, model, seq2seq, text

EXPORTER = ("torchscript",)
NONE = dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"))


def _all(kind: str):
    return lambda depth, width: [kind] * depth


def _row(name: str, config: str, module: str, head: int = 5, *, kind: str = "encoder", sizes=PLAIN, **fixed):
    return text(name, kind, model(config, module, head, **fixed), sizes, exporters=EXPORTER)


def _encoder(name: str, base: str | None = None, **fixed):
    base = base or name
    return _row(name, f"{base}Config", f"{base}Model", **fixed)


def _rotary(name: str, base: str | None = None, **fixed):
    base = base or name
    return _row(name, f"{base}Config", f"{base}Model", 6, sizes=EVEN, **fixed)


def _decoder(name: str, base: str | None = None, *, grouped: bool = True, sizes=EVEN, **fixed):
    base = base or name
    settings = {**(kv() if grouped else {}), **fixed}
    return _row(name, f"{base}Config", f"{base}ForCausalLM", 6, kind="decoder", sizes=sizes, **settings)


def _experts(name: str, base: str, **fixed):
    made = model(f"{base}Config", f"{base}ForCausalLM", 6, **{**kv(), **fixed})
    return text(name, "decoder", looked_up(made), EVEN, exporters=EXPORTER)


def _translator(name: str, base: str, settings: dict[str, object]):
    made = model(f"{base}Config", f"{base}ForConditionalGeneration", 5, "decoder_input_ids", **settings)
    return seq2seq(name, made, exporters=EXPORTER)


_HEADED = {"n_heads": over(5), "n_layers": of_depth, "emb_dim": of_width, **NONE}
_ROUTED = {"num_experts": 4, "num_experts_per_tok": 2}

ENTRIES = [
    *_encoder("ERNIE", "Ernie"),
    *_encoder("RemBERT", "RemBert", input_embedding_size=of_width, output_embedding_size=of_width),
    *_encoder("XLM", **_HEADED),
    *_encoder("BigBird", attention_type="original_full"),
    *_encoder("ConvBERT", "ConvBert", embedding_size=of_width),
    *_encoder("DeBERTa", "Deberta"),
    *_encoder("Megatron-BERT", "MegatronBert"),
    *_row("BERT generation", "BertGenerationConfig", "BertGenerationEncoder"),
    *_encoder("I-BERT", "IBert"),
    *_encoder("YOSO", "Yoso"),
    *_rotary("ESM", "Esm", position_embedding_type="rotary", mask_token_id=4),
    *_rotary("NomicBERT", "NomicBert"),
    *_rotary("EuroBERT", "EuroBert", **kv()),
    *_rotary("Jina v3", "JinaEmbeddingsV3"),
    *_encoder("Data2Vec text", "Data2VecText"),
    *_encoder("LayoutLM"),
    *_encoder("Splinter"),
    *_encoder("X-MOD", "Xmod", default_language="en_XX", languages=("en_XX", "de_DE")),
    *_encoder("CLIP text", "CLIPText"),
    *_encoder("BLIP text", "BlipText"),
    *_encoder("Chinese-CLIP text", "ChineseCLIPText"),
    *_row(
        "Gemma 3",
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        6,
        kind="decoder",
        sizes=TALL,
        layer_types=lambda depth, width: ["sliding_attention", "full_attention"] * (depth // 2),
        sliding_window=4,
        query_pre_attn_scalar=6,
        **kv(),
    ),
    *_decoder(
        "LFM 2",
        "Lfm2",
        sizes=TALL,
        layer_types=lambda depth, width: ["conv", "full_attention"] * (depth // 2),
        block_auto_adjust_ff_dim=False,
    ),
    *_decoder("Persimmon", grouped=False, partial_rotary_factor=1.0),
    *_decoder("Nemotron"),
    *_decoder("EXAONE 4", "Exaone4", sizes=TALL, layer_types=_all("full_attention"), sliding_window=None),
    *_decoder("Hunyuan", "HunYuanDenseV1"),
    *_decoder("Arcee"),
    *_decoder("Seed-OSS", "SeedOss"),
    *_decoder("Doge"),
    *_decoder("BitNet"),
    *_decoder("OLMo 3", "Olmo3", sizes=TALL, layer_types=_all("full_attention")),
    *_decoder("Cohere 2", "Cohere2", sizes=TALL, layer_types=_all("full_attention")),
    *_experts("Qwen3-MoE", "Qwen3Moe", moe_intermediate_size=times(2), **_ROUTED),
    *_experts("OLMoE", "Olmoe", **_ROUTED),
    *_experts("Granite MoE", "GraniteMoe", num_local_experts=4, num_experts_per_tok=2),
    *_decoder(
        "XGLM",
        grouped=False,
        sizes=EVEN,
        d_model=of_width,
        num_layers=of_depth,
        ffn_dim=times(4),
        attention_heads=over(6),
        **NONE,
    ),
    *_row(
        "CTRL",
        "CTRLConfig",
        "CTRLLMHeadModel",
        kind="decoder",
        dff=times(4),
        **{**GPT2, "n_positions": 43},
    ),
    *_row("GPT", "OpenAIGPTConfig", "OpenAIGPTLMHeadModel", kind="decoder", **GPT2),
    *_translator("Blenderbot", "Blenderbot", SEQ2SEQ),
    *_translator("Blenderbot small", "BlenderbotSmall", SEQ2SEQ),
    *_translator("mBART", "MBart", SEQ2SEQ),
    *_translator("PLBART", "PLBart", SEQ2SEQ),
    *_translator("MVP", "Mvp", SEQ2SEQ),
    *_translator(
        "FSMT",
        "FSMT",
        {**SEQ2SEQ, "langs": ["en", "de"], "src_vocab_size": 101, "tgt_vocab_size": 101, "vocab_size": None},
    ),
    *_translator("UMT5", "UMT5", T5),
]
