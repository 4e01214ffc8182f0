"""More models of pictures, sound and series, written down after the tool was: nothing was tuned to them."""

from zoo import shim  # noqa: F401, I001 - before anything that imports torchvision

import timm.models as tm
import torch
import transformers as tf
from zoo.sizes import Size

from matrix.torch_entry import torch_entries
from matrix.torch_settings import of_depth, of_width, over, times
from matrix.torch_vision import BATCH, C_, CLASSES, PLAIN, S_, THIRDS, V_, image, stages, timm_model, timm_stages

A_ = "audio"


def _entries(name: str, kind: str, make, sizes, **options):
    return torch_entries(name, kind, make, sizes, axes=BATCH, exporters=("torchscript",), **options)


def _tf(config: str, base: str, inputs, **fixed):
    """A model of `transformers`: settings may be functions of (depth, width), inputs are tensors or shapes."""

    def make(size: Size):
        (depth,), (width,) = size.depth, size.width
        given = {key: value(depth, width) if callable(value) else value for key, value in fixed.items()}
        generator = torch.Generator().manual_seed(1)
        drawn = {k: v if torch.is_tensor(v) else torch.randn(v, generator=generator) for k, v in inputs.items()}
        return getattr(tf, base)(getattr(tf, config)(**given)), drawn

    return make


_SIZES = {
    "hidden_size": of_width,
    "num_hidden_layers": of_depth,
    "num_attention_heads": over(5),
    "intermediate_size": times(4),
}
_PATCHES = {"image_size": 24, "patch_size": 8}
_PICTURE = {"pixel_values": (2, 3, 24, 24)}
_WAVE = {"input_values": (2, 2000)}
_SPEECH = {
    **_SIZES,
    "conv_dim": lambda depth, width: (2 * width // 5, 2 * width // 5),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 5,
    "vocab_size": 11,
    "mask_time_prob": 0.0,
}
_FRAMES = {"pixel_values": (2, 4, 3, 16, 16)}
_RETURNS = {
    "states": (2, 5, 7),
    "actions": (2, 5, 3),
    "rewards": (2, 5, 1),
    "returns_to_go": (2, 5, 1),
    "timesteps": torch.arange(5).repeat(2, 1),
    "attention_mask": torch.ones(2, 5),
}
_DEPTHS = {"depths": lambda depths, widths: depths}


def _by(kind, *, side: int = 64):
    """A model of timm's classes, made by a function of (depths, widths)."""
    return lambda size: (kind(size.depth, size.width), image(side, name="x"))


def _repvgg(depths, widths):
    parts = zip(depths, widths, strict=True)
    blocks = tuple(tm.ByoBlockCfg(type="rep", d=depth, c=width, s=2) for depth, width in parts)
    return tm.ByobNet(tm.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=widths[0]), num_classes=CLASSES)


def _dla(depths, widths):
    channels = [times * widths[0] for times in (1, 2, 2, 4, 8, 16)]
    return tm.DLA(levels=[1, 1, 1, 2, 2, 1], channels=channels, block=tm.dla.DlaBasic, num_classes=CLASSES)


def _xception(depths, widths):
    width = 4 * widths[0]
    blocks = [dict(in_chs=64 if i == 0 else width, out_chs=width, stride=2 if i == 0 else 1) for i in range(depths[0])]
    return tm.xception_aligned.XceptionAligned(blocks, num_classes=CLASSES)


def _tnt(depths, widths):
    (depth,), (width,) = depths, widths
    return tm.TNT(
        img_size=24,
        patch_size=8,
        embed_dim=width,
        inner_dim=4 * width // 5,
        depth=depth,
        num_heads_outer=width // 5,
        num_heads_inner=width // 5,
        num_classes=CLASSES,
    )


def _only(sizes, *labels: str):
    """Some targets of a size alone: what else these models change with it follows rules of their own."""
    source, targets = sizes
    return source, {label: targets[label] for label in labels}


_DEEP = _only(PLAIN, "shallower")
_WIDER = stages(2, 2, 3, 2, width=(16, 32, 64, 128))
_RATIO = {"by_ratio": True}

ENTRIES = [
    *_entries("DPT", V_, _tf("DPTConfig", "DPTModel", _PICTURE, **_SIZES, **_PATCHES, is_hybrid=False), PLAIN),
    *_entries(
        "CLIPSeg vision", V_, _tf("CLIPSegVisionConfig", "CLIPSegVisionModel", _PICTURE, **_SIZES, **_PATCHES), PLAIN
    ),
    *_entries("BLIP vision", V_, _tf("BlipVisionConfig", "BlipVisionModel", _PICTURE, **_SIZES, **_PATCHES), PLAIN),
    *_entries(
        "OWL-ViT vision", V_, _tf("OwlViTVisionConfig", "OwlViTVisionModel", _PICTURE, **_SIZES, **_PATCHES), PLAIN
    ),
    *_entries("GIT vision", V_, _tf("GitVisionConfig", "GitVisionModel", _PICTURE, **_SIZES, **_PATCHES), PLAIN),
    *_entries(
        "AIMv2",
        V_,
        _tf("Aimv2VisionConfig", "Aimv2VisionModel", _PICTURE, **_SIZES, **_PATCHES, use_head=False),
        PLAIN,
    ),
    *_entries(
        "ViViT",
        V_,
        _tf("VivitConfig", "VivitModel", _FRAMES, **_SIZES, image_size=16, num_frames=4, tubelet_size=[2, 8, 8]),
        PLAIN,
    ),
    *_entries(
        "TimeSformer",
        V_,
        _tf("TimesformerConfig", "TimesformerModel", _FRAMES, **_SIZES, image_size=16, patch_size=8, num_frames=4),
        PLAIN,
    ),
    *_entries(
        "ViTDet",
        V_,
        _tf(
            "VitDetConfig",
            "VitDetModel",
            {"pixel_values": (2, 3, 32, 32)},
            **{**_SIZES, "intermediate_size": 0},
            image_size=32,
            pretrain_image_size=32,
            patch_size=8,
            mlp_ratio=4,
        ),
        PLAIN,
    ),
    *_entries(
        "MGP-STR",
        V_,
        _tf(
            "MgpstrConfig", "MgpstrModel", {"pixel_values": (2, 3, 32, 32)}, **_SIZES, image_size=[32, 32], patch_size=8
        ),
        PLAIN,
    ),
    *_entries(
        "ImageGPT",
        "decoder",
        _tf(
            "ImageGPTConfig",
            "ImageGPTModel",
            {"input_ids": torch.arange(18).reshape(2, 9)},
            vocab_size=51,
            n_positions=16,
            n_embd=of_width,
            n_layer=of_depth,
            n_head=over(5),
            use_cache=False,
        ),
        PLAIN,
    ),
    *_entries(
        "Decision Transformer",
        "decoder",
        _tf(
            "DecisionTransformerConfig",
            "DecisionTransformerModel",
            _RETURNS,
            state_dim=7,
            act_dim=3,
            hidden_size=of_width,
            n_layer=of_depth,
            n_head=over(5),
            max_ep_len=20,
            n_positions=43,
        ),
        PLAIN,
    ),
    *_entries(
        "AST",
        A_,
        _tf(
            "ASTConfig",
            "ASTModel",
            {"input_values": (2, 40, 16)},
            **_SIZES,
            max_length=40,
            num_mel_bins=16,
            patch_size=8,
            frequency_stride=4,
            time_stride=4,
        ),
        PLAIN,
    ),
    *_entries("SEW", A_, _tf("SEWConfig", "SEWModel", _WAVE, **_SPEECH, squeeze_factor=2), PLAIN),
    *_entries("UniSpeech", A_, _tf("UniSpeechConfig", "UniSpeechModel", _WAVE, **_SPEECH), PLAIN),
    *_entries("WavLM", A_, _tf("WavLMConfig", "WavLMModel", _WAVE, **_SPEECH), _DEEP),
    *_entries(
        "Wav2Vec2-BERT",
        A_,
        _tf(
            "Wav2Vec2BertConfig",
            "Wav2Vec2BertModel",
            {"input_features": (2, 30, 16)},
            **_SIZES,
            feature_projection_input_dim=16,
            conv_depthwise_kernel_size=3,
            left_max_position_embeddings=4,
            right_max_position_embeddings=2,
        ),
        PLAIN,
    ),
    *_entries(
        "Parakeet",
        A_,
        _tf(
            "ParakeetEncoderConfig",
            "ParakeetEncoder",
            {"input_features": (2, 64, 16)},
            **_SIZES,
            num_mel_bins=16,
            conv_kernel_size=3,
            subsampling_conv_channels=over(5),
            scale_input=False,
        ),
        PLAIN,
    ),
    *_entries("BEiTv2 timm", V_, timm_model("beitv2_base_patch16_224"), PLAIN),
    *_entries("ViT rotary timm", V_, timm_model("vit_small_patch16_rope_224", 4), THIRDS),
    *_entries("TNT", V_, _by(_tnt, side=24), PLAIN),
    *_entries(
        "PiT",
        S_,
        timm_stages(
            "pit_ti_224",
            img_size=64,
            patch_size=8,
            stride=8,
            base_dims=[4, 4, 4],
            heads=lambda depths, widths: [width // 4 for width in widths],
            depth=lambda depths, widths: depths,
        ),
        stages(2, 2, 3, width=(16, 32, 64)),
        **_RATIO,
    ),
    *_entries(
        "NesT",
        S_,
        _by(
            lambda depths, widths: tm.Nest(
                img_size=64,
                num_levels=3,
                embed_dims=widths,
                num_heads=[width // 8 for width in widths],
                depths=depths,
                num_classes=CLASSES,
            )
        ),
        stages(2, 2, 3, width=(16, 32, 64)),
        **_RATIO,
    ),
    *_entries(
        "DaViT",
        S_,
        timm_stages(
            "davit_tiny",
            embed_dims=lambda depths, widths: widths,
            num_heads=lambda depths, widths: [width // 4 for width in widths],
            window_size=2,
            **_DEPTHS,
        ),
        stages(1, 1, 3, 1),
    ),
    *_entries(
        "TinyViT",
        S_,
        timm_stages(
            "tiny_vit_5m_224",
            embed_dims=lambda depths, widths: widths,
            num_heads=lambda depths, widths: [width // 4 for width in widths],
            window_sizes=(2, 2, 2, 2),
            **_DEPTHS,
        ),
        stages(2, 2, 4, 2),
        **_RATIO,
    ),
    *_entries(
        "Sequencer",
        S_,
        timm_stages(
            "sequencer2d_s",
            layers=lambda depths, widths: depths,
            embed_dims=lambda depths, widths: widths,
            hidden_sizes=lambda depths, widths: [width // 4 for width in widths],
        ),
        stages(2, 2, 3, 2, width=(16, 24, 32, 40)),
        **_RATIO,
    ),
    *_entries(
        "MambaOut",
        S_,
        timm_stages("mambaout_femto", dims=lambda depths, widths: widths, **_DEPTHS),
        stages(2, 2, 3, 2, width=(24, 48, 72, 96)),
        **_RATIO,
    ),
    *_entries("RepVGG", C_, _by(_repvgg), _only(stages(2, 2, 3, 2), "shallower")),
    *_entries(
        "DLA", C_, _by(_dla), (Size((), (16,)), {"width 8": Size((), (8,)), "width 24": Size((), (24,))}), **_RATIO
    ),
    *_entries(
        "Res2Net",
        C_,
        timm_stages(
            "res2net50_26w_4s",
            layers=lambda depths, widths: depths,
            channels=lambda depths, widths: widths,
            stem_type="deep",
            stem_width=lambda depths, widths: widths[0],
            base_width=16,
        ),
        _WIDER,
        **_RATIO,
    ),
    *_entries(
        "SK-Net",
        C_,
        timm_stages(
            "skresnet18",
            layers=lambda depths, widths: depths,
            channels=lambda depths, widths: widths,
            stem_type="deep",
            stem_width=lambda depths, widths: widths[0],
        ),
        _only(stages(2, 2, 3, 2, width=(32, 64, 128, 256)), "shallower"),
    ),
    *_entries(
        "ResNeSt",
        C_,
        timm_stages(
            "resnest14d",
            layers=lambda depths, widths: depths,
            channels=lambda depths, widths: widths,
            stem_width=lambda depths, widths: widths[0],
            base_width=16,
        ),
        _only(_WIDER, "shallower"),
    ),
    *_entries(
        "Xception aligned",
        C_,
        _by(_xception),
        (Size((4,), (16,)), {"shallower": Size((3,), (16,)), "deeper": Size((6,), (16,))}),
    ),
]
