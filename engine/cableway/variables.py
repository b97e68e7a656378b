"""Every environment variable that Cableway reads, for people: ``docs/settings.md`` is made of this table."""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    """One variable. *default* is what holds where it is not set; "" means: nothing."""

    name: str
    default: str
    meaning: str


DATABASE = (
    Variable(
        "DATABASE_URL",
        "",
        "The state database as `postgresql://user:password@host:5432/name`, special characters of the password "
        "percent-encoded. It goes before the single values.",
    ),
    Variable("DATABASE_HOST", "", "Host name, or the folder of a unix socket."),
    Variable("DATABASE_PORT", "5432", "Port."),
    Variable("DATABASE_NAME", "", "Name of the database. Needed beside `DATABASE_HOST`."),
    Variable("DATABASE_USER", "", "Role. Needed beside `DATABASE_HOST`."),
    Variable("DATABASE_PASSWORD", "", "Its password; also fills in what the URL leaves out."),
    Variable(
        "DATABASE_SSL_MODE",
        "`prefer`",
        "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`; also fills in what the URL leaves out.",
    ),
    Variable(
        "DATABASE_SCHEMA",
        "`cableway`",
        "Where Cableway's own tables stand. It is made where it is missing; not `public`.",
    ),
    Variable("DATABASE_CONNECT_BUDGET_S", "30", "Seconds to go on trying to connect; 0 tries once."),
    Variable("DATABASE_STATEMENT_TIMEOUT_S", "30", "Seconds that one of our own statements may take; 0: any."),
    Variable("DATABASE_LOCK_TIMEOUT_S", "10", "Seconds that one of them may wait for a lock; 0: any."),
    Variable(
        "DATABASE_PREPARE",
        "0",
        "1 prepares statements that come again and again. Leave it off behind PgBouncer in transaction mode.",
    ),
)
LOGGING = (
    Variable("LOG_LEVEL", "`INFO`", "`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`: what is logged at all."),
    Variable(
        "LOG_LEVELS",
        "",
        "The same by logger: `cableway.scheduler:DEBUG,cableway:WARNING`. A logger's level holds for those below it.",
    ),
    Variable("LOG_FORMAT", "`text`", "`json` writes a JSON object on each line."),
    Variable(
        "LOG_DIR",
        "",
        "Folder for log files: `cableway.log` has every line, and each area a file of its own (`job.log`, `api.log`, "
        "`scheduler.log`, ...). Lines go to stderr all the same.",
    ),
)
RUNS = (
    Variable(
        "PIPELINES_LOGS_DIR",
        "",
        "Folder in which each run gets one of its own, `<scheduler or pipeline>/<time>_<run>`, that blocs find as "
        "`context.output_dir`. Also read in lower case.",
    ),
    Variable("CABLEWAY_BLOCS", "", "Modules that bring bloc types, by comma."),
    Variable(
        "CABLEWAY_SECRETS",
        "`env:,file:`",
        "Where secrets are looked for, in order, by comma: `env:PREFIX`, `file:FOLDER`, `aws-sm:PREFIX`. "
        "[Secrets](secrets.md) has more.",
    ),
    Variable(
        "CABLEWAY_EXECUTION_ID",
        "",
        "What the platform calls this execution, the same when it repeats it: the default key of `python -m cableway "
        "run NAME`, and the attempt's external id. Unset: the job of AWS Batch, the task of ECS, the execution of "
        "Cloud Run or of a container app, or the pod's name on Kubernetes.",
    ),
    Variable("CABLEWAY_MAX_LAUNCHING", "10", "Containers that may be starting at once, over all who launch."),
    Variable("CABLEWAY_LAUNCH_DEADLINE_S", "3600", "Seconds after which a run has failed that no launch could start."),
    Variable("CABLEWAY_LAUNCH_START_S", "600", "Seconds within which a launched container must claim its run."),
    Variable(
        "CABLEWAY_PAYLOADS",
        "",
        "Folder (`file:/...`) or bucket (`s3://bucket/prefix`) for what failed items held that is too large for a row.",
    ),
    Variable(
        "CABLEWAY_FILE_ROOT",
        "",
        "Folder below which blocs may read files, links followed; without it anywhere but in the system's own places.",
    ),
    Variable(
        "CABLEWAY_HTTP_ALLOW",
        "",
        "Hosts (`localhost`, `.internal.example`) and networks (`10.0.0.0/8`) beyond the public internet that blocs "
        "may send requests to, by comma. [HTTP](http.md) has more.",
    ),
    Variable(
        "CABLEWAY_HTTP_PROXY",
        "",
        "The proxy that blocs send their requests through, as `http://host:port`. `HTTP_PROXY` and its siblings are "
        "not looked at.",
    ),
    Variable(
        "ENCRYPT_KEY",
        "",
        "What the tokens are signed with (HS256) that `run_adk_agents` and `refresh_webhooks` send; without it "
        "they send none.",
    ),
    Variable(
        "CABLEWAY_PROGRESS_S",
        "30",
        "Seconds between two lines on how far a run is; 0: none, and no table on a terminal.",
    ),
    Variable(
        "CABLEWAY_CHECKPOINT_S",
        "3",
        "Seconds between two checkpoints, from which a later attempt goes on.",
    ),
    Variable(
        "CABLEWAY_TERMINATION_LOG",
        "/dev/termination-log",
        "Where a job leaves its last line as well, if that file is there: Kubernetes' `terminationMessagePath`.",
    ),
)
SERVICE = (
    Variable(
        "CABLEWAY_API_RATE",
        "100",
        "Requests a second that each caller of the API may send, and four times as many at once.",
    ),
    Variable(
        "CABLEWAY_UNSIGNED_HOOKS",
        "0",
        "1 takes webhooks whose trigger says `auth: none`, from anybody who can reach the server.",
    ),
    Variable(
        "CABLEWAY_LAUNCHER",
        "",
        "What starts containers: `local`, processes on this machine, which is what `cableway serve` does without it; "
        "`none`: runs are recorded, and another service's sweep starts them.",
    ),
)
TELEMETRY = (
    Variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT", "", "Where spans and metrics go, by OTLP over HTTP. Without one nothing is sent."
    ),
    Variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "The full address for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "", "The full address for metrics alone."),
    Variable("OTEL_EXPORTER_OTLP_PROTOCOL", "`http/protobuf`", "Or `http/json`."),
    Variable("OTEL_EXPORTER_OTLP_HEADERS", "", "Headers of every request, as `name=value,name=value`."),
    Variable("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "Milliseconds that one request may take."),
    Variable("OTEL_EXPORTER_OTLP_COMPRESSION", "`none`", "Or `gzip`."),
    Variable("OTEL_EXPORTER_OTLP_CERTIFICATE", "", "File with the authorities to trust."),
    Variable("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", "File with our own certificate."),
    Variable("OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "File with its key."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", "As above, for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "", "As above, for spans alone; they join the common ones."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "", "As above, for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "", "As above, for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "", "As above, for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "", "As above, for spans alone."),
    Variable("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "", "As above, for spans alone."),
    Variable("OTEL_SERVICE_NAME", "`cableway`", "The service's name in traces."),
    Variable("OTEL_RESOURCE_ATTRIBUTES", "", "More about the service, as `key=value,key=value`."),
    Variable("OTEL_SDK_DISABLED", "`false`", "`true` stops all export."),
    Variable("OTEL_TRACES_EXPORTER", "`otlp`", "`none` sends no spans."),
    Variable("OTEL_METRICS_EXPORTER", "`otlp`", "`none` sends no metrics."),
    Variable("OTEL_TRACES_SAMPLER", "`always_on`", "With `traceidratio` a share of the items gets spans."),
    Variable("OTEL_TRACES_SAMPLER_ARG", "1.0", "That share. Failed and slowest items get spans anyway."),
    Variable("OTEL_BSP_MAX_QUEUE_SIZE", "32768", "Spans that may wait to be sent."),
    Variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048", "Spans in one request."),
    Variable("OTEL_BSP_SCHEDULE_DELAY", "1000", "Milliseconds that spans wait for a request to fill."),
    Variable("OTEL_METRIC_EXPORT_INTERVAL", "60000", "Milliseconds between two reports of metrics."),
    Variable(
        "CABLEWAY_TELEMETRY_ON_FULL",
        "`drop`",
        "When too many spans wait: `drop` and count them, or let the flow `wait`.",
    ),
    Variable("CABLEWAY_TELEMETRY_FLUSH_S", "5", "Seconds that sending may hold up the end of a run."),
    Variable("CABLEWAY_LOCAL_SPANS", "1", "0 keeps no sample of the spans with the run."),
)
PLATFORMS = (
    Variable("AWS_BATCH_JOB_ID", "", "Set by AWS Batch; the same for each of its attempts."),
    Variable("ECS_CONTAINER_METADATA_URI_V4", "", "Set by ECS; the task's id stands in it."),
    Variable("CLOUD_RUN_EXECUTION", "", "Set by Cloud Run jobs; the same for each of a task's attempts."),
    Variable("CLOUD_RUN_TASK_INDEX", "", "Set by Cloud Run jobs beside it."),
    Variable("CONTAINER_APP_JOB_EXECUTION_NAME", "", "Set by jobs of Azure Container Apps."),
    Variable("KUBERNETES_SERVICE_HOST", "", "Set in every pod: then `HOSTNAME` is the pod's name."),
    Variable("HOSTNAME", "", "The pod's name, on Kubernetes; elsewhere it is not looked at."),
)
GROUPS = {
    "The state database": DATABASE,
    "Logging": LOGGING,
    "Runs": RUNS,
    "Service": SERVICE,
    "Telemetry": TELEMETRY,
    "What a platform calls this execution": PLATFORMS,
}
VARIABLES = {variable.name: variable for group in GROUPS.values() for variable in group}
