//! Flags that say what goes into a backup or restore, shared by the commands of both ways to run them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use velero_core::api::{BackupSpec, LabelSelector, RestoreSpec, TypedLocalObjectReference};
use velero_core::filter::validate_namespace_lists;
use velero_core::policy::CONFIG_MAP_KIND;
use velero_core::{GoDuration, Selector};

use super::data_flags::{BackupDataArgs, RestoreDataArgs};
use super::values::{
    self, AnySelector, Mappings, Names, Ordered, Pairs, TriState, strict_selector,
};

/// Filters of backups and restores alike.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FilterArgs {
    /// Namespaces to take, separated by commas, with wildcards; all without it
    #[arg(long, value_name = "NAMESPACES")]
    pub(crate) include_namespaces: Option<Names>,
    /// Namespaces to leave out
    #[arg(long, value_name = "NAMESPACES")]
    pub(crate) exclude_namespaces: Option<Names>,
    /// Resources to take, such as deployments.apps; all without it
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) include_resources: Option<Names>,
    /// Resources to leave out
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) exclude_resources: Option<Names>,
    /// Whether to take cluster-scoped resources; without it those related to what is taken
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) include_cluster_resources: Option<TriState>,
    /// Take objects with these labels only
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = strict_selector)]
    pub(crate) selector: Option<Selector>,
    /// Take objects that one of several selectors matches, joined by " or "
    #[arg(long, value_name = "SELECTORS")]
    pub(crate) or_selector: Option<AnySelector>,
}

/// Labels and annotations of the object to make.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct MetadataArgs {
    /// Labels of the object, such as a=b,c=d
    #[arg(long, value_name = "LABELS", value_parser = values::labels)]
    pub(crate) labels: Vec<Pairs>,
    /// Annotations of the object, such as a=b,c=d
    #[arg(long, value_name = "ANNOTATIONS", value_parser = values::annotations)]
    pub(crate) annotations: Vec<Pairs>,
}

/// Filters of backups alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct BackupFilterArgs {
    #[command(flatten)]
    pub(crate) common: FilterArgs,
    /// Cluster-scoped resources to take; cannot be mixed with --include-resources and the like
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) include_cluster_scoped_resources: Option<Names>,
    /// Cluster-scoped resources to leave out
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) exclude_cluster_scoped_resources: Option<Names>,
    /// Namespaced resources to take
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) include_namespace_scoped_resources: Option<Names>,
    /// Namespaced resources to leave out
    #[arg(long, value_name = "RESOURCES")]
    pub(crate) exclude_namespace_scoped_resources: Option<Names>,
    /// ConfigMap in the backup's namespace that holds resource policies
    #[arg(long, value_name = "NAME")]
    pub(crate) resource_policies_configmap: Option<String>,
    /// The order in which objects of a kind are backed up, such as 'pods=shop/db,shop/web;persistentvolumes=pv1'
    #[arg(long, value_name = "ORDER")]
    pub(crate) ordered_resources: Option<Ordered>,
    /// How long the backup is kept, such as 720h
    #[arg(long, value_name = "DURATION", value_parser = values::ttl)]
    pub(crate) ttl: Option<GoDuration>,
    #[command(flatten)]
    pub(crate) data: BackupDataArgs,
}

/// What restores take beside the filters.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RestoreFilterArgs {
    #[command(flatten)]
    pub(crate) common: FilterArgs,
    /// Namespaces that get another name, such as shop:shop-copy
    #[arg(long, value_name = "FROM:TO")]
    pub(crate) namespace_mappings: Vec<Mappings>,
    /// Whether services keep their node ports
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) preserve_nodeports: Option<TriState>,
    /// Whether persistent volumes are restored from snapshots
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) restore_volumes: Option<TriState>,
    #[command(flatten)]
    pub(crate) data: RestoreDataArgs,
}

impl FilterArgs {
    fn check(&self) -> Result<()> {
        if self.selector.is_some() && self.or_selector.is_some() {
            bail!(
                "--selector and --or-selector cannot be used together; put all alternatives into --or-selector"
            );
        }
        Ok(())
    }

    fn selectors(&self) -> (Option<LabelSelector>, Vec<LabelSelector>) {
        let single = self.selector.as_ref().map(Selector::to_label_selector);
        let any = self
            .or_selector
            .iter()
            .flat_map(|any| &any.0)
            .map(Selector::to_label_selector)
            .collect();
        (single, any)
    }
}

/// The pairs of a flag that may be given more than once; the last one of a key counts.
pub(crate) fn merged(flags: &[Pairs]) -> BTreeMap<String, String> {
    flags.iter().flat_map(|pairs| pairs.0.clone()).collect()
}

impl MetadataArgs {
    /// Adds the labels and annotations to an object.
    pub(crate) fn apply(&self, metadata: &mut velero_core::api::ObjectMeta) {
        let (labels, annotations) = (merged(&self.labels), merged(&self.annotations));
        if !labels.is_empty() {
            metadata.labels.get_or_insert_default().extend(labels);
        }
        if !annotations.is_empty() {
            metadata
                .annotations
                .get_or_insert_default()
                .extend(annotations);
        }
    }
}

impl BackupFilterArgs {
    /// The spec that the flags ask for.
    ///
    /// # Errors
    /// When flags exclude each other or a list is not valid.
    pub(crate) fn spec(&self) -> Result<BackupSpec> {
        self.common.check()?;
        let common = &self.common;
        let (label_selector, or_label_selectors) = common.selectors();
        let mut spec = BackupSpec {
            included_namespaces: common
                .include_namespaces
                .clone()
                .map_or_else(|| vec!["*".to_owned()], |names| names.0),
            excluded_namespaces: list(&common.exclude_namespaces),
            included_resources: list(&common.include_resources),
            excluded_resources: list(&common.exclude_resources),
            include_cluster_resources: common.include_cluster_resources.and_then(|state| state.0),
            included_cluster_scoped_resources: list(&self.include_cluster_scoped_resources),
            excluded_cluster_scoped_resources: list(&self.exclude_cluster_scoped_resources),
            included_namespace_scoped_resources: list(&self.include_namespace_scoped_resources),
            excluded_namespace_scoped_resources: list(&self.exclude_namespace_scoped_resources),
            label_selector,
            or_label_selectors,
            ttl: self.ttl.unwrap_or_default(),
            resource_policy: self.resource_policy(),
            ordered_resources: self.ordered_resources.clone().unwrap_or_default().0,
            ..BackupSpec::default()
        };
        self.data.apply(&mut spec);
        let faults = validate_namespace_lists(&spec.included_namespaces, &spec.excluded_namespaces);
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        let old = !spec.included_resources.is_empty()
            || !spec.excluded_resources.is_empty()
            || spec.include_cluster_resources.is_some();
        let new = [
            &spec.included_cluster_scoped_resources,
            &spec.excluded_cluster_scoped_resources,
            &spec.included_namespace_scoped_resources,
            &spec.excluded_namespace_scoped_resources,
        ];
        if old && new.iter().any(|list| !list.is_empty()) {
            bail!(
                "--include-resources, --exclude-resources and --include-cluster-resources cannot be used together with the \
                 cluster-scoped and namespace-scoped filters"
            );
        }
        Ok(spec)
    }
}

impl BackupFilterArgs {
    /// The reference to resource policies, in the form in which the peer's command line writes it.
    fn resource_policy(&self) -> Option<TypedLocalObjectReference> {
        let name = self.resource_policies_configmap.as_ref();
        name.filter(|name| !name.is_empty())
            .map(|name| TypedLocalObjectReference {
                api_group: None,
                kind: CONFIG_MAP_KIND.to_owned(),
                name: name.clone(),
            })
    }
}

impl RestoreFilterArgs {
    fn namespace_mapping(&self) -> Result<BTreeMap<String, String>> {
        let mut mapping = BTreeMap::new();
        for (source, target) in self.namespace_mappings.iter().flat_map(|pairs| &pairs.0) {
            if let Err(fault) = values::add(&mut mapping, source.clone(), target.clone()) {
                bail!("--namespace-mappings: {fault}");
            }
        }
        Ok(mapping)
    }

    /// The spec that the flags ask for; what is restored from is the caller's to add.
    ///
    /// # Errors
    /// When flags exclude each other.
    pub(crate) fn spec(&self) -> Result<RestoreSpec> {
        self.common.check()?;
        let common = &self.common;
        let (label_selector, or_label_selectors) = common.selectors();
        let mut spec = RestoreSpec {
            included_namespaces: common
                .include_namespaces
                .clone()
                .map_or_else(|| vec!["*".to_owned()], |names| names.0),
            excluded_namespaces: list(&common.exclude_namespaces),
            included_resources: list(&common.include_resources),
            excluded_resources: list(&common.exclude_resources),
            include_cluster_resources: common.include_cluster_resources.and_then(|state| state.0),
            namespace_mapping: self.namespace_mapping()?,
            label_selector,
            or_label_selectors,
            restore_pvs: self.restore_volumes.and_then(|state| state.0),
            preserve_node_ports: self.preserve_nodeports.and_then(|state| state.0),
            ..RestoreSpec::default()
        };
        self.data.apply(&mut spec);
        Ok(spec)
    }
}

fn list(names: &Option<Names>) -> Vec<String> {
    names.clone().unwrap_or_default().0
}
