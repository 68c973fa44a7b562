"""Small ONNX files, written as the engine writes a student's."""

import json

from onnx import TensorProto, helper


def tiny_onnx(bias: float = 0.0, *, task: str = "classification") -> bytes:
    """Give a model that answers two inputs a and b with a + bias and b."""
    output = "predictions" if task == "regression" else "logits"
    node = helper.make_node("Add", ["inputs", "bias"], [output])
    shape: list[str | int | None] = ["batch", 2]
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [helper.make_tensor("bias", TensorProto.FLOAT, [2], [bias, 0.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    properties = {"task": task, "output_names": json.dumps(["a", "b"]), "input": "raw values"}
    helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
