//! What became of the objects of each kind.

use std::collections::HashMap;
use std::fmt;

use velero_core::{ApiResource, GroupResource};

use crate::plan::Plan;

/// What became of every object that a backup has seen, kind by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// The kinds that were read, in the order of the archive, then those that were not, in discovery order.
    pub kinds: Vec<KindCoverage>,
}

impl Coverage {
    /// The kind of a resource, in the version that comes first.
    pub fn kind(&self, resource: &GroupResource) -> Option<&KindCoverage> {
        self.kinds.iter().find(|kind| kind.resource == *resource)
    }

    /// Writes one line for each kind into the log.
    pub(crate) fn log(&self) {
        for kind in &self.kinds {
            kind.log();
        }
    }
}

/// What became of the objects of one kind.
///
/// `found` is `stored`, `left_out` and `failed` together. A backup with one label selector has the API server apply it,
/// which says nothing about what it leaves out: such objects are not found, and [`KindCoverage::uncounted`] tells of them.
/// To count them would cost one more call a kind, whose answer is of another moment than the list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCoverage {
    /// The kind.
    pub resource: GroupResource,
    /// The version in which it was read.
    pub version: String,
    /// How it was read, or why not.
    pub reading: Reading,
    /// Objects that the run has seen, each once.
    pub found: u64,
    /// Objects in the archive.
    pub stored: u64,
    /// Stored objects that other items asked for before their own kind was reached, or whatever the filters say.
    pub related: u64,
    /// Objects that a rule keeps out.
    pub left_out: LeftOut,
    /// Whether the API server left out what the label selector does not match, so that nobody knows how much that is.
    pub uncounted: bool,
    /// Objects that belong in the archive and are not in it, because something went wrong.
    pub failed: u64,
    /// Lists that could not be read to their end, and groups of which it is not known what they serve: there may be
    /// objects that the run has not seen.
    pub incomplete_lists: u64,
}

/// How a kind was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reading {
    /// By one list of the whole cluster.
    #[default]
    Everywhere,
    /// Namespace by namespace.
    ByNamespace,
    /// Namespace by namespace, because the list of the whole cluster is forbidden.
    Refused,
    /// Not at all, by this rule. Objects can still be stored because others ask for them.
    Not(String),
}

const EVERYWHERE: &str = "one list";
const BY_NAMESPACE: &str = "by namespace";
const REFUSED: &str = "by namespace: the list of the cluster is forbidden";
const NOT: &str = "not read: ";
/// The value of a log line's field for [`KindCoverage::uncounted`].
const UNCOUNTED: &str = "uncounted";

impl Reading {
    fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            EVERYWHERE => Self::Everywhere,
            BY_NAMESPACE => Self::ByNamespace,
            REFUSED => Self::Refused,
            _ => Self::Not(text.strip_prefix(NOT)?.to_owned()),
        })
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str(EVERYWHERE),
            Self::ByNamespace => f.write_str(BY_NAMESPACE),
            Self::Refused => f.write_str(REFUSED),
            Self::Not(rule) => write!(f, "{NOT}{rule}"),
        }
    }
}

/// Objects that a rule keeps out of a backup; each is counted under the first rule that it meets, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LeftOut {
    /// Their namespace is not included, or is excluded.
    pub namespace: u64,
    /// The label selectors do not match.
    pub label_selector: u64,
    /// They have the label `velero.io/exclude-from-backup=true`.
    pub exclude_label: u64,
    /// They are being deleted.
    pub deleting: u64,
    /// An action leaves them out.
    pub action: u64,
}

impl LeftOut {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.namespace + self.label_selector + self.exclude_label + self.deleting + self.action
    }

    fn add(&mut self, other: Self) {
        self.namespace += other.namespace;
        self.label_selector += other.label_selector;
        self.exclude_label += other.exclude_label;
        self.deleting += other.deleting;
        self.action += other.action;
    }

    pub(crate) fn of(&mut self, rule: Rule) -> &mut u64 {
        match rule {
            Rule::Namespace => &mut self.namespace,
            Rule::LabelSelector => &mut self.label_selector,
            Rule::ExcludeLabel => &mut self.exclude_label,
            Rule::Deleting => &mut self.deleting,
        }
    }
}

/// The rules with their counts: `label selector 3, being deleted 1`; empty when nothing is left out.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = [
            (self.namespace, "namespace"),
            (self.label_selector, "label selector"),
            (self.exclude_label, "exclude label"),
            (self.deleting, "being deleted"),
            (self.action, "action"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, rule)| format!("{rule} {count}"))
        .collect();
        f.write_str(&parts.join(", "))
    }
}

/// Why an object that a list brings is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Namespace,
    LabelSelector,
    ExcludeLabel,
    Deleting,
}

impl Rule {
    const ALL: [Self; 4] = [
        Self::Namespace,
        Self::LabelSelector,
        Self::ExcludeLabel,
        Self::Deleting,
    ];
}

impl KindCoverage {
    /// Reads the fields of a log line whose message is `coverage`; `None` when they are not those of one.
    pub fn from_fields<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let count = |name: &str| match field(name) {
            None => Some(0),
            Some(text) => text.parse::<u64>().ok(),
        };
        Some(Self {
            resource: GroupResource::from(field("resource")?),
            version: field("version").unwrap_or_default().to_owned(),
            reading: Reading::from_text(field("reading")?)?,
            found: field("found")?.parse().ok()?,
            stored: field("stored")?.parse().ok()?,
            related: count("related")?,
            left_out: LeftOut {
                namespace: count("leftOutByNamespace")?,
                label_selector: count("leftOutByLabelSelector")?,
                exclude_label: count("leftOutByExcludeLabel")?,
                deleting: count("leftOutByDeletion")?,
                action: count("leftOutByAction")?,
            },
            uncounted: field("labelSelector") == Some(UNCOUNTED),
            failed: count("failed")?,
            incomplete_lists: count("incompleteLists")?,
        })
    }

    fn log(&self) {
        let some = |count: u64| (count > 0).then_some(count);
        tracing::info!(
            resource = %self.resource,
            version = self.version,
            reading = %self.reading,
            found = self.found,
            stored = self.stored,
            related = some(self.related),
            leftOutByNamespace = some(self.left_out.namespace),
            leftOutByLabelSelector = some(self.left_out.label_selector),
            leftOutByExcludeLabel = some(self.left_out.exclude_label),
            leftOutByDeletion = some(self.left_out.deleting),
            leftOutByAction = some(self.left_out.action),
            labelSelector = self.uncounted.then_some(UNCOUNTED),
            failed = some(self.failed),
            incompleteLists = some(self.incomplete_lists),
            "coverage"
        );
    }
}

/// What a list says at its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) reading: Reading,
    pub(crate) left_out: LeftOut,
}

/// Counts of one kind while the run goes on.
#[derive(Debug, Clone, Default)]
struct Counts {
    tally: Tally,
    /// Objects that lists brought and the request takes.
    taken: u64,
    /// Objects that others asked for.
    related: u64,
    /// Those of the two that were dealt with before.
    repeated: u64,
    /// Objects that others asked for, and that are among those left out, too.
    rescued: LeftOut,
    action: u64,
    stored: u64,
    bad: u64,
    incomplete_lists: u64,
}

impl Counts {
    /// What was taken and is neither stored nor left out.
    fn failed(&self) -> u64 {
        (self.taken + self.related).saturating_sub(self.repeated + self.action + self.stored)
            + self.bad
    }
}

#[derive(Debug, Clone)]
struct Tracked {
    resource: GroupResource,
    version: String,
    /// Whether the API server filters its lists by labels.
    filtered: bool,
    counts: Counts,
}

/// What has come of all kinds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Objects in the archive, Namespace objects not among them.
    pub(crate) stored: u64,
    /// Namespace objects in the archive.
    pub(crate) namespaces: u64,
    /// Other objects of planned lists, which a rule or an action has kept out.
    pub(crate) left_out: LeftOut,
    /// Planned kinds that are not Namespaces.
    pub(crate) kinds: usize,
    /// Whether all planned lists were read to their end and nothing in them has failed.
    pub(crate) whole: bool,
}

/// Follows the objects of a run.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    kinds: Vec<Tracked>,
    /// Places of a kind's versions.
    places: HashMap<GroupResource, Vec<usize>>,
}

impl Tracker {
    /// Places of the plan's kinds come first, so that their numbers are those of the plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut out = Self::default();
        for kind in &plan.kinds {
            let at = out.add(&kind.resource, Reading::Everywhere);
            out.kinds[at].filtered = !kind.selector.is_empty();
        }
        for (resource, rule) in &plan.not_read {
            out.add(resource, Reading::Not(rule.clone()));
        }
        for (resource, cause) in &plan.unknown {
            let at = out.add(resource, Reading::Not(cause.clone()));
            out.incomplete(at);
        }
        out
    }

    /// What has come of all kinds so far.
    pub(crate) fn totals(&self) -> Totals {
        let mut out = Totals {
            whole: true,
            ..Totals::default()
        };
        for kind in &self.kinds {
            let counts = &kind.counts;
            let is_namespaces = kind.resource.is("", "namespaces");
            *if is_namespaces {
                &mut out.namespaces
            } else {
                &mut out.stored
            } += counts.stored;
            if matches!(counts.tally.reading, Reading::Not(_)) {
                continue;
            }
            if !is_namespaces {
                out.kinds += 1;
                out.left_out.add(counts.tally.left_out);
                out.left_out.action += counts.action;
            }
            out.whole &= counts.incomplete_lists == 0 && counts.failed() == 0;
        }
        out
    }

    fn add(&mut self, resource: &ApiResource, reading: Reading) -> usize {
        let at = self.kinds.len();
        let mut counts = Counts::default();
        counts.tally.reading = reading;
        self.kinds.push(Tracked {
            resource: resource.group_resource(),
            version: resource.version.clone(),
            filtered: false,
            counts,
        });
        self.places
            .entry(resource.group_resource())
            .or_default()
            .push(at);
        at
    }

    /// Counts of a kind in one version, or in its first when that one was not planned.
    fn of(&mut self, resource: &ApiResource) -> &mut Counts {
        let gr = resource.group_resource();
        let known = self.places.get(&gr).and_then(|places| {
            let exact = places
                .iter()
                .find(|at| self.kinds[**at].version == resource.version);
            exact.or(places.first()).copied()
        });
        let at = match known {
            Some(at) => at,
            None => self.add(resource, Reading::Not("it was not discovered".to_owned())),
        };
        &mut self.kinds[at].counts
    }

    /// The list of a planned kind has ended.
    pub(crate) fn ended(&mut self, at: usize, tally: Tally) {
        let mine = &mut self.kinds[at].counts.tally;
        mine.reading = tally.reading;
        for rule in Rule::ALL {
            let mut more = tally.left_out;
            *mine.left_out.of(rule) += *more.of(rule);
        }
    }

    /// A list of a planned kind broke off.
    pub(crate) fn incomplete(&mut self, at: usize) {
        self.kinds[at].counts.incomplete_lists += 1;
    }

    /// A list of a kind that is not planned broke off.
    pub(crate) fn incomplete_kind(&mut self, resource: &ApiResource) {
        self.of(resource).incomplete_lists += 1;
    }

    /// Elements of a list were no objects.
    pub(crate) fn bad(&mut self, at: usize, count: usize) {
        self.kinds[at].counts.bad += count as u64;
    }

    /// Objects of a planned kind's list belong in the backup.
    pub(crate) fn taken(&mut self, at: usize, count: usize) {
        self.kinds[at].counts.taken += count as u64;
    }

    /// An object of a planned kind's list stays out.
    pub(crate) fn left_out(&mut self, at: usize, rule: Rule) {
        *self.kinds[at].counts.tally.left_out.of(rule) += 1;
    }

    /// Another item has brought an object in; `rule` would have kept it out of its own kind's list.
    pub(crate) fn related(&mut self, resource: &ApiResource, rule: Option<Rule>) {
        let counts = self.of(resource);
        counts.related += 1;
        if let Some(rule) = rule.filter(|_| !matches!(counts.tally.reading, Reading::Not(_))) {
            *counts.rescued.of(rule) += 1;
        }
    }

    /// An object that was taken or related was dealt with before.
    pub(crate) fn repeated(&mut self, resource: &ApiResource) {
        self.of(resource).repeated += 1;
    }

    /// An action leaves an object out.
    pub(crate) fn skipped(&mut self, resource: &ApiResource) {
        self.of(resource).action += 1;
    }

    /// An object is in the archive.
    pub(crate) fn stored(&mut self, resource: &ApiResource) {
        self.of(resource).stored += 1;
    }

    /// The statement. What was taken and is neither stored nor left out has failed.
    pub(crate) fn finish(self) -> Coverage {
        let kinds = self.kinds.into_iter().map(|kind| {
            let counts = kind.counts;
            let mut left_out = counts.tally.left_out;
            for rule in Rule::ALL {
                let mut rescued = counts.rescued;
                let left = left_out.of(rule);
                *left = left.saturating_sub(*rescued.of(rule));
            }
            left_out.action = counts.action;
            let failed = counts.failed();
            KindCoverage {
                resource: kind.resource,
                version: kind.version,
                reading: counts.tally.reading,
                found: counts.stored + left_out.total() + failed,
                stored: counts.stored,
                related: counts.related.min(counts.stored),
                left_out,
                uncounted: kind.filtered,
                failed,
                incomplete_lists: counts.incomplete_lists,
            }
        });
        Coverage {
            kinds: kinds.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;

    fn resource(plural: &str) -> ApiResource {
        ApiResource {
            version: "v1".into(),
            plural: plural.into(),
            ..ApiResource::default()
        }
    }

    #[test]
    fn everything_found_is_stored_left_out_or_failed() {
        let pods = resource("pods");
        let mut tracker = Tracker::new(&Plan {
            kinds: vec![Kind {
                resource: pods.clone(),
                gr: pods.group_resource(),
                names: None,
                selector: Default::default(),
            }],
            not_read: vec![(resource("nodes"), "resource filters".to_owned())],
            unknown: vec![(resource("*"), "group x/v1 is unavailable: down".to_owned())],
        });
        tracker.taken(0, 6);
        tracker.related(&pods, None);
        // One that the list leaves out by its labels, and one that the list brings again.
        tracker.related(&pods, Some(Rule::LabelSelector));
        tracker.repeated(&pods);
        tracker.skipped(&pods);
        for _ in 0..5 {
            tracker.stored(&pods);
        }
        tracker.bad(0, 1);
        tracker.incomplete(0);
        let mut tally = Tally {
            reading: Reading::ByNamespace,
            ..Tally::default()
        };
        tally.left_out.label_selector = 3;
        tally.left_out.deleting = 1;
        tracker.ended(0, tally);
        tracker.related(&resource("nodes"), Some(Rule::Namespace));
        tracker.stored(&resource("nodes"));
        tracker.related(&resource("unicorns"), None);
        let coverage = tracker.finish();
        let of = |name: &str| coverage.kind(&GroupResource::core(name)).unwrap();
        let pods = of("pods");
        assert_eq!((pods.stored, pods.related, pods.failed), (5, 2, 2));
        assert_eq!(
            pods.left_out,
            LeftOut {
                label_selector: 2,
                deleting: 1,
                action: 1,
                ..LeftOut::default()
            }
        );
        assert_eq!((pods.found, pods.incomplete_lists), (11, 1));
        let nodes = of("nodes");
        assert_eq!(nodes.reading.to_string(), "not read: resource filters");
        assert_eq!(
            (nodes.found, nodes.stored, nodes.left_out.total()),
            (1, 1, 0)
        );
        assert_eq!(of("unicorns").failed, 1);
        let unknown = of("*");
        assert_eq!(
            (
                unknown.reading.to_string().as_str(),
                unknown.incomplete_lists
            ),
            ("not read: group x/v1 is unavailable: down", 1)
        );
    }

    #[test]
    fn fields_of_a_log_line() {
        let fields = [
            ("resource", "deployments.apps"),
            ("version", "v1"),
            ("reading", "not read: resource filters"),
            ("found", "5"),
            ("stored", "2"),
            ("related", "2"),
            ("leftOutByDeletion", "1"),
            ("failed", "2"),
            ("labelSelector", "uncounted"),
        ];
        let read = |fields: &[(&str, &'static str)]| {
            let fields: HashMap<String, &'static str> =
                fields.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
            KindCoverage::from_fields(|name| fields.get(name).copied())
        };
        let kind = read(&fields).unwrap();
        assert_eq!(kind.resource.to_string(), "deployments.apps");
        assert_eq!(kind.reading, Reading::Not("resource filters".to_owned()));
        assert_eq!((kind.found, kind.stored, kind.left_out.deleting), (5, 2, 1));
        assert!(kind.uncounted);
        for (at, bad) in [(2, "somehow"), (3, "many"), (6, "-1")] {
            let mut fields = fields;
            fields[at].1 = bad;
            assert_eq!(read(&fields), None, "{bad}");
        }
        for reading in [Reading::Everywhere, Reading::ByNamespace, Reading::Refused] {
            assert_eq!(Reading::from_text(&reading.to_string()), Some(reading));
        }
    }
}
