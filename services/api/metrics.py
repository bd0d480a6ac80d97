"""What Prometheus is told; one registry per application, so that two of them in a process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY_S = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 30.0)
_BATCH = (1, 2, 3, 4, 5, 6, 7, 8)


class Metrics:
    """Counters that the routes, the batcher and the runtime count with."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "swath_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )
        self._latency = Histogram(
            "swath_request_seconds",
            "From a request's head to its answer's end.",
            ("route",),
            buckets=_LATENCY_S,
            registry=self.registry,
        )
        self.under_way = Gauge("swath_requests_under_way", "Requests not answered yet.", registry=self.registry)
        self.batch_size = Histogram(
            "swath_batch_chips", "Chips in one call of the network.", buckets=_BATCH, registry=self.registry
        )
        self.call_s = Histogram(
            "swath_call_seconds", "One call of the network.", buckets=_LATENCY_S, registry=self.registry
        )
        self.queued = Gauge("swath_queue_chips", "Chips that wait for the network.", registry=self.registry)
        self.turned_away = Counter(
            "swath_turned_away", "Images, or whole batches, answered 503 for want of time.", registry=self.registry
        )
        self.swaps = Counter("swath_model_swaps", "Promoted models taken into service.", registry=self.registry)
        self.swap_failures = Counter(
            "swath_model_swap_failures", "Promoted models that could not be loaded.", registry=self.registry
        )
        self._model = Gauge(
            "swath_model_info",
            "The model that answers /predict.",
            ("name", "digest", "backend"),
            registry=self.registry,
        )
        self._seen: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request answered; `route` is a template such as `/runs/{run_id}`, so labels stay few."""
        key = (route, method, status)
        if key not in self._seen:
            self._seen[key] = (self._requests.labels(route, method, str(status)), self._latency.labels(route))
        requests, latency = self._seen[key]
        requests.inc()
        latency.observe(seconds)

    def serve(self, *, name: str, digest: str, backend: str) -> None:
        """Say which model answers from now on."""
        self._model.clear()
        self._model.labels(name, digest, backend).set(1)

    def render(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
