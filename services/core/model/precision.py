"""Number formats of a network, and which file of a package holds the graph for each."""

from services.core.errors import BackendUnavailableError
from services.core.model.package import INT8_GRAPH, ModelPackage


def graph_file(precision: str) -> str:
    """The ONNX file to load for `fp32`, `bf16` or `int8`."""
    return INT8_GRAPH if precision == "int8" else "model.onnx"


def require_int8(package: ModelPackage) -> str:
    """`int8`, if the package has it.

    Raises:
        BackendUnavailableError: It has not.
    """
    if "int8" not in package.precisions:
        raise BackendUnavailableError(
            f"precision int8 cannot be used: model {package.contract.name} holds no int8 graph; "
            "set SWATH_PRECISION=auto or fp32"
        )
    return "int8"
