"""Keras models, small and with random weights: written as people write them, layer by layer."""

import keras
from keras import layers, ops
from zoo.sizes import Size, per_stage, uniform, widths

from matrix.keras_entry import keras_entries

VOCABULARY, POSITIONS, IMAGE, PATCH, FEATURES, CLASSES, HEAD = 101, 7, 16, 4, 11, 13, 5
PLAIN = uniform(depth=3, width=20, shallower=2, narrower=10, deeper=5, wider=30)  # heads of 5
EVEN = uniform(depth=3, width=40, shallower=2, narrower=20, deeper=5, wider=60)
STAGES = per_stage((3, 3), (12, 20), shallower=(2, 3), deeper=(4, 5), narrow=0.5, wide=1.5)


class Table(layers.Layer):
    """A learned table that is added to its input: positions of tokens or patches."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


class Token(layers.Layer):
    """A learned token in front of all others."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


class Positions(layers.Layer):
    """Token embeddings plus embeddings of 0, 1, 2 ..., as in Keras' own examples."""

    def __init__(self, width):
        super().__init__()
        self.tokens = layers.Embedding(VOCABULARY, width)
        self.places = layers.Embedding(POSITIONS, width)

    def call(self, ids):
        return self.tokens(ids) + self.places(ops.arange(0, ops.shape(ids)[-1]))


class LayerScale(layers.Layer):
    """One learned factor per channel."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")

    def call(self, x):
        return x * self.gamma


def gelu(x):
    """By tanh: the exact one becomes an operator Erfc, which ONNX does not have."""
    return ops.gelu(x, approximate=True)


# -- plain ----------------------------------------------------------------------------------------------------


def mlp(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    x = inputs = keras.Input((FEATURES,), name="features")
    x = layers.Dense(width, activation="relu")(x)
    for _ in range(depth):
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))


def residual_mlp(size: Size) -> keras.Model:
    """With normalisation by batch statistics and a bottleneck."""
    (depth,), (width,) = size.depth, size.width
    x = inputs = keras.Input((FEATURES,), name="features")
    x = layers.Dense(width)(x)
    for _ in range(depth):
        y = layers.BatchNormalization()(x)
        y = layers.Dense(2 * width, activation="swish")(y)
        y = layers.Dropout(0.1)(layers.Dense(width)(y))
        x = x + y
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def autoencoder(size: Size) -> keras.Model:
    (width,) = size.width
    x = inputs = keras.Input((FEATURES,), name="features")
    for n in (4 * width, 2 * width, width, 2 * width, 4 * width):
        x = layers.Dense(n, activation="elu")(x)
    return keras.Model(inputs, layers.Dense(FEATURES, activation="sigmoid")(x))


# -- transformers ---------------------------------------------------------------------------------------------


def attention(x, width: int, *, causal: bool = False, memory=None):
    layer = layers.MultiHeadAttention(num_heads=width // HEAD, key_dim=HEAD)
    return layer(x, x if memory is None else memory, use_causal_mask=causal)


def feed_forward(x, width: int, activation=gelu):
    return layers.Dense(width)(layers.Dense(4 * width, activation=activation)(x))


def norm(x):
    return layers.LayerNormalization(epsilon=1e-6)(x)


def pre_norm(x, width: int, **options):
    x = x + attention(norm(x), width, **options)
    return x + feed_forward(norm(x), width)


def post_norm(x, width: int, **options):
    x = norm(x + attention(x, width, **options))
    return norm(x + feed_forward(x, width, activation="relu"))


def encoder(block):
    def make(size: Size) -> keras.Model:
        (depth,), (width,) = size.depth, size.width
        ids = keras.Input((POSITIONS,), dtype="int32", name="ids")
        x = Positions(width)(ids)
        for _ in range(depth):
            x = block(x, width)
        return keras.Model(ids, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))

    return make


def tokens_encoder(size: Size) -> keras.Model:
    """Any number of tokens, no pooling."""
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = norm(layers.Embedding(VOCABULARY, width)(ids))
    for _ in range(depth):
        x = pre_norm(x, width)
    return keras.Model(ids, norm(x))


def gpt(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((POSITIONS,), dtype="int32", name="ids")
    x = Positions(width)(ids)
    for _ in range(depth):
        x = pre_norm(x, width, causal=True)
    return keras.Model(ids, layers.Dense(VOCABULARY, use_bias=False)(norm(x)))


def tied_gpt(size: Size) -> keras.Model:
    """The output layer is the embedding, any number of tokens, positions cut from a table."""
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((None,), dtype="int32", name="ids")
    table = layers.ReversibleEmbedding(VOCABULARY, width)
    x = table(ids)
    for _ in range(depth):
        x = pre_norm(x, width, causal=True)
    return keras.Model(ids, table(norm(x), reverse=True))


def grouped_query(size: Size) -> keras.Model:
    """Two query heads for every key and value head."""
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((POSITIONS,), dtype="int32", name="ids")
    x = Positions(width)(ids)
    for _ in range(depth):
        y = layers.RMSNormalization()(x)
        heads = width // HEAD
        x = x + layers.GroupQueryAttention(HEAD, heads, heads // 2)(y, y)
        y = layers.RMSNormalization()(x)
        gate, up = layers.Dense(3 * width, activation="silu")(y), layers.Dense(3 * width)(y)
        x = x + layers.Dense(width)(gate * up)
    return keras.Model(ids, layers.Dense(VOCABULARY)(layers.RMSNormalization()(x)))


def translator(size: Size) -> keras.Model:
    """Encoder and decoder of one width."""
    depths, (width, _) = size.depth, size.width
    source = keras.Input((POSITIONS,), dtype="int32", name="source_ids")
    target = keras.Input((POSITIONS,), dtype="int32", name="target_ids")
    memory, x = Positions(width)(source), Positions(width)(target)
    for _ in range(depths[0]):
        memory = post_norm(memory, width)
    for _ in range(depths[1]):
        x = norm(x + attention(x, width, causal=True))
        x = post_norm(x, width, memory=memory)
    return keras.Model([source, target], layers.Dense(VOCABULARY)(x))


# -- images ---------------------------------------------------------------------------------------------------


def image() -> keras.KerasTensor:
    return keras.Input((IMAGE, IMAGE, 3), name="image")


def vit(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    x = inputs = image()
    x = layers.Conv2D(width, PATCH, PATCH)(x)
    x = Table()(Token()(layers.Reshape((-1, width))(x)))
    for _ in range(depth):
        x = pre_norm(x, width)
    return keras.Model(inputs, layers.Dense(CLASSES)(norm(x)[:, 0]))


def mixer(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    x = inputs = image()
    x = layers.Conv2D(width, PATCH, PATCH)(x)
    x = layers.Reshape((-1, width))(x)
    tokens = x.shape[1]
    for _ in range(depth):
        y = layers.Permute((2, 1))(norm(x))
        y = layers.Dense(tokens)(layers.Dense(width // 2, activation=gelu)(y))
        x = x + layers.Permute((2, 1))(y)
        x = x + feed_forward(norm(x), width)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(norm(x))))


def vgg(size: Size) -> keras.Model:
    x = inputs = image()
    for depth, width in zip(size.depth, size.width, strict=True):
        x = layers.Conv2D(width, 1, activation="relu")(x)
        for _ in range(depth):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Dense(4 * size.width[-1], activation="relu")(x)))


def conv_norm(x, width: int, kernel: int = 3, stride: int = 1, activation="relu"):
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation(activation)(x) if activation else x


def resnet(size: Size) -> keras.Model:
    """Basic blocks; the first of a stage has a projection and counts."""
    x = inputs = image()
    x = conv_norm(x, size.width[0])
    for depth, width in zip(size.depth, size.width, strict=True):
        for block in range(depth):
            stride = 1 if block else 2
            y = conv_norm(x, width, stride=stride)
            y = conv_norm(y, width, activation=None)
            if block == 0:
                x = conv_norm(x, width, 1, stride, activation=None)
            x = layers.ReLU()(x + y)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def bottleneck_resnet(size: Size) -> keras.Model:
    """Normalised and activated first, with a bottleneck."""
    x = inputs = image()
    x = layers.Conv2D(size.width[0], 3, padding="same")(x)
    for depth, width in zip(size.depth, size.width, strict=True):
        for block in range(depth):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            if block == 0:
                x = layers.Conv2D(width, 1, 2)(y)
            y = conv_norm(y, width // 2, 1)
            y = conv_norm(y, width // 2, 3, 1 if block else 2)
            x = x + layers.Conv2D(width, 1)(y)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def mobilenet(size: Size) -> keras.Model:
    """Depthwise and pointwise convolutions."""
    x = inputs = image()
    for depth, width in zip(size.depth, size.width, strict=True):
        x = conv_norm(x, width, 3, 2, "relu6")
        for _ in range(depth):
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
            x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
            x = conv_norm(x, width, 1, activation="relu6")
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def inverted_residual(size: Size) -> keras.Model:
    """Blocks of MobileNetV2 with squeeze and excitation."""
    x = inputs = image()
    for depth, width in zip(size.depth, size.width, strict=True):
        x = conv_norm(x, width, 3, 2, "swish")
        for _ in range(depth):
            y = conv_norm(x, 2 * width, 1, activation="hard_swish")
            y = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(y)
            y = layers.Activation("hard_swish")(layers.BatchNormalization()(y))
            s = layers.GlobalAveragePooling2D(keepdims=True)(y)
            s = layers.Conv2D(width // 2, 1, activation="relu")(s)
            y = y * layers.Conv2D(2 * width, 1, activation="hard_sigmoid")(s)
            x = x + conv_norm(y, width, 1, activation=None)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def convnext(size: Size) -> keras.Model:
    x = inputs = image()
    for stage, (depth, width) in enumerate(zip(size.depth, size.width, strict=True)):
        x = layers.Conv2D(width, 2, 2)(norm(x) if stage else x)
        for _ in range(depth):
            y = norm(layers.DepthwiseConv2D(5, padding="same")(x))
            x = x + LayerScale()(feed_forward(y, width))
    return keras.Model(inputs, layers.Dense(CLASSES)(norm(layers.GlobalAveragePooling2D()(x))))


def xception(size: Size) -> keras.Model:
    """Separable convolutions between residuals."""
    (depth,), (width,) = size.depth, size.width
    x = inputs = image()
    x = conv_norm(x, width, 3, 2)
    for _ in range(depth):
        y = layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(layers.ReLU()(x))
        x = x + layers.BatchNormalization()(y)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def resnext(size: Size) -> keras.Model:
    """Convolutions of four groups."""
    (depth,), (width,) = size.depth, size.width
    x = inputs = image()
    x = conv_norm(x, width, 3, 2)
    for _ in range(depth):
        y = layers.Conv2D(width, 3, padding="same", groups=2)(x)
        x = x + layers.ReLU()(layers.BatchNormalization()(y))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def group_norm(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    x = inputs = image()
    x = layers.Conv2D(width, 3, 2, padding="same")(x)
    for _ in range(depth):
        y = layers.Activation("silu")(layers.GroupNormalization(groups=2)(x))
        x = x + layers.Conv2D(width, 3, padding="same")(y)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalMaxPooling2D()(x)))


def unet(size: Size) -> keras.Model:
    (width,) = size.width
    x = inputs = image()
    skips = []
    for step in range(2):
        x = conv_norm(x, width * 2**step)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = conv_norm(x, width * 4)
    for step in (1, 0):
        x = layers.Conv2DTranspose(width * 2**step, 2, 2, padding="same")(x)
        x = conv_norm(layers.Concatenate()([x, skips[step]]), width * 2**step)
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1)(x))


def image_autoencoder(size: Size) -> keras.Model:
    (width,) = size.width
    x = inputs = image()
    for n in (width, 2 * width):
        x = layers.AveragePooling2D(2)(layers.Conv2D(n, 3, padding="same", activation="relu")(x))
    x = layers.Dense(3 * width)(layers.Flatten()(x))
    x = layers.Reshape((4, 4, 2 * width))(layers.Dense(16 * 2 * width)(x))
    for n in (2 * width, width):
        x = layers.Conv2D(n, 3, padding="same", activation="relu")(layers.UpSampling2D(interpolation="bilinear")(x))
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same", activation="tanh")(x))


def densenet(size: Size) -> keras.Model:
    """Each layer reads all before it; the width is the growth."""
    (width,) = size.width
    x = inputs = image()
    x = layers.Conv2D(2 * width, 3, 2, padding="same")(x)
    for stage in range(2):
        for _ in range(3):
            y = layers.ReLU()(layers.BatchNormalization()(x))
            y = conv_norm(y, 4 * width, 1)
            x = layers.Concatenate()([x, layers.Conv2D(width, 3, padding="same", use_bias=False)(y)])
        if stage == 0:
            x = layers.Conv2D(x.shape[-1] // 2 // width * width, 1)(layers.ReLU()(layers.BatchNormalization()(x)))
            x = layers.AveragePooling2D(2)(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


# -- sequences ------------------------------------------------------------------------------------------------


def recurrent(layer, *, length: int | None = POSITIONS, residual: bool = False, **options):
    """A stack of recurrent layers, of which the last gives its last state, or all of them add to what they read."""

    def make(size: Size) -> keras.Model:
        (depth,), (width,) = size.depth, size.width
        ids = keras.Input((length,), dtype="int32", name="ids")
        x = layers.Embedding(VOCABULARY, width)(ids)
        for left in reversed(range(depth)):
            y = layer(width, return_sequences=residual or left > 0, **options)(x)
            x = norm(x + y) if residual else y
        return keras.Model(ids, layers.Dense(CLASSES)(x))

    return make


def bidirectional(size: Size) -> keras.Model:
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((POSITIONS,), dtype="int32", name="ids")
    x = layers.Embedding(VOCABULARY, width)(ids)
    for _ in range(depth):
        x = layers.Bidirectional(layers.LSTM(width // 2, return_sequences=True))(x)
    return keras.Model(ids, layers.Dense(CLASSES)(x))


def text_cnn(size: Size) -> keras.Model:
    """Dilated causal convolutions over a sequence."""
    (depth,), (width,) = size.depth, size.width
    ids = keras.Input((POSITIONS,), dtype="int32", name="ids")
    x = layers.Embedding(VOCABULARY, width)(ids)
    for _ in range(depth):
        y = layers.Conv1D(width, 3, padding="causal", dilation_rate=2, activation="relu")(x)
        x = norm(x + layers.Conv1D(width, 1)(y))
    return keras.Model(ids, layers.Dense(CLASSES)(layers.GlobalMaxPooling1D()(x)))


# -- keras.applications ---------------------------------------------------------------------------------------


def mobilenet_v1(size: Size) -> keras.Model:
    (width,) = size.width
    return keras.applications.MobileNet((64, 64, 3), alpha=width / 32, weights=None, classes=CLASSES)


def resnet_v1(size: Size) -> keras.Model:
    """The stacks of keras.applications behind their stem, which is 64 wide whatever follows."""
    from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

    def stacks(x):
        for i, (depth, width) in enumerate(zip(size.depth, size.width, strict=True)):
            x = stack_residual_blocks_v1(x, width // 4, depth, stride1=1 + i, name=f"conv{i + 2}")
        return x

    return ResNet(stacks, False, True, weights=None, input_shape=(32, 32, 3), classes=CLASSES)


def efficientnet(size: Size) -> keras.Model:
    """The coefficient sets stem and head as well.

    The depth counts what repeats: the first block of a stage has no shortcut, and only a letter that says what it is.
    """
    from keras.src.applications.efficientnet import EfficientNet

    common = {"expand_ratio": 3, "id_skip": True, "se_ratio": 0.25, "kernel_size": 3, "strides": 2}
    stages = zip(size.depth, (32, 16), (16, 24), strict=True)
    blocks = [{**common, "repeats": n + 1, "filters_in": a, "filters_out": b} for n, a, b in stages]
    sizes = {"width_coefficient": size.width[0] / 16, "depth_coefficient": 1.0, "default_size": 32, "depth_divisor": 2}
    shape = {"input_shape": (32, 32, 3), "classes": CLASSES}
    return EfficientNet(**sizes, blocks_args=blocks, weights=None, weights_name="none", **shape)


WIDE = per_stage((3, 3), (16, 24), shallower=(2, 3), deeper=(4, 5), narrow=0.5, wide=1.5)
STEM = {label: {"dims": {"stem": 64}} for label in ("narrower", "grow", "mixed")}
ENTRIES = [
    *keras_entries("mlp", "mlp", mlp, PLAIN),
    *keras_entries("residual-mlp", "mlp", residual_mlp, PLAIN),
    *keras_entries("autoencoder", "autoencoder", autoencoder, widths(6, 3, 9), by_ratio=True),
    *keras_entries("pre-norm-encoder", "encoder", encoder(pre_norm), PLAIN),
    *keras_entries("post-norm-encoder", "encoder", encoder(post_norm), PLAIN),
    *keras_entries("tokens-encoder", "encoder", tokens_encoder, PLAIN),
    *keras_entries("gpt", "decoder", gpt, PLAIN),
    *keras_entries("tied-gpt", "decoder", tied_gpt, PLAIN),
    *keras_entries(
        "grouped-query",
        "decoder",
        grouped_query,
        uniform(depth=3, width=40, shallower=2, narrower=20, deeper=5, wider=60),
    ),
    *keras_entries(
        "translator",
        "encoder-decoder",
        translator,
        per_stage((3, 3), (20, 20), shallower=(2, 2), deeper=(4, 5), narrow=0.5, wide=1.5),
    ),
    *keras_entries("vit", "vision transformer", vit, PLAIN),
    *keras_entries("mixer", "mixer", mixer, EVEN),
    *keras_entries("vgg", "cnn", vgg, STAGES),
    *keras_entries("resnet", "cnn", resnet, STAGES),
    *keras_entries("bottleneck-resnet", "cnn", bottleneck_resnet, STAGES),
    *keras_entries("mobilenet", "cnn", mobilenet, STAGES),
    *keras_entries("inverted-residual", "cnn", inverted_residual, STAGES),
    *keras_entries("convnext", "cnn", convnext, STAGES),
    *keras_entries("xception", "cnn", xception, PLAIN),
    *keras_entries("resnext", "cnn", resnext, PLAIN),
    *keras_entries("group-norm", "cnn", group_norm, PLAIN),
    *keras_entries("unet", "segmentation", unet, widths(6, 3, 9), by_ratio=True),
    *keras_entries("image-autoencoder", "autoencoder", image_autoencoder, widths(6, 3, 9), by_ratio=True),
    *keras_entries("densenet", "cnn", densenet, widths(6, 3, 9), by_ratio=True),
    *keras_entries("lstm", "recurrent", recurrent(layers.LSTM), PLAIN),
    *keras_entries("gru", "recurrent", recurrent(layers.GRU), PLAIN, by_ratio=True),
    *keras_entries("rnn", "recurrent", recurrent(layers.SimpleRNN), PLAIN, by_ratio=True),
    *keras_entries("residual-gru", "recurrent", recurrent(layers.GRU, residual=True, length=None), PLAIN),
    *keras_entries("unrolled-lstm", "recurrent", recurrent(layers.LSTM, unroll=True, residual=True), PLAIN),
    *keras_entries("bidirectional-lstm", "recurrent", bidirectional, PLAIN),
    *keras_entries("text-cnn", "cnn", text_cnn, PLAIN),
    *keras_entries("applications-mobilenet", "cnn", mobilenet_v1, widths(8, 4, 12), by_ratio=True),
    *keras_entries("applications-resnet", "cnn", resnet_v1, WIDE, options=STEM),
    *keras_entries(
        "applications-efficientnet",
        "cnn",
        efficientnet,
        WIDE,
    ),
]
