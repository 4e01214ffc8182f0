"""JAX models as jax2onnx writes them."""

from matrix import jax_equinox, jax_linen, jax_nnx, jax_variants

ENTRIES = [*jax_linen.ENTRIES, *jax_nnx.ENTRIES, *jax_equinox.ENTRIES, *jax_variants.ENTRIES]
