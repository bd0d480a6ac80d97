"""Which of Swath's extras brings a library that is not installed."""

from services.core.errors import ConfigError

_EXTRAS = {
    "inference": ("openvino", "onnxruntime", "pyarrow"),
    "api": ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "PIL", "simplejpeg", "prometheus_client", "jwt"),
    "flows": ("prefect",),
    "train": ("torch", "onnx", "google", "sklearn", "nncf", "safetensors"),
}


def install_command(module: str) -> str | None:
    """What brings a module; None: it is none of the extras'."""
    extra = next((extra for extra, modules in _EXTRAS.items() if module in modules), None)
    return None if extra is None else f"pip install 'swath[{extra}]'"


def not_installed(exc: ModuleNotFoundError) -> ConfigError | None:
    """What to install for a module that was not found; None: it is none of the extras', so a bug of ours."""
    module = (exc.name or "").partition(".")[0]
    command = install_command(module)
    return None if command is None else ConfigError(f"{module} is not installed, which this needs; run: {command}")
