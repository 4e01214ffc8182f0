"""How each framework builds its model at a size."""

from . import shim  # noqa: F401, I001 - before anything that imports torchvision

import timm.models as tm
import torch
import torch.nn as nn
import transformers as tf
from timm.models.convnext import ConvNeXt
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

from .sizes import Size

VOCABULARY, POSITIONS, CLASSES = 101, 43, 11
BATCH, SEQUENCE = 2, 7
HEAD = 5  # head size of everything without rotary embeddings

Built = tuple[nn.Module, dict[str, torch.Tensor]]


def _one(size: Size) -> tuple[int, int]:
    (depth,), (width,) = size.depth, size.width
    return depth, width


def _ids(batch: int = BATCH, sequence: int = SEQUENCE, vocabulary: int = VOCABULARY) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocabulary, (batch, sequence), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, -2:] = 0  # one padded row, so that a dropped mask shows
    return {"input_ids": ids, "attention_mask": mask}


def _noise(name: str, *shape: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape, generator=torch.Generator().manual_seed(1))}


def _eager(module: nn.Module) -> nn.Module:
    """Attention written out: what files from before fused attention hold.

    T5 and Swin need it for the dynamo exporter, which cannot decompose fused attention with a bias: it keeps
    the strides of the kernel that ran, which the decomposition does not have.
    """
    module.set_attn_implementation("eager")
    return module


# --- transformers, text ---------------------------------------------------------------------------------


def _bert_like(size: Size, **overrides) -> dict:
    depth, width = _one(size)
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // HEAD,
        "intermediate_size": 4 * width,
        "max_position_embeddings": POSITIONS,
        **overrides,
    }


def bert(size: Size) -> Built:
    return tf.BertModel(tf.BertConfig(**_bert_like(size))), _ids()


def bert_eager(size: Size) -> Built:
    module, inputs = bert(size)
    return _eager(module), inputs


def bert_classifier(size: Size) -> Built:
    config = tf.BertConfig(**_bert_like(size), num_labels=CLASSES)
    return tf.BertForSequenceClassification(config), _ids()


def bert_collisions(size: Size) -> Built:
    """At the source size batch, sequence, width, feed-forward, positions, classes are 16; depth = heads."""
    depth, width = _one(size)
    config = tf.BertConfig(
        vocab_size=32,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 4,
        intermediate_size=width,
        max_position_embeddings=16,
        num_labels=16,
    )
    return tf.BertForSequenceClassification(config), _ids(16, 16, 32)


def roberta(size: Size) -> Built:
    return tf.RobertaModel(tf.RobertaConfig(**_bert_like(size))), _ids()


def distilbert(size: Size) -> Built:
    depth, width = _one(size)
    config = tf.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=width,
        n_layers=depth,
        n_heads=width // HEAD,
        hidden_dim=4 * width,
        max_position_embeddings=POSITIONS,
    )
    return tf.DistilBertModel(config), _ids()


def gpt2(size: Size) -> Built:
    depth, width = _one(size)
    config = tf.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=width,
        n_layer=depth,
        n_head=width // HEAD,
        n_positions=POSITIONS,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    return tf.GPT2LMHeadModel(config), _ids()


def opt(size: Size) -> Built:
    depth, width = _one(size)
    config = tf.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        word_embed_proj_dim=width,
        num_hidden_layers=depth,
        num_attention_heads=width // HEAD,
        ffn_dim=4 * width,
        max_position_embeddings=POSITIONS,
        use_cache=False,
    )
    return tf.OPTForCausalLM(config), _ids()


def llama(size: Size) -> Built:
    """Two query heads to one key/value head, of size 6 (rotary needs an even one)."""
    depth, width = _one(size)
    config = tf.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 6,
        num_key_value_heads=width // 12,
        head_dim=6,
        intermediate_size=width * 11 // 4,
        max_position_embeddings=POSITIONS,
        use_cache=False,
    )
    return tf.LlamaForCausalLM(config), _ids()


def t5_encoder(size: Size) -> Built:
    depth, width = _one(size)
    config = tf.T5Config(
        vocab_size=VOCABULARY,
        d_model=width,
        d_kv=HEAD,
        num_heads=width // HEAD,
        d_ff=4 * width,
        num_layers=depth,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        use_cache=False,
    )
    return _eager(tf.T5EncoderModel(config)), _ids()


# --- transformers, vision -------------------------------------------------------------------------------


def _vit(size: Size, *, head: int, image: int, patch: int, ffn: int, classes: int, batch: int) -> Built:
    depth, width = _one(size)
    config = tf.ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // head,
        intermediate_size=ffn * width,
        image_size=image,
        patch_size=patch,
        num_labels=classes,
    )
    return tf.ViTForImageClassification(config), _noise("pixel_values", batch, 3, image, image)


def vit(size: Size) -> Built:
    return _vit(size, head=HEAD, image=24, patch=8, ffn=4, classes=CLASSES, batch=BATCH)


def vit_collisions(size: Size) -> Built:
    """At the source size patches, width, feed-forward, classes, batch are 16; depth = heads = head size."""
    return _vit(size, head=4, image=16, patch=4, ffn=1, classes=16, batch=16)


def swin(size: Size) -> Built:
    """Sides 16, 8, 4, 2 with windows of 2, so that all stages but the last have shifted windows."""
    config = tf.SwinConfig(
        image_size=32,
        patch_size=2,
        embed_dim=size.width[0],
        depths=list(size.depth),
        num_heads=[width // 3 for width in size.width],
        window_size=2,
        mlp_ratio=2.0,
        num_labels=CLASSES,
    )
    return _eager(tf.SwinForImageClassification(config)), _noise("pixel_values", BATCH, 3, 32, 32)


# --- timm -----------------------------------------------------------------------------------------------


def _deit(name: str, size: Size) -> Built:
    depth, width = _one(size)
    module = tm.create_model(
        name,
        img_size=24,
        patch_size=8,
        embed_dim=width,
        depth=depth,
        num_heads=width // HEAD,
        num_classes=CLASSES,
    )
    return module, _noise("x", BATCH, 3, 24, 24)


def deit(size: Size) -> Built:
    return _deit("deit_tiny_patch16_224", size)


def deit_distilled(size: Size) -> Built:
    return _deit("deit_tiny_distilled_patch16_224", size)


def mixer(size: Size) -> Built:
    depth, width = _one(size)
    module = MlpMixer(num_classes=CLASSES, img_size=24, patch_size=8, num_blocks=depth, embed_dim=width)
    return module, _noise("x", BATCH, 3, 24, 24)


def mixer_collisions(size: Size) -> Built:
    """At the source size patches, width, both inner widths, classes and batch are all 16."""
    depth, width = _one(size)
    module = MlpMixer(
        num_classes=16, img_size=16, patch_size=4, num_blocks=depth, embed_dim=width, mlp_ratio=(1.0, 1.0)
    )
    return module, _noise("x", 16, 3, 16, 16)


def convnext(size: Size) -> Built:
    module = ConvNeXt(num_classes=CLASSES, depths=size.depth, dims=size.width)
    return module, _noise("x", BATCH, 3, 64, 64)


def _resnet(block: type, size: Size, stem: int) -> Built:
    """A ResNet whose stem scales too: timm fixes the plain 7x7 stem at 64 channels."""
    module = ResNet(block, size.depth, num_classes=CLASSES, channels=size.width)
    module.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
    module.bn1 = nn.BatchNorm2d(stem)
    first = module.layer1[0]
    first.conv1 = _with_inputs(first.conv1, stem)
    if stem == size.width[0] * block.expansion:
        first.downsample = None
    else:
        first.downsample[0] = _with_inputs(first.downsample[0], stem)
    return module, _noise("x", BATCH, 3, 64, 64)


def _with_inputs(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels, conv.out_channels, conv.kernel_size, stride=conv.stride, padding=conv.padding, bias=False
    )


def resnet_bottleneck(size: Size) -> Built:
    return _resnet(Bottleneck, size, stem=2 * size.width[0])


def resnet_basic(size: Size) -> Built:
    """As in ResNet-18 the stem is as wide as the first stage, whose first block then has no projection."""
    return _resnet(BasicBlock, size, stem=size.width[0])


# --- plain torch ----------------------------------------------------------------------------------------


def _encoder(size: Size, norm_first: bool) -> Built:
    depth, width = _one(size)
    layer = nn.TransformerEncoderLayer(
        width, width // HEAD, 4 * width, batch_first=True, norm_first=norm_first, activation="gelu"
    )
    module = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
    return module, _noise("src", BATCH, SEQUENCE, width)


def encoder(size: Size) -> Built:
    return _encoder(size, norm_first=False)


def encoder_norm_first(size: Size) -> Built:
    return _encoder(size, norm_first=True)


def mlp(size: Size) -> Built:
    """Equal square layers between an input and an output layer."""
    depth, width = _one(size)
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    module = nn.Sequential(nn.Linear(9, width), nn.ReLU(), *layers, nn.Linear(width, CLASSES))
    return module, _noise("input", BATCH, 9)
