"""Plain integers are shown as Prometheus reads them."""

from prometheus_client import CollectorRegistry, generate_latest

from paymux_api.measures import ApiMeasures


def test_requests_durations_and_refusals_are_counted() -> None:
    registry = CollectorRegistry()
    measures = ApiMeasures(registry)
    for status, seconds in ((200, 0.001), (200, 0.03), (503, 99.0)):
        measures.finished("read_payment", status, seconds)
    measures.refusals["overloaded"] += 1
    measures.in_flight = 2
    text = generate_latest(registry).decode().splitlines()
    for line in (
        'paymux_api_requests_total{operation="read_payment",status="200"} 2.0',
        'paymux_api_requests_total{operation="read_payment",status="503"} 1.0',
        'paymux_api_seconds_bucket{le="0.002",operation="read_payment"} 1.0',
        'paymux_api_seconds_bucket{le="0.05",operation="read_payment"} 2.0',
        'paymux_api_seconds_bucket{le="30.0",operation="read_payment"} 2.0',
        'paymux_api_seconds_bucket{le="+Inf",operation="read_payment"} 3.0',
        'paymux_api_seconds_count{operation="read_payment"} 3.0',
        'paymux_api_refusals_total{code="overloaded"} 1.0',
        "paymux_api_in_flight 2.0",
    ):
        assert line in text, line


def test_two_applications_in_one_process_do_not_collide() -> None:
    first, second = ApiMeasures(CollectorRegistry()), ApiMeasures(CollectorRegistry())
    first.finished("x", 200, 0.1)
    assert not next(iter(second.collect())).samples
