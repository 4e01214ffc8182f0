"""Vision models of `transformers`, `timm`, `torchvision`, and plain torch: small, with random weights."""

from zoo import shim  # noqa: F401, I001 - before anything that imports torchvision

from functools import partial

import timm.models as tm
import torch
import torch.nn as nn
import torch.nn.functional as F
import transformers as tf
from timm.layers import SEModule
from timm.models import maxxvit, metaformer, mlp_mixer
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.shufflenetv2 import ShuffleNetV2
from zoo.sizes import Size, per_stage, uniform, widths

from matrix.torch_entry import torch_entries

CLASSES = 11
BATCH = {0: "batch"}
HEAD = 5
PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
THIRDS = uniform(depth=3, width=24, shallower=2, narrower=12, deeper=5, wider=36)  # two thirds are whole
WIDE = uniform(depth=3, width=48, shallower=2, narrower=24, deeper=5, wider=72)  # heads of 8, odd numbers of them
EVEN = uniform(depth=3, width=32, shallower=2, narrower=16, deeper=5, wider=48)  # heads of 8, for rotary halves

V_, S_, C_ = "vision transformer", "stages of blocks", "convolutions"


def image(side: int, batch: int = 2, name: str = "pixel_values") -> dict[str, torch.Tensor]:
    return {name: torch.randn((batch, 3, side, side), generator=torch.Generator().manual_seed(1))}


def _entries(name: str, kind: str, make, sizes, **options):
    return torch_entries(name, kind, make, sizes, axes=BATCH, **options)


def stages(*depth: int, width=(16, 24, 32, 48), shallower: int = 1, deeper: int = 1):
    """Stages: the third one block shallower or deeper, widths halved or one and a half."""
    less = tuple(d - shallower if i == 2 else d for i, d in enumerate(depth))
    more = tuple(d + deeper if i == 2 else d for i, d in enumerate(depth))
    return per_stage(depth, width[: len(depth)], shallower=less, deeper=more, narrow=0.5, wide=1.5)


# --- transformers: one width ------------------------------------------------------------------------------


def _plain(config: str, model: str, head: int = HEAD, side: int = 24, *, inputs=None, eager: bool = False, **fixed):
    """A builder: `fixed` values may be functions of (depth, width), None takes a setting away."""

    def make(size: Size):
        depth, width = size.depth[0], size.width[0]
        common = {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": width // head,
            "intermediate_size": 4 * width,
            "image_size": side,
            "patch_size": 8,
            "num_labels": CLASSES,
        }
        given = {key: value(depth, width) if callable(value) else value for key, value in fixed.items()}
        settings = {key: value for key, value in {**common, **given}.items() if value is not None}
        module = getattr(tf, model)(getattr(tf, config)(**settings))
        if eager:
            module.set_attn_implementation("eager")
        return module, inputs() if inputs else image(side)

    return make


def _towers(config: str, model: str, head: int = HEAD, **text):
    """Text and image towers of one size."""

    def make(size: Size):
        depth, width = size.depth[0], size.width[0]
        common = {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": width // head,
            "intermediate_size": 4 * width,
        }
        settings = {
            "text_config": {
                **common,
                "vocab_size": 101,
                "max_position_embeddings": 43,
                "eos_token_id": 2,
                "bos_token_id": 1,
                "pad_token_id": 0,
                **{key: value(width) for key, value in text.items()},
            },
            "vision_config": {**common, "image_size": 24, "patch_size": 8},
        }
        if config == "CLIPConfig":
            settings["projection_dim"] = width // 5 * 3
        ids = torch.randint(5, 101, (2, 7), generator=torch.Generator().manual_seed(1))
        module = getattr(tf, model)(getattr(tf, config)(**settings))
        return module, {"input_ids": ids, **image(24), "attention_mask": torch.ones_like(ids)}

    return make


def _mae_noise():
    return {**image(24), "noise": torch.rand((2, 9), generator=torch.Generator().manual_seed(2))}


def _twice(sizes):
    """Both towers of one depth and one width, each asked for."""
    source, targets = sizes
    return (
        Size(source.depth * 2, source.width * 2),
        {label: Size(size.depth * 2, size.width * 2) for label, size in targets.items()},
    )


def _and(tail: int, sizes):
    """A second chain of blocks, of a depth of its own that stays."""
    source, targets = sizes
    return (
        Size((*source.depth, tail), source.width),
        {label: Size((*size.depth, tail), size.width) for label, size in targets.items()},
    )


_DINO = {"intermediate_size": None, "num_labels": None}
_SAM = {
    "intermediate_size": None,
    "num_labels": None,
    "output_channels": 8,
    "mlp_ratio": 4.0,
    "mlp_dim": lambda d, w: 4 * w,
    "window_size": 0,
    "global_attn_indexes": [],
}

ENTRIES = [
    *_entries("ViT", V_, _plain("ViTConfig", "ViTForImageClassification"), PLAIN),
    *_entries("ViT pooled", V_, _plain("ViTConfig", "ViTModel"), PLAIN),
    *_entries("DeiT distilled", V_, _plain("DeiTConfig", "DeiTForImageClassificationWithTeacher"), PLAIN),
    *_entries(
        "BEiT",
        V_,
        _plain("BeitConfig", "BeitForImageClassification", use_relative_position_bias=True, eager=True),
        PLAIN,
    ),
    *_entries(
        "BEiT shared bias",
        V_,
        _plain("BeitConfig", "BeitModel", use_shared_relative_position_bias=True, eager=True),
        PLAIN,
    ),
    *_entries(
        "Data2Vec vision",
        V_,
        _plain("Data2VecVisionConfig", "Data2VecVisionForImageClassification", use_relative_position_bias=True),
        PLAIN,
        exporters=("torchscript",),
    ),
    *_entries(
        "DINOv2", V_, _plain("Dinov2Config", "Dinov2ForImageClassification", **{**_DINO, "num_labels": 11}), PLAIN
    ),
    *_entries("DINOv2 swiglu", V_, _plain("Dinov2Config", "Dinov2Model", 6, use_swiglu_ffn=True, **_DINO), THIRDS),
    *_entries("DINOv2 registers", V_, _plain("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", **_DINO), PLAIN),
    *_entries("DINOv3 ViT", V_, _plain("DINOv3ViTConfig", "DINOv3ViTModel", 8, num_labels=None), EVEN),
    *_entries("I-JEPA", V_, _plain("IJepaConfig", "IJepaModel"), PLAIN),
    *_entries("ViT-MSN", V_, _plain("ViTMSNConfig", "ViTMSNModel"), PLAIN),
    *_entries("ViTMAE encoder", V_, _plain("ViTMAEConfig", "ViTMAEModel", inputs=_mae_noise), PLAIN),
    *_entries(
        "YOLOS",
        V_,
        _plain(
            "YolosConfig",
            "YolosForObjectDetection",
            image_size=[24, 24],
            num_detection_tokens=4,
            use_mid_position_embeddings=False,
        ),
        _and(2, _and(2, PLAIN)),
    ),
    *_entries(
        "SAM encoder",
        V_,
        _plain("SamVisionConfig", "SamVisionModel", **_SAM),
        PLAIN,
        options={"": {"dims": {"conv1": 8}}},
    ),
    *_entries("CLIP vision", V_, _plain("CLIPVisionConfig", "CLIPVisionModel", num_labels=None), PLAIN),
    *_entries("SigLIP vision", V_, _plain("SiglipVisionConfig", "SiglipVisionModel", num_labels=None), PLAIN),
    *_entries("CLIP", "two towers", _towers("CLIPConfig", "CLIPModel"), _twice(PLAIN)),
    *_entries(
        "SigLIP", "two towers", _towers("SiglipConfig", "SiglipModel", projection_size=lambda w: w), _twice(PLAIN)
    ),
    *_entries(
        "VideoMAE",
        V_,
        _plain(
            "VideoMAEConfig",
            "VideoMAEForVideoClassification",
            num_frames=4,
            tubelet_size=2,
            inputs=lambda: {"pixel_values": torch.randn((2, 4, 3, 24, 24), generator=torch.Generator().manual_seed(1))},
        ),
        PLAIN,
    ),
]


# --- transformers: stages ---------------------------------------------------------------------------------


def _staged(config: str, model: str, side: int = 64, *, eager: bool = False, **fixed):
    """A builder: `fixed` values may be functions of (depths, widths)."""

    def make(size: Size):
        depths, sizes = list(size.depth), list(size.width)
        common = {"depths": depths, "hidden_sizes": sizes, "num_labels": CLASSES, "image_size": side}
        given = {key: value(depths, sizes) if callable(value) else value for key, value in fixed.items()}
        settings = {key: value for key, value in {**common, **given}.items() if value is not None}
        module = getattr(tf, model)(getattr(tf, config)(**settings))
        if eager:
            module.set_attn_implementation("eager")
        return module, image(side)

    return make


def _heads(size: int = 4):
    return lambda depths, sizes: [w // size for w in sizes]


_SWIN = {
    "hidden_sizes": None,
    "embed_dim": lambda d, w: w[0],
    "num_heads": lambda d, w: [n // 3 for n in w],
    "patch_size": 2,
    "window_size": 2,
}
_SWIN_SIZES = per_stage(
    (2, 2, 4, 2), (6, 12, 24, 48), shallower=(2, 2, 2, 2), deeper=(2, 2, 6, 2), narrow=0.5, wide=1.5
)
# Small enough for dynamo to fold the position biases at every size, and never a single head, whose scale is a number.
_FOLDED_SIZES = per_stage((2, 4), (12, 24), shallower=(2, 2), deeper=(2, 6), narrow=0.5, wide=1.5)


def _swin2sr(size: Size):
    """Equal stages of two layers and a convolution: what repeats are the stages."""
    (stages,), (width,) = size.depth, size.width
    config = tf.Swin2SRConfig(
        image_size=8,
        embed_dim=width,
        depths=[2] * stages,
        num_heads=[width // 5] * stages,
        window_size=4,
        upsampler="pixelshuffledirect",
    )
    return tf.Swin2SRForImageSuperResolution(config), image(8)


ENTRIES += [
    *_entries("Swin", S_, _staged("SwinConfig", "SwinForImageClassification", 32, eager=True, **_SWIN), _SWIN_SIZES),
    *_entries("SwinV2", S_, _staged("Swinv2Config", "Swinv2ForImageClassification", 32, **_SWIN), _FOLDED_SIZES),
    *_entries("Swin2SR", "super-resolution", _swin2sr, PLAIN),
    *_entries(
        "PVT", S_, _staged("PvtConfig", "PvtForImageClassification", num_attention_heads=_heads()), stages(2, 2, 3, 2)
    ),
    *_entries(
        "PVTv2",
        S_,
        _staged("PvtV2Config", "PvtV2ForImageClassification", num_attention_heads=_heads()),
        stages(2, 2, 3, 2),
    ),
    *_entries(
        "PVTv2 linear",
        S_,
        _staged("PvtV2Config", "PvtV2ForImageClassification", num_attention_heads=_heads(), linear_attention=True),
        stages(2, 2, 3, 2),
    ),
    *_entries(
        "Segformer",
        S_,
        _staged("SegformerConfig", "SegformerForImageClassification", num_attention_heads=_heads()),
        stages(2, 2, 3, 2),
    ),
    *_entries(
        "Segformer decoder",
        "segmentation",
        _staged(
            "SegformerConfig",
            "SegformerForSemanticSegmentation",
            num_attention_heads=_heads(),
            decoder_hidden_size=lambda d, w: w[0],
        ),
        stages(2, 2, 3, 2),
        by_ratio=True,
    ),
    *_entries(
        "GLPN",
        "depth estimation",
        _staged(
            "GLPNConfig",
            "GLPNForDepthEstimation",
            num_attention_heads=_heads(),
            decoder_hidden_size=lambda d, w: w[0],
        ),
        stages(2, 2, 3, 2),
        by_ratio=True,
        exporters=("torchscript",),
    ),
    *_entries(
        "CvT",
        S_,
        _staged(
            "CvtConfig",
            "CvtForImageClassification",
            embed_dim=lambda d, w: w,
            depth=lambda d, w: d,
            num_heads=_heads(),
            hidden_sizes=None,
            depths=None,
        ),
        stages(2, 2, 4, width=(16, 24, 32)),
    ),
    *_entries(
        "FocalNet",
        S_,
        _staged("FocalNetConfig", "FocalNetForImageClassification", embed_dim=lambda d, w: w[0]),
        per_stage((2, 2, 3, 2), (8, 16, 32, 64), shallower=(2, 2, 2, 2), deeper=(2, 2, 4, 2), narrow=0.5, wide=1.5),
    ),
    *_entries(
        "LeViT",
        S_,
        _staged(
            "LevitConfig",
            "LevitForImageClassification",
            num_attention_heads=_heads(8),
            key_dim=[4, 4, 4],
            image_size=64,
        ),
        stages(2, 2, 3, width=(16, 32, 48)),
    ),
    *_entries("PoolFormer", S_, _staged("PoolFormerConfig", "PoolFormerForImageClassification"), stages(2, 2, 3, 2)),
    *_entries("ConvNeXt", S_, _staged("ConvNextConfig", "ConvNextForImageClassification"), stages(2, 2, 3, 2)),
    *_entries("ConvNeXtV2", S_, _staged("ConvNextV2Config", "ConvNextV2ForImageClassification"), stages(2, 2, 3, 2)),
    *_entries(
        "ResNet basic",
        C_,
        _staged("ResNetConfig", "ResNetForImageClassification", layer_type="basic", embedding_size=lambda d, w: w[0]),
        stages(2, 2, 3, 2),
    ),
    *_entries(
        "ResNet bottleneck",
        C_,
        _staged(
            "ResNetConfig",
            "ResNetForImageClassification",
            layer_type="bottleneck",
            embedding_size=lambda d, w: w[0] // 2,
        ),
        stages(3, 2, 3, 2),
        by_ratio=True,
    ),
    *_entries(
        "BiT",
        C_,
        _staged(
            "BitConfig",
            "BitForImageClassification",
            num_groups=2,
            embedding_size=lambda d, w: w[0] // 2,
            image_size=None,
        ),
        stages(3, 2, 3, 2, width=(64, 128, 192, 256)),
        by_ratio=True,
        exporters=("torchscript",),  # dynamo computes some of its standardised weights, those below some size
    ),
    *_entries(
        "MobileViT",
        S_,
        _staged(
            "MobileViTConfig",
            "MobileViTForImageClassification",
            num_attention_heads=lambda d, w: w[0] // 4,
            hidden_sizes=lambda d, w: [w[0], 2 * w[0], 3 * w[0]],
            neck_hidden_sizes=lambda d, w: [w[0], 2 * w[0], 2 * w[0], 3 * w[0], 3 * w[0], 4 * w[0], 8 * w[0]],
            depths=None,
        ),
        widths(16, 8, 24),
        by_ratio=True,
    ),
]


# --- timm: one width --------------------------------------------------------------------------------------


def timm_model(name: str, head: int = HEAD, side: int = 24, **fixed):
    """A model of timm's registry whose sizes are arguments."""

    def make(size: Size):
        depth, width = size.depth[0], size.width[0]
        common = {
            "img_size": side,
            "patch_size": 8,
            "embed_dim": width,
            "depth": depth,
            "num_heads": width // head,
            "num_classes": CLASSES,
        }
        given = {key: value(depth, width) if callable(value) else value for key, value in fixed.items()}
        settings = {key: value for key, value in {**common, **given}.items() if value is not None}
        return tm.create_model(name, **settings), image(side, name="x")

    return make


def _mixer(**fixed):
    def make(size: Size):
        (depth,), (width,) = size.depth, size.width
        module = mlp_mixer.MlpMixer(
            num_classes=CLASSES, img_size=24, patch_size=8, num_blocks=depth, embed_dim=width, **fixed
        )
        return module, image(24, name="x")

    return make


ENTRIES += [
    *_entries("ViT timm", V_, timm_model("vit_tiny_patch16_224"), PLAIN),
    *_entries("DeiT distilled timm", V_, timm_model("deit_tiny_distilled_patch16_224"), PLAIN),
    *_entries("DeiT-3 layer scale", V_, timm_model("deit3_small_patch16_224"), PLAIN),
    *_entries("ViT relative positions", V_, timm_model("vit_relpos_small_patch16_224"), PLAIN),
    *_entries("ViT registers rotary", V_, timm_model("eva02_tiny_patch14_224", 4), THIRDS),
    *_entries("CaiT", V_, timm_model("cait_xxs24_224"), _and(2, PLAIN)),
    *_entries("XCiT", V_, timm_model("xcit_nano_12_p8_224", 8), _and(2, WIDE)),
    *_entries("ConViT", V_, timm_model("convit_tiny", embed_dim=lambda d, w: w // (w // HEAD)), PLAIN),
    *_entries("MLP-Mixer", V_, _mixer(), PLAIN),
    *_entries(
        "gMLP", V_, _mixer(mlp_ratio=6, block_layer=mlp_mixer.SpatialGatingBlock, mlp_layer=mlp_mixer.GatedMlp), PLAIN
    ),
    *_entries("ResMLP", V_, _mixer(mlp_ratio=4, block_layer=mlp_mixer.ResBlock, norm_layer=mlp_mixer.Affine), PLAIN),
    *_entries(
        "ConvMixer",
        C_,
        lambda s: (
            tm.ConvMixer(s.width[0], s.depth[0], kernel_size=3, patch_size=4, num_classes=CLASSES),
            image(24, name="x"),
        ),
        PLAIN,
    ),
]


# --- timm: stages -----------------------------------------------------------------------------------------


def timm_stages(name: str, side: int = 64, **fixed):
    """A model of timm's registry whose depths and widths are arguments."""

    def make(size: Size):
        depths, sizes = size.depth, size.width
        given = {key: value(depths, sizes) if callable(value) else value for key, value in fixed.items()}
        settings = {"num_classes": CLASSES, **given}
        return tm.create_model(name, **settings), image(side, name="x")

    return make


_DEPTHS = {"depths": lambda d, w: d}
_EMBED = {"embed_dims": lambda d, w: w}
_DIMS = {"dims": lambda d, w: w}


def _maxxvit(block_type, sizes: Size, **config):
    transformer = maxxvit.MaxxVitTransformerCfg(dim_head=4, window_size=(2, 2), grid_size=(2, 2), **config)
    settings = maxxvit.MaxxVitCfg(
        embed_dim=sizes.width,
        depths=sizes.depth,
        block_type=block_type,
        stem_width=sizes.width[0],
        transformer_cfg=transformer,
    )
    return maxxvit.MaxxVit(settings, img_size=64, num_classes=CLASSES), image(64, name="x")


def _resnet(block: type, **fixed):
    """A ResNet whose stem scales too: timm fixes the plain 7x7 stem at 64 channels."""

    def make(size: Size):
        given = {key: value(size.width) if callable(value) else value for key, value in fixed.items()}
        module = ResNet(block, size.depth, num_classes=CLASSES, channels=size.width, stem_type="deep", **given)
        return module, image(64, name="x")

    return make


def _effnet(kind: type, blocks: list[str], **fixed):
    """Inverted residuals from timm's block strings, with every width times one ratio (16 is the source)."""

    def make(size: Size):
        ratio = size.width[0] / 16

        def times(channels: float, *_: object, **__: object) -> int:
            return int(channels * ratio)

        repeats = iter(size.depth)
        arch = [[block.replace("_r_", f"_r{next(repeats)}_")] for block in blocks]
        module = kind(
            block_args=decode_arch_def(arch),
            num_classes=CLASSES,
            stem_size=16,
            num_features=int(64 * ratio),
            round_chs_fn=times,
            **fixed,
        )
        return module, image(64, name="x")

    return make


class SmallHeads(metaformer.Attention):
    """Attention with heads of 4."""

    def __init__(self, dim: int, **more) -> None:
        super().__init__(dim, head_dim=4, **more)


def _metaformer(**fixed):
    def make(size: Size):
        module = metaformer.MetaFormer(depths=size.depth, dims=size.width, num_classes=CLASSES, **fixed)
        return module, image(64, name="x")

    return make


def _ghostnet(size: Size):
    config = [
        [[3, 16, 16, 0, 1]],
        [[3, 48, 24, 0, 2], [3, 72, 24, 0, 1]],
        [[5, 96, 48, 0.25, 2], [5, 96, 48, 0.25, 1]],
    ]
    return tm.GhostNet(config, num_classes=CLASSES, width=size.width[0] / 16), image(64, name="x")


def _shufflenet(size: Size):
    (width,) = size.width
    channels = [width, 2 * width, 4 * width, 8 * width, 16 * width]
    return ShuffleNetV2(list(size.depth), channels, num_classes=CLASSES), image(64, name="x")


def _vgg(size: Size):
    (width,) = size.width
    plan = [width, "M", 2 * width, "M", 4 * width, 4 * width, "M", 8 * width, 8 * width, "M"]
    module = tm.VGG(plan, num_classes=CLASSES, norm_layer=nn.BatchNorm2d)
    module.pre_logits.fc1 = nn.Conv2d(8 * width, 16 * width, 7)
    module.pre_logits.fc2 = nn.Conv2d(16 * width, 16 * width, 1)
    module.head.fc = nn.Linear(16 * width, CLASSES)
    return module, image(112, batch=1, name="x")


def _densenet(size: Size):
    (growth,) = size.width
    module = tm.DenseNet(growth_rate=growth, block_config=(2, 3, 2), num_classes=CLASSES, stem_type="deep")
    return module, image(64, name="x")


_STEM = {"stem_width": lambda w: w[0]}
_RATIO = {"by_ratio": True}
_EFF = per_stage((2, 3, 3), (16,), shallower=(2, 2, 3), deeper=(2, 3, 4), narrow=0.5, wide=1.5)

ENTRIES += [
    *_entries(
        "SwinV2 timm",
        S_,
        timm_stages(
            "swinv2_tiny_window8_256",
            32,
            img_size=32,
            patch_size=2,
            window_size=2,
            embed_dim=lambda d, w: w[0],
            num_heads=lambda d, w: [n // 3 for n in w],
            **_DEPTHS,
        ),
        _FOLDED_SIZES,
    ),
    *_entries("MaxViT", S_, lambda size: _maxxvit(("M", "M"), size), stages(2, 3, width=(16, 32)), by_ratio=True),
    *_entries("CoAtNet", S_, lambda size: _maxxvit(("C", "C", "T", "T"), size), stages(2, 3, 3, 2), by_ratio=True),
    *_entries(
        "EfficientFormer",
        S_,
        timm_stages("efficientformer_l1", 224, depths=lambda d, w: (*d[:3], d[3] + 1), **_EMBED),
        stages(2, 2, 3, 1),  # the last block of the last stage is of another kind
        options={"": {"dims": {"heads": 8}}},
    ),
    *_entries(
        "CAFormer",
        S_,
        _metaformer(
            token_mixers=[metaformer.SepConv, metaformer.SepConv, SmallHeads, SmallHeads],
            norm_layers=[metaformer.LayerNorm2dNoBias] * 2 + [metaformer.LayerNormNoBias] * 2,
        ),
        stages(2, 2, 3, 2),
    ),
    *_entries("ConvFormer", S_, _metaformer(token_mixers=metaformer.SepConv), stages(2, 2, 3, 2)),
    *_entries(
        "PoolFormer v2",
        S_,
        _metaformer(norm_layers=metaformer.GroupNorm1NoBias, use_mlp_head=False),
        stages(2, 2, 3, 2),
    ),
    *_entries(
        "Twins-SVT",
        S_,
        timm_stages("twins_svt_small", img_size=64, wss=(2, 2, 2, 2), num_heads=_heads(), **_DEPTHS, **_EMBED),
        stages(2, 2, 4, 2, shallower=2, deeper=2),
    ),
    *_entries(
        "EdgeNeXt",
        S_,
        timm_stages("edgenext_xx_small", heads=_heads(), depths=lambda d, w: (d[0], *(n + 1 for n in d[1:])), **_DIMS),
        stages(2, 2, 3, 2, width=(16, 24, 48, 64)),  # the last block of the later stages is of another kind
    ),
    *_entries(
        "InceptionNeXt",
        S_,
        timm_stages("inception_next_tiny", **_DEPTHS, **_DIMS),
        stages(2, 2, 3, 2, width=(16, 32, 48, 64)),
    ),
    *_entries(
        "ResNeXt",
        C_,
        _resnet(Bottleneck, cardinality=4, base_width=16, **_STEM),
        stages(3, 3, 3, 3, width=(16, 32, 48, 64)),
        **_RATIO,
    ),
    *_entries(
        "SE-ResNet",
        C_,
        _resnet(Bottleneck, block_args={"attn_layer": partial(SEModule, rd_ratio=0.25, rd_divisor=1)}, **_STEM),
        stages(3, 3, 3, 3, width=(16, 32, 48, 64)),
        **_RATIO,
    ),
    *_entries(
        "ResNet-D basic",
        C_,
        _resnet(BasicBlock, avg_down=True, **_STEM),
        stages(3, 3, 3, 3, width=(16, 32, 48, 64)),
        **_RATIO,
    ),
    *_entries(
        "RegNet",
        C_,
        _staged(
            "RegNetConfig",
            "RegNetForImageClassification",
            groups_width=lambda d, w: w[0] // 4,
            embedding_size=lambda d, w: w[0],
            image_size=None,
        ),
        stages(3, 2, 3, 2, width=(16, 32, 48, 64)),
        **_RATIO,
    ),
    *_entries(
        "MobileNetV2",
        C_,
        _effnet(tm.EfficientNet, ["ir_r_k3_s1_e4_c16", "ir_r_k3_s2_e4_c32", "ir_r_k3_s2_e4_c48"], act_layer=nn.ReLU6),
        _EFF,
        **_RATIO,
    ),
    *_entries(
        "MobileNetV3",
        C_,
        _effnet(
            tm.MobileNetV3,
            ["ir_r_k3_s1_e4_c16", "ir_r_k5_s2_e4_c32_se0.25", "ir_r_k5_s2_e4_c48_se0.25"],
            act_layer=nn.Hardswish,
        ),
        _EFF,
        **_RATIO,
    ),
    *_entries(
        "EfficientNet",
        C_,
        _effnet(
            tm.EfficientNet,
            ["ir_r_k3_s1_e4_c16_se0.25", "ir_r_k5_s2_e4_c32_se0.25", "ir_r_k3_s2_e4_c48_se0.25"],
            act_layer=nn.SiLU,
        ),
        _EFF,
        **_RATIO,
    ),
    *_entries(
        "EfficientNetV2",
        C_,
        _effnet(
            tm.EfficientNet,
            ["cn_r_k3_s1_e1_c16_skip", "er_r_k3_s2_e4_c32", "ir_r_k3_s2_e4_c48_se0.25"],
            act_layer=nn.SiLU,
        ),
        _EFF,
        **_RATIO,
    ),
    *_entries("GhostNet", C_, _ghostnet, widths(16, 8, 24), options={"": {"dims": {"conv_head": 1280}}}, **_RATIO),
    *_entries("VGG", C_, _vgg, widths(8, 4, 12), **_RATIO),
    *_entries("DenseNet", C_, _densenet, widths(8, 4, 12), **_RATIO),
    *_entries(
        "ShuffleNet",
        C_,
        _shufflenet,
        per_stage((3, 3, 2), (8,), shallower=(3, 2, 2), deeper=(3, 4, 2), narrow=0.5, wide=1.5),
        **_RATIO,
    ),
]


# --- plain torch ------------------------------------------------------------------------------------------


def _conv(a: int, b: int, **more) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, **more), nn.BatchNorm2d(b), nn.ReLU())


class UNet(nn.Module):
    """Two levels down and up, with what each level knew joined on the way up."""

    def __init__(self, width: int, up: str) -> None:
        super().__init__()
        self.first, self.second = _conv(3, width), _conv(width, 2 * width)
        self.bottom = _conv(2 * width, 4 * width)
        if up == "transposed":
            self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
            self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        else:
            self.up2 = nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(4 * width, 2 * width, 1))
            self.up1 = nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(2 * width, width, 1))
        self.third, self.fourth = _conv(4 * width, 2 * width), _conv(2 * width, width)
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits per pixel."""
        a = self.first(x)
        b = self.second(F.max_pool2d(a, 2))
        c = self.up2(self.bottom(F.max_pool2d(b, 2)))
        d = self.up1(self.third(torch.cat((b, c), 1)))
        return self.head(self.fourth(torch.cat((a, d), 1)))


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *layers: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, and what the layers make of it."""
        return x + self.scale * self.body(x)


class EDSR(nn.Module):
    """Residual blocks between a head and a pixel shuffle."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()

        def conv(a: int, b: int) -> nn.Conv2d:
            return nn.Conv2d(a, b, 3, padding=1)

        self.head = conv(3, width)
        self.blocks = nn.Sequential(
            *(Residual(conv(width, width), nn.ReLU(), conv(width, width), scale=0.1) for _ in range(depth))
        )
        self.tail = nn.Sequential(conv(width, 4 * width), nn.PixelShuffle(2), conv(width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An image of twice the sides."""
        x = self.head(x)
        return self.tail(x + self.blocks(x))


class InceptionBlock(nn.Module):
    """Four branches side by side."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(channels, 2 * width, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), _conv(width, 3 * width))
        self.five = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, (1, 5), padding=(0, 2)),
            _conv(width, width),
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(channels, 2 * width, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The branches, joined along the channels."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class Inception(nn.Module):
    """A stem, blocks of branches, a pooled classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = _conv(3, 2 * width, stride=2)
        self.blocks = nn.Sequential(*(InceptionBlock(2 * width if i == 0 else 8 * width, width) for i in range(3)))
        self.head = nn.Linear(8 * width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Causal(nn.Module):
    """A gated dilated convolution that sees the past only, with a residual and a skip path (WaveNet)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.pad = dilation
        self.filter = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.out = nn.Conv1d(width, 2 * width, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(residual, skip)."""
        a, b = self.filter(F.pad(x, (self.pad, 0))).chunk(2, 1)
        residual, skip = self.out(torch.tanh(a) * torch.sigmoid(b)).chunk(2, 1)
        return x + residual, skip


class WaveNet(nn.Module):
    """Gated blocks of one dilation whose skips are summed."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, width, 1)
        self.blocks = nn.ModuleList([Causal(width, 2) for _ in range(depth)])
        self.head = nn.Conv1d(width, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits per step."""
        x, total = self.stem(x), 0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return self.head(F.relu(total))


def _tcn(size: Size):
    """Temporal blocks: two causal convolutions with a residual."""
    (depth,), (width,) = size.depth, size.width

    def conv() -> list[nn.Module]:
        return [nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(width, width, 3), nn.ReLU()]

    blocks = [Residual(*conv(), *conv()) for _ in range(depth)]
    return nn.Sequential(nn.Conv1d(3, width, 1), *blocks, nn.Conv1d(width, CLASSES, 1)), _series()


def _series(steps: int = 16) -> dict[str, torch.Tensor]:
    return {"input": torch.randn((2, 3, steps), generator=torch.Generator().manual_seed(1))}


def _filters(size: Size):
    """The convolutions in front of speech models: strides, norms, GELU."""
    (width,) = size.width
    layers: list[nn.Module] = []
    for i, (kernel, stride) in enumerate(((10, 5), (3, 2), (3, 2), (2, 2))):
        layers += [nn.Conv1d(3 if i == 0 else width, width, kernel, stride, bias=False)]
        layers += [nn.GroupNorm(width, width) if i == 0 else nn.Identity(), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, CLASSES)), _series(400)


class Recurrent(nn.Module):
    """Recurrent layers over a projected sequence, then a classifier on the last step."""

    def __init__(self, kind: type, depth: int, width: int, *, both_ways: bool = False) -> None:
        super().__init__()
        self.project = nn.Linear(6, width)
        self.layers = kind(width, width, num_layers=depth, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(width * (1 + both_ways), CLASSES)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.layers(self.project(input))[0][:, -1])


def _recurrent(kind: type, *, both_ways: bool = False):
    def make(size: Size):
        module = Recurrent(kind, 2, size.width[0], both_ways=both_ways)
        return module, {"input": torch.randn((2, 7, 6), generator=torch.Generator().manual_seed(1))}

    return make


def _autoencoder(size: Size):
    (width,) = size.width
    layers = [
        nn.Conv2d(3, width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 4, 2, 1),
    ]
    return nn.Sequential(*layers), image(16, name="input")


W_ = widths(8, 4, 12)
ENTRIES += [
    *_entries(
        "U-Net transposed",
        "segmentation",
        lambda s: (UNet(s.width[0], "transposed"), image(16, name="x")),
        W_,
        **_RATIO,
    ),
    *_entries(
        "U-Net nearest", "segmentation", lambda s: (UNet(s.width[0], "nearest"), image(16, name="x")), W_, **_RATIO
    ),
    *_entries(
        "U-Net bilinear", "segmentation", lambda s: (UNet(s.width[0], "bilinear"), image(16, name="x")), W_, **_RATIO
    ),
    *_entries("EDSR", "super-resolution", lambda s: (EDSR(s.depth[0], s.width[0]), image(12, name="x")), PLAIN),
    *_entries("Inception", C_, lambda s: (Inception(s.width[0]), image(32, name="x")), W_, **_RATIO),
    *_entries("Autoencoder", C_, _autoencoder, W_, **_RATIO),
    *_entries("WaveNet", "sequence", lambda s: (WaveNet(s.depth[0], s.width[0]), {"x": _series()["input"]}), PLAIN),
    *_entries("TCN", "sequence", _tcn, PLAIN),
    *_entries("Wav2Vec filters", "sequence", _filters, W_, **_RATIO),
    *_entries("LSTM", "sequence", _recurrent(nn.LSTM), widths(20, 10, 30), **_RATIO),
    *_entries("GRU", "sequence", _recurrent(nn.GRU), widths(20, 10, 30), **_RATIO),
    *_entries("RNN", "sequence", _recurrent(nn.RNN), widths(20, 10, 30), **_RATIO),
    *_entries("LSTM both ways", "sequence", _recurrent(nn.LSTM, both_ways=True), widths(20, 10, 30), **_RATIO),
]
