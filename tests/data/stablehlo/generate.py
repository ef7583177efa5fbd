"""Makes the texts of this folder. Needs jax 0.10.2 (pip install jax==0.10.2); no test runs it.

python tests/data/stablehlo/generate.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

FOLDER = Path(__file__).parent
F32 = jnp.float32
Shape = jax.ShapeDtypeStruct


def save(name: str, how: str, text: str) -> None:
    header = f"// Made by generate.py with jax {jax.__version__}: {how}\n"
    text = text.replace(str(Path(__file__).resolve()), "generate.py").replace(
        __file__, "generate.py"
    )
    (FOLDER / f"{name}.mlir").write_text(header + text)


def lowered(name: str, function: Any, *args: Any, debug_info: bool = False) -> None:
    text = jax.jit(function).lower(*args).as_text(debug_info=debug_info)
    save(name, f"lower(...).as_text(debug_info={debug_info})", text)


def generic(name: str, function: Any, *args: Any) -> None:
    module = jax.jit(function).lower(*args).compiler_ir("stablehlo")
    save(name, "the generic form", module.operation.get_asm(print_generic_op_form=True))


def mlp(params: Any, x: Any) -> Any:
    for weight, bias in params:
        x = jax.nn.relu(x @ weight + bias)
    return x


def train(params: Any, x: Any, y: Any) -> Any:
    loss, grads = jax.value_and_grad(lambda p: jnp.mean((mlp(p, x) - y) ** 2))(params)
    return loss, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)


def layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * gain + bias


def block(p: Any, x: Any) -> Any:
    heads = 4
    batch, seq, width = x.shape
    y = layer_norm(x, p["g1"], p["b1"])
    qkv = (y @ p["qkv"]).reshape(batch, seq, 3, heads, width // heads)
    q, k, v = (qkv[:, :, i] for i in range(3))
    attended = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
    x = x + attended @ p["out"]
    y = layer_norm(x, p["g2"], p["b2"])
    return x + jax.nn.gelu(y @ p["up"], approximate=False) @ p["down"]


def block_shapes(width: int, stacked: tuple[int, ...] = ()) -> dict[str, Any]:
    shapes = {
        "g1": (width,),
        "b1": (width,),
        "g2": (width,),
        "b2": (width,),
        "qkv": (width, 3 * width),
        "out": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }
    return {name: Shape(stacked + shape, F32) for name, shape in shapes.items()}


def transformer(params: Any, tokens: Any) -> Any:
    with jax.named_scope("model"):
        x = params["emb"][tokens]
        for i, one in enumerate(params["blocks"]):
            with jax.named_scope(f"block_{i}"):
                x = block(one, x)
        return x @ params["emb"].T


def transformer_scan(params: Any, tokens: Any) -> Any:
    x = params["emb"][tokens]
    x, _ = lax.scan(lambda h, one: (block(one, h), None), x, params["blocks"])
    return x @ params["emb"].T


def cnn(p: Any, x: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.nn.relu(lax.conv_general_dilated(x, p["c"], (2, 2), "SAME", dimension_numbers=numbers))
    x = lax.conv_general_dilated(
        x, p["d"], (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=16
    )
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.softmax(x.mean((1, 2)) @ p["w"])


def control(x: Any, i: Any, key: Any) -> Any:
    y = lax.cond(x.sum() > 0, lambda a: a @ a, jnp.sin, x)
    y = lax.switch(i, [lambda z: z + 1, lambda z: z * 2, lambda z: z @ z], y)
    y = lax.fori_loop(0, 7, lambda _, z: jnp.tanh(z @ x), y)
    y = lax.while_loop(lambda z: z.sum() < 3, lambda z: z + 1, y)
    top, _ = lax.top_k(y, 3)
    y = y + jax.random.normal(key, y.shape)
    z = jnp.concatenate([lax.dynamic_update_slice(y, top, (0, 0)), jnp.sort(y, axis=-1)], 0)
    z = jnp.pad(z, ((1, 1), (0, 0))).at[jnp.arange(3)].add(1.0)
    return z.astype(jnp.bfloat16), jnp.argmax(y, -1), jnp.cumsum(y, 0), jnp.linalg.norm(y)


def lstm(p: Any, x: Any) -> Any:
    def step(carry: Any, now: Any) -> Any:
        h, cell = carry
        i, f, g, o = jnp.split(now @ p["wx"] + h @ p["wh"] + p["b"], 4, -1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(cell)
        return (h, cell), h

    start = jnp.zeros((x.shape[1], 32))
    return lax.scan(step, (start, start), x)


def main() -> None:
    params = [
        (Shape((64, 128), F32), Shape((128,), F32)),
        (Shape((128, 10), F32), Shape((10,), F32)),
    ]
    x = Shape((8, 64), F32)
    lowered("mlp", mlp, params, x)
    generic("mlp_generic", mlp, params, x)
    lowered("mlp_train", train, params, x, Shape((8, 10), F32))
    tokens = Shape((2, 16), jnp.int32)
    table = Shape((100, 64), F32)
    blocks = [block_shapes(64) for _ in range(3)]
    lowered("transformer", transformer, {"emb": table, "blocks": blocks}, tokens, debug_info=True)
    lowered(
        "transformer_scan",
        transformer_scan,
        {"emb": table, "blocks": block_shapes(64, (3,))},
        tokens,
    )
    filters = {
        "c": Shape((3, 3, 3, 16), F32),
        "d": Shape((3, 3, 1, 16), F32),
        "w": Shape((16, 10), F32),
    }
    lowered("cnn", cnn, filters, Shape((4, 32, 32, 3), F32))
    generic("cnn_generic", cnn, filters, Shape((4, 32, 32, 3), F32))
    lowered("control", control, Shape((8, 8), F32), Shape((), jnp.int32), Shape((2,), jnp.uint32))
    cell = {"wx": Shape((16, 128), F32), "wh": Shape((32, 128), F32), "b": Shape((128,), F32)}
    lowered("lstm", lstm, cell, Shape((10, 4, 16), F32))
    (size,) = export.symbolic_shape("b")
    exported = export.export(jax.jit(mlp))(params, Shape((size, 64), F32))
    save("mlp_symbolic", "export with a symbolic batch", exported.mlir_module())
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    lowered("mlp_sharded", mlp, params, Shape((8, 64), F32, sharding=split))


if __name__ == "__main__":
    main()
