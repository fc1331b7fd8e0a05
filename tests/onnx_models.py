"""What is done with ONNX models after PyTorch has exported them."""

import numpy as np
import onnx


def in_float32(model):
    """A model without float64, of one that keeps its sums in it."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for node in model.graph.node:
        for one in node.attribute:
            if node.op_type == "Cast" and one.i == onnx.TensorProto.DOUBLE:
                one.i = onnx.TensorProto.FLOAT
    for one in model.graph.initializer:
        if one.data_type == onnx.TensorProto.DOUBLE:
            number = onnx.numpy_helper.to_array(one).astype(np.float32)
            one.CopyFrom(onnx.numpy_helper.from_array(number, one.name))
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
