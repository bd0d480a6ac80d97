"""Which of Swath's extras brings a library that is not installed."""

from services.core.errors import ConfigError

_EXTRAS = {
    "inference": ("openvino", "onnxruntime", "pyarrow"),
    "api": ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "PIL", "simplejpeg", "prometheus_client", "jwt"),
    "flows": ("prefect",),
    "train": ("torch", "onnx", "google", "sklearn", "nncf", "safetensors"),
}


def not_installed(exc: ModuleNotFoundError) -> ConfigError | None:
    """What to install for a module that was not found; None: it is none of the extras', so a bug of ours."""
    module = (exc.name or "").partition(".")[0]
    for extra, modules in _EXTRAS.items():
        if module in modules:
            return ConfigError(f"{module} is not installed, which this needs; run: pip install 'swath[{extra}]'")
    return None
