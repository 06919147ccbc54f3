//! The metrics: every name, in one table. `docs/guides/metrics.md` has the same for people.
//!
//! Names follow Prometheus' conventions: `wasmill_`, base units (seconds, bytes), `_total` on what only
//! grows. Those of the process are called as every client library calls them, so that dashboards
//! made for any process fit.
//!
//! # Invariants
//!
//! A label's values are known when the run begins (stages, sinks, causes; partitions that are added
//! later are few): nothing that a record holds becomes one.

/// What kind of value a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// only grows, from 0 at the start of the process
    Counter,
    /// goes up and down
    Gauge,
    /// counts in buckets, a sum and a count
    Histogram,
}

impl Kind {
    /// Its name in the exposition format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric with all of its labels.
#[derive(Debug)]
pub struct Family {
    /// its name
    pub name: &'static str,
    /// what kind of value it is
    pub kind: Kind,
    /// names of its labels; of a histogram without `le`
    pub labels: &'static [&'static str],
    /// what it says, for a person
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        $(
            #[doc = $help]
            pub static $id: Family = Family {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// Every metric.
        pub static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    BUILD_INFO: Gauge "wasmill_build_info" ["version"]
        "1, with the version of this binary"
    PIPELINE_INFO: Gauge "wasmill_pipeline_info" ["pipeline"]
        "1, with the name of the pipeline"
    COMPONENT_INFO: Gauge "wasmill_component_info" ["component", "version", "digest"]
        "1 for each component, with its version and the SHA-256 of its file"
    READY: Gauge "wasmill_ready" []
        "1 when records flow and nobody is waited for, else 0"
    PHASE: Gauge "wasmill_phase" ["phase"]
        "1 for the present phase of the run, 0 for the others"
    WAITING_SECONDS: Gauge "wasmill_waiting_seconds" ["part"]
        "For how long a part has waited for its server, 0 when it does not"

    READ_RECORDS: Counter "wasmill_read_records_total" []
        "Records read, those included that are read again"
    READ_BYTES: Counter "wasmill_read_bytes_total" []
        "Bytes of their keys and values"
    REJECTED_RECORDS: Counter "wasmill_rejected_records_total" ["stage", "cause"]
        "Records that went to the dead letters, by the stage that left them out and why"
    DUPLICATES: Counter "wasmill_duplicates_total" []
        "Records left out because their key came before"
    REMEMBERED_KEYS: Gauge "wasmill_remembered_keys" []
        "Keys that are remembered to find duplicates, of all partitions"
    REMEMBERED_BYTES: Gauge "wasmill_remembered_bytes" []
        "Bytes that they take"
    PARTITION_POSITION: Gauge "wasmill_partition_position" ["partition"]
        "The next offset to read"
    PARTITION_COMMITTED: Gauge "wasmill_partition_committed" ["partition"]
        "The next offset after the last committed epoch"
    PARTITION_END: Gauge "wasmill_partition_end" ["partition"]
        "One past the newest offset, asked for every 2 s"
    PARTITION_LAG: Gauge "wasmill_partition_lag" ["partition"]
        "Offsets that are still to be read, bytes where the source is a file"
    LOST_OFFSETS: Counter "wasmill_lost_offsets_total" ["partition"]
        "Offsets that were deleted before they were read, and passed over"

    EPOCHS: Counter "wasmill_epochs_total" []
        "Epochs committed by this process"
    EPOCH: Gauge "wasmill_epoch" []
        "The number of the last committed epoch"
    LAST_COMMIT: Gauge "wasmill_last_commit_timestamp_seconds" []
        "When this process committed an epoch last, in seconds since 1970, 0 before the first one"
    EPOCH_SECONDS: Histogram "wasmill_epoch_duration_seconds" []
        "From the first record of an epoch to its commit"
    EPOCH_PHASE_SECONDS: Histogram "wasmill_epoch_phase_duration_seconds" ["phase"]
        "The same by phase: read, process, merge, queue (waiting for the ledger), commit"

    STAGE_ROWS: Counter "wasmill_stage_rows_total" ["stage"]
        "Rows that a stage took in"
    STAGE_SECONDS: Counter "wasmill_stage_seconds_total" ["stage"]
        "Processor time spent in a stage, all threads together; where it reads or writes, time on the clock, waiting included"
    QUEUE_DEPTH: Gauge "wasmill_queue_depth" ["queue"]
        "Batches or epochs in a queue, or waiting to get into it"
    QUEUE_CAPACITY: Gauge "wasmill_queue_capacity" ["queue"]
        "How many of them the queue has room for"

    SINK_ROWS: Counter "wasmill_sink_rows_total" ["sink"]
        "Rows written, before equal keys are folded"
    SINK_WRITE_SECONDS: Histogram "wasmill_sink_write_duration_seconds" ["sink"]
        "Time to make one epoch durable, retries included; of the ledger this is the latency of a commit"
    SINK_RETRIES: Counter "wasmill_sink_retries_total" ["sink"]
        "Calls to a sink that failed and were made again"
    SINK_EPOCH: Gauge "wasmill_sink_epoch" ["sink"]
        "The last epoch that a sink has confirmed"
    SINK_LAGS: Gauge "wasmill_sink_lags" ["sink"]
        "1 while the stream goes on without a sink that does not answer, or is being brought up, else 0"
    SINK_EPOCHS_BEHIND: Gauge "wasmill_sink_epochs_behind" ["sink"]
        "Committed epochs that a sink has not confirmed"

    GUEST_CALLS: Counter "wasmill_guest_calls_total" ["stage", "component"]
        "Calls into the guests of a stage, those included that configure"
    GUEST_SECONDS: Counter "wasmill_guest_seconds_total" ["stage", "component"]
        "Time spent in them, all threads together"
    GUEST_FAILURES: Counter "wasmill_guest_failures_total" ["stage", "component", "failure"]
        "Calls that failed as a whole: trap, time, memory, output, refused, contract, instance"
    GUEST_INSTANCES: Gauge "wasmill_guest_instances" ["stage", "component"]
        "Instances that there are now"
    GUEST_MEMORY: Gauge "wasmill_guest_memory_bytes" ["stage", "component"]
        "Bytes of their linear memories and tables, all instances together"
    GUEST_MEMORY_LIMIT: Gauge "wasmill_guest_memory_limit_bytes" ["stage", "component"]
        "Bytes that one instance may have"

    STATE_GROUPS: Gauge "wasmill_state_groups" ["aggregate"]
        "Groups that an aggregate keeps a state of"
    STATE_BYTES: Gauge "wasmill_state_bytes" ["aggregate"]
        "Bytes of these groups and their states"

    CHECKPOINTS: Counter "wasmill_checkpoints_total" []
        "Checkpoints published by this process"
    CHECKPOINT_FAILURES: Counter "wasmill_checkpoint_failures_total" []
        "Checkpoints that were given up; the one before is still there"
    CHECKPOINT_EPOCH: Gauge "wasmill_checkpoint_epoch" []
        "The epoch of the newest checkpoint: a restart reads those after it again"
    LAST_CHECKPOINT: Gauge "wasmill_last_checkpoint_timestamp_seconds" []
        "When this process published a checkpoint last, in seconds since 1970, 0 before the first one"
    CHECKPOINT_BYTES: Counter "wasmill_checkpoint_bytes_total" []
        "Bytes written with checkpoints: of what had changed since the one before"
    CHECKPOINT_SECONDS: Histogram "wasmill_checkpoint_duration_seconds" []
        "From the commit of an epoch to the checkpoint of it, waiting for the other sinks included"
    CHECKPOINT_PAUSE_SECONDS: Histogram "wasmill_checkpoint_pause_seconds" []
        "Time that the stream's merging stood still for a checkpoint"

    DEPLOYMENT_VERSION: Gauge "wasmill_deployment_version" []
        "The version of the logic that is in force, 0 before the first one"
    RELOADS: Counter "wasmill_reloads_total" []
        "Versions that came into force in this run"
    RELOAD_REFUSALS: Counter "wasmill_reload_refusals_total" []
        "Reloads that were refused: the running version stayed"
    RELOAD_PAUSE_SECONDS: Histogram "wasmill_reload_pause_seconds" []
        "Time that a worker, or the merging, did nothing else but put another version into force"
    BACKFILL_OFFSETS_LEFT: Gauge "wasmill_backfill_offsets_left" []
        "Offsets from the start of the topic on that a new aggregate has not got yet, 0 where none is being filled"
    READMITTED_RECORDS: Counter "wasmill_readmitted_records_total" []
        "Records that a version had rejected which was rolled back, and that were processed again"
    READMISSION_BACKLOG: Gauge "wasmill_readmission_backlog_records" []
        "Records that a version has rejected which was rolled back, and that are still to be processed again"

    PROCESS_CPU_SECONDS: Counter "process_cpu_seconds_total" []
        "Processor time of the process, user and system"
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Memory of the process that is resident"
    PROCESS_OPEN_FDS: Gauge "process_open_fds" []
        "File descriptors that are open"
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "File descriptors that may be open"
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970"
}
