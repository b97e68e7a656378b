from __future__ import annotations

from cableway.telemetry.settings import TelemetrySettings


def read(**environ: str) -> TelemetrySettings:
    return TelemetrySettings.from_environ(environ)


def test_without_an_endpoint_nothing_is_exported_but_spans_are_kept() -> None:
    settings = read()
    assert not settings.exports
    assert settings.records
    assert settings.warnings == ()


def test_a_signal_has_its_own_path_below_the_common_endpoint() -> None:
    settings = read(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318/")
    assert settings.traces_endpoint == "http://collector:4318/v1/traces"
    assert settings.metrics_endpoint == "http://collector:4318/v1/metrics"


def test_an_endpoint_of_a_signal_is_taken_as_it_is() -> None:
    settings = read(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://host/otlp")
    assert (settings.traces_endpoint, settings.metrics_endpoint) == ("https://host/otlp", None)


def test_export_can_be_switched_off_and_the_local_copy_too() -> None:
    assert not read(OTEL_EXPORTER_OTLP_ENDPOINT="http://c", OTEL_SDK_DISABLED="TRUE").exports
    assert not read(CABLEWAY_LOCAL_SPANS="0").records
    none = read(OTEL_EXPORTER_OTLP_ENDPOINT="http://c", OTEL_METRICS_EXPORTER="none")
    assert none.metrics_endpoint is None


def test_headers_are_unquoted_and_in_no_repr() -> None:
    settings = read(OTEL_EXPORTER_OTLP_HEADERS="api-key=s3cr%20et,x=y", OTEL_EXPORTER_OTLP_TRACES_HEADERS="x=z")
    assert settings.headers == {"api-key": "s3cr et", "x": "z"}
    assert "s3cr" not in repr(settings)


def test_what_makes_no_sense_is_named_and_left_out() -> None:
    settings = read(
        OTEL_EXPORTER_OTLP_TIMEOUT="soon",
        OTEL_EXPORTER_OTLP_COMPRESSION="zip",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_EXPORTER_OTLP_HEADERS="canary-secret",
        OTEL_TRACES_SAMPLER_ARG="7",
        CABLEWAY_TELEMETRY_ON_FULL="explode",
        OTEL_BSP_MAX_QUEUE_SIZE="-1",
        CABLEWAY_TELEMETRY_FLUSH_S="nan",
    )
    assert settings == TelemetrySettings(warnings=settings.warnings)
    assert len(settings.warnings) == 8
    assert "canary-secret" not in str(settings.warnings)


def test_a_timeout_may_be_in_milliseconds_or_seconds() -> None:
    assert read(OTEL_EXPORTER_OTLP_TIMEOUT="2500").timeout_s == 2.5
    assert read(OTEL_EXPORTER_OTLP_TIMEOUT="10").timeout_s == 10


def test_the_share_of_items_comes_from_the_sampler() -> None:
    assert read(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25").sample_ratio == 0.25
    assert read(OTEL_TRACES_SAMPLER="always_off", OTEL_TRACES_SAMPLER_ARG="0.25").sample_ratio == 0


def test_the_service_is_named_by_its_variable_then_by_the_resource() -> None:
    resource = "service.name=etl,deployment.environment.name=prod"
    assert read(OTEL_RESOURCE_ATTRIBUTES=resource).service_name == "etl"
    assert read(OTEL_RESOURCE_ATTRIBUTES=resource, OTEL_SERVICE_NAME="other").service_name == "other"
    assert read(OTEL_RESOURCE_ATTRIBUTES=resource).resource_attributes["deployment.environment.name"] == "prod"
