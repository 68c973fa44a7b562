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


def peeping_onnx(location: str) -> bytes:
    """Give a model that answers with eight bytes of a file beside it."""
    bytes_of_file = TensorProto(
        name="bytes", data_type=TensorProto.UINT8, dims=[8], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", location), ("length", "8")):
        bytes_of_file.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["bytes"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["inputs", "axes"], ["sum"]),
            helper.make_node("Add", ["sum", "numbers"], ["logits"]),
        ],
        "peeping",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 8])],
        [bytes_of_file, helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    names = json.dumps(list("abcdefgh"))
    properties = {"task": "classification", "output_names": names, "input": "raw values"}
    helper.set_model_props(model, properties)
    content: bytes = model.SerializeToString()
    return content


def endless_onnx() -> bytes:
    """Give a model that does not come to an answer: it adds nothing, 2^40 times."""
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["sum", "bias"], ["next_sum"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_sum", TensorProto.FLOAT, None),
        ],
    )
    shape: list[str | int | None] = ["batch", 2]
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "yes", "inputs"], ["logits"], body=step)],
        "endless",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("bias", TensorProto.FLOAT, [2], [0.0, 0.0]),
            helper.make_tensor("times", TensorProto.INT64, [], [2**40]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
