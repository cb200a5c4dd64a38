//! Flags that every command takes.

use std::path::PathBuf;

use super::config::ConfigFile;
use super::values::{Names, TriState, parse_bool};

/// Flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct GlobalArgs {
    /// Namespace that Velero runs in; without it that of the config file, of VELERO_NAMESPACE, or "velero"
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Path of the kubeconfig; without it those of KUBECONFIG, ~/.kube/config, or the pod's own account
    #[arg(long, global = true, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub kubecontext: Option<String>,
    /// Features to switch on, separated by commas, beside those of the config file
    #[arg(long, global = true, value_name = "FEATURES")]
    pub(crate) features: Option<Names>,
    /// Whether to use colours; without it the config file decides, and then whether stdout is a terminal
    #[arg(long, global = true, value_name = "BOOL")]
    pub(crate) colorized: Option<TriState>,
    #[command(flatten)]
    pub(crate) klog: KlogArgs,
}

/// Flags of the peer's Kubernetes library. They are taken, and said to have no effect.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct KlogArgs {
    #[arg(short = 'v', long = "v", global = true, hide = true)]
    v: Option<String>,
    #[arg(long = "vmodule", global = true, hide = true)]
    vmodule: Option<String>,
    #[arg(long = "log_backtrace_at", global = true, hide = true)]
    log_backtrace_at: Option<String>,
    #[arg(long = "log_dir", global = true, hide = true)]
    log_dir: Option<String>,
    #[arg(long = "log_file", global = true, hide = true)]
    log_file: Option<String>,
    #[arg(long = "log_file_max_size", global = true, hide = true)]
    log_file_max_size: Option<String>,
    #[arg(long = "stderrthreshold", global = true, hide = true)]
    stderrthreshold: Option<String>,
    #[arg(long = "alsologtostderrthreshold", global = true, hide = true)]
    alsologtostderrthreshold: Option<String>,
    #[arg(long = "add_dir_header", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    add_dir_header: Option<bool>,
    #[arg(long = "alsologtostderr", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    alsologtostderr: Option<bool>,
    #[arg(long = "one_output", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    one_output: Option<bool>,
    #[arg(long = "skip_headers", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    skip_headers: Option<bool>,
    #[arg(long = "skip_log_headers", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    skip_log_headers: Option<bool>,
    #[arg(long = "logtostderr", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    logtostderr: Option<bool>,
    #[arg(long = "legacy_stderr_threshold_behavior", global = true, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    legacy_stderr_threshold_behavior: Option<bool>,
}

impl KlogArgs {
    /// The flags that were given.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let texts = [
            ("--v", self.v.is_some()),
            ("--vmodule", self.vmodule.is_some()),
            ("--log_backtrace_at", self.log_backtrace_at.is_some()),
            ("--log_dir", self.log_dir.is_some()),
            ("--log_file", self.log_file.is_some()),
            ("--log_file_max_size", self.log_file_max_size.is_some()),
            ("--stderrthreshold", self.stderrthreshold.is_some()),
            (
                "--alsologtostderrthreshold",
                self.alsologtostderrthreshold.is_some(),
            ),
            ("--add_dir_header", self.add_dir_header.is_some()),
            ("--alsologtostderr", self.alsologtostderr.is_some()),
            ("--one_output", self.one_output.is_some()),
            ("--skip_headers", self.skip_headers.is_some()),
            ("--skip_log_headers", self.skip_log_headers.is_some()),
            ("--logtostderr", self.logtostderr.is_some()),
            (
                "--legacy_stderr_threshold_behavior",
                self.legacy_stderr_threshold_behavior.is_some(),
            ),
        ];
        texts
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect()
    }
}

impl GlobalArgs {
    /// The namespace that Velero runs in: the flag, the config file, the environment, `velero`.
    pub(crate) fn velero_namespace(&self, config: &ConfigFile) -> String {
        let environment = std::env::var("VELERO_NAMESPACE").ok();
        self.namespace
            .clone()
            .or_else(|| config.namespace.clone())
            .or(environment)
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| velero_core::names::DEFAULT_NAMESPACE.to_owned())
    }
}
